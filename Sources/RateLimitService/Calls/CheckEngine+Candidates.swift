import CoreMetrics
import NIOCore
import RateLimitCore
import RedisClient

// The way of a call with several candidates: one decision over all of them, that of the first that may be taken.
extension CheckEngine {
    /// Decides a call with candidates for a caller who is known. Either the outcome is known at once, or `requester` is told
    /// later under `ticket`.
    func decide(
        candidatesOf request: CallRequest, _ caller: CallerBudgets, arrivedAt now: NIODeadline,
        _ requester: any DecisionRequester, _ ticket: Int
    ) -> Outcome? {
        let candidates = planned(request, caller, arrivedAt: now, requester, ticket)
        guard !candidates.asked.isEmpty else { return counted(candidates, admitted: nil) }
        let pending = PendingRequest(candidates, arrivedAt: now)
        if let reason = enqueue(pending, candidates) {
            let first = candidates.asked[0]
            return counted(withoutRedis(request, first, because: reason), request, first)
        }
        askForFlush()
        return nil
    }

    /// Plans the call for each candidate, up to the first under no limit, and passes over those that are known to be denied.
    private func planned(
        _ request: CallRequest, _ caller: CallerBudgets, arrivedAt now: NIODeadline,
        _ requester: any DecisionRequester, _ ticket: Int
    ) -> PlannedCandidates {
        let clock = unixMilliseconds()
        let candidates = PlannedCandidates(request, ticket: ticket, requester: requester)
        var random = SystemRandomNumberGenerator()
        // In shadow mode the first is taken, whatever denies it: what a gateway does must not depend on a shadow.
        for candidate in policy.isShadow ? request.candidates.prefix(1) : request.candidates[...] {
            let own = request.asking(about: candidate)
            let call: PlannedCall
            do {
                call = try planner.plan(own, learned: learned(for: own), for: caller, atUnixMilliseconds: clock)
            } catch {
                candidates.passOver(candidate, Outcome(error))
                continue
            }
            if call.plan.kind.isDeniedFromMemory,
                let denial = callDenials.denial(of: call, after: refundTimes, at: now)
            {
                candidates.passOver(candidate, outcome(of: call, denial), call)
                continue
            }
            call.drawLease(atUnixMilliseconds: clock, using: &random)
            if call.plan.decision == nil {
                candidates.end(with: call)
                return candidates
            }
            candidates.ask(about: call)
        }
        return candidates
    }

    /// Takes a call on its way: all candidates at once, or one after the other where their keys lie in several slots.
    private func enqueue(_ pending: PendingRequest, _ candidates: PlannedCandidates) -> FailureReason? {
        let queueLimit = bounds.queue - callsAwaitingBudgets - (candidates.asked.count - 1)
        guard let router = lanes.router, !router.isInOneSlot(candidates) else {
            return lanes.enqueue(pending, queueLimit: queueLimit)
        }
        return enqueue(0, of: pending, candidates, [], by: router, memoryEpoch: memoryEpoch, queueLimit: queueLimit)
    }

    /// Asks about the candidate at a place, and about the next one where it is denied.
    ///
    /// - Parameter answers: those to the candidates before it, all of them denials.
    private func enqueue(
        _ place: Int, of pending: PendingRequest, _ candidates: PlannedCandidates, _ answers: [CallAnswer],
        by router: ClusterRouter, memoryEpoch epoch: Int, queueLimit: Int
    ) -> FailureReason? {
        let call = candidates.asked[place]
        guard let whole = call.laidOut(keyPrefix: keyPrefix) else {
            preconditionFailure("what Redis is asked about has limits")
        }
        let crossed: ([TermCrossing]) -> Void = { [weak self] in self?.tell($0, of: call) }
        return router.enqueue(
            whole, isInOneSlot: call.plan.isInOneSlot, queueLimit: queueLimit, whenCrossed: crossed
        ) { [weak self] result in
            guard let self else { return }
            switch result {
            case .success(let answer) where answer.verdict.isDenial && place + 1 < candidates.asked.count:
                let reason = enqueue(
                    place + 1, of: pending, candidates, answers + [answer], by: router, memoryEpoch: epoch,
                    queueLimit: .max)
                if let reason { undecided(pending, candidates, because: reason) }
            case .success(let answer):
                // They were sent later than the call arrived: so they are remembered for less long than they hold.
                decided(
                    pending, candidates, answers + [answer], sentAt: pending.arrivedAt, memoryEpoch: epoch, at: .now())
            case .failure(let reason): undecided(pending, candidates, because: reason)
            }
        }
    }

    /// Tells the decision that Redis took on a call, and remembers each candidate's denial as if it had been asked about
    /// alone.
    ///
    /// - Parameter answers: to the candidates that were asked about, in their order: denials, and at most one of another
    ///   kind at the end.
    func decided(
        _ pending: PendingRequest, _ candidates: PlannedCandidates, _ answers: [CallAnswer], sentAt: NIODeadline,
        memoryEpoch epoch: Int, at now: NIODeadline
    ) {
        metrics.decisionDuration.recordNanoseconds((now - pending.arrivedAt).nanoseconds)
        var admitted: (call: PlannedCall, answer: CallAnswer)?
        for (call, answer) in zip(candidates.asked, answers) {
            guard answer.verdict.isDenial else {
                admitted = (call, answer)
                break
            }
            let outcome = outcome(of: call, answer)
            remember(call, answer, outcome, sentAt: sentAt, memoryEpoch: epoch, at: now)
            guard let candidate = call.request.candidates.first else {
                preconditionFailure("a call is planned for a candidate")
            }
            candidates.passOver(candidate, outcome, call)
        }
        tell(pending, counted(candidates, admitted: admitted))
        if let (call, answer) = admitted, !answer.crossings.isEmpty { tell(answer.crossings, of: call) }
    }

    /// Answers a call that Redis did not decide: as the first candidate's limits have it.
    func undecided(_ pending: PendingRequest, _ candidates: PlannedCandidates, because reason: FailureReason) {
        let (request, first) = (candidates.request, candidates.asked[0])
        tell(pending, counted(withoutRedis(request, first, because: reason), request, first))
    }

    /// The outcome of the whole call.
    private func counted(
        _ candidates: PlannedCandidates, admitted: (call: PlannedCall, answer: CallAnswer)?
    ) -> Outcome {
        let request = candidates.request
        if let (call, answer) = admitted {
            var candidate = call.request.candidates.first
            if answer.verdict == .repeated {
                // It was admitted before, and it need not have been for the one that was asked about first.
                candidate = request.candidates.first { $0.index + 1 == answer.admittedCandidate }
            }
            return counted(candidates.told(outcome(of: call, answer), of: candidate), request, call)
        }
        if let call = candidates.unlimited {
            return counted(
                candidates.told(Self.unlimited(call), of: call.request.candidates.first), request, call)
        }
        let (outcome, call) = candidates.denial()
        return counted(outcome, request, call)
    }
}
