import NIOCore
import RateLimitCore

/// A call on its way to Redis and back.
struct PendingCall {
    var call: DecisionCall
    var arrivedAt: NIODeadline
    /// Told once: Redis's answer, or why there is none.
    var done: (Result<CallAnswer, FailureReason>) -> Void
}

/// Calls in one call to Redis.
struct CallBatch {
    var count: Int
    var isInFull: Bool
    var sentAt: NIODeadline
}

/// The calls of one lane: laid out in a batch, then waiting in the order in which they were sent.
struct CallBatcher {
    var script = DecideScript()
    /// Calls without an answer, oldest first; the last ``DecideScript/count`` of them are not sent yet.
    private(set) var pending = CircularBuffer<PendingCall>()
    /// When the oldest call of the batch being laid out arrived.
    private(set) var oldestUnsent = NIODeadline.distantPast

    /// Lays a call out; false, and nothing done, where the batch must be written first.
    mutating func append(_ call: PendingCall) -> Bool {
        let isFirst = script.count == 0
        guard script.append(call.call) else { return false }
        if isFirst { oldestUnsent = call.arrivedAt }
        pending.append(call)
        return true
    }

    /// Takes the calls of a batch off: they have their answer, or never will.
    mutating func take(_ batch: CallBatch) -> [PendingCall] {
        (0..<batch.count).compactMap { _ in pending.popFirst() }
    }
}
