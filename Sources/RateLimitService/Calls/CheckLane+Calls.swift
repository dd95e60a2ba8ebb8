import CoreMetrics
import NIOCore
import RateLimitCore
import RedisClient

// Calls go the same way as checks, in batches of their own: `decide.lua` decides them.
extension CheckLane {
    /// Lays a call out. A batch that is full is sent at once; the others at the next ``flush()``.
    func append(_ call: PendingCall) {
        if !calls.append(call) {
            sendCalls()
            // An empty batch has room for any call.
            _ = calls.append(call)
        }
        if calls.script.count == batchLimit { sendCalls() }
    }

    /// Hands the calls that have been laid out to the link.
    func sendCalls(inFull: Bool = false) {
        guard calls.script.count > 0 else { return }
        let now = NIODeadline.now()
        let inFull = inFull || calls.script.digest == nil || now < evalshaRestsUntil
        let batch = CallBatch(count: calls.script.count, isInFull: inFull, sentAt: now)
        metrics.batchSize.record(batch.count)
        calls.script.write(inFull: inFull, to: &link.outbound)
        sentCalls(batch, deadline: calls.oldestUnsent + deadline)
    }

    func received(_ reply: Reply, to batch: CallBatch) {
        if let error = reply.errorText {
            // Of these, and of these only, nothing ran.
            if !batch.isInFull, Self.saysNothingRan(error) { return sendAgainInFull(batch) }
            fail(batch, .redisError)
            wasRefused(error, on: .calls)
            return
        }
        metrics.redisDuration.recordNanoseconds((NIODeadline.now() - batch.sentAt).nanoseconds)
        var refusal: String?
        for (index, pending) in calls.take(batch).enumerated() {
            switch DecideScript.answer(index, of: batch.count, in: reply, to: pending.call) {
            case .decided(let answer): pending.done(.success(answer))
            case .failed(let error):
                if refusal == nil, RedisRefusal(error).scope != .key { refusal = error }
                pending.done(.failure(.redisError))
            case nil:
                refusal = RedisRefusal.malformedReply.words
                pending.done(.failure(.redisError))
            }
        }
        if let refusal { wasRefused(refusal, on: .calls) }
    }

    /// Sends a batch of which nothing ran once more, with the script's whole text, which Redis then knows.
    private func sendAgainInFull(_ batch: CallBatch) {
        sendCalls()
        for call in calls.take(batch) {
            if !calls.append(call) {
                sendCalls(inFull: true)
                _ = calls.append(call)
            }
        }
        sendCalls(inFull: true)
        link.flush()
    }

    func fail(_ batch: CallBatch, _ reason: FailureReason) {
        for pending in calls.take(batch) { pending.done(.failure(reason)) }
    }
}
