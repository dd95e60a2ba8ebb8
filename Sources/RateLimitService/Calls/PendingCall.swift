import NIOCore
import RateLimitCore
import RedisClient

/// A call on its way to Redis and back.
struct PendingCall: PendingRequest {
    typealias Codec = DecideScript

    /// What is asked, and who is told.
    enum Content {
        /// What a gateway asks.
        case call(CallUnderway)
        /// A request with keys of its own, and what is told once: Redis's answer, or why there is none.
        case single(DecisionCall, (Result<CallAnswer, FailureReason>) -> Void)
    }

    let content: Content
    let arrivedAt: NIODeadline

    func slot(by slots: UserSlots) -> HashSlot {
        switch content {
        case .call(let underway): slots.slot(of: underway.call.caller.owner(underway.call.plan.subjects[0]))
        case .single(let call, _): HashSlot(key: call.subjects[0].key)
        }
    }

    func decided(_ answer: CallAnswer, in batch: ScriptBatch<DecideScript>, at now: NIODeadline, by engine: CheckEngine)
    {
        switch content {
        case .call(let underway):
            engine.decided(
                underway, answer, sentAt: batch.sentAt, memoryEpoch: batch.memoryEpoch, arrivedAt: arrivedAt, at: now)
        case .single(_, let done): done(.success(answer))
        }
    }

    func failed(_ error: String, by engine: CheckEngine) { undecided(because: .redisError, by: engine) }

    func undecided(because reason: FailureReason, by engine: CheckEngine) {
        switch content {
        case .call(let underway): engine.undecided(underway, because: reason)
        case .single(_, let done): done(.failure(reason))
        }
    }
}

/// A call that waits for Redis, with who asked: one object, so that what waits is small.
final class CallUnderway {
    let call: PlannedCall
    let requester: any DecisionRequester
    let ticket: Int

    init(_ call: PlannedCall, requester: any DecisionRequester, ticket: Int) {
        self.call = call
        self.requester = requester
        self.ticket = ticket
    }
}

extension DecideScript: ScriptCodec {
    static var path: EnforcementState.Path { .calls }

    static func batcher(of lane: ScriptLane) -> ScriptBatcher<DecideScript> { lane.calls }

    /// A call carries its limits itself.
    var conditions: Void { () }

    mutating func append(_ pending: PendingCall) -> Bool {
        switch pending.content {
        case .call(let underway): append(underway.call)
        case .single(let call, _): batch.append(call)
        }
    }

    static func answer(
        _ index: Int, of batch: ScriptBatch<DecideScript>, in reply: Reply, to pending: PendingCall
    ) -> ScriptAnswer<CallAnswer>? {
        switch pending.content {
        case .call(let underway): answer(index, of: batch.count, in: reply, to: underway.call)
        case .single(let call, _): call.answer(index, of: batch.count, in: reply)
        }
    }
}
