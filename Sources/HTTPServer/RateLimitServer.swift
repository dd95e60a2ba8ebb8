public import CoreMetrics
package import DecisionTracing
package import Listeners
public import Logging
public import NIOCore
import NIOPosix
public import RateLimitCore
public import RateLimitService
import Synchronization

/// Serves the HTTP routes on sockets that are bound already, one acceptor for each socket, its connections spread over
/// the event loops.
public final class RateLimitServer: Sendable {
    /// Whom a listening socket is for.
    public enum Audience: Sendable {
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
        /// The numbers of the users who may connect to Unix sockets; nil where the sockets' modes alone decide.
        public var allowedUsers: Set<UInt32>?
        /// Who calls where headers and the peer alone tell it.
        public var callers: CallerRules
        /// Which headers of an answer say how a quota stands.
        public var quotaHeaders: QuotaHeaders
        /// Has decisions traced; nil where they are not.
        package var tracing: Tracing?

        /// Makes the options.
        public init(
            connectionLimit: Int = 10_000, requestTimeoutMilliseconds: Int = 5_000, allowedUsers: Set<UInt32>? = nil,
            callers: CallerRules = CallerRules(), quotaHeaders: QuotaHeaders = .ietf
        ) {
            self.connectionLimit = connectionLimit
            self.requestTimeoutMilliseconds = requestTimeoutMilliseconds
            self.allowedUsers = allowedUsers
            self.callers = callers
            self.quotaHeaders = quotaHeaders
        }
    }

    private let service: CheckService
    private let group: any EventLoopGroup
    private let loops: [NIOLoopBound<EventLoopState>]
    private let hasClosed = Atomic(false)
    /// The connections of all listening sockets, whatever they speak, have one bound.
    package let connectionCount: ConnectionCount
    /// Who may connect on Unix sockets, whatever they speak.
    package let filter: PeerFilter

    /// Makes a server whose connections live on `eventLoops`, the ones the service was made with.
    public static func make(
        service: CheckService, group: any EventLoopGroup, eventLoops: [any EventLoop], pages: ServerPages,
        options: Options, factory: any MetricsFactory, logger: Logger,
        reports: AdminReports = AdminReports()
    ) async throws -> RateLimitServer {
        Pages.begin()
        let timeout = TimeAmount.milliseconds(Int64(options.requestTimeoutMilliseconds))
        var loops: [NIOLoopBound<EventLoopState>] = []
        for eventLoop in eventLoops {
            loops.append(
                try await eventLoop.submit {
                    let context = EventLoopState(
                        service: service, eventLoop: eventLoop, pages: pages, requestTimeout: timeout,
                        reports: reports, callers: options.callers, quotaHeaders: options.quotaHeaders,
                        tracing: options.tracing
                    )
                    return NIOLoopBound(context, eventLoop: eventLoop)
                }.get()
            )
        }
        let count = ConnectionCount(limit: options.connectionLimit, factory: factory)
        let filter = PeerFilter(allowed: options.allowedUsers, logger: logger, factory: factory)
        return RateLimitServer(service: service, group: group, loops: loops, connectionCount: count, filter: filter)
    }

    private init(
        service: CheckService, group: any EventLoopGroup, loops: [NIOLoopBound<EventLoopState>],
        connectionCount: ConnectionCount, filter: PeerFilter
    ) {
        self.service = service
        self.group = group
        self.loops = loops
        self.connectionCount = connectionCount
        self.filter = filter
    }

    deinit {
        guard !hasClosed.load(ordering: .relaxed) else { return }
        for loop in loops { loop.eventLoop.execute { loop.value.end() } }
    }

    /// Accepts on a bound socket; the socket belongs to the returned channel from then on.
    public func listen(on socket: CInt, for audience: Audience) async throws -> any Channel {
        let filter = PeerCredentials.areKnown(on: socket) ? filter : nil
        return try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.addHandlers(to: channel, audience, filter) }
            }
            .withBoundSocket(socket)
            .get()
    }

    /// Takes in a connection that was just accepted; one that is not to be kept is closed by the error.
    private func addHandlers(to channel: any Channel, _ audience: Audience, _ filter: PeerFilter?) throws {
        guard let loop = loops.first(where: { $0.eventLoop === channel.eventLoop })?.value else {
            preconditionFailure("each event loop of the group has a state")
        }
        let pipeline = channel.pipeline.syncOperations
        if let filter, let error = filter.rejection(of: try pipeline.descriptor) {
            // A refused peer must not take the place of one that is let in.
            guard filter.beginWaiting() else { throw ChannelError.alreadyClosed }
            channel.closeFuture.whenComplete { _ in filter.endWaiting() }
            let handler = RefusedPeerHandler(.peerNotAllowed(user: error.user), writer: loop.writer)
            return try pipeline.addHandler(handler)
        }
        guard connectionCount.open() else { throw ChannelError.alreadyClosed }
        channel.closeFuture.whenComplete { [connectionCount] _ in connectionCount.close() }
        try pipeline.addHandler(ConnectionHandler(loop: loop, isAdmin: audience == .admin))
    }

    /// Has calls at `/v1/auth` named by other rules, and answers sent with other headers, from the next on.
    public func apply(_ callers: CallerRules, _ quotaHeaders: QuotaHeaders) {
        for loop in loops {
            loop.eventLoop.execute {
                loop.value.callers = callers
                loop.value.writer.quotaHeaders = quotaHeaders
            }
        }
    }

    /// Connections that are open now.
    public var connections: Int { connectionCount.value }

    /// Has `/readyz` say that the daemon ends soon. Everything else goes on as before, and new connections are taken.
    public func beginDraining() {
        for loop in loops { loop.eventLoop.execute { loop.value.isDraining = true } }
    }

    /// Waits until no connection is open, for `patience` at most, or until the task is cancelled.
    public func waitUntilUnused(patience: TimeAmount) async {
        let end = NIODeadline.now() + patience
        while connectionCount.value > 0, NIODeadline.now() < end, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Closes connections as soon as nothing is owed on them, and all that are left after `patience`.
    public func close(patience: TimeAmount) async {
        for loop in loops { loop.eventLoop.execute { loop.value.leave() } }
        await waitUntilUnused(patience: patience)
        hasClosed.store(true, ordering: .relaxed)
        for loop in loops { loop.eventLoop.execute { loop.value.closeAll() } }
    }
}
