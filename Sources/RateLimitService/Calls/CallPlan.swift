import RateLimitCore

/// The limits that a call meets, and what is asked of them.
struct CallPlan {
    /// One limit of one subject.
    struct Term {
        var limit: LimitDefinition
        var subject: CallSubject
        var quota: Quota
        var period: CalendarPeriod?
    }

    /// What Redis is asked; nil where no limit applies.
    var call: DecisionCall?
    /// The terms of the call, in its order.
    var terms: [Term]
    /// The lease that a reservation gives.
    var lease: Lease?
    /// What a reservation expects its call to come to.
    var estimate: CallEstimate?
    /// How many of the caller's groups are left out, because their limits do not fit into one decision.
    var groupsLeftOut = 0
    /// What of the call no limit can count.
    var uncounted: [Uncounted] = []
    /// Whether it meets the limits only because everything is a shadow: nobody knows what its model costs.
    var isDeniedInShadow = false

    /// What is told of a term, with the state that Redis gave.
    func standings(_ states: [LimitState]) -> [LimitStanding] {
        zip(terms, states).map { term, state in
            LimitStanding(
                limit: term.limit, subject: term.subject, quota: term.quota, state: state, period: term.period)
        }
    }
}

/// Why a call meets no limits at all.
enum CallRefusal: Error, Hashable {
    /// Nobody knows what its model costs, and unknown models are denied.
    case unknownModel
}

/// Lays a call out over the limits that apply to it, as a value: no socket, no clock of its own.
struct CallPlanner {
    let limits: LimitsInForce
    let keyPrefix: String
    /// Whether denials are let pass: then a model without a price meets the limits all the same.
    var isShadow = false

    /// What a call counts for, by unit.
    private struct Costs {
        var requests: Int
        var tokens: TokenUsage?
        /// The kinds of ``tokens`` that the call told; an estimate that was learned is not told.
        var told: ToldTokens
        var spend: Int?
        /// Whether the call certainly costs no money: it said so, or its model's price does.
        var isFreeOfCharge = false
        var uncounted: [Uncounted] = []
        var lacksPrice = false
    }

