/// What was added to a quota once, until an instant.
public struct Grant: Hashable, Sendable {
    /// How much, in the limit's unit; from 1 to the upper bound of ``BudgetBounds/amounts``.
    public var amount: Int
    /// From when on it counts for nothing, in milliseconds since 1970.
    public var expiresAt: Int
    /// The unit of the limit that it was granted of; nil where nobody knows, and then it is believed of any unit.
    public var unit: LimitUnit?

    /// Makes a grant.
    public init(amount: Int, expiresAt: Int, unit: LimitUnit? = nil) {
        self.amount = amount
        self.expiresAt = expiresAt
        self.unit = unit
    }

    /// Whether it was granted of a limit of this unit.
    public func isOf(_ unit: LimitUnit) -> Bool { self.unit == nil || self.unit == unit }

    /// Whether it still counts.
    public func isInForce(atUnixMilliseconds now: Int) -> Bool { now < expiresAt }
}

extension Quota {
    /// The quota with a grant on top, where the grant is in force and of the quota's unit, which the caller sees to. What
    /// is unlimited stays so; what was blocked has what was granted. It never passes the upper bound of
    /// ``BudgetBounds/amounts``.
    public func raised(by grant: Grant?, atUnixMilliseconds now: Int) -> Quota {
        guard let grant, let amount, grant.isInForce(atUnixMilliseconds: now) else { return self }
        return Quota(amount: min(amount + grant.amount, BudgetBounds.amounts.upperBound), rule: rule, grant: grant)
    }
}

/// When a grant that is made now ends, for who makes it by another clock.
public enum GrantEnd: Hashable, Sendable {
    /// So long after it is made.
    case after(milliseconds: Int)
    /// At the first of these instants that is still to come; Unix seconds, ascending.
    case firstOf([Int])
}

extension LimitDefinition {
    /// When a grant ends that is made about now: with the present period of a calendar window, one length of a sliding
    /// window later, and as much later as a lifetime may be idle, when of those that stand now each has either ended or been
    /// used since; nil where there is no window.
    public func grantEnd(aroundUnixSeconds now: Int) -> GrantEnd? {
        switch window {
        case nil: return nil
        case .sliding(let milliseconds): return .after(milliseconds: milliseconds)
        case .lifetime(let idleMilliseconds): return .after(milliseconds: idleMilliseconds)
        case .calendar(let period, let zone, let starts):
            let at = period.boundaries(aroundUnixSeconds: now, in: zone, starting: starts)
            return .firstOf([at.start, at.nextStart, at.afterNextStart])
        }
    }
}

/// A grant that is asked for.
public struct GrantOrder: Hashable, Sendable {
    /// The limit whose quota is raised.
    public var limit: LimitName
    /// The limit's unit.
    public var unit: LimitUnit
    /// By how much; within ``amounts``.
    public var amount: Int
    /// Until when.
    public var end: GrantEnd
    /// What tells it from others: two of one id count once; nil where each counts. It has ``idLengths`` bytes.
    public var requestID: [UInt8]?

    /// What may be granted at once.
    public static let amounts = 1...BudgetBounds.amounts.upperBound
    /// How many bytes an id has.
    public static let idLengths = 1...128

    /// Makes an order.
    public init(limit: LimitName, unit: LimitUnit, amount: Int, end: GrantEnd, requestID: [UInt8]? = nil) {
        self.limit = limit
        self.unit = unit
        self.amount = amount
        self.end = end
        self.requestID = requestID
    }
}
