import NIOCore

/// The requests of one script on one lane: laid out in a batch, then waiting in the order in which they were sent. It
/// does no I/O; ``ScriptLane`` sends what it lays out, and brings the replies.
///
/// There is one ring of what waits and one of the batches that were sent; as replies come in the order of the batches, a
/// reply's requests are always the oldest.
final class ScriptBatcher<Codec: ScriptCodec> {
    typealias Batch = ScriptBatch<Codec>

    /// How often in a row a script may be unknown before its whole text is sent from the start: a proxy that never keeps
    /// a script would cost two round trips for each batch.
    static var mostUnknownReplies: Int { 16 }

    var codec: Codec
    /// Requests without an answer, oldest first; the last ``unsentCount`` of them are not sent yet.
    private var pending = CircularBuffer<Codec.Request>(initialCapacity: 256)
    private var batches = CircularBuffer<Batch>(initialCapacity: 64)
    private var unknownReplies = 0
    private var lastUnknownAt = NIODeadline.distantPast
    /// When the oldest request of the batch being laid out arrived.
    private(set) var oldestUnsent = NIODeadline.distantPast

    init(_ codec: Codec) { self.codec = codec }

    /// Requests without an answer.
    var pendingCount: Int { pending.count }

    /// Requests that have been laid out and not been sent.
    var unsentCount: Int { codec.count }

    /// Lays a request out; false, and nothing done, where the batch must be written first.
    func append(_ request: Codec.Request) -> Bool {
        let isFirst = codec.count == 0
        guard codec.append(request) else { return false }
        if isFirst { oldestUnsent = request.arrivedAt }
        pending.append(request)
        return true
    }

    /// Writes what has been laid out as one command.
    func write(
        inFull: Bool, at now: NIODeadline, memoryEpoch: Int, by route: ScriptRoute, to buffer: inout ByteBuffer
    ) {
        let inFull = inFull || codec.digest == nil
        batches.append(
            Batch(
                count: codec.count, conditions: codec.conditions, sentAt: now, memoryEpoch: memoryEpoch,
                isInFull: inFull, route: route))
        codec.write(inFull: inFull, to: &buffer)
    }

    /// Takes the oldest batch off: its requests are the next so many of ``takeRequest()``.
    func takeBatch() -> Batch? { batches.popFirst() }

    /// Takes the oldest request off: it has its answer, or never will, or is sent again.
    func takeRequest() -> Codec.Request? { pending.popFirst() }

    /// Takes note that Redis knew the script, or read its whole text and refused.
    func scriptWasKnown() { unknownReplies = 0 }

    /// Takes note that Redis did not run a batch by its digest. Those already on their way when the script was lost are
    /// all answered like this, and say no more than one does.
    func scriptWasUnknown(in batch: Batch, at now: NIODeadline) {
        if batch.sentAt > lastUnknownAt {
            unknownReplies += 1
            lastUnknownAt = now
        }
        if unknownReplies > Self.mostUnknownReplies { codec.digest = nil }
    }
}
