/// One domain of envoyproxy/ratelimit's configuration, as it is written.
public struct DescriptorDomain: Hashable, Sendable {
    /// What requests call it; never empty.
    public var name: String
    /// What the first entry of a descriptor is looked up in, in the file's order.
    public var rules: [DescriptorRule]

    /// What requests call the domain of the limits file's own limits: no configuration has it.
    public static let ofLimits = "llm-rate-limit"

    /// Makes a domain.
    public init(_ name: String, _ rules: [DescriptorRule]) {
        self.name = name
        self.rules = rules
    }
}

/// One descriptor of envoyproxy/ratelimit's configuration, as it is written, with those under it.
public struct DescriptorRule: Hashable, Sendable {
    /// What the configuration says of a limit.
    public struct Limit: Hashable, Sendable {
        /// What answers call it; nil where the configuration gives no name.
        public var name: String?
        /// How much there is; nil is unlimited.
        public var quota: DescriptorQuota?
        /// The names of limits that do not count in a call that meets this one.
        public var replaces: [String] = []

        /// Makes a limit.
        public init(name: String? = nil, quota: DescriptorQuota?, replaces: [String] = []) {
            self.name = name
            self.quota = quota
            self.replaces = replaces
        }
    }

    /// The key; never empty.
    public var key: String
    /// The value; empty for any, and with a `*` at any place for those that it matches.
    public var value: String
    /// The limit of descriptors that end here.
    public var limit: Limit?
    /// What the next entry of a descriptor is looked up in, in the file's order.
    public var rules: [DescriptorRule]
    /// Whether the limit only reports what it would deny.
    public var isShadow = false
    /// Whether the limit denies only a call that all such limits of its descriptors deny.
    public var isQuotaMode = false
    /// Whether all values that a `*` matches share one window.
    public var sharesThreshold = false
    /// Whether the call's value stands in the metric where the configuration has none, or one with `*`.
    public var hasValueInMetric = false
    /// Whether all values of the call stand in the metric of the limit.
    public var hasDetailedMetric = false
    /// What the proxy is told where the limit is not over; nil where nothing is said.
    public var metadata: DescriptorMetadata?

    /// Makes a descriptor.
    public init(_ key: String, _ value: String = "", limit: Limit? = nil, rules: [DescriptorRule] = []) {
        self.key = key
        self.value = value
        self.limit = limit
        self.rules = rules
    }
}
