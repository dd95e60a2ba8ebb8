import CoreMetrics
package import NIOCore
import RateLimitCore
import RedisClient

// The way of a call under the limits of the file: budgets from memory, one decision in Redis over all limits that apply.
extension CheckEngine {
    /// The limits in force beside the one of checks.
    package var limits: LimitsInForce { policy.limits }

    /// Whether denials are let pass, whatever denies.
    package var isShadow: Bool { policy.isShadow }

    /// How long leases live.
    package var leases: LeaseTimes { policy.limits.leases }

    /// Decides a call. Either the outcome is known at once, or `requester` is told later under `ticket`.
    package func call(
        _ request: CallRequest, arrivedAt now: NIODeadline, requester: any DecisionRequester, ticket: Int
    ) -> Outcome? {
        let isOfLease = request.operation.isOfLease
        let request = isOfLease ? request.underItsLease() : request
        // The limit of checks alone has one quota for all. A lease of limits that are gone is held in groups all the same.
        guard hasFileLimits, let budgets else {
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
            if let outcome { requester.deliver(outcome, ticket: ticket) }
        }
        return nil
    }

    private func decide(
        _ request: CallRequest, _ caller: CallerBudgets, arrivedAt now: NIODeadline, _ requester: any DecisionRequester,
        _ ticket: Int
    ) -> Outcome? {
        if !request.candidates.isEmpty {
            return decide(candidatesOf: request, caller, arrivedAt: now, requester, ticket)
        }
        let clock = unixMilliseconds()
        let call: PlannedCall
        do {
            call = try planner.plan(request, learned: learned(for: request), for: caller, atUnixMilliseconds: clock)
        } catch {
            return counted(Outcome(error), request)
        }
        if call.plan.kind.isDeniedFromMemory, let denial = callDenials.denial(of: call, after: refundTimes, at: now) {
            return counted(outcome(of: call, denial), request)
        }
        var random = SystemRandomNumberGenerator()
        call.drawLease(atUnixMilliseconds: clock, using: &random)
        if call.plan.decision == nil { return counted(Self.unlimited(call), request, call) }
        let pending = PendingRequest(call, ticket: ticket, arrivedAt: now, requester: requester)
        if let reason = enqueue(pending, call) {
            return counted(withoutRedis(request, call, because: reason), request, call)
        }
        askForFlush()
        return nil
    }

    /// Takes a call on its way, in parts where its subjects are in several slots, or says why it cannot be.
    private func enqueue(_ pending: PendingRequest, _ call: PlannedCall) -> FailureReason? {
        let queueLimit = bounds.queue - callsAwaitingBudgets
        guard let router = lanes.router, !call.plan.isInOneSlot, let whole = call.laidOut(keyPrefix: keyPrefix)
        else { return lanes.enqueue(pending, queueLimit: queueLimit) }
        let epoch = memoryEpoch
        let crossed: ([TermCrossing]) -> Void = { [weak self] in self?.tell($0, of: call) }
        return router.enqueueInParts(whole, queueLimit: queueLimit, whenCrossed: crossed) { [weak self] result in
            guard let self else { return }
            switch result {
            case .success(let answer):
                // It was sent later than it arrived: so it is remembered for less long than it holds.
                decided(pending, call, answer, sentAt: pending.arrivedAt, memoryEpoch: epoch, at: .now())
            case .failure(let reason): undecided(pending, call, because: reason)
            }
        }
    }

    /// Tells the decision that Redis took on a call, and remembers a denial.
    func decided(
        _ pending: PendingRequest, _ call: PlannedCall, _ answer: CallAnswer, sentAt: NIODeadline,
        memoryEpoch epoch: Int, at now: NIODeadline
    ) {
        metrics.decisionDuration.recordNanoseconds((now - pending.arrivedAt).nanoseconds)
        noteRefund(call, at: now)
        let outcome = outcome(of: call, answer)
        remember(call, answer, outcome, sentAt: sentAt, memoryEpoch: epoch, at: now)
        tell(pending, counted(outcome, call.request, call))
        if !answer.crossings.isEmpty { tell(answer.crossings, of: call) }
    }

