import DaemonConfiguration
import Glibc
import HTTPServer
import Listeners

/// The listening sockets of the daemon: its own, or those systemd hands over in their place.
struct ListeningSockets: Sendable {
    /// What is spoken at a socket.
    enum Speech: Sendable {
        /// HTTP/1.1, for an audience.
        case http(RateLimitServer.Audience)
        /// gRPC over HTTP/2, encrypted or in the clear.
        case grpc(ServerTLS?)
    }

    struct Socket: Sendable {
        var name: String
        var socket: CInt
        var speech: Speech
        /// The file of the daemon's own socket; nil for TCP and for what systemd holds.
        var file: UnixListener?
        /// Whether systemd holds it.
        var isActivated = false

        /// The same socket at its path, whose file is gone.
        func openedAgain() throws(ListenerError) -> Socket {
            guard let file else { return self }
            let again = try file.openedAgain()
            return Socket(name: name, socket: again.fileDescriptor, speech: speech, file: again)
        }
    }

    private(set) var all: [Socket] = []

    /// Opens what the settings name, all or nothing. Nobody can connect before a file has its mode and group.
    static func open(_ settings: Settings) throws(ListenerError) -> ListeningSockets {
        let activated = try ActivatedSockets.fromEnvironment(processEnvironment(), processIdentifier: getpid())
        var sockets = ListeningSockets()
        do throws(ListenerError) {
            try sockets.open(settings, activated)
            return sockets
        } catch {
            sockets.remove()
            throw error
        }
    }

    private mutating func open(_ settings: Settings, _ activated: ActivatedSockets) throws(ListenerError) {
        if let socket = activated.check {
            all.append(Socket(name: "systemd:check", socket: socket, speech: .http(.everyone), isActivated: true))
        } else {
            try open(settings.socketPath, settings.socketMode, settings.socketGroup, .http(.everyone))
        }
        if let socket = activated.admin {
            all.append(Socket(name: "systemd:admin", socket: socket, speech: .http(.admin), isActivated: true))
        } else if let path = settings.adminSocketPath {
            try open(path, 0o600, nil, .http(.admin))
        }
        if let socket = activated.tcp {
            if !settings.isListenPublic { try TCPListener.requireLoopback(socket) }
            all.append(Socket(name: "systemd:tcp", socket: socket, speech: .http(.everyone), isActivated: true))
        } else if let address = settings.listenAddress {
            for listener in try TCPListener.open("\(address)", allowPublic: settings.isListenPublic) {
                all.append(Socket(name: listener.name, socket: listener.fileDescriptor, speech: .http(.everyone)))
            }
        }
        try openGRPC(settings, activated.grpc)
    }

    private mutating func openGRPC(_ settings: Settings, _ activated: CInt?) throws(ListenerError) {
        let tls = settings.grpcTLS
        if let socket = activated {
            let isUnix = PeerCredentials.areKnown(on: socket)
            if !isUnix, !settings.isListenPublic { try TCPListener.requireLoopback(socket) }
            all.append(
                Socket(name: "systemd:grpc", socket: socket, speech: .grpc(isUnix ? nil : tls), isActivated: true))
        } else if let path = settings.grpcSocketPath {
            try open(path, settings.socketMode, settings.socketGroup, .grpc(nil))
        }
        guard let address = settings.grpcListenAddress else { return }
        for listener in try TCPListener.open("\(address)", allowPublic: settings.isListenPublic) {
            all.append(Socket(name: "grpc:\(listener.name)", socket: listener.fileDescriptor, speech: .grpc(tls)))
        }
    }

    private mutating func open(
        _ path: String, _ mode: UInt16, _ group: String?, _ speech: Speech
    ) throws(ListenerError) {
        let listener = try UnixListener.open(path: path, mode: UInt32(mode), group: group)
        all.append(Socket(name: path, socket: listener.fileDescriptor, speech: speech, file: listener))
    }

    /// Removes the files of the daemon's own sockets, where they are still its own.
    func remove() {
        for socket in all { socket.file?.removeIfStillOurs() }
    }
}
