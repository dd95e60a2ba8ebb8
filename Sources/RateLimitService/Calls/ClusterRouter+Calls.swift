import NIOCore
import RateLimitCore
import RedisClient

// A call may concern several slots: then each has a part of it.
extension ScriptLanes {
    /// Takes a call on its way, in parts where its subjects are in several slots, or says why it cannot be.
    func takeCall(_ pending: PendingCall, queueLimit: Int) -> FailureReason? {
        switch self {
        case .cluster(let router) where pending.call.subjects.count > 1:
            router.takeInParts(pending, queueLimit: queueLimit)
        case .single, .cluster: take(pending, queueLimit: queueLimit)
        }
    }
}

extension ClusterRouter {
    fileprivate func takeInParts(_ pending: PendingCall, queueLimit: Int) -> FailureReason? {
        guard hasMap else { return .redisUnreachable }
        guard pendingCount < queueLimit else { return .overloaded }
        var random = SystemRandomNumberGenerator()
        CallAcrossSlots(
            pending.call,
            send: { [weak self] part, done in
                // Some parts follow from the answers to others, so each has a deadline of its own.
                let request = PendingCall(call: part, arrivedAt: .now(), done: done)
                let reason = self.map { $0.takeBetweenTurns(request) } ?? .redisUnreachable
                if let reason { done(.failure(reason)) }
            },
            done: pending.done, using: &random
        ).begin()
        return nil
    }
}
