/// The domains of envoyproxy/ratelimit's configuration: which limit a descriptor meets.
public struct DescriptorRules: Hashable, Sendable {
    /// No domains.
    public static let none = DescriptorRules()

    /// What each descriptor of a call meets, in the call's order.
    public func matches(_ descriptors: [Descriptor], in domain: String) -> [DescriptorMatch] {
        descriptors.map { _ in DescriptorMatch(nil, in: nil) }
    }
}