    /// Remembers a denial, where that may answer the call when it is asked again.
    func remember(
        _ call: PlannedCall, _ answer: CallAnswer, _ outcome: Outcome, sentAt: NIODeadline, memoryEpoch epoch: Int,
        at now: NIODeadline
    ) {
        guard call.plan.kind.isDeniedFromMemory, epoch == memoryEpoch, let details = outcome.details else { return }
        callDenials.remember(
            call, answer, details, sentAt: sentAt, receivedAt: now, cacheMilliseconds: policy.denyCacheMilliseconds)
    }

    /// Answers a call that Redis did not decide.
    func undecided(_ pending: PendingRequest, _ call: PlannedCall, because reason: FailureReason) {
        // It may have run.
        noteRefund(call, at: .now())
        tell(pending, counted(withoutRedis(call.request, call, because: reason), call.request, call))
    }

    /// Takes note of the windows to which a refund may have given something back: what was denied before may pass.
    private func noteRefund(_ call: PlannedCall, at now: NIODeadline) {
        guard call.plan.kind.operation == .refund else { return }
        for windows in call.windows { refundTimes.note(windows, at: now) }
    }

    /// What Redis's answer means for whoever asked.
    func outcome(of call: PlannedCall, _ answer: CallAnswer) -> Outcome {
        var details = OutcomeDetails(call.plan, of: call.caller, answer.states, decider: answer.verdict.decider)
        if let estimate = call.estimate { details.estimate = estimate }
        if call.plan.groupsLeftOut > 0 {
            let reason = "the limits of \(call.plan.groupsLeftOut) groups do not fit into one decision and do not count"
            details.ignored.append(IgnoredMember(.groups, reason))
        }
        func told(_ most: Int) -> Int {
            details.retryAfterAtMostMilliseconds = most
            return toldWait(most, least: answer.leastWaitMilliseconds, details, call)
        }
        let verdict: Outcome.Verdict
        switch answer.verdict {
        case .done:
            learn(from: call.request)
            learnDuration(from: call.request, atUnixMilliseconds: unixMilliseconds())
            Self.tellLease(of: call, answer.leaseInstants, in: &details)
            if let part = call.uncounted {
                details.uncounted = [part]
                if !call.request.isDryRun { metrics.uncounted(part)?.increment() }
            }
            verdict = .allowed
        case .denied(_, let milliseconds): verdict = .denied(retryAfterMilliseconds: told(milliseconds))
        case .deniedForGood: verdict = .deniedForGood
        case .atCapacity(_, let milliseconds): verdict = .atCapacity(retryAfterMilliseconds: told(milliseconds))
        case .unknownLease: verdict = .unknownLease
        case .repeated: verdict = .repeated
        case .tooLate: verdict = .tooLate
        }
        var outcome = Outcome(verdict, source: .redis).with(details)
        outcome.isShadowDenied =
            answer.verdict == .done ? call.isDeniedInShadow : policy.isShadow && answer.verdict.decider != nil
        return outcome
    }

    /// What a denial that still holds means for whoever asks again: what the first was told, with the waits of now.
    func outcome(of call: PlannedCall, _ denial: CallDenial) -> Outcome {
        var details = denial.details
        // What a reservation is expected to come to is its own, however much of it the limits count.
        if details.estimate != call.estimate { details.estimate = call.estimate }
        let wait = toldWait(
            denial.mostWaitMilliseconds, least: denial.leastWaitMilliseconds, details, call)
        let verdict: Outcome.Verdict =
            denial.isAtCapacity ? .atCapacity(retryAfterMilliseconds: wait) : .denied(retryAfterMilliseconds: wait)
        var outcome = Outcome(verdict, source: .memory).with(details)
        outcome.isShadowDenied = policy.isShadow
        return outcome
    }

