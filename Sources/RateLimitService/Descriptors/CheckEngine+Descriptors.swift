import CoreMetrics
package import NIOCore
import RateLimitCore
import RedisClient

// A request of Envoy's rate limit service: one decision in Redis over all windows that its descriptors meet, as a check
// and a call under the limits of the file go.
extension CheckEngine {
    /// Decides a request about descriptors. Either the outcome is known at once, or `requester` is told later under
    /// `ticket`.
    ///
    /// - Precondition: there are at most ``DescriptorRequest/mostDescriptors``.
    package func call(
        _ request: DescriptorRequest, arrivedAt now: NIODeadline, requester: any DecisionRequester, ticket: Int
    ) -> Outcome? {
        let matches = policy.descriptors.matches(request.descriptors, in: request.domain)
        return call(descriptorPlanner.plan(request, matches), arrivedAt: now, requester, ticket)
    }

    /// Decides a request that has been planned.
    func call(
        _ call: PlannedDescriptors, arrivedAt now: NIODeadline, _ requester: any DecisionRequester, _ ticket: Int
    ) -> Outcome? {
        guard call.plan != nil else {
            return counted(told(DescriptorOutcome(.allowed, undecided: call), source: .off), call)
        }
        if let answer = descriptorDenials.denial(of: call, after: refundTimes, at: now) {
            return counted(told(call.outcome(answer), source: .memory), call)
        }
        let pending = PendingRequest(call, ticket: ticket, arrivedAt: now, requester: requester)
        if let reason = enqueue(pending, call, queueLimit: bounds.queue - callsAwaitingBudgets) {
            return counted(withoutRedis(call, because: reason), call)
        }
        askForFlush()
        return nil
    }

    /// Takes a request on its way, in parts where its windows are in several slots, or says why it cannot be.
    private func enqueue(
        _ pending: PendingRequest, _ call: PlannedDescriptors, queueLimit: Int
    ) -> FailureReason? {
        guard let router = lanes.router, call.terms.count > 1 else {
            return lanes.enqueue(pending, queueLimit: queueLimit)
        }
        let slots = UserSlots(keyPrefix: keyPrefix)
        if call.isInOneSlot(by: slots) { return lanes.enqueue(pending, queueLimit: queueLimit) }
        let epoch = memoryEpoch
        // Limits of descriptors have no thresholds.
        return router.enqueueInParts(
            call.laidOut(keyPrefix: keyPrefix), queueLimit: queueLimit, whenCrossed: { _ in }
        ) { [weak self] result in
            guard let self else { return }
            switch result {
            case .success(let answer) where call.isAnswer(answer):
                let answer = call.settled(answer, by: slots)
                decided(pending, call, answer, sentAt: pending.arrivedAt, memoryEpoch: epoch, at: .now())
            case .success: undecided(pending, call, because: .redisError)
            case .failure(let reason): undecided(pending, call, because: reason)
            }
        }
    }

    /// Tells the decision that Redis took, and remembers a denial; where something is reported or given back besides, tells
    /// it when that has been done.
    func decided(
        _ pending: PendingRequest, _ call: PlannedDescriptors, _ answer: CallAnswer, sentAt: NIODeadline,
        memoryEpoch epoch: Int, at now: NIODeadline
    ) {
        if epoch == memoryEpoch {
            descriptorDenials.remember(
                call, answer, sentAt: sentAt, receivedAt: now, cacheMilliseconds: policy.denyCacheMilliseconds)
        }
        noteRefunds(call, at: now)
        if call.goesOn(answer, whereDenied: policy.isShadow) {
            // It had its place in the queue when it was taken.
            if let reason = enqueue(pending, call, queueLimit: .max) {
                return undecided(pending, call, because: reason)
            }
            return askForFlush()
        }
        metrics.decisionDuration.recordNanoseconds((now - pending.arrivedAt).nanoseconds)
        tell(pending, counted(told(call.outcome(answer), source: .redis), call))
    }

    /// Answers a request that Redis did not decide.
    func undecided(_ pending: PendingRequest, _ call: PlannedDescriptors, because reason: FailureReason) {
        // It may have run.
        noteRefunds(call, at: .now())
        tell(pending, counted(withoutRedis(call, because: reason), call))
    }

    /// Takes note of the windows that were given something back, where that was asked: what was denied before may pass.
    private func noteRefunds(_ call: PlannedDescriptors, at now: NIODeadline) {
        guard call.next.step == .refund else { return }
        for term in call.terms where term.kind.refunds { refundTimes.note(term.key, at: now) }
    }

    private func told(
        _ decided: DescriptorOutcome, source: DecisionSource, degradedReason: FailureReason? = nil
    ) -> Outcome {
        var outcome = Outcome(decided.verdict, source: source, degradedReason: degradedReason)
        outcome.isShadowDenied = policy.isShadow && decided.verdict != .allowed && decided.verdict != .refused
        var details = OutcomeDetails()
        details.descriptors = decided.standings
        outcome.details = details
        return outcome
    }

    /// The failure mode's answer. What is only reported or given back, and what no limit may deny, passes whatever the mode
    /// is; what was admitted stays so where only what comes besides was not done.
    private func withoutRedis(_ call: PlannedDescriptors, because reason: FailureReason) -> Outcome {
        if !call.said.isEmpty {
            return told(DescriptorOutcome(call, call.said), source: .redis, degradedReason: reason)
        }
        var verdict = Outcome.Verdict.allowed
        switch policy.failureMode {
        case .open: break
        case .closed: if call.isEnforced, !policy.isShadow { verdict = .refused }
        case .local:
            let decided = localWindows.check(
                call, replicas: policy.replicas,
                clockMicroseconds: Int(NIODeadline.now().uptimeNanoseconds / 1000))
            return told(decided, source: .local, degradedReason: reason)
        }
        return told(DescriptorOutcome(verdict, undecided: call), source: .failureMode, degradedReason: reason)
    }

    /// Counts a decision; what is only reported or given back is none. With metadata its request is told besides.
    private func counted(_ outcome: Outcome, _ call: PlannedDescriptors) -> Outcome {
        var outcome = outcome
        if let described = call.described { outcome.details?.described = described }
        if call.asks { tally.count(outcome) }
        descriptorTally.count(outcome, call)
        return outcome
    }
}
