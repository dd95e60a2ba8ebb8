import CoreMetrics
import DecisionTracing
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import RateLimitCore
import RedisClient

@testable import HTTPServer
@testable import RateLimitService

/// What the connections of one event loop share, with a Redis that is away for good: failure mode `local` then decides,
/// at once and always alike.
final class EmbeddedServer: Sendable {
    private let eventLoop: any EventLoop
    private let context: NIOLoopBound<EventLoopState>

    init(
        quota: Int = 20, failureMode: FailureMode = .local, limits: LimitsInForce = .none, tracing: Tracing? = nil,
        eventLoop: any EventLoop
    ) async throws {
        let limit = Limit(name: "requests", quota: quota, windowMilliseconds: 3_600_000)
        let service = try await CheckService.make(
            options: CheckServiceOptions(redis: .single(RedisEndpoint(address: .unix(path: "/nowhere")))),
            policy: CheckPolicy(limit: limit, limits: limits, failureMode: failureMode), eventLoops: [eventLoop],
            metrics: CheckMetrics(factory: NOOPMetricsHandler.instance),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
        self.eventLoop = eventLoop
        context = try await eventLoop.submit {
            let pages = ServerPages(version: "1", configuration: { Array("[]".utf8) }, metrics: { [] })
            let context = EventLoopState(
                service: service, eventLoop: eventLoop, pages: pages, requestTimeout: .seconds(5), tracing: tracing
            )
            return NIOLoopBound(context, eventLoop: eventLoop)
        }.get()
    }

    deinit { eventLoop.execute { [context] in context.value.end() } }

    /// Lets time stand still for its windows; called on the event loop.
    func stopClock(atMicroseconds instant: Int) { context.value.engine.localClock = { instant } }

    /// A connection; called on the event loop.
    ///
    /// - Parameter breaksAtWrite: whether the client is found to be gone when something is written to it.
    func connect(
        isAdmin: Bool = false, usesFastPath: Bool = true, breaksAtWrite: Bool = false
    ) -> EmbeddedConnection {
        EmbeddedConnection(
            ConnectionHandler(loop: context.value, isAdmin: isAdmin, usesFastPath: usesFastPath),
            breaksAtWrite: breaksAtWrite)
    }
}

/// Runs a test's body on an event loop, with a gateway there.
func onEventLoop<Value: Sendable>(
    quota: Int = 20, failureMode: FailureMode = .local, _ body: @escaping @Sendable (EmbeddedServer) throws -> Value
) async throws -> Value {
    try await withEventLoop { eventLoop in
        let gateway = try await EmbeddedServer(quota: quota, failureMode: failureMode, eventLoop: eventLoop)
        return try await eventLoop.submit { try body(gateway) }.get()
    }
}

/// An event loop of a test's own, since these tests keep theirs busy for long.
func withEventLoop<Value>(_ body: (any EventLoop) async throws -> Value) async throws -> Value {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let result: Result<Value, any Error>
    do {
        result = .success(try await body(group.next()))
    } catch {
        result = .failure(error)
    }
    try await group.shutdownGracefully()
    return try result.get()
}

/// A client connection without a socket: bytes in, bytes out, at once.
final class EmbeddedConnection {
    private let channel: EmbeddedChannel
    weak var handler: ConnectionHandler?
    private(set) var received: [UInt8] = []

    /// - Parameter address: where the client is; nil for a Unix socket.
    init(_ handler: ConnectionHandler, from address: SocketAddress? = nil, breaksAtWrite: Bool = false) {
        self.handler = handler
        channel = EmbeddedChannel(handlers: breaksAtWrite ? [BrokenPipe(), handler] : [handler])
        if let address = address ?? (try? SocketAddress(unixDomainSocketPath: "/client")) {
            channel.connect(to: address, promise: nil)
        }
    }

    /// Whether the server has closed the connection.
    var isClosed: Bool { !channel.isActive }

    /// Everything received so far, Date lines taken out.
    var text: String { withoutDate(received) }

    /// Sends bytes and takes what is answered at once.
    func send(_ bytes: some Sequence<UInt8>) {
        guard channel.isActive else { return }
        _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
        collect()
    }

    /// Lets time pass.
    func advance(by time: TimeAmount) {
        channel.embeddedEventLoop.advanceTime(by: time)
        collect()
    }

    /// Goes away.
    func close() {
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    private func collect() {
        channel.embeddedEventLoop.run()
        while let part = (try? channel.readOutbound(as: ByteBuffer.self)) ?? nil {
            received += Array(part.readableBytesView)
        }
    }
}

/// Closes the channel within each write, as NIO does where the socket says that the client is gone.
private final class BrokenPipe: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.ioOnClosedChannel)
        context.close(promise: nil)
    }
}