    /// Lays a call out; one about a lease as ``CallRequest/underItsLease()`` has it.
    ///
    /// - Parameters:
    ///   - learned: what a reservation that gives no estimate is to be expected to come to. It holds no more than a limit's
    ///     quota: what nobody said must deny nobody for good.
    ///   - caller: the user's override and groups with their budgets; for a lease, its owner's and the groups it names.
    ///   - now: Unix milliseconds, for grants and calendar windows; Redis decides by its own clock which of four periods it
    ///     is.
    func plan(
        _ request: CallRequest, learned: CallEstimate? = nil, for caller: CallerBudgets, atUnixMilliseconds now: Int,
        using random: inout some RandomNumberGenerator
    ) throws(CallRefusal) -> CallPlan {
        var request = request
        let toldCostMicros = request.costMicros
        if let learned { (request.tokens, request.costMicros) = (learned.tokens, learned.costMicros) }
        let applicable = applicable(to: request)
        let costs = try costs(
            of: request, toldCostMicros: toldCostMicros, under: applicable, groups: caller.groups.count)
        var terms: [CallPlan.Term] = []
        var subjects: [SubjectTerms] = []
        var calendars: [LimitWindow: CalendarBoundaries] = [:]
        // Without a scope a subject has no terms, and frees only what a lease holds.
        func add(_ subject: CallSubject, scope: LimitScope?, quota: (Int) -> Quota) {
            var limitTerms: [LimitTerm] = []
            for index in applicable where limits.rules.limits.limits[index].scope == scope {
                let limit = limits.rules.limits.limits[index]
                guard var cost = cost(of: limit, in: request.operation, costs) else { continue }
                let quota = quota(index)
                if learned != nil, limit.unit.isKnownAfterwards { cost = min(cost, quota.amount ?? cost) }
                let (kind, period) = kind(of: limit, at: now / 1000, &calendars)
                limitTerms.append(
                    LimitTerm(
                        // What is unlimited is counted all the same, and never denies.
                        id: limit.id, kind: kind, isShadow: limit.isShadow || quota.amount == nil,
                        quota: quota.amount ?? LimitTerm.amounts.upperBound, cost: cost,
                        needsRoom: cost == 0 && request.operation.asks
                            && (quota.amount == 0 || !isCertainlyNothing(of: limit.unit, costs))))
                terms.append(CallPlan.Term(limit: limit, subject: subject, quota: quota, period: period))
            }
            guard !limitTerms.isEmpty || request.operation.lease?.isHeld(by: subject) == true else { return }
            subjects.append(SubjectTerms(key: key(of: subject, request.user), terms: limitTerms))
        }
        let fitting = groupsThatFit(caller.groups, applicable, request.operation, costs)
        let groups: [QuotaRules.Group] = caller.groups.map { ($0.id, $0.budget?.terms ?? .none) }
        let own = caller.budget?.terms ?? .none
        func raised(_ quota: Quota, ofLimitAt index: Int, by grants: [String: Grant]?) -> Quota {
            guard let grants, !grants.isEmpty else { return quota }
            let limit = limits.rules.limits.limits[index]
            guard let grant = grants[limit.name.text], grant.isOf(limit.unit) else { return quota }
            return quota.raised(by: grant, atUnixMilliseconds: now)
        }
        add(.user, scope: .user) { index in
            let quota = limits.rules.quota(
                ofLimitAt: index, user: own, attributedTo: caller.budget?.groupID, groups: groups)
            return raised(quota, ofLimitAt: index, by: caller.budget?.grants)
        }
        for (place, (group, kept)) in zip(groups, caller.groups).enumerated() {
            add(.group(group.id), scope: fitting.contains(place) ? .group : nil) { index in
                raised(
                    limits.rules.quota(ofLimitAt: index, group: group), ofLimitAt: index, by: kept.budget?.grants)
            }
        }
        add(.global, scope: .global) { limits.rules.defaultQuota(ofLimitAt: $0) }
        let counted = fitting.map { groups[$0].id }
        var plan = finish(request, subjects, terms, counted, at: now, using: &random)
        plan.groupsLeftOut = groups.count - counted.count
        plan.uncounted = costs.uncounted
        plan.isDeniedInShadow = costs.lacksPrice
        if case .reserve = request.operation {
            plan.estimate = estimate(of: request, costs, learnedFrom: learned?.source)
        }
        return plan
    }

    private func estimate(
        of request: CallRequest, _ costs: Costs, learnedFrom source: CallEstimate.Source?
    ) -> CallEstimate {
        let isKnown = request.tokens != nil || request.costMicros != nil
        return CallEstimate(source ?? (isKnown ? .given : .none), tokens: request.tokens, costMicros: costs.spend)
    }

    private func finish(
        _ request: CallRequest, _ subjects: [SubjectTerms], _ terms: [CallPlan.Term], _ groups: [SubjectID],
        at now: Int,
        using random: inout some RandomNumberGenerator
    ) -> CallPlan {
        var plan = CallPlan(call: nil, terms: terms)
        // What is known of an id stands under the first subject's key: the user's, whatever limits apply.
        var subjects = subjects
        let user = key(of: .user, request.user)
        if request.operation.hasID, let first = subjects.first, first.key != user {
            subjects.insert(SubjectTerms(key: user, terms: []), at: 0)
        }
        // Where no limit applies, nothing is asked of Redis. A reservation gives its lease all the same, which holds nothing:
        // a gateway settles each call in one way.
        func call(_ operation: DecisionOperation, id: DecisionID? = nil, for milliseconds: Int = 60_000)
            -> DecisionCall?
        {
            subjects.isEmpty
                ? nil
                : DecisionCall(
                    operation, id: id, lifeMilliseconds: milliseconds,
                    rememberMilliseconds: limits.leases.rememberMilliseconds, subjects: subjects)
        }
        switch request.operation {
        case .check, .look: plan.call = call(.check)
        case .usage(let id): plan.call = call(.usage, id: id.isEmpty ? nil : .usage(UsageDigest(of: id)))
        case .reserve(let milliseconds):
            let lease = Lease(
                of: request.user,
                instants: LeaseInstants(givenAtMilliseconds: now, lapsesAtMilliseconds: now + milliseconds),
                cost: request.cost,
                attributes: request.attributes.counted(for: groups),
                holdsNothing: subjects.isEmpty, isHeldInGroups: terms.contains { $0.limit.scope == .group },
                isGlobal: terms.contains { $0.limit.scope == .global }, using: &random)
            plan.lease = lease
            plan.call = call(.reserve, id: .lease(lease.mark), for: milliseconds)
        case .renew(let lease, let milliseconds):
            plan.lease = lease
            plan.call = call(.renew, id: .lease(lease.mark), for: milliseconds)
        case .settle(let lease): plan.call = call(.settle, id: .lease(lease.mark))
        case .release(let lease): plan.call = call(.release, id: .lease(lease.mark))
        }
        return plan
    }
}

