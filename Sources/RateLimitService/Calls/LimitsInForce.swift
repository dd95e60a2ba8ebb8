public import RateLimitCore

/// How long leases live without being renewed, and are remembered.
public struct LeaseTimes: Hashable, Sendable {
    /// One that does not say how long, in milliseconds.
    public var usualMilliseconds: Int
    /// How long one may ask for, in milliseconds.
    public var longestMilliseconds: Int
    /// For how long one that lapsed may still be settled, and a usage's id is known, in milliseconds.
    public var rememberMilliseconds: Int

    /// A minute, a day and an hour, where they are left out.
    public init(
        usualMilliseconds: Int = 60_000, longestMilliseconds: Int = DecisionCall.lives.upperBound,
        rememberMilliseconds: Int = 3_600_000
    ) {
        self.usualMilliseconds = usualMilliseconds
        self.longestMilliseconds = longestMilliseconds
        self.rememberMilliseconds = rememberMilliseconds
    }
}

/// The limits beside the one of checks, and what goes with them: put in force on every event loop by
/// ``CheckPolicy/limits``.
public struct LimitsInForce: Hashable, Sendable {
    /// The limits, that of ``LimitName/requests`` among them where it is not off.
    public var rules: QuotaRules
    /// What tokens cost.
    public var prices: PriceTable
    /// Whether the groups of a user are those a call names, and not those that are kept.
    public var groupsAreGiven: Bool
    /// How long leases live.
    public var leases: LeaseTimes

    /// No limits beside `requests`.
    public static let none = LimitsInForce(rules: QuotaRules(limits: .empty, policy: .min))

    /// Makes limits.
    public init(
        rules: QuotaRules, prices: PriceTable = .free, groupsAreGiven: Bool = false, leases: LeaseTimes = LeaseTimes()
    ) {
        self.rules = rules
        self.prices = prices
        self.groupsAreGiven = groupsAreGiven
        self.leases = leases
    }

    /// The limits as a set, which says what applies to a call.
    @inlinable public var set: LimitSet { rules.limits }

    /// The limits by their places.
    @inlinable public var definitions: [LimitDefinition] { rules.limits.limits }

    /// Whether there are any.
    public var isEmpty: Bool { definitions.isEmpty }
}
