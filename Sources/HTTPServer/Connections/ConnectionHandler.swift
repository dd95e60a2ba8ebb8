import DecisionTracing
import Glibc
import Listeners
import NIOCore
import NIOHTTP1
import RateLimitCore
import RateLimitService

/// One client connection, at the head of its pipeline: bytes to checks, decisions to bytes.
///
/// The fast path decodes ordinary requests about calls here. The bytes of any other request go on to NIOHTTP1 and
/// ``SlowPathHandler``, request by request: where one ends, nothing is left in that decoder, and the fast path takes over
/// again. Answers of both paths pass through one queue and one writer.
final class ConnectionHandler: ChannelInboundHandler, DecisionRequester {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// An answer that waits for its turn.
    enum QueuedAnswer {
        case outcome(Outcome)
        case answer(Answer)
    }

    let loop: EventLoopState
    let isAdmin: Bool
    /// False only in tests that compare the two paths.
    private let usesFastPath: Bool
    private var context: ChannelHandlerContext?
    private(set) var queue = AnswerQueue<QueuedAnswer>()
    private var contexts = ResponseContexts()
    var output = ByteBuffer()
    private var socket: CInt?
    /// Writes that NIO holds because the socket was full; what follows goes behind them.
    private var queuedWrites = 0
    /// Bytes that have arrived and have not been taken in yet.
    private var input = ByteBuffer()
    /// The request that goes through NIOHTTP1.
    var slowPath = SlowPathFraming()
    private var hasSlowPathHandlers = false
    /// Whether a request was taken in after which the connection ends: whatever follows is not looked at.
    private var hasTakenLast = false
    private var isInputClosed = false
    private var isFlushPending = false
    private var isWriting = false
    /// False while the client does not take the answers it has asked for: then it is not read either.
    private var isWritable = true
    private var isReadPaused = false
    private var isClosing = false
    var lingering = LingeringClose()
    private var isLingering = false
    private var timeout: Scheduled<Void>?

    init(loop: EventLoopState, isAdmin: Bool, usesFastPath: Bool = true) {
        self.loop = loop
        self.isAdmin = isAdmin
        self.usesFastPath = usesFastPath
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        socket = try? context.pipeline.syncOperations.descriptor
        loop.opened(self)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        // It may happen within a write, and that while bytes are taken in: nothing more of them is.
        isClosing = true
        timeout?.cancel()
        loop.closed(self)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A connection that breaks is the client's affair; it is closed and nothing else is lost.
        context.close(promise: nil)
    }

    /// Who is at the other end, where the kernel says it.
    var peer: PeerCredentials? { socket.flatMap { PeerCredentials(fileDescriptor: $0) } }