// MARK: - What applies, and what it costs

extension CallPlanner {
    /// The places of the limits that apply: to a settle those that are in force now, whatever the lease was given under.
    private func applicable(to request: CallRequest) -> LimitIndices {
        switch request.operation {
        case .renew, .release: return LimitIndices(bits: 0)
        case .look: return LimitIndices(bits: ~0 >> UInt64(64 - limits.rules.limits.limits.count))
        case .check, .reserve, .settle, .usage: return limits.rules.limits.applicable(to: request.attributes)
        }
    }

    /// The places of the groups whose limits fit into one decision, beside those of user and all.
    ///
    /// Where not all of them do, those come first that have a quota; a group without one would be counted, and never
    /// denied.
    private func groupsThatFit(
        _ groups: [CallerBudgets.Group], _ applicable: LimitIndices, _ operation: CallRequest.Operation, _ costs: Costs
    ) -> [Int] {
        let asked = applicable.filter { cost(of: limits.rules.limits.limits[$0], in: operation, costs) != nil }
        let ofGroups = asked.filter { limits.rules.limits.limits[$0].scope == .group }
        guard !ofGroups.isEmpty else { return Array(groups.indices) }
        let room = (DecisionCall.largestCount - (asked.count - ofGroups.count)) / ofGroups.count
        guard groups.count > room else { return Array(groups.indices) }
        let limited = groups.indices.filter { place in
            let group = (groups[place].id, groups[place].budget?.terms ?? .none)
            return ofGroups.contains { limits.rules.quota(ofLimitAt: $0, group: group).amount != nil }
        }
        let others = Set(groups.indices).subtracting(limited).sorted()
        return Array((limited + others).prefix(room)).sorted()
    }

    private func costs(
        of request: CallRequest, toldCostMicros: Int?, under applicable: LimitIndices, groups: Int
    ) throws(CallRefusal) -> Costs {
        let model = request.attributes.model
        var costs = Costs(
            requests: request.cost, tokens: request.tokens, told: request.told, spend: request.costMicros,
            isFreeOfCharge: toldCostMicros == 0)
        func counts(_ limit: LimitDefinition) -> Bool { limit.unit == .spend && (limit.scope != .group || groups > 0) }
        let isPriced = applicable.contains { counts(limits.rules.limits.limits[$0]) }
        // A call that says neither model nor tokens has nothing to price.
        guard toldCostMicros == nil, isPriced, request.operation.charges, model != nil || request.tokens != nil
        else { return costs }
        if let price = limits.prices.price(ofModel: model) {
            costs.spend = costs.spend ?? request.tokens.map { price.spend(of: $0) }
            costs.isFreeOfCharge = price.isCertainlyNothing(for: request.tokens ?? .zero, told: request.told)
        } else {
            let isEnforced =
                request.operation.asks
                && applicable.contains { index in
                    let limit = limits.rules.limits.limits[index]
                    return counts(limit) && !limit.isShadow
                }
            if isEnforced, !isShadow { throw .unknownModel }
            costs.lacksPrice = isEnforced
            // What was told cannot be priced. What is only learned will be told again, when the call has ended.
            if !request.told.isEmpty, request.tokens != .zero {
                costs.uncounted = [Uncounted(.spend, because: model == nil ? .noModel : .unknownModel)]
            }
        }
        return costs
    }

