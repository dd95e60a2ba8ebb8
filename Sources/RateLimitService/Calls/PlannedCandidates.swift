import NIOCore
import RateLimitCore
import RedisClient

/// A call with several candidates on its way to Redis: one request to the script for each that has to be asked, one behind the
/// other in one batch. The first that is not denied is all that is done.
///
/// In a cluster whose candidates' keys lie in several slots they are asked about one after the other.
final class PlannedCandidates: PendingCall {
    /// The call as it was asked, with all candidates.
    let request: CallRequest
    let ticket: Int
    let requester: any DecisionRequester
    /// The calls that Redis is asked about, in the candidates' order.
    private(set) var asked: [PlannedCall] = []
    /// A candidate under no limit: it is taken where each before it is denied, and none behind it is asked about.
    private(set) var unlimited: PlannedCall?
    private var passedOver: [PassedOverCandidate] = []
    /// How the call would be made with each candidate that was planned and may not be taken.
    private var denied: [Int: PlannedCall] = [:]

    init(_ request: CallRequest, ticket: Int, requester: any DecisionRequester) {
        self.request = request
        self.ticket = ticket
        self.requester = requester
    }

    /// Has Redis asked about one more candidate.
    func ask(about call: PlannedCall) { asked.append(call) }

    /// Takes the candidate that is under no limit.
    func end(with call: PlannedCall) { unlimited = call }

    /// Passes over a candidate.
    ///
    /// - Parameters:
    ///   - outcome: what it would be told alone.
    ///   - call: nil where it could not be planned.
    func passOver(_ candidate: CallCandidate, _ outcome: Outcome, _ call: PlannedCall? = nil) {
        passedOver.append(PassedOverCandidate(candidate, outcome))
        denied[candidate.index] = call
    }

    /// What whoever asked is told where each candidate is denied: the one with the shortest wait, the first of several; for
    /// good only where all are.
    func denial() -> (outcome: Outcome, call: PlannedCall?) {
        let ordered = passedOver.sorted { $0.candidate.index < $1.candidate.index }
        guard let chosen = ordered.min(by: { $0.outcome.verdict.waitOrNever < $1.outcome.verdict.waitOrNever }) else {
            preconditionFailure("a call has candidates")
        }
        return (told(chosen.outcome, of: chosen.candidate), denied[chosen.candidate.index])
    }

    /// An outcome that names its candidate and those that were passed over.
    func told(_ outcome: Outcome, of candidate: CallCandidate?) -> Outcome {
        var outcome = outcome
        var details = outcome.details ?? OutcomeDetails()
        var report = details.report ?? CallReport()
        report.candidate = candidate
        // Behind one that was admitted nobody was asked about, though some may be known to be denied.
        let last = outcome.isAllowed ? candidate?.index ?? .max : .max
        report.passedOver = passedOver.filter { $0.candidate != candidate && $0.candidate.index < last }
            .sorted { $0.candidate.index < $1.candidate.index }
        details.report = report
        outcome.details = details
        return outcome
    }

    // MARK: There and back

    var width: Int { asked.count }

    func slot(by slots: UserSlots) -> HashSlot { asked[0].slot(by: slots) }

    /// Whether all its keys are in one slot of a cluster.
    func isInOneSlot(by slots: UserSlots) -> Bool {
        let slot = slot(by: slots)
        return asked.allSatisfy { $0.plan.isInOneSlot && $0.slot(by: slots) == slot }
    }

    func layOut(in batch: inout DecisionBatch, _ keys: SubjectKeys) -> Bool {
        guard batch.hasRoom(forPlans: asked.count) else { return false }
        for (place, call) in asked.enumerated() {
            let isTaken = call.layOut(in: &batch, keys, isFollowed: place + 1 < asked.count)
            precondition(isTaken, "there is room for the plans")
        }
        return true
    }

    func decided(
        _ answer: DecisionAnswer, of request: PendingRequest, in batch: ScriptBatch, at now: NIODeadline,
        by engine: CheckEngine
    ) -> Bool {
        guard let decided = asked[0].decided(answer) else { return false }
        engine.decided(
            request, self, [decided], sentAt: batch.sentAt, memoryEpoch: batch.memoryEpoch, at: now)
        return true
    }

    /// Tells what a reply says of all its requests, of which the first is the one at a place of the batch.
    func received(
        _ reply: Reply, from place: Int, of request: PendingRequest, in batch: ScriptBatch, at now: NIODeadline,
        by engine: CheckEngine
    ) -> PendingRequest.Fate {
        var answers: [CallAnswer] = []
        var isOver = false
        for (offset, call) in asked.enumerated() {
            if isOver, DecisionAnswer.isPassedOver(place + offset, of: batch.width, in: reply) { continue }
            let answer = DecisionAnswer(place + offset, of: batch.width, in: reply)
            guard !isOver, let answer, !answer.isError, let decided = call.decided(answer) else {
                undecided(request, because: .redisError, by: engine)
                return answer?.error.map { .failed($0) } ?? .malformed
            }
            answers.append(decided)
            isOver = !decided.verdict.isDenial
        }
        engine.decided(
            request, self, answers, sentAt: batch.sentAt, memoryEpoch: batch.memoryEpoch, at: now)
        return .decided
    }

    func undecided(_ request: PendingRequest, because reason: FailureReason, by engine: CheckEngine) {
        engine.undecided(request, self, because: reason)
    }
}

extension Outcome.Verdict {
    /// How long to wait, in milliseconds; above every wait where none helps.
    fileprivate var waitOrNever: Int {
        switch self {
        case .denied(let milliseconds), .atCapacity(let milliseconds): milliseconds
        default: .max
        }
    }
}
