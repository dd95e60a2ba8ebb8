import RateLimitCore

/// A plan that is being made, as a value: no socket, no clock of its own.
struct PlanLayout {
    let kind: CallKind
    /// The limits that apply: to a settle those that are in force now, whatever the lease was given under.
    let applicable: LimitIndices
    let groupCount: Int
    private(set) var countedGroups: [Int] = []
    private(set) var amounts: [PlanAmount] = []
    private(set) var validFrom = Int.min
    private(set) var validUntil = Int.max

    private let limits: LimitsInForce
    private let now: Int
    private var subjects: [(subject: PlanSubject, terms: [(told: CallTerm, put: DecisionPlan.Term)])] = []
    private var calendars: [LimitWindow: CalendarBoundaries] = [:]

    /// Lays calls of a kind out over the limits that apply.
    ///
    /// - Parameters:
    ///   - caller: the user's override and groups with their budgets; for a lease, its owner's and the groups it names.
    ///   - now: Unix milliseconds, for grants and calendar windows; Redis decides by its own clock which of four periods it
    ///     is.
    init(
        _ kind: CallKind, _ applicable: LimitIndices, for caller: CallerBudgets, under limits: LimitsInForce,
        atUnixMilliseconds now: Int
    ) {
        self.kind = kind
        self.applicable = applicable
        self.limits = limits
        self.now = now
        groupCount = caller.groups.count
        let groups: [QuotaRules.Group] = caller.groups.map { ($0.id, $0.budget?.terms ?? .none) }
        let own = caller.budget?.terms ?? .none
        countedGroups = groupsThatFit(groups)
        add(.user, scope: .user, caller.budget?.grants) { index in
            limits.rules.quota(ofLimitAt: index, user: own, attributedTo: caller.budget?.groupID, groups: groups)
        }
        let counted = Set(countedGroups)
        for (place, group) in groups.enumerated() {
            // Without a scope a subject has no terms, and frees only what a lease holds.
            add(.group(place), scope: counted.contains(place) ? .group : nil, caller.groups[place].budget?.grants) {
                limits.rules.quota(ofLimitAt: $0, group: group)
            }
        }
        add(.global, scope: .global, nil) { limits.rules.defaultQuota(ofLimitAt: $0) }
        // What is known of an id stands under the first subject's key: the user's, whatever limits apply.
        if kind.hasID, let first = subjects.first, first.subject != .user { subjects.insert((.user, []), at: 0) }
    }

    /// What it comes to. The script goes through a subject's limits by ascending id.
    func finished() -> (decision: DecisionPlan?, subjects: [PlanSubject], terms: [CallTerm]) {
        guard !subjects.isEmpty else { return (nil, [], []) }
        let decision = DecisionPlan(
            kind.operation, hasID: kind.hasID, lifeMilliseconds: kind.lifeMilliseconds,
            rememberMilliseconds: limits.leases.rememberMilliseconds, amountCount: amounts.count,
            subjects: subjects.map { $0.terms.map(\.put) })
        return (decision, subjects.map(\.subject), subjects.flatMap { $0.terms.map(\.told) })
    }

    private mutating func add(
        _ subject: PlanSubject, scope: LimitScope?, _ grants: [String: Grant]?, _ quota: (Int) -> Quota
    ) {
        var terms: [(told: CallTerm, put: DecisionPlan.Term)] = []
        for index in applicable where limits.rules.limits.limits[index].scope == scope {
            let limit = limits.rules.limits.limits[index]
            let quota = raised(quota(index), of: limit, by: grants)
            guard let cost = cost(of: limit, under: quota) else { continue }
            let (kind, period) = kind(of: limit)
            let told = CallTerm(
                limit: limit, at: index, subject: subject, quota: quota, kind: kind, period: period, cost: cost)
            terms.append((told, put(told)))
        }
        guard !terms.isEmpty || kind.isHeld(by: subject) else { return }
        subjects.append((subject, terms.sorted { $0.put.id < $1.put.id }))
    }

