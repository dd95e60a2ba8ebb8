import DecisionTracing
import Glibc
import Listeners
import NIOCore
import NIOTLS
import RateLimitService

/// One client connection: bytes to calls, decisions to bytes, with libnghttp2's session as the codec.
///
/// Calls are taken in while bytes are, and asked once all bytes of a read are taken in: of a call that is reset in the same
/// read nothing is asked, so nothing is charged for it. Answers are submitted to the session as they come, and given out
/// once for each read and for each batch of decisions.
final class GRPCConnection: ChannelInboundHandler, UnaryResponder {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let loop: GRPCLoopState
    /// Whether bytes may be put into the socket itself: not where others encrypt them first.
    private let writesToSocket: Bool
    private(set) var context: ChannelHandlerContext?
    /// Nil once the channel is inactive; whoever calls what can close the channel reads it anew.
    private(set) var session: HTTP2Session?
    private var socket: CInt?
    private var output = ByteBuffer()
    /// Writes that NIO holds because the socket was full. Until they are through, nothing is taken from the session, whose
    /// own bounds on what waits hold then, and nothing is read.
    private(set) var queuedWrites = 0
    /// Of these, how many have got through.
    private(set) var takenWrites = 0
    /// Calls that were asked and have no decision, those included whose streams are gone.
    private var pendingCalls = 0
    /// The spans of those that are traced, by their tickets.
    private var spans: [Int: OpenSpan] = [:]
    /// Whether TLS is being agreed on. What is written then waits for what is read.
    private var isHandshaking: Bool
    /// Whether a read is taken in, behind which all is flushed.
    private var isReading = false
    private var isFlushPending = false
    private var isFlushing = false
    private(set) var isReadPaused = false
    /// Whether the session cannot go on: what it has to say is sent, and the connection closed.
    private var isBroken = false
    /// Whether nothing more is sent, and the client is to close.
    private var isLingering = false
    var streamingCalls: [Int: any StreamingCall] = [:]
    var boundary = FrameBoundary()
    var timer: Scheduled<Void>?
    var ending = ConnectionEnd.none
    /// Why it ends, from the first that decides it on.
    private var endReason: ConnectionEndReason?

    init(loop: GRPCLoopState, isEncrypted: Bool = false) {
        self.loop = loop
        writesToSocket = !isEncrypted
        isHandshaking = isEncrypted
    }

    deinit { precondition(session == nil, "a channel that was active is inactive before its handlers go") }

