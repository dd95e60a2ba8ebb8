import CoreMetrics
package import NIOCore
import RateLimitCore
import RedisClient

// The way of a call under the limits of the file: budgets from memory, one decision in Redis over all limits that apply.
extension CheckEngine {
    /// The limits in force beside the one of checks.
    package var limits: LimitsInForce { policy.limits }

    /// How long leases live.
    package var leases: LeaseTimes { policy.limits.leases }

    /// Decides a call. Either the outcome is known at once, or `requester` is told later under `ticket`.
    package func call(
        _ request: CallRequest, arrivedAt now: NIODeadline, requester: any DecisionRequester, ticket: Int
    ) -> Outcome? {
        let request = request.underItsLease()
        let isOfLease = request.operation.lease != nil
        // The limit of checks alone has one quota for all. A lease of limits that are gone is held in groups all the same.
        guard hasMoreLimits, let budgets else {
            let groups = isOfLease ? request.attributes.groups : []
            let caller = CallerBudgets(budget: nil, groups: groups.map { CallerBudgets.Group(id: $0, budget: nil) })
            return decide(request, caller, arrivedAt: now, requester, ticket)
        }
        let given = callLimits.groupsAreGiven || isOfLease ? request.attributes.groups : nil
        if let caller = budgets.known(request.user, groups: given, at: now) {
            return decide(request, caller, arrivedAt: now, requester, ticket)
        }
        if let link = lanes.link, case .unavailable(let failure) = link.availability {
            return counted(withoutRedis(request, nil, because: failure.reason), request)
        }
        guard pendingCount < bounds.queue else {
            return counted(withoutRedis(request, nil, because: .overloaded), request)
        }
        callsAwaitingBudgets += 1
        budgets.load(request.user, groups: given, at: now) { [weak self] result in
            guard let self else { return }
            callsAwaitingBudgets -= 1
            let outcome: Outcome?
            switch result {
            case .success(let caller): outcome = decide(request, caller, arrivedAt: now, requester, ticket)
            case .failure(.redis(let reason)): outcome = counted(withoutRedis(request, nil, because: reason), request)
            }
            if let outcome { requester.decided(outcome, ticket: ticket) }
        }
        return nil
    }

    private func decide(
        _ request: CallRequest, _ caller: CallerBudgets, arrivedAt now: NIODeadline, _ requester: any DecisionRequester,
        _ ticket: Int
    ) -> Outcome? {
        var random = SystemRandomNumberGenerator()
        let planner = CallPlanner(limits: callLimits, keyPrefix: keyPrefix, isShadow: policy.isShadow)
        let plan: CallPlan
        do {
            plan = try planner.plan(
                request, learned: learned(for: request), for: caller, atUnixMilliseconds: unixMilliseconds(),
                using: &random)
        } catch {
            return counted(Outcome(.unknownModel, source: .off), request)
        }
        guard let call = plan.call else { return counted(Self.unlimited(request, plan), request) }
        let question = CallQuestion(call)
        if let question, let answer = callDenials.denial(of: request.user, question, at: .now()) {
            return counted(outcome(of: request, plan, answer, source: .memory), request)
        }
        let epoch = memoryEpoch
        let pending = PendingCall(call: call, arrivedAt: now) { [weak self] result in
            guard let self else { return }
            let answeredAt = NIODeadline.now()
            let outcome: Outcome
            switch result {
            case .success(let answer):
                metrics.decisionDuration.recordNanoseconds((answeredAt - now).nanoseconds)
                if let question, epoch == memoryEpoch {
                    // It was sent later than it arrived: so it is remembered for less long than it holds.
                    callDenials.remember(
                        request.user, question, answer, sentAt: now, receivedAt: answeredAt,
                        cacheMilliseconds: policy.denyCacheMilliseconds)
                }
                outcome = self.outcome(of: request, plan, answer, source: .redis)
            case .failure(let reason): outcome = withoutRedis(request, plan, because: reason)
            }
            requester.decided(counted(outcome, request), ticket: ticket)
        }
        if let reason = lanes.takeCall(pending, queueLimit: bounds.queue - callsAwaitingBudgets) {
            return counted(withoutRedis(request, plan, because: reason), request)
        }
        askForFlush()
        return nil
    }

