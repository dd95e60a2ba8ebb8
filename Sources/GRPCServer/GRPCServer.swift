package import DecisionTracing
public import Listeners
public import NIOCore
import NIOPosix
import NIOSSL
public import RateLimitCore
package import RateLimitService
import Synchronization

/// Serves gRPC on sockets that are bound already, one acceptor for each socket, its connections spread over the event
/// loops.
public final class GRPCServer: Sendable {
    /// Bounds on the server.
    public struct Options: Sendable {
        /// How long a whole request may take to arrive, in milliseconds; it may be twice as long where it is one of many.
        public var requestTimeoutMilliseconds: Int
        /// Who calls where headers and the peer alone tell it.
        public var callers: CallerRules
        /// Which headers of an authorization say how a quota stands.
        public var quotaHeaders: QuotaHeaders
        /// Has decisions traced; nil where they are not.
        package var tracing: Tracing?

        /// Makes the options.
        public init(
            requestTimeoutMilliseconds: Int = 5_000, callers: CallerRules = CallerRules(),
            quotaHeaders: QuotaHeaders = .ietf
        ) {
            self.requestTimeoutMilliseconds = requestTimeoutMilliseconds
            self.callers = callers
            self.quotaHeaders = quotaHeaders
        }
    }

    private let group: any EventLoopGroup
    private let loops: [NIOLoopBound<GRPCLoopState>]
    private let hasClosed = Atomic(false)
    private let count: ConnectionCount
    private let filter: PeerFilter

    /// Makes a server whose connections live on `eventLoops`, the ones the service was made with.
    ///
    /// - Parameters:
    ///   - connectionCount: the bound on connections, which all servers share.
    ///   - filter: who may connect on Unix sockets.
    ///   - metrics: what its connections report to.
    package static func make(
        service: CheckService, group: any EventLoopGroup, eventLoops: [any EventLoop],
        connectionCount: ConnectionCount, filter: PeerFilter, options: Options = Options(),
        metrics: GRPCMetrics
    ) async throws -> GRPCServer {
        try await make(
            service: service, group: group, eventLoops: eventLoops, connectionCount: connectionCount, filter: filter,
            options: options, metrics: metrics,
            methods: {
                EnvoyMethods.make(
                    $0, callers: options.callers, quotaHeaders: options.quotaHeaders,
                    limitName: service.policy.limit.name)
            })
    }

    static func make(
        service: CheckService, group: any EventLoopGroup, eventLoops: [any EventLoop],
        connectionCount: ConnectionCount, filter: PeerFilter, options: Options = Options(),
        metrics: GRPCMetrics, methods: @escaping MethodTable.Factory
    ) async throws -> GRPCServer {
        let timeout = TimeAmount.milliseconds(Int64(options.requestTimeoutMilliseconds))
        var loops: [NIOLoopBound<GRPCLoopState>] = []
        for eventLoop in eventLoops {
            loops.append(
                try await eventLoop.submit {
                    let engine = service.engine(on: eventLoop)
                    let table = MethodTable(own: methods, engine: engine)
                    let state = GRPCLoopState(
                        engine: engine, methods: table, requestTimeout: timeout, metrics: metrics,
                        tracing: options.tracing)
                    return NIOLoopBound(state, eventLoop: eventLoop)
                }.get()
            )
        }
        return GRPCServer(group: group, loops: loops, count: connectionCount, filter: filter)
    }

    private init(
        group: any EventLoopGroup, loops: [NIOLoopBound<GRPCLoopState>], count: ConnectionCount, filter: PeerFilter
    ) {
        self.group = group
        self.loops = loops
        self.count = count
        self.filter = filter
    }

    deinit {
        guard !hasClosed.load(ordering: .relaxed) else { return }
        for loop in loops { loop.eventLoop.execute { loop.value.end() } }
    }

    /// Accepts on a bound socket; the socket belongs to the returned channel from then on.
    ///
    /// - Throws: ``ServerTLSError`` where a file of `tls` cannot be used, and errors of the socket's.
    public func listen(on socket: CInt, tls: ServerTLS? = nil) async throws -> any Channel {
        try tls?.check()
        let filter = PeerCredentials.areKnown(on: socket) ? filter : nil
        return try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.addHandlers(to: channel, filter, tls) }
            }
            .withBoundSocket(socket)
            .get()
    }

    /// Takes in a connection that was just accepted; one that is not to be kept is closed by the error.
    private func addHandlers(to channel: any Channel, _ filter: PeerFilter?, _ tls: ServerTLS?) throws {
        guard let loop = loops.first(where: { $0.eventLoop === channel.eventLoop })?.value else {
            preconditionFailure("each event loop of the group has a state")
        }
        let pipeline = channel.pipeline.syncOperations
        // There is no answer to a connection, only to calls: a peer that may not connect is closed, and logged.
        if let filter, filter.rejection(of: try pipeline.descriptor) != nil { throw ChannelError.alreadyClosed }
        guard count.open() else { throw ChannelError.alreadyClosed }
        channel.closeFuture.whenComplete { [count] _ in count.close() }
        if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: try tls.context())) }
        try pipeline.addHandler(GRPCConnection(loop: loop, isEncrypted: tls != nil))
    }

    /// Has calls of ext_authz named by other rules, and answered with other headers, from the next on.
    public func apply(_ callers: CallerRules, _ quotaHeaders: QuotaHeaders) {
        for loop in loops {
            loop.eventLoop.execute {
                for case let method as AuthorizationCheckMethod in loop.value.methods.unary {
                    method.callers = callers
                    method.quotaHeaders = quotaHeaders
                }
            }
        }
    }

    /// Has health say that the daemon ends soon. Everything else goes on as before, and new connections are taken.
    public func beginDraining() {
        for loop in loops { loop.eventLoop.execute { loop.value.methods.health?.isDraining = true } }
    }

    /// Connections that are open now, of all servers that share the bound.
    public var connections: Int { count.value }

    /// Closes connections as soon as their clients know and nothing is owed on them, and all that are left after
    /// `patience`.
    public func close(patience: TimeAmount) async {
        for loop in loops { loop.eventLoop.execute { loop.value.leave() } }
        let end = NIODeadline.now() + patience
        while await openConnections() > 0, NIODeadline.now() < end, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(5))
        }
        hasClosed.store(true, ordering: .relaxed)
        for loop in loops { loop.eventLoop.execute { loop.value.closeAll() } }
    }

    /// Of this server alone.
    private func openConnections() async -> Int {
        var open = 0
        for loop in loops { open += (try? await loop.eventLoop.submit { loop.value.connections.count }.get()) ?? 0 }
        return open
    }
}
