import NIOCore
import RateLimitCore
import RedisClient

/// A call on its way to Redis and back.
struct PendingCall: PendingRequest {
    typealias Codec = DecideScript

    var call: DecisionCall
    var arrivedAt: NIODeadline
    /// Told once: Redis's answer, or why there is none.
    var done: (Result<CallAnswer, FailureReason>) -> Void

    func slot(by slots: UserSlots) -> HashSlot { HashSlot(key: call.subjects[0].key) }

    func decided(_ answer: CallAnswer, in batch: ScriptBatch<DecideScript>, at now: NIODeadline, by engine: CheckEngine)
    {
        done(.success(answer))
    }

    func failed(_ error: String, by engine: CheckEngine) { undecided(because: .redisError, by: engine) }

    func undecided(because reason: FailureReason, by engine: CheckEngine) { done(.failure(reason)) }
}

extension DecideScript: ScriptCodec {
    static var path: EnforcementState.Path { .calls }

    static func batcher(of lane: ScriptLane) -> ScriptBatcher<DecideScript> { lane.calls }

    /// A call carries its limits itself.
    var conditions: Void { () }

    mutating func append(_ pending: PendingCall) -> Bool { append(pending.call) }

    static func answer(
        _ index: Int, of batch: ScriptBatch<DecideScript>, in reply: Reply, to pending: PendingCall
    ) -> ScriptAnswer<CallAnswer>? {
        answer(index, of: batch.count, in: reply, to: pending.call)
    }
}
