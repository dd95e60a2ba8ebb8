import RateLimitCore

/// A plan that is being made, as a value: no socket, no clock of its own.
struct PlanLayout {
    let kind: CallKind
    /// The limits that apply: to a settle those that are in force now, whatever the lease was given under.
    let applicable: LimitIndices
    let groupCount: Int
    private(set) var countedGroups: [Int] = []
    /// By which values some of the subjects are.
    var values: [PlanValues] = []
    private(set) var amounts: [PlanAmount] = []
    private(set) var validFrom = Int.min
    private(set) var validUntil = Int.max

    let limits: LimitsInForce
    let caller: CallerBudgets
    let groups: [QuotaRules.Group]
    /// What the call says its quotas are.
    let quotas: [CallQuota]
    private let now: Int
    var subjects: [(subject: PlanSubject, terms: Terms)] = []
    private var calendars: [LimitWindow: CalendarBoundaries] = [:]

    /// Lays calls of a kind out over the limits that apply.
    ///
    /// - Parameters:
    ///   - quotas: what calls say their quotas are, of limits that apply and as these take them.
    ///   - caller: the user's override and groups with their budgets; for a lease, its owner's and the groups it names.
    ///   - now: Unix milliseconds, for grants and calendar windows; Redis decides by its own clock which of four periods it
    ///     is.
    init(
        _ kind: CallKind, _ applicable: LimitIndices, quotas: [CallQuota] = [], for caller: CallerBudgets,
        under limits: LimitsInForce,
        atUnixMilliseconds now: Int
    ) {
        self.kind = kind
        self.applicable = applicable
        self.quotas = quotas
        self.limits = limits
        self.caller = caller
        self.now = now
        groupCount = caller.groups.count
        groups = caller.groups.map { ($0.id, $0.budget?.terms ?? .none) }
        let plain = LimitIndices(applicable) { limits.definitions[$0].values.isEmpty }
        countedGroups = groupsThatFit(hasValues: plain != applicable || !kind.heldValues.isEmpty)
        let counted = Set(countedGroups)
        let owners = [.user] + groups.indices.map { PlanOwner.group($0) } + [.global]
        for owner in owners {
            // A group that is left out has no terms, and frees only what a lease holds.
            let isCounted = if case .group(let place) = owner { counted.contains(place) } else { true }
            let own = LimitIndices(plain) { isCounted && limits.definitions[$0].scope == owner.scope }
            let terms = terms(own, of: PlanSubject(owner), inGroup: nil)
            if !terms.isEmpty || kind.isHeld(by: owner) { subjects.append((PlanSubject(owner), terms)) }
        }
        if plain != applicable { addValues(LimitIndices(bits: applicable.bits & ~plain.bits)) }
        if !kind.heldValues.isEmpty { addHeldValues() }
        // What is known of an id stands under the first subject's key: the user's, whatever limits apply.
        if kind.hasID, let first = subjects.first, first.subject != .user { subjects.insert((.user, []), at: 0) }
    }

    /// What it comes to. The script goes through a subject's limits by ascending id.
    func finished() -> (decision: DecisionPlan?, subjects: [PlanSubject], terms: [CallTerm]) {
        guard !subjects.isEmpty else { return (nil, [], []) }
        let decision = DecisionPlan(
            kind.operation, hasID: kind.hasID, lifeMilliseconds: kind.lifeMilliseconds,
            rememberMilliseconds: limits.leases.rememberMilliseconds, amountCount: amounts.count,
            subjects: subjects.map { $0.terms.map(\.put) },
            mostValues: values.isEmpty ? [] : subjects.map { $0.subject.mostValues(values) })
        return (decision, subjects.map(\.subject), subjects.flatMap { $0.terms.map(\.told) })
    }

    typealias Terms = [(told: CallTerm, put: DecisionPlan.Term)]

