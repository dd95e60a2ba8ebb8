public import CoreMetrics
public import NIOCore
import NIOPosix
public import RateLimitService

/// Serves the HTTP routes on sockets that are bound already, one acceptor for each socket, its connections spread over
/// the event loops.
public final class GatewayServer: Sendable {
    /// What a listening socket is for.
    public enum Door: Sendable {
        /// Checks and everything that changes nothing.
        case everyone
        /// Also the operations that change state.
        case admin
    }

    /// Bounds on the server.
    public struct Options: Sendable {
        /// Connections at once; one more is closed as soon as it is accepted.
        public var connectionLimit: Int
        /// How long a whole request may take to arrive, in milliseconds.
        public var requestTimeoutMilliseconds: Int

        /// Makes the options.
        public init(connectionLimit: Int = 10_000, requestTimeoutMilliseconds: Int = 5_000) {
            self.connectionLimit = connectionLimit
            self.requestTimeoutMilliseconds = requestTimeoutMilliseconds
        }
    }

    private let service: CheckService
    private let group: any EventLoopGroup
    private let loops: [NIOLoopBound<LoopContext>]
    private let connectionCount: ConnectionCount

    /// Makes a server whose connections live on `eventLoops`, the ones the service was made with.
    public static func make(
        service: CheckService, group: any EventLoopGroup, eventLoops: [any EventLoop], pages: GatewayPages,
        options: Options, factory: any MetricsFactory
    ) async throws -> GatewayServer {
        Pages.begin()
        let timeout = TimeAmount.milliseconds(Int64(options.requestTimeoutMilliseconds))
        var loops: [NIOLoopBound<LoopContext>] = []
        for eventLoop in eventLoops {
            loops.append(
                try await eventLoop.submit {
                    let context = LoopContext(
                        service: service, eventLoop: eventLoop, pages: pages, requestTimeout: timeout
                    )
                    return NIOLoopBound(context, eventLoop: eventLoop)
                }.get()
            )
        }
        let count = ConnectionCount(limit: options.connectionLimit, factory: factory)
        return GatewayServer(service: service, group: group, loops: loops, connectionCount: count)
    }

    private init(
        service: CheckService, group: any EventLoopGroup, loops: [NIOLoopBound<LoopContext>],
        connectionCount: ConnectionCount
    ) {
        self.service = service
        self.group = group
        self.loops = loops
        self.connectionCount = connectionCount
    }

    /// Accepts on a bound socket; the socket belongs to the returned channel from then on.
    public func listen(on socket: CInt, door: Door) async throws -> any Channel {
        let loops = loops
        let connectionCount = connectionCount
        return try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard connectionCount.open() else { throw ChannelError.alreadyClosed }
                    channel.closeFuture.whenComplete { _ in connectionCount.close() }
                    guard let loop = loops.first(where: { $0.eventLoop === channel.eventLoop }) else {
                        throw ChannelError.alreadyClosed
                    }
                    let connection = ConnectionHandler(loop: loop.value, isAdmin: door == .admin)
                    try channel.pipeline.syncOperations.addHandler(connection)
                }
            }
            .withBoundSocket(socket)
            .get()
    }

    /// Tells every loop's answers about the limit now in force.
    public func policyDidChange() {
        let limit = service.policy.limit
        for loop in loops { loop.eventLoop.execute { loop.value.writer.setLimit(limit) } }
    }

    /// Closes connections as soon as nothing is owed on them, and all that are left after `patience`.
    public func drain(patience: TimeAmount) async {
        for loop in loops { loop.eventLoop.execute { loop.value.drain() } }
        let end = NIODeadline.now() + patience
        while connectionCount.value > 0, NIODeadline.now() < end {
            try? await Task.sleep(for: .milliseconds(5))
        }
        for loop in loops { loop.eventLoop.execute { loop.value.closeAll() } }
    }
}
