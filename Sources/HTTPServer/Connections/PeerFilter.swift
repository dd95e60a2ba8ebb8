import CoreMetrics
import Listeners
import Logging
import NIOCore
import Synchronization

/// Who may connect on the Unix sockets: asked once for each connection, never on the hot path.
final class PeerFilter: Sendable {
    /// Refused peers that may wait for their answer at a time; one more is closed without.
    static let waitingLimit = 64
    /// How often a refusal is logged at most.
    static let logInterval = TimeAmount.minutes(1)

    private struct Log {
        var nextLine = NIODeadline.uptimeNanoseconds(0)
        var unsaid = 0
    }

    /// Nil where every peer may connect.
    private let allowed: Set<UInt32>?
    private let logger: Logger
    private let forbidden: Counter
    private let lines = Mutex(Log())
    private let waiting = Atomic(0)

    init(allowed: Set<UInt32>?, logger: Logger, factory: any MetricsFactory) {
        self.allowed = allowed
        self.logger = logger
        forbidden = Counter(
            label: GatewayMetricName.accepted, dimensions: [("result", "forbidden")], factory: factory
        )
    }

    /// Nil where the peer of a connected Unix socket may go on, or else who it is.
    func rejection(of socket: CInt?) -> RequestError? {
        guard let allowed else { return nil }
        let peer = socket.flatMap { PeerCredentials(fileDescriptor: $0) }
        if let peer, allowed.contains(peer.userIdentifier) { return nil }
        forbidden.increment()
        log(peer)
        return .peerNotAllowed(user: peer?.userIdentifier)
    }

    private func log(_ peer: PeerCredentials?) {
        let count: Int? = lines.withLock { log in
            log.unsaid += 1
            guard log.nextLine <= .now() else { return nil }
            defer { log = Log(nextLine: .now() + Self.logInterval) }
            return log.unsaid
        }
        guard let count else { return }
        logger.warning(
            "refused a connection: its user is not among LLM_RATE_LIMIT_ALLOWED_UIDS",
            metadata: [
                "uid": "\(peer.map { "\($0.userIdentifier)" } ?? "unknown")",
                "pid": "\(peer.map { "\($0.processIdentifier)" } ?? "unknown")",
                "refused_since_last_line": "\(count)",
            ]
        )
    }

    /// Takes in one more refused peer that waits; false where there are too many.
    func beginWaiting() -> Bool {
        guard waiting.add(1, ordering: .relaxed).newValue <= Self.waitingLimit else {
            endWaiting()
            return false
        }
        return true
    }

    func endWaiting() { waiting.subtract(1, ordering: .relaxed) }
}

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
