import NIOCore
import RateLimitCore

/// The requests on one lane: laid out in a batch, then waiting in the order in which they were sent. It does no I/O;
/// ``ScriptLane`` sends what it lays out, and brings the replies.
///
/// There is one ring of what waits and one of the batches that were sent; as replies come in the order of the batches, a
/// reply's requests are always the oldest.
final class ScriptBatcher {
    /// How often in a row a script may be unknown before its whole text is sent from the start: a proxy that never keeps
    /// a script would cost two round trips for each batch.
    static let mostUnknownReplies = 16

    /// The digest under which Redis knows the script; nil where a service does not keep scripts, or not yet.
    var digest: String?
    private let keys: SubjectKeys
    /// What checks ask, and the limit that says it.
    private var check: DecisionPlan
    private var limit: Limit.Numbers
    private var laidOut = DecisionBatch()
    /// Requests without an answer, oldest first; the last ``unsentCount`` of them are not sent yet.
    private var pending = CircularBuffer<PendingRequest>(initialCapacity: 256)
    private var batches = CircularBuffer<ScriptBatch>(initialCapacity: 64)
    /// How many more requests to the script those that wait are than there are of them, and those that are not sent yet.
    private var pendingExcess = 0
    private var unsentExcess = 0
    private var unknownReplies = 0
    private var lastUnknownAt = NIODeadline.distantPast
    /// When the oldest request of the batch being laid out arrived.
    private(set) var oldestUnsent = NIODeadline.distantPast

    init(
        keyPrefix: String, limit: Limit, rememberMilliseconds: Int = LeaseTimes().rememberMilliseconds
    ) {
        keys = SubjectKeys(prefix: keyPrefix)
        check = DecisionPlan(checksUnder: limit, rememberMilliseconds: rememberMilliseconds)
        self.limit = limit.numbers
    }

    /// Puts the limit of checks in force, where no batch has been begun.
    ///
    /// - Parameter rememberMilliseconds: for how long a lease is remembered that a check finds lapsed.
    func setLimit(_ limit: Limit, rememberMilliseconds: Int = LeaseTimes().rememberMilliseconds) {
        precondition(unsentCount == 0)
        guard limit.numbers != self.limit || rememberMilliseconds != check.rememberMilliseconds else { return }
        check = DecisionPlan(checksUnder: limit, rememberMilliseconds: rememberMilliseconds)
        self.limit = limit.numbers
    }

    /// Requests to the script without an answer.
    var pendingCount: Int { pending.count + pendingExcess }

    /// Requests to the script that have been laid out and not been sent.
    var unsentCount: Int { laidOut.count }

    /// Lays a request out; false, and nothing done, where the batch must be written first. An empty batch has room for any
    /// request.
    func append(_ request: PendingRequest) -> Bool {
        let before = laidOut.count
        guard request.layOut(in: &laidOut, keys, check: check) else { return false }
        if before == 0 { oldestUnsent = request.arrivedAt }
        let width = laidOut.count - before
        if width > 1 {
            pendingExcess += width - 1
            unsentExcess += width - 1
        }
        pending.append(request)
        return true
    }

    /// Writes what has been laid out as one EVALSHA, or as an EVAL with the whole text where `withSource` or where there is no
    /// digest.
    func write(
        withSource: Bool, at now: NIODeadline, memoryEpoch: Int, by route: ScriptRoute, to buffer: inout ByteBuffer
    ) {
        let withSource = withSource || digest == nil
        batches.append(
            ScriptBatch(
                count: laidOut.count - unsentExcess, width: laidOut.count, limit: limit, sentAt: now,
                memoryEpoch: memoryEpoch, carriesSource: withSource, route: route))
        unsentExcess = 0
        laidOut.write(digest: digest, withSource: withSource, to: &buffer)
    }

    /// Takes the oldest batch off: its requests are the next so many of ``dequeueRequest()``.
    func dequeueBatch() -> ScriptBatch? {
        guard let batch = batches.popFirst() else { return nil }
        pendingExcess -= batch.width - batch.count
        return batch
    }

    /// Takes the oldest request off: it has its answer, or never will, or is sent again.
    func dequeueRequest() -> PendingRequest {
        guard let request = pending.popFirst() else { preconditionFailure("a batch has its requests in the ring") }
        return request
    }

    /// Takes note that Redis knew the script, or read its whole text and refused.
    func scriptWasKnown() { unknownReplies = 0 }

    /// Takes note that Redis did not run a batch by its digest. Those already on their way when the script was lost are
    /// all answered like this, and say no more than one does.
    func scriptWasUnknown(in batch: ScriptBatch, at now: NIODeadline) {
        if batch.sentAt > lastUnknownAt {
            unknownReplies += 1
            lastUnknownAt = now
        }
        if unknownReplies > Self.mostUnknownReplies { digest = nil }
    }
}
