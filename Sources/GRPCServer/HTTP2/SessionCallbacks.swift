import CNGHTTP2
import Glibc

/// What the library calls while it takes bytes in or gives them out.
///
/// Of its functions only those that submit frames, and look streams up, may be called from here. None may end the session:
/// the library would go on in the bytes that it has, and end the process at a frame that is malformed.
enum SessionCallbacks {
    /// A table of them, which the caller gives back.
    static func make() -> OpaquePointer? {
        var table: OpaquePointer?
        guard nghttp2_session_callbacks_new(&table) == 0, let table else { return nil }
        nghttp2_session_callbacks_set_on_begin_headers_callback(table) { session, frame, user in
            guard let frame else { return 0 }
            return SessionCallbacks.state(user).pointee.beginHeaders(session, frame.pointee)
        }
        nghttp2_session_callbacks_set_on_header_callback(table) {
            _, _, name, nameLength, value, valueLength, _, user in
            guard let name, let value else { return 0 }
            return SessionCallbacks.state(user).pointee.header(name, nameLength, value, valueLength)
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table) { session, _, stream, bytes, length, user in
            guard let bytes, let record = SessionCallbacks.state(user).pointee.record(session, stream) else { return 0 }
            SessionCallbacks.state(user).pointee.data(record, bytes, length)
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(table) { session, frame, user in
            guard let frame, !SessionCallbacks.state(user).pointee.frame(session, frame.pointee) else { return 0 }
            SessionCallbacks.state(user).pointee.isRefused = true
            return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(table) { session, frame, user in
            guard let frame, !SessionCallbacks.state(user).pointee.sent(session, frame.pointee) else { return 0 }
            SessionCallbacks.state(user).pointee.isRefused = true
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(table) { session, stream, _, user in
            if let record = SessionCallbacks.state(user).pointee.record(session, stream) {
                SessionCallbacks.state(user).pointee.streamClosed(record)
            }
            return 0
        }
        return table
    }

    private static func state(_ user: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<SessionState> {
        guard let user else { preconditionFailure("each session is made with its state") }
        return user.assumingMemoryBound(to: SessionState.self)
    }

    /// Gives out the message of an answer, and behind it the trailer.
    static let reply: nghttp2_data_source_read_callback = { session, stream, buffer, length, flags, source, user in
        guard let record = source?.pointee.ptr?.assumingMemoryBound(to: CallRecord.self), let buffer, let flags else {
            return ssize_t(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
        }
        let count = min(length, record.pointee.reply.count - record.pointee.replySent)
        if count > 0, let bytes = record.pointee.reply.bytes {
            buffer.update(from: bytes + record.pointee.replySent, count: count)
            record.pointee.replySent += count
        }
        guard record.pointee.replySent == record.pointee.reply.count else { return count }
        if record.pointee.state.contains(.isStreaming), !record.pointee.state.contains(.isFinished) {
            record.pointee.reply.clear()
            record.pointee.replySent = 0
            state(user).pointee.took(record)
            if count > 0 { return count }
            record.pointee.state.insert(.isDeferred)
            return ssize_t(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue | NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
        _ = ResponseFields.submitTrailer(session, stream, code: record.pointee.trailingCode)
        return count
    }
}
