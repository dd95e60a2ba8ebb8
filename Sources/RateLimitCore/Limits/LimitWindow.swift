/// When what a limit counts is free again.
public enum LimitWindow: Hashable, Sendable {
    /// After this many milliseconds, each charge on its own; within ``lengths``.
    case sliding(milliseconds: Int)
    /// All at once, when the next period begins in the zone. Months, quarters and years begin on a day that may be said;
    /// of the others ``CalendarStart/first``.
    case calendar(CalendarPeriodKind, TimeZoneRules, starts: CalendarStart = .first)
    /// All at once, when nothing has been charged for so many milliseconds, within ``lengths``, and no lease holds any of
    /// it: so it counts as long as its subject, a session or an agent's run, goes on.
    case lifetime(idleMilliseconds: Int)

    /// The lengths of sliding windows, and for how long a lifetime's subject may be idle, in milliseconds: from a second to
    /// 365 days.
    public static let lengths = Limit.windows

    /// For how long at most it counts what is charged now, with nothing charged behind it, in milliseconds.
    public var longestMilliseconds: Int {
        switch self {
        case .sliding(let milliseconds): milliseconds
        case .calendar(let kind, _, starts: _): kind.longestMilliseconds
        case .lifetime(let idleMilliseconds): idleMilliseconds
        }
    }

    /// Whether it is one that never slides.
    public var isLifetime: Bool { if case .lifetime = self { true } else { false } }

    /// Whether it is within the bounds: the lengths, and a start only of what may have one.
    var isUsable: Bool {
        switch self {
        case .sliding(let milliseconds): Self.lengths.contains(milliseconds)
        case .calendar(let kind, _, let starts): kind.hasStart || starts == .first
        case .lifetime(let idleMilliseconds): Self.lengths.contains(idleMilliseconds)
        }
    }
}
