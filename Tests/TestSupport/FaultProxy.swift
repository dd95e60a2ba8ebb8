import Glibc
import Synchronization

/// A way between daemons and a Redis that a test can make bad: a Unix socket whose connections are passed on to the
/// Redis's, by one thread that sleeps in poll.
///
/// Bounds: 256 connections at a time, and 1 MiB waiting in each direction of each.
package final class FaultProxy: Sendable {
    /// What the way does to what passes.
    package enum Fault: Sendable {
        case none
        /// Everything comes later, and in order.
        case latency(Latency)
        /// Of what Redis says next the first half arrives; then the connection ends.
        case cutReplies
        /// What Redis says next is replaced by these bytes.
        case replaceReplies([UInt8])
        /// These bytes come before what Redis replies.
        case precedeReplies([UInt8])
        /// New connections are accepted and never answered.
        case deafToNewConnections
        /// Nothing arrives any more of what Redis says to whoever has subscribed; those connections stay open.
        case silentSubscriptions
    }

    /// A slow way. A loss is what TCP makes of one: the piece, and all behind it, come a retransmission later.
    package struct Latency: Sendable {
        /// What both directions together add, half of it each.
        package var roundTripMilliseconds: Double
        /// How much a piece may be late or early besides.
        package var jitterMilliseconds: Double
        /// How many pieces of a hundred are lost.
        package var lossPercent: Double
        package var retransmissionMilliseconds = 200.0

        package init(roundTripMilliseconds: Double, jitterMilliseconds: Double, lossPercent: Double) {
            self.roundTripMilliseconds = roundTripMilliseconds
            self.jitterMilliseconds = jitterMilliseconds
            self.lossPercent = lossPercent
        }

        /// How long the next piece takes one way.
        fileprivate func draw() -> Double {
            let isLost = Double.random(in: 0..<100) < lossPercent
            let jitter = Double.random(in: -jitterMilliseconds...jitterMilliseconds) / 2
            return max(0, roundTripMilliseconds / 2 + jitter) + (isLost ? retransmissionMilliseconds : 0)
        }
    }

    package let socketPath: String
    private let folder: TemporaryFolder
    private let board = Board()
    private let isStopped = Flag()
    private let thread: Background<Void>

    /// Where the thread finds what it shall do.
    private final class Board: Sendable {
        let orders = Mutex(Orders())
    }

    fileprivate struct Orders: Sendable {
        var fault = Fault.none
        /// Counts the calls of ``freeze()`` and ``cut()``: what the thread has not done yet, it does.
        var freezes = 0
        var cuts = 0
    }

    package init(to redis: RedisServer) throws {
        folder = try TemporaryFolder()
        socketPath = folder.file("proxy")
        let listener = try ListeningSocket(socketPath)
        let board = board
        let isStopped = isStopped
        let path = redis.socketPath
        thread = Background {
            var relay = Relay(listener: listener, target: path)
            while !isStopped.isSet { relay.turn(board.orders.withLock { $0 }) }
            relay.closeAll()
        }
    }

    deinit {
        isStopped.set()
        try? thread.value()
    }

    /// The URL for a daemon.
    package var url: String { "unix://\(socketPath)" }

    /// From now on does this, on open connections and on new ones.
    package func set(_ fault: Fault) { board.orders.withLock { $0.fault = fault } }

    /// Nothing that Redis says on the connections open now arrives any more; they stay open.
    package func freeze() { board.orders.withLock { $0.freezes += 1 } }

    /// Ends the connections open now.
    package func cut() { board.orders.withLock { $0.cuts += 1 } }
}

/// One direction of a connection.
private struct Direction {
    static let maximumWaitingBytes = 1 << 20

    private var pieces: [(dueAt: Double, bytes: ArraySlice<UInt8>)] = []
    private(set) var waitingBytes = 0

    var hasRoom: Bool { waitingBytes < Self.maximumWaitingBytes }
    var nextDue: Double? { pieces.first?.dueAt }

    mutating func append(_ bytes: ArraySlice<UInt8>, dueAt: Double) {
        pieces.append((max(dueAt, pieces.last?.dueAt ?? 0), bytes))
        waitingBytes += bytes.count
    }

    /// Writes what is due; false where the other side is gone.
    mutating func write(to descriptor: CInt, now: Double) -> Bool {
        while let piece = pieces.first, piece.dueAt <= now {
            let count = piece.bytes.withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL | MSG_DONTWAIT))
            }
            if count < 0 { return errno == EAGAIN || errno == EINTR }
            waitingBytes -= count
            if count == piece.bytes.count {
                pieces.removeFirst()
            } else {
                pieces[0].bytes = piece.bytes.dropFirst(count)
            }
        }
        return true
    }
}

/// A daemon's connection and its other half, to Redis; the latter is missing where nobody shall answer.
private struct Pair {
    var client: CInt
    var server: CInt?
    var toServer = Direction()
    var toClient = Direction()
    var isFrozen = false
    /// Whether the client has sent SUBSCRIBE.
    var isSubscriber = false
    /// Ends when what waits for the client is written.
    var isEnding = false
    var isOver = false

