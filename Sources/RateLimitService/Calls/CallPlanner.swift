import RateLimitCore

/// Why a call meets no limits at all.
enum CallRefusal: Error, Hashable {
    /// Nobody knows what its model costs, and unknown models are denied.
    case unknownModel
    /// It does not say a value that a limit needs.
    case missingValue(LackingLimit)
}

extension Outcome {
    /// The outcome of a call that meets no limits.
    init(_ refusal: CallRefusal) {
        switch refusal {
        case .unknownModel: self.init(.unknownModel, source: .off)
        case .missingValue(let lacking):
            self.init(.missingValue, source: .off)
            var details = OutcomeDetails()
            details.lacking = lacking
            self.details = details
        }
    }
}

/// One call under its plan: what it costs, and what there is to tell of it. One object, so that what waits for Redis is
/// small.
final class PlannedCall {
    /// The call; one about a lease as ``CallRequest/underItsLease()`` has it.
    let request: CallRequest
    let plan: CallPlan
    let costs: CallCosts
    /// Whose keys those of the plan's subjects are.
    let caller: PlanCaller
    /// What a reservation expects its call to come to.
    let estimate: CallEstimate?
    /// What of the call no limit can count.
    let uncounted: Uncounted?
    /// Whether it meets the limits only because everything is a shadow: nobody knows what its model costs.
    let isDeniedInShadow: Bool
    /// The lease that a reservation gives, or that the call is about.
    private(set) var lease: Lease?

    init(
        _ request: CallRequest, under plan: CallPlan, costs: CallCosts, caller: PlanCaller, estimate: CallEstimate?,
        uncounted: Uncounted?, isDeniedInShadow: Bool
    ) {
        self.request = request
        self.plan = plan
        self.costs = costs
        self.caller = caller
        self.estimate = estimate
        self.uncounted = uncounted
        self.isDeniedInShadow = isDeniedInShadow
        lease = request.operation.lease
    }

    /// Draws the lease that a reservation gives.
    func drawLease(atUnixMilliseconds now: Int, using random: inout some RandomNumberGenerator) {
        guard case .reserve(let milliseconds) = request.operation, !request.isDryRun else { return }
        lease = Lease(
            of: request.user,
            instants: LeaseInstants(givenAtMilliseconds: now, lapsesAtMilliseconds: now + milliseconds),
            cost: request.cost,
            attributes: caller.groups.isEmpty && request.attributes.groups.isEmpty
                ? request.attributes : request.attributes.counted(for: plan.countedGroups.map { caller.groups[$0] }),
            // A reservation without limits gives its lease all the same: a gateway settles each call in one way.
            holdsNothing: plan.decision == nil, isHeldInGroups: plan.isHeldInGroups, isGlobal: plan.isHeldByAll,
            heldValues: plan.values.isEmpty ? [] : plan.heldValues, using: &random)
    }

    /// What Redis knows it by; nil where it has no id.
    var id: DecisionID? {
        if let lease { return .lease(lease.mark) }
        switch request.operation {
        case .usage(let id) where !id.isEmpty: return .usage(UsageDigest(of: id))
        case .refund(let id) where !id.isEmpty: return .refund(UsageDigest(ofRefund: id))
        case .checkOnce(let id):
            let digest = UsageDigest(ofCheck: id)
            return request.candidates.first.map { .candidate(digest, number: $0.index + 1) } ?? .check(digest)
        case .check, .reserve, .renew, .settle, .release, .usage, .refund, .look: return nil
        }
    }

    /// What it is put with under a term of its plan, and whether it asks for room without knowing how much.
    func cost(of term: CallTerm) -> (amount: Int, needsRoom: Bool) {
        switch term.cost {
        case .fixed(let amount): return (amount, false)
        case .amount(let source):
            let amount = source.amount(of: costs, plan.kind)
            if amount == DecisionPlan.unknownCost { return (0, true) }
            let isBounded = plan.kind.isBoundedByQuota(source.unit)
            return (isBounded ? min(amount, term.enforcedQuota ?? amount) : amount, false)
        }
    }

    /// The same with everything laid out in it, for the parts that several slots of a cluster have of it; nil where nothing
    /// is asked of Redis.
    func laidOut(keyPrefix: String) -> DecisionCall? {
        guard let decision = plan.decision else { return nil }
        let subjects = plan.subjects.map { subject in
            SubjectTerms(
                key: Array(caller.owner(subject).key(prefix: keyPrefix, of: caller.values(subject)).utf8),
                terms: plan.terms.filter { $0.subject == subject }.map { term in
                    let (amount, needsRoom) = cost(of: term)
                    return LimitTerm(
                        id: term.limit.id, kind: term.kind,
                        isShadow: term.limit.isShadow || term.enforcedQuota == nil,
                        quota: term.enforcedQuota ?? LimitTerm.amounts.upperBound, cost: amount, needsRoom: needsRoom,
                        thresholds: plan.kind.tellsThresholds ? term.thresholds.map(\.amount) : [])
                }, mostValues: subject.mostValues(plan.values))
        }
        return DecisionCall(
            decision.operation, id: id,
            lifeMilliseconds: max(plan.kind.lifeMilliseconds, DecisionCall.lives.lowerBound),
            rememberMilliseconds: decision.rememberMilliseconds, subjects: subjects)
    }
}

extension CallPlan {
    /// What is told of the term at a place.
    func standing(_ place: Int, _ state: LimitState, of caller: PlanCaller) -> LimitStanding {
        let subject = terms[place].subject
        return LimitStanding(
            term: terms[place], subject: caller.subject(subject), values: caller.values(subject), state: state)
    }
}