    // MARK: The channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if writesToSocket { socket = try? context.pipeline.syncOperations.descriptor }
        if context.channel.isActive { begin() }
    }

    func channelActive(context: ChannelHandlerContext) {
        begin()
        context.fireChannelActive()
    }

    private func begin() {
        guard session == nil, context != nil else { return }
        session = HTTP2Session(
            SessionState(
                paths: loop.methods.paths, firstStreaming: loop.methods.unary.count, gathered: loop.gathered,
                readsTraces: loop.tracer != nil))
        loop.opened(self)
        setTimer()
        flush()
    }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { end() }

    /// The only place where a session ends. The library is never at work then: its callbacks know no connection, and
    /// what it gives out is copied before it is written.
    private func end() {
        context = nil
        timer?.cancel()
        timer = nil
        guard let session else { return }
        self.session = nil
        let reason = endReason ?? session.state.pointee.endReason ?? (isHandshaking ? .tls : .client)
        session.end()
        loop.closed(self, because: reason)
        let calls = streamingCalls.values
        streamingCalls = [:]
        for call in calls { call.ended() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent {
            isHandshaking = false
            flush()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A connection that breaks is the client's affair; it is closed and nothing else is lost.
        context.close(promise: nil)
    }

    func close(because reason: ConnectionEndReason) {
        endsBecause(reason)
        context?.close(promise: nil)
    }

    /// Has the connection end for this reason, unless another came before.
    func endsBecause(_ reason: ConnectionEndReason) {
        if endReason == nil { endReason = session?.state.pointee.endReason ?? reason }
    }

    // MARK: Bytes in

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        guard let session, !isBroken, !isLingering else { return }
        let now = NIODeadline.now()
        isReading = true
        willFlush()
        bytes.withUnsafeReadableBytes { bytes in
            boundary.takeIn(bytes)
            if !session.takeIn(bytes, at: now) { isBroken = true }
            takeListed()
        }
        if ending == .announced, session.state.pointee.isPingAnswered { takeNoMore() }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        // All of the loop, so that its list is emptied also where no reply of Redis ever does that.
        loop.flush()
        setTimer()
        context.fireChannelReadComplete()
    }

    /// Does what the callbacks found to do: asks calls that have arrived whole, and answers those that have failed.
    func takeListed() {
        while let session, let record = session.state.pointee.nextListed() {
            let state = record.pointee.state
            if state.contains(.isClosed) {
                if state.contains(.isStreaming) { streamEnded(ticket: Int(record.pointee.streamID)) }
                session.state.pointee.give(record)
            } else if state.contains(.isAnswered) {
                continue
            } else if record.pointee.failure != .none {
                answer(record.pointee.failure, record, of: session)
            } else if state.contains(.isStreaming) {
                takeMessages(record, of: session)
            } else {
                ask(record, of: session)
            }
        }
    }

    private func ask(_ record: UnsafeMutablePointer<CallRecord>, of session: HTTP2Session) {
        let ticket = Int(record.pointee.streamID)
        let waited = session.state.pointee.now - record.pointee.arrival
        pendingCalls += 1
        guard waited < record.pointee.timeout else {
            return fail(
                GRPCError(code: .deadlineExceeded, message: "cannot decide: the call's time was over"), ticket: ticket)
        }
        let method = loop.methods.unary[record.pointee.method]
        let message = UnsafeRawBufferPointer(start: record.pointee.message, count: record.pointee.messageLength)
        let arrival = NIODeadline.uptimeNanoseconds(record.pointee.arrival)
        if let tracer = loop.tracer, let operation = method.operation {
            spans[ticket] = tracer.begin(operation, of: nil, in: record.pointee.trace, arrivedAt: arrival)
        }
        do throws(GRPCError) {
            let outcome = try method.begin(message, arrivedAt: arrival, responder: self, ticket: ticket)
            if let outcome { deliver(outcome, ticket: ticket) }
        } catch {
            fail(error, ticket: ticket)
        }
        // It may have been answered, but its stream stays until that is sent.
        session.state.pointee.dropGathered(record)
    }

    // MARK: Answers out

    func deliver(_ outcome: Outcome, ticket: Int) {
        decided(ticket, outcome)
        guard let session, let record = session.record(ticket) else { return }
        let method = loop.methods.unary[record.pointee.method]
        loop.scratch.clear()
        method.write(outcome, to: &loop.scratch)
        answer(record, with: loop.scratch, of: session)
    }

    func respond(_ message: ByteBuffer, ticket: Int) {
        decided(ticket, nil)
        guard let session, let record = session.record(ticket) else { return }
        answer(record, with: message, of: session)
        if !isReading { loop.flushSoon() }
    }

    func fail(_ error: GRPCError, ticket: Int) {
        decided(ticket, nil)
        guard let session, let record = session.record(ticket) else { return }
        answer(error, record, of: session)
        if !isReading { loop.flushSoon() }
    }

    private func decided(_ ticket: Int, _ outcome: Outcome?) {
        pendingCalls -= 1
        if !spans.isEmpty { spans.removeValue(forKey: ticket)?.end(outcome) }
        // Also where no stream is left to answer on: others wait until it is read again.
        if isReadPaused { willFlush() }
    }

    private func answer(
        _ record: UnsafeMutablePointer<CallRecord>, with message: ByteBuffer, of session: HTTP2Session
    ) {
        guard !record.pointee.state.contains(.isAnswered) else { return }
        record.pointee.state.insert(.isAnswered)
        session.state.pointee.owe(record)
        append(message, to: &record.pointee.reply)
        if ResponseFields.submitMessages(session.library, record) != 0 { isBroken = true }
        willFlush()
    }

    func append(_ message: ByteBuffer, to store: inout ByteStore) {
        MessagePrefix(messageLength: message.readableBytes).write(to: &store)
        message.withUnsafeReadableBytes { bytes in
            if let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) {
                store.append(start, count: bytes.count)
            }
        }
    }

    func answer(_ error: GRPCError, _ record: UnsafeMutablePointer<CallRecord>, of session: HTTP2Session) {
        guard !record.pointee.state.contains(.isAnswered) else { return }
        record.pointee.state.insert(.isAnswered)
        if ResponseFields.submitError(session.library, record.pointee.streamID, error) != 0 { isBroken = true }
        willFlush()
    }

    private func answer(
        _ failure: CallFailure, _ record: UnsafeMutablePointer<CallRecord>, of session: HTTP2Session
    ) {
        if record.pointee.state.contains(.hasResponse) {
            return finish(failure.error?.code, ticket: Int(record.pointee.streamID))
        }
        if let error = failure.error {
            answer(error, record, of: session)
        } else {
            record.pointee.state.insert(.isAnswered)
            let code = ResponseFields.submitStatus(session.library, record.pointee.streamID, failure.fields)
            if code != 0 { isBroken = true }
        }
        if record.pointee.state.contains(.isStreaming) { streamEnded(ticket: Int(record.pointee.streamID)) }
    }

    func willFlush() {
        guard !isFlushPending else { return }
        isFlushPending = true
        loop.willFlush(self)
    }

    /// Sends what the session has to say, as far as the client takes it.
    func flush() {
        isFlushPending = false
        guard !isFlushing else { return }
        isFlushing = true
        // A write may close the channel, and the session with it.
        while let session, let context, queuedWrites == 0, !isHandshaking {
            if !session.giveOut(&output, atMost: HTTP2Bounds.outputBytes) { isBroken = true }
            guard output.readableBytes > 0 else { break }
            write(to: context)
        }
        isFlushing = false
        // Calls that are over once their answers are sent.
        takeListed()
        endIfOver()
        updateReading()
        // Also where no read follows: it waits for a decision, or for the client.
        if queuedWrites > 0 || session?.hasUnsentAnswers == true { setTimer() }
    }

    /// Puts the bytes into the socket, and what it does not take into NIO's queue.
    ///
    /// Through NIO a write costs as much again as the system call, most of it reference counting. The descriptor is the
    /// channel's, which closes it on this loop and calls ``channelInactive(context:)`` before anything else runs there:
    /// while there is a context, it is this connection's.
    private func write(to context: ChannelHandlerContext) {
        if let socket {
            let sent = output.withUnsafeReadableBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if sent == output.readableBytes { return output.clear() }
            // Whatever is wrong, if anything, NIO will find as well, and close the channel.
            output.moveReaderIndex(forwardBy: max(0, sent))
        }
        let written = context.eventLoop.makePromise(of: Void.self)
        queuedWrites += 1
        context.writeAndFlush(wrapOutboundOut(output), promise: written)
        output.clear()
        written.futureResult.assumeIsolated().whenComplete { [self] _ in
            queuedWrites -= 1
            takenWrites += 1
            // Within a flush, that goes on by itself.
            guard !isFlushing, session != nil else { return }
            willFlush()
            loop.flush()
        }
    }

    /// Whether the connection closes as soon as what is written is through.
    var isOver: Bool { isBroken || session?.isOver == true }

    /// Closes once the session has nothing more to take in or to say.
    private func endIfOver() {
        guard let context, isOver, !isLingering else { return }
        endsBecause(isBroken ? .protocolError : .client)
        guard queuedWrites == 0 else { return setTimer() }
        guard ending == .final, !isBroken else { return context.close(promise: nil) }
        // A client that is still sending would be reset, and could lose the last answers. It closes once it has read them.
        isLingering = true
        context.close(mode: .output, promise: nil)
        linger(context)
    }

    /// Reads no more from a client that does not take what it asked for, or that has asked for much that waits.
    private func updateReading() {
        guard let context, session != nil else { return }
        let bound =
            loop.engine.isBacklogged ? HTTP2Bounds.pendingCallsWhenBacklogged : HTTP2Bounds.pendingCalls
        let isToPause = queuedWrites > 0 || pendingCalls >= (isReadPaused ? max(bound / 2, 1) : bound)
        guard isToPause != isReadPaused else { return }
        isReadPaused = isToPause
        do {
            try context.channel.syncOptions?.setOption(.autoRead, value: !isToPause)
        } catch {
            close(because: .client)
        }
    }
}
