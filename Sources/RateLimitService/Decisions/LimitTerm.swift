public import RateLimitCore

/// How a limit counts.
public enum LimitKind: Hashable, Sendable {
    /// In any span of time as long as the window, 1,000 to 31,536,000,000 milliseconds.
    case sliding(windowMilliseconds: Int)
    /// From one of the boundaries to the next.
    case calendar(CalendarBoundaries)
    /// What leases hold now; nothing is ever charged.
    case concurrency
    /// All since it began, until nothing has been charged for so many milliseconds, 1,000 to 31,536,000,000, and no lease
    /// holds any of it.
    case lifetime(idleMilliseconds: Int)
}

/// One limit that applies to a call of one subject: how it counts, how much is allowed and how much is asked for.
public struct LimitTerm: Hashable, Sendable {
    /// What quotas and costs may be: the sums are exact with that.
    public static let amounts = 0...1_000_000_000_000

    /// The limit's id, under which its window is kept.
    public let id: UInt32
    /// How it counts.
    public let kind: LimitKind
    /// Whether it only reports what it would deny.
    public let isShadow: Bool
    /// The most there may be at once in its window, within ``amounts``.
    public let quota: Int
    /// What the call costs, within ``amounts``; 0 only looks, unless the limit ``needsRoom``.
    public let cost: Int
    /// Whether a check or reserve that costs none of it is denied where not even 1 is left; it is charged nothing.
    /// A check, which costs no slot of a concurrency limit, is denied where none is free.
    public let needsRoom: Bool
    /// Amounts, ascending, of which it is said when the call crosses them.
    public let thresholds: [Int]

    /// Makes a term; a quota or cost outside ``amounts`` or a window outside its bounds is a programming error.
    ///
    /// - Parameter thresholds: up to ``LimitDefinition/maximumThresholds`` of 1 or more each.
    public init(
        id: UInt32, kind: LimitKind, isShadow: Bool = false, quota: Int, cost: Int, needsRoom: Bool = false,
        thresholds: [Int] = []
    ) {
        precondition(Self.amounts.contains(quota) && Self.amounts.contains(cost))
        precondition(thresholds.count <= LimitDefinition.maximumThresholds && thresholds.allSatisfy { $0 > 0 })
        switch kind {
        case .sliding(let milliseconds), .lifetime(let milliseconds):
            precondition(1_000...31_536_000_000 ~= milliseconds)
        case .calendar, .concurrency: break
        }
        self.id = id
        self.kind = kind
        self.isShadow = isShadow
        self.quota = quota
        self.cost = cost
        self.needsRoom = needsRoom
        self.thresholds = thresholds
    }
}

/// A subject of a call, one user, one group or the globe, with the limits that apply to it.
public struct SubjectTerms: Hashable, Sendable {
    /// The key of its windows in Redis.
    public let key: [UInt8]
    /// Its limits, none of them twice.
    public let terms: [LimitTerm]
    /// How many subjects of its kind there may be in its user's or group's slot, one for each value; 0 for no bound.
    public let mostValues: Int

    /// Makes a subject.
    public init(key: [UInt8], terms: [LimitTerm], mostValues: Int = 0) {
        self.key = key
        self.terms = terms
        self.mostValues = mostValues
    }
}