    // MARK: Bytes in

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        guard !isClosing, !hasTakenLast else {
            if !lingering.drop(bytes.readableBytes) { context.close(promise: nil) }
            return
        }
        if input.readableBytes > 0 {
            input.writeBuffer(&bytes)
            swap(&input, &bytes)
            input = ByteBuffer()
        }
        takeIn(&bytes)
        if bytes.readableBytes > 0 { input = bytes }
    }

    /// How many requests may be unanswered now.
    private var openLimit: Int {
        loop.engine.isBacklogged ? RequestBounds.pipelinedWhenBacklogged : RequestBounds.pipelined
    }

    private func takeIn(_ bytes: inout ByteBuffer) {
        let now = NIODeadline.now()
        while bytes.readableBytes > 0, !isClosing, !hasTakenLast {
            guard queue.open < openLimit, output.readableBytes < RequestBounds.unsentBytes, isWritable
            else {
                if !isReadPaused { setReading(false) }
                isReadPaused = true
                return
            }
            if slowPath.isUnderWay {
                passOn(&bytes)
                continue
            }
            switch usesFastPath ? recognise(bytes) : .other {
            // What it says besides matters to the limits of the file.
            case .check(_, _, let hasOtherMembers) where hasOtherMembers && loop.engine.hasFileLimits: slowPath.begin()
            case .check(let request, let length, _):
                let span = loop.tracer.flatMap { $0.begin(.check, of: request.user, in: bytes, arrivedAt: now) }
                bytes.moveReaderIndex(forwardBy: length)
                check(request.user, cost: request.cost, arrivedAt: now, in: span)
            case .call(let route, let isVerbose, let body):
                guard let call = read(route, isVerbose: isVerbose, body: body, of: bytes) else {
                    slowPath.begin()
                    continue
                }
                var context = ResponseContext(topic: AnswerTopic(call))
                context.span = loop.tracer.flatMap { $0.begin(call.request, in: bytes, arrivedAt: now) }
                bytes.moveReaderIndex(forwardBy: body.upperBound)
                clearTimeout()
                decide(call.request, arrivedAt: now, ticket: makeTicket(context))
            case .incomplete: return setTimeout()
            case .other: slowPath.begin()
            }
        }
    }

    private func recognise(_ bytes: ByteBuffer) -> FastPath.Recognition {
        bytes.withUnsafeReadableBytes {
            FastPath.recognise($0, after: &loop.known, checksAreCalls: loop.engine.hasFileLimits)
        }
    }

    private func read(
        _ route: CallRoute, isVerbose: Bool, body: Range<Int>, of bytes: ByteBuffer
    ) -> RoutedCall? {
        bytes.withUnsafeReadableBytes {
            FastPath.read(
                route, isVerbose: isVerbose, body: body, of: $0, under: loop.engine.limits, remembering: &loop.known)
        }
    }

    private func check(_ user: SubjectID, cost: Int, arrivedAt now: NIODeadline, in span: OpenSpan?) {
        clearTimeout()
        let ticket = queue.makeTicket()
        if let span { contexts.keep(ResponseContext(span: span), for: ticket) }
        if loop.engine.hasFileLimits {
            decide(CallRequest(user: user, cost: cost), arrivedAt: now, ticket: ticket)
        } else {
            check(user, cost: cost, arrivedAt: now, ticket: ticket)
        }
    }

    /// Decides a call under the limits of the file.
    func decide(_ call: CallRequest, arrivedAt now: NIODeadline, ticket: Int) {
        if let outcome = loop.engine.call(call, arrivedAt: now, requester: self, ticket: ticket) {
            deliver(outcome, ticket: ticket)
        }
    }

    /// Decides a check, or looks at a window where the cost is 0.
    func check(_ user: SubjectID, cost: Int, arrivedAt now: NIODeadline, ticket: Int) {
        if let outcome = loop.engine.check(user, cost: cost, arrivedAt: now, requester: self, ticket: ticket) {
            deliver(outcome, ticket: ticket)
        }
    }

    /// A ticket for one more request, whose answer is given under it.
    func makeTicket(_ context: ResponseContext) -> Int {
        let ticket = queue.makeTicket()
        if context.form.closes {
            hasTakenLast = true
            clearTimeout()
        }
        contexts.keep(context, for: ticket)
        return ticket
    }

    private func passOn(_ bytes: inout ByteBuffer) {
        guard let context else { preconditionFailure("nothing is taken in once the channel is inactive") }
        let part = bytes.readSlice(length: slowPath.lengthToPassOn(of: bytes.readableBytesView)) ?? ByteBuffer()
        installSlowPathHandlers(context)
        setTimeout()
        context.fireChannelRead(wrapInboundOut(part))
        slowPath.passedOn()
    }

    /// Most connections never need them, and ten thousand idle ones should not pay for them.
    private func installSlowPathHandlers(_ context: ChannelHandlerContext) {
        guard !hasSlowPathHandlers else { return }
        hasSlowPathHandlers = true
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = RequestBounds.headBytes
        limits.maxHeaderListSize = RequestBounds.headBytes
        let decoder = ByteToMessageHandler(
            HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes, limitConfiguration: limits)
        )
        do {
            try context.pipeline.syncOperations.addHandlers(
                decoder, SlowPathHandler(connection: self), position: .after(self)
            )
        } catch {
            context.close(promise: nil)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // All of the loop, so that its list is emptied also where no reply of Redis ever does that.
        loop.flush()
        if hasSlowPathHandlers { context.fireChannelReadComplete() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        // Within a write the answers of it are still in the buffer, and the loop there resumes by itself.
        if isReadPaused, isWritable, !isWriting {
            resume(context)
            flush()
        }
    }

    // MARK: Answers out

    func deliver(_ outcome: Outcome, ticket: Int) {
        guard context != nil else { return }
        guard queue.mayWrite(ticket) else { return queue.keep(.outcome(outcome), for: ticket) }
        // The commonest by far; through `QueuedAnswer` it would be copied, with the retains that a stored answer needs.
        if contexts.isEmpty, !isClosing, !mayBeLast {
            loop.writer.write(outcome, AnswerForm(), to: &output)
        } else {
            write(.outcome(outcome), ticket: ticket)
        }
        writeReady()
    }

    func answer(_ answer: Answer, ticket: Int) {
        guard context != nil else { return }
        if queue.mayWrite(ticket) {
            write(.answer(answer), ticket: ticket)
            writeReady()
        } else {
            queue.keep(.answer(answer), for: ticket)
        }
    }

    private func writeReady() {
        while let ready = queue.nextReady() { write(ready.answer, ticket: ready.ticket) }
        if !isFlushPending {
            isFlushPending = true
            loop.willFlush(self)
        }
    }

    /// Whether the connection ends as soon as nothing is owed on it.
    private var mayBeLast: Bool { loop.isLeaving || isInputClosed }

    private func write(_ waiting: QueuedAnswer, ticket: Int) {
        guard !isClosing else { return }
        let context = contexts.remove(ticket)
        var form = context.form
        if mayBeLast, queue.open == 0, !isReadPaused { form.closes = true }
        switch waiting {
        case .answer(let answer):
            context.span?.end(nil)
            loop.writer.write(answer, form, to: &output)
        case .outcome(let outcome):
            context.span?.end(outcome)
            loop.writer.write(outcome, as: context.topic, form, to: &output)
        }
        if form.closes { isClosing = true }
    }

    func flush() {
        isFlushPending = false
        // Writing may make room for requests that were held back, and those may be answered at once.
        while let context, output.readableBytes > 0 {
            write(to: context)
            guard self.context != nil else { return }
            if isClosing { return closeBehindOutput(context) }
            if isReadPaused, isWritable, queue.open < openLimit / 2 { resume(context) }
        }
    }

    /// Puts the answers into the socket, and what it does not take into NIO's queue.
    ///
    /// Through NIO a write costs as much again as the system call, most of it reference counting. The descriptor is the
    /// channel's, which closes it on this loop and calls ``channelInactive(context:)`` before anything else runs there:
    /// while there is a context, it is this connection's.
    private func write(to context: ChannelHandlerContext) {
        if queuedWrites == 0, let socket {
            let sent = output.withUnsafeReadableBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if sent == output.readableBytes { return output.clear() }
            // Whatever is wrong, if anything, NIO will find as well, and close the channel.
            output.moveReaderIndex(forwardBy: max(0, sent))
        }
        let written = context.eventLoop.makePromise(of: Void.self)
        queuedWrites += 1
        isWriting = true
        context.writeAndFlush(wrapOutboundOut(output), promise: written)
        isWriting = false
        output.clear()
        written.futureResult.assumeIsolated().whenComplete { [self] _ in
            queuedWrites -= 1
            if isClosing, let context = self.context { closeBehindOutput(context) }
        }
    }

    private func closeBehindOutput(_ context: ChannelHandlerContext) {
        guard queuedWrites == 0, !isLingering else { return }
        guard lingering.isDue || input.readableBytes > 0, !isInputClosed else { return context.close(promise: nil) }
        isLingering = true
        input = ByteBuffer()
        clearTimeout()
        timeout = context.eventLoop.assumeIsolated().scheduleTask(in: LingeringClose.patience) { [weak self] in
            self?.close()
        }
        setReading(true)
        context.close(mode: .output, promise: nil)
    }

    private func setReading(_ isReading: Bool) {
        do {
            try context?.channel.syncOptions?.setOption(.autoRead, value: isReading)
        } catch {
            close()
        }
    }

    private func resume(_ context: ChannelHandlerContext) {
        isReadPaused = false
        var bytes = input
        input = ByteBuffer()
        takeIn(&bytes)
        if bytes.readableBytes > 0 { input = bytes }
        if !isReadPaused { setReading(true) }
    }

    // MARK: Time and end

    /// A whole request must arrive within the request timeout of its first byte.
    private func setTimeout() {
        guard timeout == nil, let context else { return }
        timeout = context.eventLoop.assumeIsolated().scheduleTask(in: loop.requestTimeout) { [weak self] in
            guard let self, self.context != nil, !self.isClosing else { return }
            let ticket = self.makeLastTicket()
            self.answer(.problem(.timedOut), ticket: ticket)
            self.flush()
        }
    }

    func clearTimeout() {
        guard let timeout else { return }
        timeout.cancel()
        self.timeout = nil
    }

    /// The client has sent all it will: it still gets its answers.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        context.fireUserInboundEventTriggered(event)
        guard case .inputClosed? = event as? ChannelEvent else { return }
        isInputClosed = true
        if isLingering { return context.close(promise: nil) }
        if queue.open == 0 { finish() }
    }

    /// Closes as soon as nothing is owed: now, or with the last answer.
    ///
    /// - Parameter isPatient: whether a request that has begun to arrive is owed its answer too.
    func leave(isPatient: Bool) {
        guard queue.open == 0 else { return }
        if timeout == nil { finish() } else if !isPatient { close() }
    }

    private func finish() {
        guard let context, !isClosing else { return }
        isClosing = true
        flush()
        closeBehindOutput(context)
    }

    func close() {
        context?.close(promise: nil)
    }
}
