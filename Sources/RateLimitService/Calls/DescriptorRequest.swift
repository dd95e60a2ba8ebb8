public import RateLimitCore

/// What a proxy asks about one call by Envoy's rate limit service.
public struct DescriptorRequest: Hashable, Sendable {
    /// The domain whose limits count.
    public var domain: String
    /// What is said of the call; each may meet a limit.
    public var descriptors: [Descriptor]
    /// What the call counts for under each descriptor that does not say it; 0, as a request says that says nothing, counts
    /// for 1.
    public var hits: Int

    /// The most descriptors of a request.
    public static let mostDescriptors = 64

    /// Makes a request.
    public init(domain: String, descriptors: [Descriptor], hits: Int = 1) {
        self.domain = domain
        self.descriptors = descriptors
        self.hits = hits
    }
}

/// A request as it is told where a limit that it met has metadata: an object, so that all others pay for a reference alone.
public final class DescribedRequest: Sendable {
    /// The request.
    public let request: DescriptorRequest

    /// Keeps a request.
    public init(_ request: DescriptorRequest) { self.request = request }
}

/// How one descriptor of a request stands after it.
public struct DescriptorStanding: Hashable, Sendable {
    /// The limit that it met; nil where none applies.
    public var limit: DescriptorLimit?
    /// Whether the limit has not as much as the request asks for, be it a shadow or not.
    public var isOver: Bool
    /// What is left of the quota; nil where no limit applies, where it is unlimited, and where Redis did not decide.
    public var remaining: Int?
    /// How long until this very call passes where it is over, else until the full quota is free again, in milliseconds; nil
    /// where nothing is waited for.
    public var resetAfterMilliseconds: Int?

    /// Makes a standing.
    public init(
        _ limit: DescriptorLimit?, isOver: Bool = false, remaining: Int? = nil, resetAfterMilliseconds: Int? = nil
    ) {
        self.limit = limit
        self.isOver = isOver
        self.remaining = remaining
        self.resetAfterMilliseconds = resetAfterMilliseconds
    }
}
