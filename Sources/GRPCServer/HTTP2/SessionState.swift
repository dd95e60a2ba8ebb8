import CNGHTTP2
import DecisionTracing

/// What the library's callbacks know of a connection: calls by their records, and counts. No class, so that a callback
/// retains and releases nothing, and can reach neither the channel nor the handler: none of them can end the session.
struct SessionState {
    typealias Record = UnsafeMutablePointer<CallRecord>

    let paths: MethodPaths
    /// The paths from this one on are of methods of many messages.
    let firstStreaming: Int
    /// What all connections of the event loop have gathered of messages, in bytes.
    let gathered: UnsafeMutablePointer<Int>
    /// Whether calls are traced.
    let readsTraces: Bool
    private(set) var slab = CallSlab()
    /// Nanoseconds of the loop's clock, as of this read.
    var now: UInt64 = 0
    /// Whether the library is at work: then its session must stay.
    var isInLibrary = false
    /// Whether a callback has found that the client asks for too much.
    var isRefused = false
    /// Counts the times that the connection's timer was set.
    var period = 0
    /// Calls whose streams are open.
    private(set) var openCalls = 0
    private(set) var openStreamingCalls = 0
    /// Open calls whose requests have not arrived whole.
    private(set) var incompleteCalls = 0
    /// Open calls of whose answers the client has not taken all.
    private(set) var unsentAnswers = 0
    /// Why the client's connection is ended by the library or for it; nil where it is not.
    private(set) var endReason: ConnectionEndReason?
    /// Whether the client has answered the PING that the server sent.
    var isPingAnswered = false
    private var emptyDataFrames = 0
    private var offences = OffenceAllowance()
    private var firstListed: Record?
    private var lastListed: Record?
    /// Whose headers are arriving.
    private var headersOf: Record?
    /// Whose message lies in the bytes that are being read, and has not ended.
    private var inPlace: Record?

    init(
        paths: MethodPaths, firstStreaming: Int, gathered: UnsafeMutablePointer<Int>, readsTraces: Bool = false
    ) {
        self.readsTraces = readsTraces
        self.paths = paths
        self.firstStreaming = firstStreaming
        self.gathered = gathered
    }

    /// Gives all memory back.
    mutating func end() {
        slab.forEachOpen { gathered.pointee -= $0.pointee.gathered.capacity }
        slab.end()
    }

    // MARK: Headers

