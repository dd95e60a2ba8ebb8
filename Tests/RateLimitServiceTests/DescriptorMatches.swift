@testable import RateLimitCore
@testable import RateLimitService

/// A limit of a configuration, and the window that descriptors with one value meet it in.
struct ConfiguredLimit {
    let limit: DescriptorLimit
    let key: DescriptorKey?

    /// - Parameter window: what the window is called; nil for the path, which is `path`.
    init(
        _ path: String, _ quota: Int?, per unit: DescriptorUnit = .hour, window: String? = nil, isShadow: Bool = false,
        isQuotaMode: Bool = false
    ) {
        var definition = DescriptorLimit.Definition(
            domain: "edge", path: path, quota: quota.flatMap { DescriptorQuota($0, per: unit) })
        definition.isShadow = isShadow
        definition.isQuotaMode = isQuotaMode
        limit = DescriptorLimit(definition)
        key = quota == nil ? nil : DescriptorKey(text: "descriptor:edge:\(window ?? path)")
    }

    var match: DescriptorMatch { DescriptorMatch(limit, in: key) }
}

extension DescriptorMatch {
    /// What meets no limit.
    static let none = DescriptorMatch(nil, in: nil)
}

/// A descriptor; what is looked up for it is said beside.
func descriptor(hits: Int? = nil, isRefund: Bool = false) -> Descriptor {
    Descriptor([DescriptorEntry("key", "value")], hits: hits, isRefund: isRefund)
}

/// A request of descriptors, with the hits of each that does not say its own.
func request(_ descriptors: Descriptor..., hits: Int = 1) -> DescriptorRequest {
    DescriptorRequest(domain: "edge", descriptors: descriptors, hits: hits)
}

extension Outcome {
    /// How the descriptors stand.
    var standings: [DescriptorStanding] { details?.descriptors ?? [] }
}
