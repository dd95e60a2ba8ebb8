/// One limit of envoyproxy/ratelimit's configuration, or one that a proxy gives with a call: an object, so that what a call
/// met is told by a reference.
public final class DescriptorLimit: Sendable {
    /// What the configuration says of a limit.
    public struct Definition: Hashable, Sendable {
        /// The domain in which it stands.
        public var domain: String
        /// Where in the domain it stands, for people and metrics: `tenant.plan_gold`, as envoyproxy/ratelimit writes it.
        public var path: String
        /// What answers call it; nil where the configuration gives no name.
        public var name: String?
        /// How much there is; nil is unlimited.
        public var quota: DescriptorQuota?
        /// Whether it only reports what it would deny.
        public var isShadow = false
        /// Whether it denies only a call that all such limits of its descriptors deny.
        public var isQuotaMode = false
        /// The names of limits that do not count in a call that meets this one.
        public var replaces: [String] = []
        /// What the proxy is told where the limit is not over; nil where the configuration says nothing.
        public var metadata: DescriptorMetadata?

        /// Makes a definition.
        public init(domain: String, path: String, name: String? = nil, quota: DescriptorQuota?) {
            self.domain = domain
            self.path = path
            self.name = name
            self.quota = quota
        }
    }

    /// What the configuration says of it.
    public let definition: Definition

    /// Makes a limit.
    public init(_ definition: Definition) { self.definition = definition }
}

extension DescriptorLimit: Hashable {
    /// Whether both are defined alike.
    public static func == (left: DescriptorLimit, right: DescriptorLimit) -> Bool {
        left === right || left.definition == right.definition
    }

    /// Takes the definition.
    public func hash(into hasher: inout Hasher) { hasher.combine(definition) }
}

/// What a descriptor met.
public struct DescriptorMatch: Hashable, Sendable {
    /// The limit; nil where none applies.
    public var limit: DescriptorLimit?
    /// What the window is called that the limit counts in; nil where no limit applies, and where it is unlimited.
    public var key: DescriptorKey?

    /// Makes a match.
    public init(_ limit: DescriptorLimit?, in key: DescriptorKey?) {
        self.limit = limit
        self.key = key
    }
}
