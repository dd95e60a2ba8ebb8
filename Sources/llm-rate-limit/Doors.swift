import DaemonConfiguration
import Gateway
import Glibc
import Listeners

/// The listening sockets of the daemon: its own, or those systemd hands over in their place.
struct Doors: Sendable {
    struct Door: Sendable {
        var name: String
        var socket: CInt
        var kind: GatewayServer.Door
        /// The file of the daemon's own socket; nil for TCP and for what systemd holds.
        var file: UnixListener?
        /// Whether systemd holds it.
        var isActivated = false

        /// The same door at its path, whose file is gone.
        func openedAgain() throws(ListenerError) -> Door {
            guard let file else { return self }
            let again = try file.openedAgain()
            return Door(name: name, socket: again.fileDescriptor, kind: kind, file: again)
        }
    }

    private(set) var all: [Door] = []

    /// Opens what the settings name, all or nothing. Nobody can connect before a file has its mode and group.
    static func open(_ settings: Settings) throws(ListenerError) -> Doors {
        let activated = try ActivatedSockets.fromEnvironment(processEnvironment(), processIdentifier: getpid())
        var doors = Doors()
        do throws(ListenerError) {
            try doors.open(settings, activated)
            return doors
        } catch {
            doors.remove()
            throw error
        }
    }

    private mutating func open(_ settings: Settings, _ activated: ActivatedSockets) throws(ListenerError) {
        if let socket = activated.check {
            all.append(Door(name: "systemd:check", socket: socket, kind: .everyone, isActivated: true))
        } else {
            try open(settings.socketPath, settings.socketMode, settings.socketGroup, .everyone)
        }
        if let socket = activated.admin {
            all.append(Door(name: "systemd:admin", socket: socket, kind: .admin, isActivated: true))
        } else if let path = settings.adminSocketPath {
            try open(path, 0o600, nil, .admin)
        }
        if let socket = activated.tcp {
            if !settings.isListenPublic { try TCPListener.requireLoopback(socket) }
            all.append(Door(name: "systemd:tcp", socket: socket, kind: .everyone, isActivated: true))
        } else if let address = settings.listenAddress {
            for listener in try TCPListener.open("\(address)", allowPublic: settings.isListenPublic) {
                all.append(Door(name: listener.name, socket: listener.fileDescriptor, kind: .everyone))
            }
        }
    }

    private mutating func open(
        _ path: String, _ mode: UInt16, _ group: String?, _ kind: GatewayServer.Door
    ) throws(ListenerError) {
        let listener = try UnixListener.open(path: path, mode: UInt32(mode), group: group)
        all.append(Door(name: path, socket: listener.fileDescriptor, kind: kind, file: listener))
    }

    /// Removes the files of the daemon's own sockets, where they are still its own.
    func remove() {
        for door in all { door.file?.removeIfStillOurs() }
    }
}
