import NIOCore

/// A connection whose peer may not ask: it is told so when its first bytes come, and closed.
///
/// Told only then, since many clients take an answer that comes before their request for an error of another kind.
final class RefusedPeerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How long a refused peer may stay.
    static let patience = TimeAmount.seconds(1)

    private let error: RequestError
    private let writer: AnswerWriter
    private var end: Scheduled<Void>?
    private var lingering = LingeringClose()

    init(_ error: RequestError, writer: AnswerWriter) {
        self.error = error
        self.writer = writer
    }

    func handlerAdded(context: ChannelHandlerContext) {
        end = context.eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { context.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let isFirst = !lingering.isDue
        guard lingering.drop(unwrapInboundIn(data).readableBytes) else { return context.close(promise: nil) }
        guard isFirst else { return }
        var answer = ByteBuffer()
        writer.write(.problem(error), AnswerForm(closes: true), to: &answer)
        context.writeAndFlush(wrapOutboundOut(answer), promise: nil)
        context.close(mode: .output, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        context.fireUserInboundEventTriggered(event)
        if case .inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        end?.cancel()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
