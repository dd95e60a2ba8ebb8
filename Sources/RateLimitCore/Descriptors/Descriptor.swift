/// What a proxy says of a call by Envoy's rate limit service: keys with values, which its operators choose.
///
/// The names are those of `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor`, as of Envoy 1.40.
public struct Descriptor: Hashable, Sendable {
    /// The keys with their values, in the proxy's order: they are looked up one level deeper each.
    public var entries: [DescriptorEntry]
    /// The quota that the proxy gives in place of the configuration's; nil for the configuration's.
    public var quota: DescriptorQuota?
    /// What the call counts for under this descriptor; 0 asks whether anything is left. Nil for what the request says.
    public var hits: Int?
    /// Whether ``hits`` are given back.
    public var isRefund: Bool

    /// The most hits of a call: more are taken for so many.
    public static let mostHits = 1_000_000_000_000

    /// Makes a descriptor.
    public init(
        _ entries: [DescriptorEntry], quota: DescriptorQuota? = nil, hits: Int? = nil, isRefund: Bool = false
    ) {
        self.entries = entries
        self.quota = quota
        self.hits = hits
        self.isRefund = isRefund
    }
}

/// One key of a ``Descriptor`` and its value, which may be empty. Both are compared byte by byte.
public struct DescriptorEntry: Sendable {
    /// The key.
    public var key: String
    /// The value.
    public var value: String

    /// Makes an entry.
    public init(_ key: String, _ value: String) {
        self.key = key
        self.value = value
    }
}

extension DescriptorEntry: Hashable {
    /// Whether both have the same bytes.
    public static func == (left: Self, right: Self) -> Bool {
        ExactText(left.key) == ExactText(right.key) && ExactText(left.value) == ExactText(right.value)
    }

    /// Takes the bytes of both.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(ExactText(key))
        hasher.combine(ExactText(value))
    }
}

/// For how long a ``DescriptorQuota`` is; the numbers are those of `RateLimitResponse.RateLimit.Unit`.
public enum DescriptorUnit: Int, CaseIterable, Hashable, Sendable {
    case second = 1
    case minute, hour, day
    /// 30 days.
    case month
    /// 365 days.
    case year
    case week

    /// What files call it, in lower case.
    public var text: String {
        switch self {
        case .second: "second"
        case .minute: "minute"
        case .hour: "hour"
        case .day: "day"
        case .week: "week"
        case .month: "month"
        case .year: "year"
        }
    }

    /// Reads ``text``, in whatever case its letters of ASCII are; nil for anything else.
    public init?(_ text: String) {
        guard text.utf8.allSatisfy({ $0 < 0x80 }) else { return nil }
        let text = text.lowercased()
        guard let unit = Self.allCases.first(where: { $0.text == text }) else { return nil }
        self = unit
    }

    /// Its length.
    public var milliseconds: Int {
        switch self {
        case .second: 1_000
        case .minute: 60_000
        case .hour: 3_600_000
        case .day: 86_400_000
        case .week: 604_800_000
        case .month: 2_592_000_000
        case .year: 31_536_000_000
        }
    }
}

/// How much there is in which time.
public struct DescriptorQuota: Hashable, Sendable {
    /// The most hits that are admitted in one window, in 32 bits; 0 admits none.
    public let requestsPerUnit: Int
    /// The unit.
    public let unit: DescriptorUnit
    /// How many units the window is long, at least 1.
    public let multiplier: Int

    /// Makes a quota; nil where the window would be longer than ``LimitWindow/lengths`` or a number is out of its bounds.
    public init?(_ requestsPerUnit: Int, per unit: DescriptorUnit, times multiplier: Int = 1) {
        // The multiplier is divided by, since its product with a year would not fit into 64 bits.
        guard 0...Int(UInt32.max) ~= requestsPerUnit,
            1...(LimitWindow.lengths.upperBound / unit.milliseconds) ~= multiplier
        else { return nil }
        self.requestsPerUnit = requestsPerUnit
        self.unit = unit
        self.multiplier = multiplier
    }

    /// How long the window is.
    public var windowMilliseconds: Int { unit.milliseconds * multiplier }
}
