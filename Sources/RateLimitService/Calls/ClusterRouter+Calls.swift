import NIOCore
import RateLimitCore
import RedisClient

extension ClusterRouter {
    /// Whether all keys of all candidates are in one slot, so that one decision can be taken on them.
    func isInOneSlot(_ candidates: PlannedCandidates) -> Bool { candidates.isInOneSlot(by: slots) }

    /// Takes a call on its way, in parts unless all its keys are in one slot, or says why it cannot be.
    ///
    /// - Parameter whenCrossed: as of parts; where there are none the answer says which thresholds were crossed.
    func enqueue(
        _ call: DecisionCall, isInOneSlot: Bool, queueLimit: Int, whenCrossed: @escaping ([TermCrossing]) -> Void,
        _ done: @escaping (Result<CallAnswer, FailureReason>) -> Void
    ) -> FailureReason? {
        guard isInOneSlot else {
            return enqueueInParts(call, queueLimit: queueLimit, whenCrossed: whenCrossed, done)
        }
        guard pendingCount < queueLimit else { return .overloaded }
        return enqueueBetweenTurns(PendingRequest(call, arrivedAt: .now(), done))
    }

    /// Takes a call on its way in parts, one for each of its subjects, which are in several slots; or says why it cannot be.
    ///
    /// - Parameter whenCrossed: told of the thresholds that are crossed where it is settled after it is done.
    func enqueueInParts(
        _ call: DecisionCall, queueLimit: Int, whenCrossed: @escaping ([TermCrossing]) -> Void,
        _ done: @escaping (Result<CallAnswer, FailureReason>) -> Void
    ) -> FailureReason? {
        guard hasMap else { return .redisUnreachable }
        guard pendingCount < queueLimit else { return .overloaded }
        var random = SystemRandomNumberGenerator()
        CallAcrossSlots(
            call,
            send: { [weak self] part, done in
                // Some parts follow from the answers to others, so each has a deadline of its own.
                let request = PendingRequest(part, arrivedAt: .now(), done)
                let reason = self.map { $0.enqueueBetweenTurns(request) } ?? .redisUnreachable
                if let reason { done(.failure(reason)) }
            },
            whenCrossed: whenCrossed, done: done, using: &random
        ).begin()
        return nil
    }
}
