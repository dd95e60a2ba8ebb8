import CNGHTTP2
import NIOCore

/// A session of libnghttp2's, used as a codec: bytes in, bytes out, calls as records. It does no input or output.
///
/// A plain pair of pointers, which its connection holds and ends, once.
struct HTTP2Session {
    let library: OpaquePointer
    let state: UnsafeMutablePointer<SessionState>

    /// Makes a server's session, with its settings submitted.
    init(
        _ initial: SessionState, resetBurst: UInt64 = HTTP2Bounds.resetBurst,
        resetsPerSecond: UInt64 = HTTP2Bounds.resetsPerSecond
    ) {
        state = .allocate(capacity: 1)
        state.initialize(to: initial)
        var option: OpaquePointer?
        var session: OpaquePointer?
        let callbacks = SessionCallbacks.make()
        guard nghttp2_option_new(&option) == 0 else { preconditionFailure("memory is there for a session's options") }
        nghttp2_option_set_no_closed_streams(option, 1)
        nghttp2_option_set_stream_reset_rate_limit(option, resetBurst, resetsPerSecond)
        let code = nghttp2_session_server_new2(&session, callbacks, state, option)
        nghttp2_option_del(option)
        nghttp2_session_callbacks_del(callbacks)
        guard code == 0, let session else { preconditionFailure("memory is there for a session") }
        library = session
        submitSettings()
    }

    private func submitSettings() {
        let settings = [
            entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, UInt32(HTTP2Bounds.concurrentCalls)),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(HTTP2Bounds.headerListBytes)),
            entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
        ]
        let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        guard nghttp2_submit_settings(library, flags, settings, settings.count) == 0,
            nghttp2_session_set_local_window_size(library, flags, 0, HTTP2Bounds.connectionWindowBytes) == 0
        else { preconditionFailure("settings are valid") }
    }

    private func entry(_ setting: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
        nghttp2_settings_entry(settings_id: Int32(setting.rawValue), value: value)
    }

    /// Gives all memory back. Not while the library is at work.
    func end() {
        precondition(!state.pointee.isInLibrary, "callbacks know no connection, so none can end one")
        nghttp2_session_del(library)
        state.pointee.end()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    /// Takes bytes in; false where the connection cannot go on. What lies in place stays valid as long as the bytes.
    func takeIn(_ bytes: UnsafeRawBufferPointer, at now: NIODeadline) -> Bool {
        state.pointee.now = now.uptimeNanoseconds
        state.pointee.isInLibrary = true
        let taken = nghttp2_session_mem_recv(
            library, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
        state.pointee.isInLibrary = false
        state.pointee.keepInPlace()
        if state.pointee.isRefused {
            refuse()
        } else if taken < 0 {
            state.pointee.failed(taken)
        }
        return taken == bytes.count
    }

    /// Gives out bytes up to about the bound; false where the connection cannot go on.
    func giveOut(_ output: inout ByteBuffer, atMost bound: Int) -> Bool {
        state.pointee.isInLibrary = true
        defer { state.pointee.isInLibrary = false }
        while output.readableBytes < bound {
            var bytes: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(library, &bytes)
            guard count >= 0 else { return false }
            if count > 0, let bytes { output.writeBytes(UnsafeRawBufferPointer(start: bytes, count: count)) }
            if state.pointee.isRefused {
                refuse()
            } else if count == 0 {
                return true
            }
        }
        return true
    }

    /// Whether nothing more is to be sent or taken in.
    var isOver: Bool { nghttp2_session_want_read(library) == 0 && nghttp2_session_want_write(library) == 0 }

    /// The record of an open call; nil where it is gone.
    func record(_ streamID: Int) -> UnsafeMutablePointer<CallRecord>? {
        state.pointee.record(library, Int32(truncatingIfNeeded: streamID))
    }

    /// Has the messages that were appended to a call's reply sent, and its trailer where it is finished.
    func goOn(_ record: UnsafeMutablePointer<CallRecord>) {
        state.pointee.owe(record)
        if !record.pointee.state.contains(.hasResponse) {
            record.pointee.state.insert(.hasResponse)
            _ = ResponseFields.submitMessages(library, record)
        } else if record.pointee.state.contains(.isDeferred) {
            record.pointee.state.remove(.isDeferred)
            nghttp2_session_resume_data(library, record.pointee.streamID)
        }
    }

    // MARK: Time

    /// Whether a call's request has arrived in part.
    var hasIncomplete: Bool { state.pointee.incompleteCalls > 0 }

    /// Has calls that arrive from now on belong to another period than those that are there.
    func beginPeriod() { state.pointee.period += 1 }

    /// Fails the calls that had arrived in part before this period.
    func failIncomplete() { state.pointee.failIncomplete() }

    /// Whether the client has not taken all answers yet.
    var hasUnsentAnswers: Bool { state.pointee.unsentAnswers > 0 }

    /// Whether it has not taken one of those that were there before this period.
    var hasOldUnsentAnswers: Bool { hasUnsentAnswers && state.pointee.hasOldUnsentAnswers }

    // MARK: The end

    /// Ends the connection of a client that asks for too much: says so, and takes nothing more in. Not under a callback.
    func refuse() {
        state.pointee.isRefused = false
        nghttp2_session_terminate_session(library, NGHTTP2_ENHANCE_YOUR_CALM.rawValue)
    }

    /// Says that the connection will end, and sees when the client has read it.
    func announceEnd() {
        nghttp2_submit_shutdown_notice(library)
        nghttp2_submit_ping(library, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
    }

    /// Takes no more calls than those that have been taken.
    func takeNoMore() {
        nghttp2_submit_goaway(
            library, UInt8(NGHTTP2_FLAG_NONE.rawValue), nghttp2_session_get_last_proc_stream_id(library),
            NGHTTP2_NO_ERROR.rawValue, nil, 0)
    }
}