    /// The terms of a subject under limits, in the order in which the script goes through them.
    mutating func terms(
        _ places: LimitIndices, of subject: PlanSubject, inGroup group: Int?
    ) -> Terms {
        var terms: Terms = []
        for index in places {
            let limit = limits.definitions[index]
            let given = quota(ofLimitAt: index, of: subject.owner, inGroup: group)
            let quota = raised(given, of: limit, by: grants(to: subject.owner))
            guard let cost = cost(of: limit, under: quota) else { continue }
            let (kind, period) = kind(of: limit)
            let told = CallTerm(
                limit: limit, at: index, subject: subject, quota: quota, kind: kind, period: period, cost: cost)
            terms.append((told, put(told)))
        }
        return terms.sorted { $0.put.id < $1.put.id }
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
            isBounded = kind.isBoundedByQuota(amount.unit)
        }
        return DecisionPlan.Term(
            id: term.limit.id, kind: term.kind, isShadow: term.limit.isShadow || term.enforcedQuota == nil,
            quota: term.enforcedQuota ?? LimitTerm.amounts.upperBound, cost: cost, isBoundedByQuota: isBounded,
            thresholds: kind.tellsThresholds ? term.thresholds.map(\.amount) : [])
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
        case (.concurrency, .reserve), (.concurrency, .dryReserve): return .fixed(1)
        // It is looked at, as what its lease holds of it is freed.
        case (.concurrency, .settle): return .fixed(0)
        case (.concurrency, _): return nil
        case (.requests, _), (.tokens, _), (.spend, _):
            return .amount(
                PlanAmount(
                    unit: limit.unit, weights: limit.weights, isBlocked: limit.mode != .soft && quota.amount == 0))
        }
    }

    private mutating func kind(of limit: LimitDefinition) -> (LimitKind, CalendarPeriod?) {
        switch limit.window {
        case nil: return (.concurrency, nil)
        case .sliding(let milliseconds): return (.sliding(windowMilliseconds: milliseconds), nil)
        case .lifetime(let idleMilliseconds): return (.lifetime(idleMilliseconds: idleMilliseconds), nil)
        case .calendar(let period, let zone, let starts):
            let window = LimitWindow.calendar(period, zone, starts: starts)
            let at = calendars[window] ?? period.boundaries(aroundUnixSeconds: now / 1000, in: zone, starting: starts)
            calendars[window] = at
            validFrom = max(validFrom, at.start * 1000)
            validUntil = min(validUntil, at.nextStart * 1000)
            return (.calendar(at), CalendarPeriod(start: at.start, nextStart: at.nextStart))
        }
    }

    /// The places of the groups whose limits fit into one decision, beside those of user and all.
    ///
    /// Where not all of them do, those come first that have a quota; a group without one would be counted, and never
    /// denied. With windows for values half the room is left to what a settle charges beside what its lease holds: it may
    /// name another model.
    private func groupsThatFit(hasValues: Bool) -> [Int] {
        let asked = applicable.filter { index in
            let limit = limits.definitions[index]
            return cost(of: limit, under: limits.rules.defaultQuota(ofLimitAt: index)) != nil
        }
        let ofGroups = asked.filter { limits.definitions[$0].isOfGroups }
        guard !groups.isEmpty, !ofGroups.isEmpty else { return Array(groups.indices) }
        let whole = hasValues ? Self.largestCountWithValues : DecisionCall.largestCount
        let room = (whole - (asked.count - ofGroups.count)) / ofGroups.count
        guard groups.count > room else { return Array(groups.indices) }
        let limited = groups.indices.filter { place in
            ofGroups.contains { index in
                let owner: PlanOwner = limits.definitions[index].scope == .group ? .group(place) : .user
                return quota(ofLimitAt: index, of: owner, inGroup: place).amount != nil
            }
        }
        let others = Set(groups.indices).subtracting(limited).sorted()
        return Array((limited + others).prefix(room)).sorted()
    }
}