    mutating func beginHeaders(_ session: OpaquePointer?, _ frame: nghttp2_frame) -> CInt {
        guard frame.hd.type == UInt8(NGHTTP2_HEADERS.rawValue) else { return 0 }
        guard frame.headers.cat == NGHTTP2_HCAT_REQUEST else {
            headersOf = record(session, frame.hd.stream_id)
            return 0
        }
        guard let record = slab.take() else {
            headersOf = nil
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        record.pointee.streamID = frame.hd.stream_id
        record.pointee.arrival = now
        record.pointee.period = period
        nghttp2_session_set_stream_user_data(session, frame.hd.stream_id, record)
        headersOf = record
        openCalls += 1
        incompleteCalls += 1
        return 0
    }

    /// Takes in one field of a call's headers, or of its trailers: there only their size matters.
    mutating func header(
        _ name: UnsafePointer<UInt8>, _ nameLength: Int, _ value: UnsafePointer<UInt8>, _ valueLength: Int
    ) -> CInt {
        guard let record = headersOf else { return 0 }
        record.pointee.headerBytes += nameLength + valueLength + 32
        guard record.pointee.headerBytes <= HTTP2Bounds.headerListBytes else {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        guard !record.pointee.state.contains(.hasHeaders) else { return 0 }
        switch nameLength {
        case 5 where (":path" as StaticString).equals(name, length: nameLength):
            record.pointee.method = paths.index(of: value, length: valueLength)
        case 7 where (":method" as StaticString).equals(name, length: nameLength):
            if ("POST" as StaticString).equals(value, length: valueLength) { record.pointee.state.insert(.isPost) }
        case 11 where readsTraces && TraceContext.header.equals(name, length: nameLength):
            record.pointee.traceHeaders += 1
            let text = UnsafeRawBufferPointer(start: value, count: valueLength)
            record.pointee.trace = record.pointee.traceHeaders == 1 ? TraceContext(traceparent: text) : nil
        case 12 where ("content-type" as StaticString).equals(name, length: nameLength):
            if isGRPC(value, valueLength) { record.pointee.state.insert(.isGRPC) }
        case 12 where ("grpc-timeout" as StaticString).equals(name, length: nameLength):
            record.pointee.timeout = CallTimeout.nanoseconds(value, length: valueLength) ?? .max
        default: break
        }
        return 0
    }

    /// `application/grpc`, alone or with what says how messages are written.
    private func isGRPC(_ value: UnsafePointer<UInt8>, _ length: Int) -> Bool {
        let type: StaticString = "application/grpc"
        guard type.begins(value, length: length) else { return false }
        guard length > type.utf8CodeUnitCount else { return true }
        let following = value[type.utf8CodeUnitCount]
        return following == UInt8(ascii: "+") || following == UInt8(ascii: ";")
    }

    private mutating func headersEnded(_ record: Record) {
        guard !record.pointee.state.contains(.hasHeaders) else { return }
        record.pointee.state.insert(.hasHeaders)
        if !record.pointee.state.contains(.isPost) {
            fail(record, .notPost)
        } else if !record.pointee.state.contains(.isGRPC) {
            fail(record, .notGRPC)
        } else if record.pointee.method < 0 {
            fail(record, .unknownMethod)
        } else if record.pointee.method >= firstStreaming {
            guard openStreamingCalls < HTTP2Bounds.streamingCalls else { return fail(record, .tooManyStreamingCalls) }
            openStreamingCalls += 1
            // It may say nothing for as long as it likes.
            incompleteCalls -= 1
            record.pointee.state.insert(.isStreaming)
            list(record)
        }
    }

    // MARK: Messages

    mutating func data(_ record: Record, _ bytes: UnsafePointer<UInt8>, _ length: Int) {
        guard record.pointee.failure == .none, record.pointee.state.isDisjoint(with: [.isAnswered, .isFinished]),
            length > 0
        else { return }
        if record.pointee.state.contains(.isStreaming) {
            gather(record, bytes, length)
            return list(record)
        }
        guard record.pointee.message == nil else { return fail(record, .severalMessages) }
        if record.pointee.gathered.count == 0, let prefix = MessagePrefix(bytes, available: length),
            prefix.messageLength == length - MessagePrefix.length, !prefix.isCompressed,
            prefix.messageLength <= HTTP2Bounds.messageBytes
        {
            keepInPlace()
            record.pointee.message = bytes + MessagePrefix.length
            record.pointee.messageLength = prefix.messageLength
            inPlace = record
            return
        }
        gather(record, bytes, length)
    }

    /// Copies a message whose call has not ended out of the bytes that are being read.
    mutating func keepInPlace() {
        guard let record = inPlace, let message = record.pointee.message else { return }
        inPlace = nil
        record.pointee.message = nil
        gather(record, message - MessagePrefix.length, MessagePrefix.length + record.pointee.messageLength)
    }

    private mutating func gather(_ record: Record, _ bytes: UnsafePointer<UInt8>, _ length: Int) {
        let count = record.pointee.gathered.count + length
        if let failure = failure(of: record, with: bytes, count: count) { return fail(record, failure) }
        // Room grows by doubling.
        guard gathered.pointee + 2 * count <= HTTP2Bounds.gatheredBytes else { return fail(record, .tooMuchGathered) }
        let before = record.pointee.gathered.capacity
        record.pointee.gathered.append(bytes, count: length)
        gathered.pointee += record.pointee.gathered.capacity - before
    }

    /// What is wrong once these bytes stand behind those that were gathered, `count` in all; nil for nothing yet.
    private func failure(of record: Record, with bytes: UnsafePointer<UInt8>, count: Int) -> CallFailure? {
        if record.pointee.state.contains(.isStreaming) {
            return count > HTTP2Bounds.gatheredStreamBytes ? .messageTooLarge : nil
        }
        guard count >= MessagePrefix.length else { return nil }
        let known = record.pointee.gathered
        let prefix = MessagePrefix { index in
            if index < known.count, let start = known.bytes { return start[index] }
            return bytes[index - known.count]
        }
        if prefix.isCompressed { return .compressed }
        if prefix.messageLength > HTTP2Bounds.messageBytes { return .messageTooLarge }
        return count > MessagePrefix.length + prefix.messageLength ? .severalMessages : nil
    }

    // MARK: Frames

    /// Takes in a frame that has arrived whole; false where the connection shall end.
    mutating func frame(_ session: OpaquePointer?, _ frame: nghttp2_frame) -> Bool {
        let hasEnded = frame.hd.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
        switch UInt32(frame.hd.type) {
        case NGHTTP2_HEADERS.rawValue:
            headersOf = nil
            guard let record = record(session, frame.hd.stream_id) else { return true }
            headersEnded(record)
            if hasEnded { requestEnded(record) }
        case NGHTTP2_DATA.rawValue:
            if hasEnded {
                if let record = record(session, frame.hd.stream_id) { requestEnded(record) }
            } else if frame.hd.length <= frame.data.padlen {
                emptyDataFrames += 1
                return emptyDataFrames <= HTTP2Bounds.emptyDataFrames
            }
        case NGHTTP2_PING.rawValue:
            if frame.hd.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0 { isPingAnswered = true }
        default: break
        }
        return true
    }

    private mutating func requestEnded(_ record: Record) {
        guard record.pointee.state.contains(.hasHeaders), !record.pointee.state.contains(.hasEnded) else { return }
        record.pointee.state.insert(.hasEnded)
        if !record.pointee.state.contains(.isStreaming) { incompleteCalls -= 1 }
        if inPlace == record { inPlace = nil }
        guard !record.pointee.state.contains(.isAnswered) else { return }
        if record.pointee.failure == .none, record.pointee.message == nil,
            !record.pointee.state.contains(.isStreaming)
        {
            takeGathered(record)
        }
        list(record)
    }

    private func takeGathered(_ record: Record) {
        guard let start = record.pointee.gathered.bytes, record.pointee.gathered.count > 0 else {
            record.pointee.failure = .noMessage
            return
        }
        guard let prefix = MessagePrefix(start, available: record.pointee.gathered.count),
            record.pointee.gathered.count == MessagePrefix.length + prefix.messageLength
        else {
            record.pointee.failure = .partialMessage
            return
        }
        record.pointee.message = UnsafePointer(start + MessagePrefix.length)
        record.pointee.messageLength = prefix.messageLength
    }

    /// Takes in that a frame was sent; false where the connection shall end.
    mutating func sent(_ session: OpaquePointer?, _ frame: nghttp2_frame) -> Bool {
        switch UInt32(frame.hd.type) {
        case NGHTTP2_RST_STREAM.rawValue:
            // Calls beyond the bound are refused, and those that are answered early are told to end: no offences.
            let code = frame.rst_stream.error_code
            guard code != NGHTTP2_NO_ERROR.rawValue, code != NGHTTP2_REFUSED_STREAM.rawValue else { return true }
            return offences.take(at: now)
        case NGHTTP2_HEADERS.rawValue where frame.hd.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0:
            // RFC 9113, section 8.1: who was answered before it had sent all need not send the rest.
            if let record = record(session, frame.hd.stream_id), !record.pointee.state.contains(.hasEnded) {
                nghttp2_submit_rst_stream(
                    session, UInt8(NGHTTP2_FLAG_NONE.rawValue), frame.hd.stream_id, NGHTTP2_NO_ERROR.rawValue)
            }
            return true
        case NGHTTP2_GOAWAY.rawValue:
            ended(frame.goaway.error_code)
            return true
        default: return true
        }
    }

    /// Notes why the library, or this server, ends the connection.
    private mutating func ended(_ code: UInt32) {
        guard endReason == nil, code != NGHTTP2_NO_ERROR.rawValue else { return }
        // The library's own code for resets without end is that of an internal error.
        let isFlood = code == NGHTTP2_ENHANCE_YOUR_CALM.rawValue || code == NGHTTP2_INTERNAL_ERROR.rawValue
        endReason = isFlood ? .flood : .protocolError
    }

    /// Notes why the library takes no more bytes.
    mutating func failed(_ error: Int) {
        guard endReason == nil else { return }
        let floods = [NGHTTP2_ERR_FLOODED.rawValue, NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue]
        endReason = floods.contains { Int($0) == error } ? .flood : .protocolError
    }

    // MARK: Answers that wait

    /// Notes that a call is answered something, which the client has to take.
    mutating func owe(_ record: Record) {
        guard record.pointee.state.isDisjoint(with: [.isUnsent, .isClosed]) else { return }
        record.pointee.state.insert(.isUnsent)
        record.pointee.period = period
        unsentAnswers += 1
    }

    /// Notes that the client has taken all that there was for a call.
    mutating func took(_ record: Record) {
        guard record.pointee.state.contains(.isUnsent) else { return }
        record.pointee.state.remove(.isUnsent)
        unsentAnswers -= 1
    }

    /// Whether an answer waits that was there before this period.
    var hasOldUnsentAnswers: Bool {
        var isFound = false
        slab.forEachOpen { record in
            if record.pointee.state.contains(.isUnsent), record.pointee.period < period { isFound = true }
        }
        return isFound
    }

    // MARK: Records

    func record(_ session: OpaquePointer?, _ streamID: Int32) -> Record? {
        nghttp2_session_get_stream_user_data(session, streamID)?.assumingMemoryBound(to: CallRecord.self)
    }

    /// Fails a call, whatever else arrives of it; it is answered with the next list.
    mutating func fail(_ record: Record, _ failure: CallFailure) {
        guard record.pointee.failure == .none else { return }
        record.pointee.failure = failure
        dropGathered(record)
        list(record)
    }

    /// Gives back what a call gathered.
    mutating func dropGathered(_ record: Record) {
        record.pointee.message = nil
        if inPlace == record { inPlace = nil }
        gathered.pointee -= record.pointee.gathered.capacity
        record.pointee.gathered.clear(keeping: 0)
    }

    mutating func streamClosed(_ record: Record) {
        openCalls -= 1
        took(record)
        if record.pointee.state.contains(.isStreaming) {
            openStreamingCalls -= 1
        } else if !record.pointee.state.contains(.hasEnded) {
            incompleteCalls -= 1
        }
        if headersOf == record { headersOf = nil }
        dropGathered(record)
        record.pointee.state.insert(.isClosed)
        if record.pointee.state.contains(.isStreaming) { list(record) }
        if !record.pointee.state.contains(.isListed) { slab.give(record) }
    }

    private mutating func list(_ record: Record) {
        guard !record.pointee.state.contains(.isListed) else { return }
        record.pointee.state.insert(.isListed)
        record.pointee.next = nil
        if let lastListed { lastListed.pointee.next = record } else { firstListed = record }
        lastListed = record
    }

    /// The next call that there is something to do for; one whose stream is gone is given back by ``give(_:)``.
    mutating func nextListed() -> Record? {
        guard let record = firstListed else { return nil }
        firstListed = record.pointee.next
        if firstListed == nil { lastListed = nil }
        record.pointee.next = nil
        record.pointee.state.remove(.isListed)
        return record
    }

    mutating func give(_ record: Record) { slab.give(record) }

    /// Fails the calls that had arrived in part before this period.
    mutating func failIncomplete() {
        var late: [Record] = []
        slab.forEachOpen { record in
            let isIncomplete = record.pointee.state.isDisjoint(with: [.hasEnded, .isStreaming])
            if isIncomplete, record.pointee.period < period { late.append(record) }
        }
        for record in late { fail(record, .incomplete) }
    }
}