extension PlanCaller {
    fileprivate func subject(_ subject: PlanSubject) -> CallSubject {
        switch subject.owner {
        case .user: .user
        case .group(let place): .group(groups[place])
        case .global: .global
        }
    }
}

/// Finds the plan of each call, and says what the call costs under it: a value, without a socket or a clock of its own.
struct CallPlanner {
    let limits: LimitsInForce
    /// Whether denials are let pass: then a model without a price meets the limits all the same.
    let isShadow: Bool
    private var plans = RememberedPlans()

    init(limits: LimitsInForce, isShadow: Bool = false) {
        self.limits = limits
        self.isShadow = isShadow
    }

    /// How many plans are remembered.
    var planCount: Int { plans.count }

    /// Finds a call's plan; one about a lease is as ``CallRequest/underItsLease()`` has it.
    ///
    /// - Parameters:
    ///   - learned: what a reservation that gives no estimate is to be expected to come to. It holds no more than a limit's
    ///     quota: what nobody said must deny nobody for good.
    ///   - caller: the user's override and groups with their budgets; for a lease, its owner's and the groups it names.
    ///   - now: Unix milliseconds.
    mutating func plan(
        _ request: CallRequest, learned: CallEstimate? = nil, for caller: CallerBudgets, atUnixMilliseconds now: Int
    ) throws(CallRefusal) -> PlannedCall {
        let lacks = try lacks(request, hasGroups: !caller.groups.isEmpty)
        let applicable = applicable(to: request)
        let plan = plans.plan(
            CallKind(
                request.operation, isLearned: learned != nil, servedAs: request.attributes, isDryRun: request.isDryRun),
            applicable, quotas: limits.set.countedQuotas(request.attributes.quotas, at: applicable),
            for: caller, under: limits, atUnixMilliseconds: now)
        let (tokens, costMicros) =
            learned.map { ($0.tokens, $0.costMicros) } ?? (request.tokens, request.costMicros)
        var costs = CallCosts(
            requests: request.cost, tokens: tokens ?? .zero, told: request.told, spend: costMicros,
            isFreeOfCharge: request.costMicros == 0)
        let isKnown = tokens != nil || costs.spend != nil
        let pricing = try price(request, tokens, &costs, under: plan)
        var estimate: CallEstimate?
        if case .reserve = request.operation {
            estimate = CallEstimate(
                learned?.source ?? (isKnown ? .given : .none), tokens: tokens, costMicros: costs.spend)
        }
        return PlannedCall(
            request, under: plan, costs: costs, caller: self.caller(of: request, caller, under: plan),
            estimate: estimate, uncounted: pricing.uncounted, isDeniedInShadow: pricing.isDeniedInShadow || lacks)
    }

    /// Whose windows the plan's are for this call.
    private func caller(of request: CallRequest, _ caller: CallerBudgets, under plan: CallPlan) -> PlanCaller {
        let groups = caller.groups.isEmpty ? [] : caller.groups.map(\.id)
        guard !plan.values.isEmpty else { return PlanCaller(user: request.user, groups: groups) }
        let values = plan.values.map { values in
            let call = values.isOfLease ? request.operation.lease?.attributes ?? .none : request.attributes
            guard let said = WindowValues(values.windows.values, of: call, group: values.group.map { groups[$0] })
            else {
                preconditionFailure(
                    "a limit applies to calls that say its values, and a lease says those it is held by")
            }
            return said
        }
        return PlanCaller(user: request.user, groups: groups, values: values)
    }

    /// Whether a limit denies the call for a value that it does not say, and shadow mode lets it pass.
    private func lacks(_ request: CallRequest, hasGroups: Bool) throws(CallRefusal) -> Bool {
        guard request.operation.asks else { return false }
        for lacking in limits.set.lacking(in: request.attributes) {
            let limit = limits.definitions[lacking.limitIndex]
            // Who is in no group is under no limit of groups.
            guard limit.denies, hasGroups || !limit.isOfGroups else { continue }
            guard isShadow else { throw .missingValue(LackingLimit(limit.name, lacks: lacking.value)) }
            return true
        }
        return false
    }

    /// The places of the limits that apply: to a settle those that are in force now, whatever the lease was given under.
    private func applicable(to request: CallRequest) -> LimitIndices {
        switch request.operation {
        case .renew, .release: return LimitIndices(bits: 0)
        case .look: return limits.set.shown(to: request.attributes)
        case .check, .checkOnce, .reserve, .settle, .usage, .refund:
            return limits.set.applicable(to: request.attributes)
        }
    }

    /// Says what the call costs in money, where a limit counts that and the call does not say it.
    private func price(
        _ request: CallRequest, _ tokens: TokenUsage?, _ costs: inout CallCosts, under plan: CallPlan
    ) throws(CallRefusal) -> (uncounted: Uncounted?, isDeniedInShadow: Bool) {
        let model = request.attributes.model
        // A call that says neither model nor tokens has nothing to price.
        guard plan.countsSpend, request.costMicros == nil, model != nil || tokens != nil else { return (nil, false) }
        if let price = limits.prices.price(ofModel: model) {
            // What each call costs besides is charged with its tokens, also where there are none.
            let told = tokens ?? (request.operation.tellsWhole(ofCost: request.cost) ? .zero : nil)
            costs.spend = costs.spend ?? told.map { price.spend(of: $0) }
            costs.isFreeOfCharge = price.isCertainlyNothing(for: costs.tokens, told: request.told)
            return (nil, false)
        }
        if plan.enforcesSpend, !isShadow { throw .unknownModel }
        // What was told cannot be priced. What is only learned will be told again, when the call has ended.
        guard !request.told.isEmpty, tokens != .zero else { return (nil, plan.enforcesSpend) }
        return (Uncounted(.spend, because: model == nil ? .noModel : .unknownModel), plan.enforcesSpend)
    }
}