    /// What Redis's answer means for whoever asked.
    private func outcome(
        of request: CallRequest, _ plan: CallPlan, _ answer: CallAnswer, source: DecisionSource
    ) -> Outcome {
        var details = OutcomeDetails()
        let verdict: Outcome.Verdict
        func told(_ most: Int) -> Int {
            details.retryAfterAtMostMilliseconds = most
            let asked = plan.call?.subjects.flatMap(\.terms) ?? []
            let terms = zip(plan.terms, asked).map { (limit: $0.limit.id, subject: $0.subject, asked: $1) }
            return toldWait(most, answer, terms, request.user)
        }
        switch answer.verdict {
        case .done:
            learn(from: request)
            learnDuration(from: request, atUnixMilliseconds: unixMilliseconds())
            details = Self.details(of: request, plan, answer.leaseInstants)
            for part in details.uncounted { metrics.uncounted(part)?.increment() }
            verdict = .allowed
        case .denied(let term, let milliseconds):
            verdict = .denied(retryAfterMilliseconds: told(milliseconds))
            details.decider = term
        case .deniedForGood(let term):
            verdict = .deniedForGood
            details.decider = term
        case .atCapacity(let term, let milliseconds):
            verdict = .atCapacity(retryAfterMilliseconds: told(milliseconds))
            details.decider = term
        case .unknownLease: verdict = .unknownLease
        case .repeated: verdict = .repeated
        case .tooLate: verdict = .tooLate
        }
        details.standings = plan.standings(answer.states)
        details.estimate = plan.estimate
        if plan.groupsLeftOut > 0 {
            let reason = "the limits of \(plan.groupsLeftOut) groups do not fit into one decision and do not count"
            details.ignored.append(IgnoredMember(.groups, reason))
        }
        var outcome = Outcome(verdict, source: source).with(details)
        let isDone = answer.verdict == .done
        outcome.isShadowDenied = isDone ? plan.isDeniedInShadow : policy.isShadow && details.decider != nil
        return outcome
    }

    /// What there is to tell where what was asked is done: in Redis, or at once where no limit applies.
    private static func details(
        of request: CallRequest, _ plan: CallPlan, _ leaseInstants: LeaseInstants? = nil
    ) -> OutcomeDetails {
        var details = OutcomeDetails()
        details.lease = plan.lease
        details.estimate = plan.estimate
        details.uncounted = plan.uncounted
        switch request.operation {
        case .reserve(let milliseconds):
            details.leaseMilliseconds = milliseconds
            if let leaseInstants { details.lease = plan.lease?.given(at: leaseInstants) }
        case .renew(_, let milliseconds):
            details.leaseMilliseconds = milliseconds
            if let leaseInstants { details.lease = plan.lease?.renewed(until: leaseInstants) }
        case .check, .settle, .release, .usage, .look: break
        }
        return details
    }

    /// What was asked is done at once: no limit applies.
    private static func unlimited(_ request: CallRequest, _ plan: CallPlan) -> Outcome {
        var outcome = Outcome(.allowed, source: .off).with(details(of: request, plan))
        outcome.isShadowDenied = plan.isDeniedInShadow
        return outcome
    }

    /// The answer while Redis cannot decide: the strictest of the limits that apply.
    ///
    /// - Parameter plan: nil where not even the limits' quotas could be read.
    private func withoutRedis(_ request: CallRequest, _ plan: CallPlan?, because reason: FailureReason) -> Outcome {
        var outcome = Outcome(.allowed, source: .failureMode, degradedReason: reason)
        guard request.operation.asks else {
            // What a call came to must not be lost in silence, nor a lease be believed that nobody holds.
            outcome.verdict = .refused
            return outcome
        }
        let limits = callLimits.rules.limits
        // What was planned under limits that have changed since is answered under those.
        let all = plan?.terms.map(\.limit) ?? limits.applicable(to: request.attributes).map { limits.limits[$0] }
        let applicable = all.filter { !$0.isShadow }
        if !policy.isShadow, applicable.contains(where: { $0.failureAnswer == .closed }) {
            outcome.verdict = .refused
        } else if let plan, applicable.contains(where: { $0.failureAnswer == .local }) {
            outcome.source = .local
            let verdict = localWindows.check(
                plan, user: request.user, replicas: policy.replicas,
                clockMicroseconds: Int(NIODeadline.now().uptimeNanoseconds / 1000)
            )
            outcome.verdict = Outcome.Verdict(verdict)
            outcome.isShadowDenied = policy.isShadow && verdict != .allowed
        }
        return outcome
    }

    /// Counts a decision, and what it passed over; what charges or frees without being asked whether it may is no decision.
    private func counted(_ outcome: Outcome, _ request: CallRequest) -> Outcome {
        var outcome = outcome
        if !request.ignored.isEmpty {
            var details = outcome.details ?? OutcomeDetails()
            details.ignored += request.ignored
            outcome.details = details
        }
        if let ignored = outcome.details?.ignored, !ignored.isEmpty { tally.count(ignored) }
        guard request.operation.asks else { return outcome }
        tally.count(outcome)
        limitTally.count(outcome)
        return outcome
    }
}
