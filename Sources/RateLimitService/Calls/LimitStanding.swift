public import RateLimitCore

/// Whose window a limit counts in.
public enum CallSubject: Hashable, Sendable {
    /// The user's own.
    case user
    /// That of one of the user's groups.
    case group(SubjectID)
    /// That of all.
    case global
}

/// How one limit stands after a call: two references and some numbers, however much the limit says.
public struct LimitStanding: Hashable, Sendable {
    /// The limit as the call met it.
    public let term: CallTerm
    /// Whose window it is.
    public let subject: CallSubject
    /// By which values it is one of many; nil where there are none.
    public let values: WindowValues?
    /// How its window stands.
    public let state: LimitState

    init(term: CallTerm, subject: CallSubject, values: WindowValues? = nil, state: LimitState) {
        self.term = term
        self.subject = subject
        self.values = values
        self.state = state
    }

    /// The standing of a limit that stands so, whatever asked it.
    package init(
        limit: LimitDefinition, subject: CallSubject, quota: Quota, state: LimitState, period: CalendarPeriod?
    ) {
        let term = CallTerm(
            limit: limit, at: 0, subject: .user, quota: quota, kind: .concurrency, period: period, cost: .fixed(0))
        self.init(term: term, subject: subject, state: state)
    }

    /// The limit.
    public var limit: LimitDefinition { term.limit }
    /// How much there is, and which rule gave it.
    public var quota: Quota { term.quota }
    /// When the period of a calendar window began and ends, in Unix seconds; nil for other windows.
    public var period: CalendarPeriod? { term.period }

    /// What is left of the quota, at least 0; nil where it is unlimited.
    public var remaining: Int? { term.remaining(state) }

    /// Whether a smaller share of its quota is left than of another's; what is unlimited has all left.
    public func hasLessLeft(than other: LimitStanding) -> Bool {
        term.hasLessLeft(state, than: other.term, other.state)
    }

    /// Its numbers, where it has a quota.
    package var bindingState: BindingState? { term.bindingState(state) }

    /// Whether both say the same, of whichever call.
    public static func == (left: LimitStanding, right: LimitStanding) -> Bool {
        left.state == right.state && left.subject == right.subject && left.values == right.values
            && left.term.tellsTheSame(as: right.term)
    }

    /// Takes the limit's id, the subject and the numbers.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(term.limit.id)
        hasher.combine(subject)
        hasher.combine(state)
    }
}

extension CallTerm {
    fileprivate func tellsTheSame(as other: CallTerm) -> Bool {
        self === other || limit == other.limit && quota == other.quota && period == other.period
    }

    /// What is left of the quota, at least 0; nil where it is unlimited.
    package func remaining(_ state: LimitState) -> Int? { quota.amount.map { max(0, $0 - state.used) } }

    /// Whether a smaller share of its quota is left than of another's; what is unlimited has all left.
    package func hasLessLeft(_ state: LimitState, than other: CallTerm, _ otherState: LimitState) -> Bool {
        guard let quota = quota.amount else { return false }
        guard let otherQuota = other.quota.amount else { return true }
        // remaining / quota < otherRemaining / otherQuota, in 128 bits.
        return max(0, quota - state.used).multipliedFullWidth(by: otherQuota)
            < max(0, otherQuota - otherState.used).multipliedFullWidth(by: quota)
    }

    func bindingState(_ state: LimitState) -> BindingState? {
        quota.amount.map {
            BindingState(quota: $0, used: state.used, resetAfterMilliseconds: state.resetAfterMilliseconds)
        }
    }

    /// The highest share of the quota, in thousandths, that the limit warns at and that has been reached.
    package func warningPerMille(_ state: LimitState) -> Int? {
        if limit.warnAtPerMille.isEmpty { return nil }
        return quota.amount.flatMap { limit.warning(used: state.used, quota: $0) }
    }
}