    /// Tells of the lease that was given or renewed: in Redis, or at once where no limit applies. Whoever ends a lease
    /// has its text.
    private static func tellLease(
        of call: PlannedCall, _ instants: LeaseInstants?, in details: inout OutcomeDetails
    ) {
        let lease: Lease?
        switch call.plan.kind.operation {
        case .reserve: lease = instants.flatMap { call.lease?.given(at: $0) }
        case .renew: lease = instants.flatMap { call.lease?.renewed(until: $0) }
        case .check, .settle, .release, .usage, .reset, .refund, .dryCheck, .dryReserve: return
        }
        details.lease = lease ?? call.lease
        details.leaseMilliseconds = call.plan.kind.lifeMilliseconds
    }

    /// What was asked is done at once: no limit applies.
    static func unlimited(_ call: PlannedCall) -> Outcome {
        var details = OutcomeDetails()
        if let estimate = call.estimate { details.estimate = estimate }
        if let part = call.uncounted { details.uncounted = [part] }
        tellLease(of: call, nil, in: &details)
        var outcome = Outcome(.allowed, source: .off).with(details)
        outcome.isShadowDenied = call.isDeniedInShadow
        return outcome
    }

    /// The answer while Redis cannot decide: the strictest of the limits that apply, of several candidates to the first.
    ///
    /// - Parameter call: nil where not even the limits' quotas could be read.
    func withoutRedis(_ request: CallRequest, _ call: PlannedCall?, because reason: FailureReason) -> Outcome {
        var outcome = Outcome(.allowed, source: .failureMode, degradedReason: reason)
        let asked = call?.request.candidates.first ?? request.candidates.first
        let request = asked.map { request.asking(about: $0) } ?? request
        if let asked {
            var details = OutcomeDetails()
            var report = CallReport()
            report.candidate = asked
            details.report = report
            outcome.details = details
        }
        guard request.operation.asks else {
            // What a call came to must not be lost in silence, nor a lease be believed that nobody holds.
            outcome.verdict = .refused
            return outcome
        }
        let limits = callLimits.set
        // What was planned under limits that have changed since is answered under those.
        let all = call?.plan.terms.map(\.limit) ?? limits.applicable(to: request.attributes).map { limits.limits[$0] }
        let applicable = all.filter(\.denies)
        if !policy.isShadow, applicable.contains(where: { $0.failureMode == .closed }) {
            outcome.verdict = .refused
        } else if let call, applicable.contains(where: { $0.failureMode == .local }) {
            outcome.source = .local
            let verdict = localWindows.check(
                call, replicas: policy.replicas, clockMicroseconds: localClock(), charges: !request.isDryRun)
            outcome.verdict = Outcome.Verdict(verdict)
            outcome.isShadowDenied = policy.isShadow && verdict != .allowed
        }
        return outcome
    }

    /// Counts a decision, and what it passed over; what charges or frees without being asked whether it may is no decision,
    /// nor is a dry run.
    ///
    /// - Parameter call: the call as it was planned; nil where it could not be.
    func counted(_ outcome: Outcome, _ request: CallRequest, _ call: PlannedCall? = nil) -> Outcome {
        var outcome = outcome
        if !request.ignored.isEmpty {
            var details = outcome.details ?? OutcomeDetails()
            details.ignored += request.ignored
            outcome.details = details
        }
        if request.isDryRun { return reported(outcome, call) }
        if let details = outcome.details {
            if !details.ignored.isEmpty { tally.count(details.ignored) }
            limitTally.countForgotten(details)
        }
        metrics.leases.count(request.operation, outcome)
        metrics.refunds.count(request.operation, outcome)
        guard request.operation.asks else { return outcome }
        tally.count(outcome)
        limitTally.count(outcome)
        return outcome
    }

    /// The outcome of a dry run, with what only that tells.
    private func reported(_ outcome: Outcome, _ call: PlannedCall?) -> Outcome {
        var outcome = outcome
        var details = outcome.details ?? OutcomeDetails()
        var report = details.report ?? CallReport()
        report.isDryRun = true
        report.unmet = call?.unmet(of: callLimits.set)
        details.report = report
        outcome.details = details
        return outcome
    }
}
