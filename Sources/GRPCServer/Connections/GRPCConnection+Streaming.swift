import NIOCore

/// Calls of many messages: health's Watch and reflection. Off the hot path.
extension GRPCConnection {
    /// Takes in the whole messages that have arrived of a call, and its end.
    func takeMessages(_ record: UnsafeMutablePointer<CallRecord>, of session: HTTP2Session) {
        let ticket = Int(record.pointee.streamID)
        let call: any StreamingCall
        if let known = streamingCalls[ticket] {
            call = known
        } else {
            let method = loop.methods.streaming[record.pointee.method - loop.methods.unary.count]
            call = method.open(MessageStream(self, ticket: ticket))
            streamingCalls[ticket] = call
        }
        // A call that is ended by one message takes no more.
        while streamingCalls[ticket] != nil, let message = nextMessage(record, of: session) { call.receive(message) }
        if record.pointee.state.contains(.hasEnded), streamingCalls[ticket] != nil { call.clientEnded() }
    }

    private func nextMessage(_ record: UnsafeMutablePointer<CallRecord>, of session: HTTP2Session) -> ByteBuffer? {
        let gathered = record.pointee.gathered
        guard let start = gathered.bytes, let prefix = MessagePrefix(start, available: gathered.count) else {
            return nil
        }
        guard !prefix.isCompressed, prefix.messageLength <= HTTP2Bounds.messageBytes else {
            finish(prefix.isCompressed ? .unimplemented : .resourceExhausted, ticket: Int(record.pointee.streamID))
            return nil
        }
        let end = MessagePrefix.length + prefix.messageLength
        guard gathered.count >= end else { return nil }
        let bytes = UnsafeRawBufferPointer(start: start + MessagePrefix.length, count: prefix.messageLength)
        let message = ByteBuffer(bytes: bytes)
        record.pointee.gathered.drop(end)
        return message
    }

    func sendMessage(_ message: ByteBuffer, ticket: Int) {
        guard let session, let record = session.record(ticket), !record.pointee.state.contains(.isFinished) else {
            return
        }
        guard record.pointee.reply.count + message.readableBytes <= HTTP2Bounds.streamedBytes else {
            return finish(.resourceExhausted, ticket: ticket)
        }
        append(message, to: &record.pointee.reply)
        goOn(record, of: session)
    }

    func finish(_ code: GRPCError.Code?, ticket: Int) {
        guard let session, let record = session.record(ticket), !record.pointee.state.contains(.isFinished) else {
            return
        }
        record.pointee.state.insert(.isFinished)
        record.pointee.trailingCode = code?.rawValue ?? 0
        goOn(record, of: session)
        streamEnded(ticket: ticket)
    }

    private func goOn(_ record: UnsafeMutablePointer<CallRecord>, of session: HTTP2Session) {
        session.goOn(record)
        willFlush()
        // What is said between two reads must not wait for the next; in a read this comes behind it.
        loop.flushSoon()
    }

    func streamEnded(ticket: Int) { streamingCalls.removeValue(forKey: ticket)?.ended() }
}
