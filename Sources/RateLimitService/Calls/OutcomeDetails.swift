public import RateLimitCore

/// Whose window a limit counts in.
public enum CallSubject: Hashable, Sendable {
    /// The user's own.
    case user
    /// That of one of the user's groups.
    case group(SubjectID)
    /// That of all.
    case global

    /// The same, where the user is known.
    func owner(_ user: SubjectID) -> WindowOwner {
        switch self {
        case .user: .user(user)
        case .group(let group): .group(group)
        case .global: .global
        }
    }
}

/// How one limit stands after a call.
public struct LimitStanding: Hashable, Sendable {
    /// The limit.
    public var limit: LimitDefinition
    /// Whose window it is.
    public var subject: CallSubject
    /// How much there is, and which rule gave it.
    public var quota: Quota
    /// How its window stands.
    public var state: LimitState
    /// When the period of a calendar window began and ends, in Unix seconds; nil for other windows.
    public var period: CalendarPeriod?

    /// What is left of the quota, at least 0; nil where it is unlimited.
    public var remaining: Int? { quota.amount.map { max(0, $0 - state.used) } }

    /// Whether a smaller share of its quota is left than of another's; what is unlimited has all left.
    public func hasLessLeft(than other: LimitStanding) -> Bool {
        guard let remaining, let quota = quota.amount else { return false }
        guard let otherRemaining = other.remaining, let otherQuota = other.quota.amount else { return true }
        // remaining / quota < otherRemaining / otherQuota, in 128 bits.
        return remaining.multipliedFullWidth(by: otherQuota) < otherRemaining.multipliedFullWidth(by: quota)
    }

    /// Its numbers, where it has a quota.
    package var bindingState: BindingState? {
        quota.amount.map {
            BindingState(quota: $0, used: state.used, resetAfterMilliseconds: state.resetAfterMilliseconds)
        }
    }

    /// The highest share of the quota, in thousandths, that the limit warns at and that has been reached.
    public var warningPerMille: Int? { quota.amount.flatMap { limit.warning(used: state.used, quota: $0) } }
}

/// A part of what a call came to that no limit could count, and why.
public struct Uncounted: Hashable, Sendable {
    /// Why it could not.
    public enum Reason: String, CaseIterable, Hashable, Sendable {
        /// Nobody knows what the call's model costs.
        case unknownModel = "unknown_model"
        /// The call named no model.
        case noModel = "no_model"
    }

    /// What was not counted.
    public var unit: LimitUnit
    /// Why.
    public var reason: Reason

    /// Makes a part.
    public init(_ unit: LimitUnit, because reason: Reason) {
        self.unit = unit
        self.reason = reason
    }
}

/// What an outcome has to tell where several limits, a lease or a model have a part.
public struct OutcomeDetails: Hashable, Sendable {
    /// How the limits that apply stand, in the order in which they were asked.
    public var standings: [LimitStanding] = []
    /// The place in ``standings`` of the limit that denied.
    public var decider: Int?
    /// The lease that was given or renewed.
    public var lease: Lease?
    /// How long it lives without being renewed, in milliseconds.
    public var leaseMilliseconds = 0
    /// What a reservation expects its call to come to; nil for everything else.
    public var estimate: CallEstimate?
    /// What the call said and was passed over.
    public var ignored: [IgnoredMember] = []
    /// The wait after which the call certainly passes, with nobody else consuming and no lease renewed; nil where it is not
    /// denied, or no wait helps. It is what the verdict says, or longer.
    public var retryAfterAtMostMilliseconds: Int?
    /// What of the call no limit could count.
    public var uncounted: [Uncounted] = []

    /// None yet.
    public init() {}

    /// Whether a settle or usage was charged to at least one limit.
    public var isCharged: Bool { standings.contains { $0.state.isCharged } }

    /// The limit whose numbers stand for all in a short answer: the one that denied, else the one of which the least share
    /// is left; nil where no limit applies.
    public var binding: LimitStanding? {
        if let decider { return standings[decider] }
        var binding: LimitStanding?
        for standing in standings where !standing.limit.isShadow && standing.quota.amount != nil {
            if let other = binding, !standing.hasLessLeft(than: other) { continue }
            binding = standing
        }
        return binding
    }
}

extension Outcome {
    /// The same with these details, and the limit that binds by them.
    func with(_ details: OutcomeDetails) -> Outcome {
        var outcome = self
        outcome.details = details
        outcome.binding = details.binding?.bindingState
        return outcome
    }
}
