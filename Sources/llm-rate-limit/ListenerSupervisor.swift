import GRPCServer
import HTTPServer
import Listeners
import Logging
import NIOCore
import RateLimitCore

/// The listening sockets with the channels that accept at them, and the watch over the files of the daemon's own sockets.
///
/// Whoever cleans up a folder may take a socket's file away. The clients that are connected notice nothing, and nobody
/// can connect any more, also not a supervisor that would then restart the daemon. So the file is looked for twice a
/// second, and where it is gone the daemon listens at the path again.
actor ListenerSupervisor {
    /// How often the files are looked for.
    static let watchInterval = Duration.milliseconds(500)

    /// How long those who have connected already may wait to be accepted at the end.
    static let lastAccepts = Duration.milliseconds(20)

    private struct Listener {
        var socket: ListeningSockets.Socket
        var channel: any Channel
        /// What was last said about its file, so that it is said once.
        var reported: String?
    }

    private let servers: DaemonServers
    private let logger: Logger
    private var listeners: [Listener] = []
    private var isClosing = false

    init(_ sockets: ListeningSockets, servers: DaemonServers, logger: Logger) async throws {
        self.servers = servers
        self.logger = logger
        for socket in sockets.all {
            listeners.append(Listener(socket: socket, channel: try await servers.listen(on: socket)))
        }
    }

    /// Watches until the task is cancelled.
    func watch() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.watchInterval)
            for index in listeners.indices where !isClosing { await look(at: index) }
        }
    }

    /// Takes the files away and accepts no more.
    func close() async {
        isClosing = true
        // The files go first, so that nobody connects to a daemon that is leaving.
        for listener in listeners { listener.socket.file?.removeIfStillOurs() }
        // Who waits in a socket of the service manager's is left to the next daemon; in one that ends here, to nobody.
        for listener in listeners where listener.socket.isActivated { try? await listener.channel.close() }
        try? await Task.sleep(for: Self.lastAccepts)
        for listener in listeners where !listener.socket.isActivated { try? await listener.channel.close() }
    }

    private func look(at index: Int) async {
        let listener = listeners[index]
        switch listener.socket.file?.presence {
        case nil, .ours: listeners[index].reported = nil
        case .another:
            // Another daemon's, perhaps, that was started in this one's place: it is left alone.
            report(index, "something else is at the path of the socket: nobody new can connect here")
        case .gone: await openAgain(index)
        }
    }

    private func openAgain(_ index: Int) async {
        do {
            let socket = try listeners[index].socket.openedAgain()
            let channel = try await servers.listen(on: socket)
            // The actor was free meanwhile, and the daemon may have begun to leave.
            guard !isClosing else {
                socket.file?.removeIfStillOurs()
                return try await channel.close()
            }
            let old = listeners[index].channel
            listeners[index] = Listener(socket: socket, channel: channel)
            logger.warning("the file of the socket was gone: listening again", metadata: ["path": "\(socket.name)"])
            try? await old.close()
        } catch {
            report(index, "the file of the socket is gone: \(error)")
        }
    }

    private func report(_ index: Int, _ text: String) {
        guard listeners[index].reported != text else { return }
        listeners[index].reported = text
        logger.error("\(text)", metadata: ["path": "\(listeners[index].socket.name)"])
    }
}

/// The servers that answer at the daemon's sockets.
struct DaemonServers: Sendable {
    let http: RateLimitServer
    let grpc: GRPCServer

    /// Accepts at a socket, as what is spoken there.
    func listen(on socket: ListeningSockets.Socket) async throws -> any Channel {
        switch socket.speech {
        case .http(let audience): try await http.listen(on: socket.socket, for: audience)
        case .grpc(let tls): try await grpc.listen(on: socket.socket, tls: tls)
        }
    }

    /// Has callers named by other rules, and answered with other headers, from the next on.
    func apply(_ callers: CallerRules, _ quotaHeaders: QuotaHeaders) {
        http.apply(callers, quotaHeaders)
        grpc.apply(callers, quotaHeaders)
    }

    /// Has probes told that the daemon ends soon; all goes on.
    func beginDraining() {
        http.beginDraining()
        grpc.beginDraining()
    }

    /// Closes connections as soon as nothing is owed on them, and all that are left after `patience`.
    func close(patience: TimeAmount) async {
        async let answered: Void = http.close(patience: patience)
        await grpc.close(patience: patience)
        // One that is not awaited would be cancelled here, and wait no longer.
        await answered
    }
}
