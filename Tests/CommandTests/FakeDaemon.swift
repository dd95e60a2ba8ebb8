import LLMRateLimitClient
import NIOCore
import NIOPosix
import Synchronization

/// A socket that answers each connection's first bytes in one way, whatever was asked.
final class FakeDaemon: Sendable {
    enum Behaviour: Sendable {
        case answer(String)
        /// The first request of each connection; the second one ends it.
        case answerOnce(String)
        case hangUp
        case silence
    }

    let socketPath: String
    private let channel: any Channel
    private let log: RequestLog

    var address: DaemonAddress { .unixSocket(path: socketPath) }

    /// What has arrived so far, on all connections.
    var received: String { log.text.withLock { $0 } }

    /// Listens on a socket of its own in /tmp until `stop()`.
    init(_ behaviour: Behaviour) async throws {
        let path = "/tmp/llm-rate-limit-fake-\(UInt64.random(in: .min ... .max)).sock"
        let log = RequestLog()
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(FakeHandler(behaviour: behaviour, log: log))
                }
            }.bind(unixDomainSocketPath: path).get()
        socketPath = path
        self.log = log
    }

    /// Closes the socket and removes its file.
    func stop() async throws {
        try await channel.close().get()
        try? await NonBlockingFileIO(threadPool: .singleton).remove(path: socketPath)
    }
}

private final class RequestLog: Sendable {
    let text = Mutex("")
}

private final class FakeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let behaviour: FakeDaemon.Behaviour
    private let log: RequestLog
    private var hasAnswered = false

    init(behaviour: FakeDaemon.Behaviour, log: RequestLog) {
        self.behaviour = behaviour
        self.log = log
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        log.text.withLock { $0 += String(buffer: bytes) }
        switch behaviour {
        case .answer(let text): context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        case .answerOnce(let text) where !hasAnswered:
            hasAnswered = true
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        case .answerOnce: context.close(promise: nil)
        case .hangUp: context.close(promise: nil)
        case .silence: break
        }
    }
}

/// An HTTP answer with a body.
func httpAnswer(_ status: String, _ body: String) -> FakeDaemon.Behaviour {
    .answer("HTTP/1.1 \(status)\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
}