    /// Whether a call certainly counts for nothing in a unit, and so needs no room there. What it did not tell may come.
    private func isCertainlyNothing(of unit: LimitUnit, _ costs: Costs) -> Bool {
        switch unit {
        case .requests, .concurrency: false
        case .tokens(let kind): costs.told.isCertainlyNone(of: kind, in: costs.tokens ?? .zero)
        case .spend: costs.isFreeOfCharge
        }
    }

    /// What an operation costs under a limit; nil where it has nothing to do with it.
    private func cost(of limit: LimitDefinition, in operation: CallRequest.Operation, _ costs: Costs) -> Int? {
        switch operation {
        case .look: return 0
        case .renew, .release: return nil
        case .check, .reserve, .settle, .usage: break
        }
        switch limit.unit {
        case .requests: return if case .usage = operation { nil } else { costs.requests }
        case .tokens(let kind): return costs.tokens?.count(of: kind) ?? 0
        case .spend: return costs.spend ?? 0
        case .concurrency:
            switch operation {
            case .reserve: return 1
            // It is looked at, as what its lease holds of it is freed.
            case .settle: return 0
            case .check, .renew, .release, .usage, .look: return nil
            }
        }
    }

    private func kind(
        of limit: LimitDefinition, at now: Int, _ calendars: inout [LimitWindow: CalendarBoundaries]
    ) -> (LimitKind, CalendarPeriod?) {
        switch limit.window {
        case nil: return (.concurrency, nil)
        case .sliding(let milliseconds): return (.sliding(windowMilliseconds: milliseconds), nil)
        case .calendar(let period, let zone):
            let window = LimitWindow.calendar(period, zone)
            let at = calendars[window] ?? period.boundaries(aroundUnixSeconds: now, in: zone)
            calendars[window] = at
            return (.calendar(at), CalendarPeriod(start: at.start, nextStart: at.nextStart))
        }
    }

    private func key(of subject: CallSubject, _ user: SubjectID) -> [UInt8] {
        Array(subject.owner(user).key(prefix: keyPrefix).utf8)
    }
}

extension Lease {
    /// Whether a subject knows of it: the user does of every one that holds anything.
    fileprivate func isHeld(by subject: CallSubject) -> Bool {
        switch subject {
        case .user: !holdsNothing
        case .group(let group): isHeldInGroups && attributes.groups.contains(group)
        case .global: isGlobal
        }
    }
}

extension LimitUnit {
    /// Whether what a call comes to is known when it has ended.
    fileprivate var isKnownAfterwards: Bool {
        switch self {
        case .tokens, .spend: true
        case .requests, .concurrency: false
        }
    }
}

extension CallRequest.Operation {
    /// The lease it is about, which another call gave.
    package var lease: Lease? {
        switch self {
        case .renew(let lease, _), .settle(let lease), .release(let lease): lease
        case .check, .reserve, .usage, .look: nil
        }
    }

    /// Whether it may be denied.
    package var asks: Bool {
        switch self {
        case .check, .reserve: true
        case .renew, .settle, .release, .usage, .look: false
        }
    }

    /// Whether it has an id under which it is done once.
    fileprivate var hasID: Bool {
        switch self {
        case .reserve, .renew, .settle, .release: true
        case .usage(let id): !id.isEmpty
        case .check, .look: false
        }
    }

    /// Whether it charges anything, or holds it.
    fileprivate var charges: Bool {
        switch self {
        case .check, .reserve, .settle, .usage: true
        case .renew, .release, .look: false
        }
    }
}