    func end() {
        close(client)
        if let server { close(server) }
    }
}

/// The thread's own state.
private struct Relay {
    static let maximumPairs = 256

    let listener: ListeningSocket
    let target: String
    var pairs: [Pair] = []
    var done = FaultProxy.Orders()

    init(listener: ListeningSocket, target: String) {
        self.listener = listener
        self.target = target
    }

    mutating func turn(_ orders: FaultProxy.Orders) {
        if orders.freezes > done.freezes { for index in pairs.indices { pairs[index].isFrozen = true } }
        if orders.cuts > done.cuts { closeAll() }
        done = orders
        // At most 10 ms, so that new orders are seen.
        var pollers = [pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)]
        for pair in pairs {
            pollers.append(poller(pair.client, reads: pair.toServer.hasRoom))
            pollers.append(poller(pair.server ?? -1, reads: pair.toClient.hasRoom && !pair.isEnding))
        }
        guard poll(&pollers, nfds_t(pollers.count), waitMilliseconds()) >= 0 else { return }
        let now = monotonicMilliseconds()
        for index in pairs.indices {
            if pollers[1 + 2 * index].revents != 0 { readClient(index, orders.fault, now) }
            if pollers[2 + 2 * index].revents != 0 { readServer(index, orders.fault, now) }
            write(index, now)
        }
        for pair in pairs where pair.isOver { pair.end() }
        pairs.removeAll { $0.isOver }
        if pollers[0].revents != 0 { accept(orders.fault) }
    }

    mutating func closeAll() {
        for pair in pairs { pair.end() }
        pairs = []
    }

    private func poller(_ descriptor: CInt, reads: Bool) -> pollfd {
        pollfd(fd: reads ? descriptor : -1, events: Int16(POLLIN), revents: 0)
    }

    private func waitMilliseconds() -> CInt {
        let due = pairs.flatMap { [$0.toServer.nextDue, $0.toClient.nextDue] }.compactMap(\.self).min()
        guard let due else { return 10 }
        return CInt(min(10, max(1, (due - monotonicMilliseconds()).rounded(.up))))
    }

    private mutating func accept(_ fault: FaultProxy.Fault) {
        let client = Glibc.accept(listener.descriptor, nil, nil)
        guard client >= 0 else { return }
        _ = fcntl(client, F_SETFD, FD_CLOEXEC)
        guard pairs.count < Self.maximumPairs else {
            close(client)
            return
        }
        if case .deafToNewConnections = fault { return pairs.append(Pair(client: client)) }
        let server = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard server >= 0, withUnixAddress(target, { connect(server, $0, $1) }) == 0 else {
            if server >= 0 { close(server) }
            close(client)
            return
        }
        pairs.append(Pair(client: client, server: server))
    }

    private func read(_ descriptor: CInt) -> ArraySlice<UInt8>? {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, CInt(MSG_DONTWAIT))
        if count < 0, errno == EAGAIN || errno == EINTR { return [] }
        return count > 0 ? bytes[..<count] : nil
    }

    private mutating func readClient(_ index: Int, _ fault: FaultProxy.Fault, _ now: Double) {
        guard let bytes = read(pairs[index].client) else { return pairs[index].isOver = true }
        guard pairs[index].server != nil, !bytes.isEmpty else { return }
        if bytes.firstRange(of: "SUBSCRIBE".utf8) != nil { pairs[index].isSubscriber = true }
        pairs[index].toServer.append(bytes, dueAt: now + delay(fault))
    }

    private mutating func readServer(_ index: Int, _ fault: FaultProxy.Fault, _ now: Double) {
        guard let server = pairs[index].server else { return }
        guard let bytes = read(server) else { return pairs[index].isEnding = true }
        guard !pairs[index].isFrozen, !pairs[index].isEnding, !bytes.isEmpty else { return }
        switch fault {
        case .cutReplies:
            pairs[index].toClient.append(bytes.prefix(bytes.count / 2), dueAt: now)
            pairs[index].isEnding = true
        case .silentSubscriptions where pairs[index].isSubscriber: break
        case .replaceReplies(let others): pairs[index].toClient.append(others[...], dueAt: now)
        case .precedeReplies(let others): pairs[index].toClient.append((others + bytes)[...], dueAt: now)
        default: pairs[index].toClient.append(bytes, dueAt: now + delay(fault))
        }
    }

    private mutating func write(_ index: Int, _ now: Double) {
        if let server = pairs[index].server, !pairs[index].toServer.write(to: server, now: now) {
            pairs[index].isEnding = true
        }
        let isThere = pairs[index].toClient.write(to: pairs[index].client, now: now)
        if !isThere || (pairs[index].isEnding && pairs[index].toClient.nextDue == nil) { pairs[index].isOver = true }
    }

    private func delay(_ fault: FaultProxy.Fault) -> Double {
        if case .latency(let latency) = fault { latency.draw() } else { 0 }
    }
}