    private mutating func put(_ term: CallTerm) -> DecisionPlan.Term {
        let cost: DecisionPlan.Term.Cost
        var isBounded = false
        switch term.cost {
        case .fixed(let amount): cost = .fixed(amount)
        case .amount(let amount):
            let place = amounts.firstIndex(of: amount) ?? amounts.count
            if place == amounts.count { amounts.append(amount) }
            cost = .amount(place)
            isBounded = kind.isLearned && amount.unit.isKnownAfterwards
        }
        return DecisionPlan.Term(
            // What is unlimited is counted all the same, and never denies.
            id: term.limit.id, kind: term.kind, isShadow: term.limit.isShadow || term.quota.amount == nil,
            quota: term.quota.amount ?? LimitTerm.amounts.upperBound, cost: cost, isBoundedByQuota: isBounded)
    }

    private mutating func raised(_ quota: Quota, of limit: LimitDefinition, by grants: [String: Grant]?) -> Quota {
        guard let grants, !grants.isEmpty, quota.amount != nil, let grant = grants[limit.name.text],
            grant.isOf(limit.unit)
        else { return quota }
        if grant.isInForce(atUnixMilliseconds: now) {
            validUntil = min(validUntil, grant.expiresAt)
        } else {
            validFrom = max(validFrom, grant.expiresAt)
        }
        return quota.raised(by: grant, atUnixMilliseconds: now)
    }

    /// Where the cost under a limit comes from; nil where a call of this kind has nothing to do with it.
    private func cost(of limit: LimitDefinition, under quota: Quota) -> CallTerm.Cost? {
        if kind.isLook { return .fixed(0) }
        switch (limit.unit, kind.operation) {
        case (.requests, .usage): return nil
        case (.concurrency, .reserve): return .fixed(1)
        // It is looked at, as what its lease holds of it is freed.
        case (.concurrency, .settle): return .fixed(0)
        case (.concurrency, _): return nil
        case (.requests, _), (.tokens, _), (.spend, _):
            return .amount(PlanAmount(unit: limit.unit, isBlocked: quota.amount == 0))
        }
    }

    private mutating func kind(of limit: LimitDefinition) -> (LimitKind, CalendarPeriod?) {
        switch limit.window {
        case nil: return (.concurrency, nil)
        case .sliding(let milliseconds): return (.sliding(windowMilliseconds: milliseconds), nil)
        case .calendar(let period, let zone):
            let window = LimitWindow.calendar(period, zone)
            let at = calendars[window] ?? period.boundaries(aroundUnixSeconds: now / 1000, in: zone)
            calendars[window] = at
            validFrom = max(validFrom, at.start * 1000)
            validUntil = min(validUntil, at.nextStart * 1000)
            return (.calendar(at), CalendarPeriod(start: at.start, nextStart: at.nextStart))
        }
    }

    /// The places of the groups whose limits fit into one decision, beside those of user and all.
    ///
    /// Where not all of them do, those come first that have a quota; a group without one would be counted, and never
    /// denied.
    private func groupsThatFit(_ groups: [QuotaRules.Group]) -> [Int] {
        let asked = applicable.filter { index in
            let limit = limits.rules.limits.limits[index]
            return cost(of: limit, under: limits.rules.defaultQuota(ofLimitAt: index)) != nil
        }
        let ofGroups = asked.filter { limits.rules.limits.limits[$0].scope == .group }
        guard !groups.isEmpty, !ofGroups.isEmpty else { return Array(groups.indices) }
        let room = (DecisionCall.largestCount - (asked.count - ofGroups.count)) / ofGroups.count
        guard groups.count > room else { return Array(groups.indices) }
        let limited = groups.indices.filter { place in
            ofGroups.contains { limits.rules.quota(ofLimitAt: $0, group: groups[place]).amount != nil }
        }
        let others = Set(groups.indices).subtracting(limited).sorted()
        return Array((limited + others).prefix(room)).sorted()
    }
}
