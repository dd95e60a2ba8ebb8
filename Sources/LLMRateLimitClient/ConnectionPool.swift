import Glibc
import NIOCore
import NIOPosix

/// A request that waits for its answer, on the event loop of its pool.
final class PendingExchange {
    let request: DaemonRequest
    let deadline: TimeAmount
    private let promise: EventLoopPromise<DaemonResponse>
    /// What ends it when its time is over.
    var timer: Scheduled<Void>?
    /// The connection on which it was sent.
    var connection: ClientConnection?
    /// Whether it was sent a second time.
    var wasResent = false
    private(set) var isOver = false

    init(_ request: DaemonRequest, deadline: TimeAmount, promise: EventLoopPromise<DaemonResponse>) {
        self.request = request
        self.deadline = deadline
        self.promise = promise
    }

    /// Ends it, unless it is over already.
    func end(_ result: Result<DaemonResponse, RateLimitClientError>) {
        guard !isOver else { return }
        isOver = true
        timer?.cancel()
        timer = nil
        promise.completeWith(result.mapError { $0 })
    }
}

/// The connections of one client, kept open between requests. All of it is on one event loop.
///
/// A connection has one request at a time, so that one which hangs holds up no other. Where all are in use, requests wait
/// in order, each for its own deadline at most.
final class ConnectionPool {
    /// How many requests may wait for a connection.
    static let maximumWaiting = 1_024

    let address: DaemonAddress
    let eventLoop: any EventLoop
    private let maximumConnections: Int
    /// Those without a request; the one used last comes next, so that those not needed stay idle.
    private var idle: [ClientConnection] = []
    /// Those that are open or being opened.
    private var count = 0
    private var waiting = CircularBuffer<PendingExchange>()
    private var keepsConnections = true

    init(address: DaemonAddress, eventLoop: any EventLoop, maximumConnections: Int) {
        self.address = address
        self.eventLoop = eventLoop
        self.maximumConnections = maximumConnections
    }

    /// Takes in a request, which ends within its deadline whatever happens.
    func begin(_ exchange: PendingExchange) {
        let milliseconds = Int(exchange.deadline.nanoseconds / 1_000_000)
        exchange.timer = eventLoop.assumeIsolated().scheduleTask(in: exchange.deadline) { [address] in
            exchange.end(.failure(.noAnswer(address: address, milliseconds: milliseconds)))
            // What it would still send is an answer to nobody.
            exchange.connection?.close()
        }
        place(exchange)
    }

    private func place(_ exchange: PendingExchange) {
        if let connection = idle.popLast() {
            connection.begin(exchange)
        } else if count < maximumConnections {
            connect(for: exchange)
        } else {
            while let first = waiting.first, first.isOver { waiting.removeFirst() }
            guard waiting.count < Self.maximumWaiting else {
                return exchange.end(.failure(.overloaded(address: address, maximum: Self.maximumWaiting)))
            }
            waiting.append(exchange)
        }
    }

    /// Has the connection that is free, or may be opened, go on with what waits.
    private func placeNext() {
        while let next = waiting.popFirst() {
            guard !next.isOver else { continue }
            return place(next)
        }
    }

    private func connect(for exchange: PendingExchange) {
        let bootstrap = ClientBootstrap(group: eventLoop).connectTimeout(exchange.deadline)
        let connected: EventLoopFuture<any Channel>
        switch address {
        case .unixSocket(let path):
            guard !path.isEmpty, let socket = try? SocketAddress(unixDomainSocketPath: path) else {
                return exchange.end(.failure(.badPath(path: path)))
            }
            connected = bootstrap.connect(to: socket)
        case .tcp(let host, let port): connected = bootstrap.connect(host: host, port: port)
        }
        count += 1
        connected.assumeIsolated().whenComplete { [self] result in
            switch result {
            case .success(let channel): opened(channel, for: exchange)
            case .failure(let error):
                count -= 1
                exchange.end(.failure(.unreachable(address: address, code: Self.code(of: error))))
                placeNext()
            }
        }
    }

    /// The system's number of what kept a connection from being made: of a host with several addresses, the first one's.
    private static func code(of error: any Error) -> Int32 {
        switch error {
        case let error as IOError: error.errnoCode
        case let error as NIOConnectionError:
            error.connectionErrors.first.map { code(of: $0.error) } ?? EHOSTUNREACH
        default: ETIMEDOUT
        }
    }

    private func opened(_ channel: any Channel, for exchange: PendingExchange) {
        let connection = ClientConnection(channel: channel, pool: self)
        do {
            try connection.addHandlers()
        } catch {
            // It was closed in the meantime.
            count -= 1
            channel.close(promise: nil)
            exchange.end(.failure(.closed(address: address)))
            return placeNext()
        }
        if exchange.isOver { free(connection) } else { connection.begin(exchange) }
    }

    /// A connection's request has been answered.
    func free(_ connection: ClientConnection) {
        while let next = waiting.popFirst() {
            guard !next.isOver else { continue }
            return connection.begin(next)
        }
        if keepsConnections { idle.append(connection) } else { connection.close() }
    }

    /// A connection has ended.
    ///
    /// - Parameter unanswered: the request that it still owed an answer to.
    func lost(_ connection: ClientConnection, unanswered: PendingExchange?, _ error: RateLimitClientError) {
        count -= 1
        idle.removeAll { $0 === connection }
        if let unanswered, !unanswered.isOver {
            // The daemon may have closed it while it was idle: then another connection has a chance.
            if connection.hasAnswered, unanswered.request.isRepeatable, !unanswered.wasResent {
                unanswered.wasResent = true
                place(unanswered)
            } else {
                unanswered.end(.failure(error))
            }
        }
        placeNext()
    }

    /// Keeps no connection any more that nobody waits on.
    func close() {
        keepsConnections = false
        for connection in idle { connection.close() }
    }
}
