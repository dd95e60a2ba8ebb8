import NIOCore
import RateLimitCore
import RedisClient

// Calls in a cluster: one command for each slot, without batches.
extension ClusterRouter {
    /// Takes a call on its way, or says why it cannot be.
    func take(_ pending: PendingCall, queueLimit: Int) -> FailureReason? {
        guard hasMap else { return .redisUnreachable }
        guard pendingCount < queueLimit else { return .overloaded }
        let call = pending.call
        guard call.subjects.count > 1 else {
            decide(call, pending.done)
            return nil
        }
        var random = SystemRandomNumberGenerator()
        CallAcrossSlots(call, send: { [weak self] in self?.decide($0, $1) }, done: pending.done, using: &random).begin()
        return nil
    }

    /// Has the node of its first subject decide a call.
    private func decide(
        _ call: DecisionCall, inFull: Bool = false, _ done: @escaping (Result<CallAnswer, FailureReason>) -> Void
    ) {
        let digest = inFull ? nil : decideDigest
        let write: (inout ByteBuffer) -> Void = { buffer in
            var script = DecideScript()
            script.digest = digest
            _ = script.append(call)
            script.write(inFull: digest == nil, to: &buffer)
        }
        let slot = HashSlot(key: call.subjects[0].key)
        perform(write, at: slot) { [weak self] result in
            let reply: Reply
            switch result {
            case .failure(let reason): return done(.failure(reason))
            case .success(let it): reply = it
            }
            let refusal: String
            if let error = reply.errorText {
                if digest != nil, CheckLane.saysNothingRan(error), let self { return decide(call, inFull: true, done) }
                refusal = error
            } else {
                switch DecideScript.answer(0, of: 1, in: reply, to: call) {
                case .decided(let answer): return done(.success(answer))
                case .failed(let error): refusal = error
                case nil: refusal = RedisRefusal.malformedReply.words
                }
            }
            self?.owner(of: slot)?.lane.wasRefused(refusal, on: .calls)
            done(.failure(.redisError))
        }
    }

    /// The script's digest, where a master has told it: it is the same on all of them.
    private var decideDigest: String? { masters.lazy.compactMap(\.lane.calls.script.digest).first }
}
