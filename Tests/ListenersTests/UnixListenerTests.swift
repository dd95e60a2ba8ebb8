import Glibc
import TestSupport
import Testing

@testable import Listeners

@Suite("A Unix listener")
struct UnixListenerTests {
    let folder: TemporaryFolder
    let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.file("a.sock")
    }

    @Test("Clients connect, and the descriptor neither blocks nor reaches children")
    func connects() throws {
        let listener = try UnixListener.open(path: path)
        defer { close(listener.fileDescriptor) }
        #expect(connectError(path) == 0)
        let client = accept(listener.fileDescriptor, nil, nil)
        #expect(client >= 0)
        close(client)
        #expect(accept(listener.fileDescriptor, nil, nil) == -1 && errno == EAGAIN)
        #expect(fcntl(listener.fileDescriptor, F_GETFD) & FD_CLOEXEC != 0)
        #expect(listener.path == path)
    }

    @Test("The path of a listening process is refused, and still answers")
    func live() throws {
        let listener = try UnixListener.open(path: path)
        defer { close(listener.fileDescriptor) }
        let error = listenerError { () throws(ListenerError) in try UnixListener.open(path: path) }
        #expect(error == .alreadyInUse(address: path))
        #expect("\(error!)".hasPrefix("cannot listen on \(path): another process answers there"))
        #expect(connectError(path) == 0)
    }

    @Test("A listening process whose backlog is full still counts as alive")
    func fullBacklog() throws {
        let live = try boundSocket(path, type: SOCK_STREAM)
        defer { close(live) }
        listen(live, 0)
        var clients: [CInt] = []
        var result: CInt = 0
        while result == 0, clients.count < 16 {
            clients.append(makeStreamSocket(family: AF_UNIX))
            result = withUnixAddress(Array(path.utf8)) { connect(clients.last!, $0, $1) == 0 ? 0 : errno }
        }
        defer { for client in clients { close(client) } }
        #expect(result == EAGAIN)
        #expect(
            listenerError { () throws(ListenerError) in try UnixListener.open(path: path) }
                == .alreadyInUse(address: path)
        )
    }

    @Test("A socket that a dead process left is replaced")
    func stale() throws {
        close(try boundSocket(path, type: SOCK_STREAM))
        #expect(connectError(path) == ECONNREFUSED)
        let listener = try UnixListener.open(path: path, mode: 0o600)
        defer { close(listener.fileDescriptor) }
        #expect(connectError(path) == 0)
        #expect(access(of: path)?.mode == 0o600)
    }

    @Test("A file that is gone is told from one that is another's, and made again with its mode")
    func openedAgain() throws {
        let listener = try UnixListener.open(path: path, mode: 0o640)
        defer { close(listener.fileDescriptor) }
        #expect(listener.presence == .ours)
        unlink(path)
        #expect(listener.presence == .gone)
        let again = try listener.openedAgain()
        defer { close(again.fileDescriptor) }
        #expect(again.presence == .ours && listener.presence == .another)
        #expect(access(of: path)?.mode == 0o640 && connectError(path) == 0)
        #expect(!listener.removeIfStillOurs() && again.removeIfStillOurs())
    }

    @Test("A file, a link and a folder at the path are refused and left alone")
    func notASocket() throws {
        let other = folder.file("other")
        close(creat(other, 0o644))
        for name in ["other", "link", "dangling"] {
            if name == "link" { symlink(other, folder.file(name)) }
            if name == "dangling" { symlink("/nowhere/at/all", folder.file(name)) }
            let taken = folder.file(name)
            let error = listenerError { () throws(ListenerError) in try UnixListener.open(path: taken) }
            #expect(error == .notASocket(path: taken))
            #expect(access(of: taken) != nil)
        }
        #expect(access(of: other)?.mode == 0o644)
    }

    @Test("Of many starting at the same moment over a stale socket, exactly one gets the path")
    func simultaneous() async throws {
        for _ in 0..<10 {
            close(try boundSocket(path, type: SOCK_STREAM))
            let results = await withTaskGroup(of: Result<UnixListener, ListenerError>.self) { group in
                for _ in 0..<8 {
                    group.addTask { [path] in
                        Result { () throws(ListenerError) in try UnixListener.open(path: path) }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            let winners = results.compactMap { try? $0.get() }
            #expect(winners.count == 1)
            #expect(connectError(path) == 0)
            for case .failure(let error) in results { #expect(error == .alreadyInUse(address: path)) }
            for winner in winners {
                #expect(winner.removeIfStillOurs())
                close(winner.fileDescriptor)
            }
        }
    }

    @Test("While daemons start and end at one path without a pause, each that got it answers there until it ends")
    func comingAndGoing() async throws {
        let served = Tally()
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask { [path, served] in
                    for _ in 0..<100 {
                        guard let listener = try? UnixListener.open(path: path) else { continue }
                        served.add()
                        #expect(connectError(path) == 0 && listener.presence == .ours)
                        #expect(listener.removeIfStillOurs())
                        close(listener.fileDescriptor)
                    }
                }
            }
        }
        #expect(served.value > 0)
        #expect(access(of: path) == nil && access(of: path + PathLock.suffix) == nil)
    }

    @Test("Nobody can connect before group and mode are right")
    func notYet() throws {
        let lock = try PathLock(SocketPath(path))
        let bound = try UnixListener.bindUnreachable(at: SocketPath(path), lock)
        defer { close(bound.fileDescriptor) }
        #expect(access(of: path)?.mode == 0)
        // Mode 0 refuses everybody but root, whom the missing listen() refuses.
        #expect([ECONNREFUSED, EACCES].contains(connectError(path)))
        try bound.setAccess(mode: 0o660, group: nil, lock)
        #expect(connectError(path) == ECONNREFUSED)
        try bound.startListening()
        #expect(connectError(path) == 0)
    }

    @Test("At shutdown the file is removed, unless it is another daemon's by then")
    func removal() throws {
        let first = try UnixListener.open(path: path)
        defer { close(first.fileDescriptor) }
        unlink(path)
        #expect(!first.removeIfStillOurs())
        let second = try UnixListener.open(path: path)
        defer { close(second.fileDescriptor) }
        #expect(!first.removeIfStillOurs())
        #expect(connectError(path) == 0)
        #expect(second.removeIfStillOurs())
        #expect(access(of: path) == nil)
        #expect(!second.removeIfStillOurs())
    }

    @Test("A failure leaves no file behind")
    func cleanFailure() throws {
        let error = listenerError { () throws(ListenerError) in try UnixListener.open(path: path, mode: 0o1777) }
        #expect(error == .invalidMode(0o1777))
        let unknown = listenerError { () throws(ListenerError) in
            try UnixListener.open(path: path, group: "no-such-group-here")
        }
        #expect(unknown == .unknownGroup("no-such-group-here"))
        #expect(access(of: path) == nil)
    }

    @Test("A folder that is missing is an error that says how to make it")
    func missingFolder() throws {
        let lost = folder.file("lost/a.sock")
        let missing = listenerError { () throws(ListenerError) in try UnixListener.open(path: lost) }
        #expect(missing == .missingFolder(path: lost, folder: folder.file("lost")))
        #expect("\(missing!)".hasSuffix("make it with: mkdir -p \(folder.file("lost"))"))
    }

    @Test("Paths that no socket can have are refused before anything is touched")
    func paths() throws {
        let longest = folder.path + "/" + String(repeating: "x", count: 107 - folder.path.utf8.count - 1)
        let listener = try UnixListener.open(path: longest)
        #expect(connectError(longest) == 0)
        close(listener.fileDescriptor)
        for bad in ["", "/", longest + "x", "/tmp/", "/tmp/..", ".", "a\u{0}b"] {
            let error = listenerError { () throws(ListenerError) in try UnixListener.open(path: bad) }
            guard case .invalidPath(bad, _) = error else {
                Issue.record("\(bad): \(String(describing: error))")
                continue
            }
        }
        #expect(try SocketPath("a.sock").folder == ".")
        #expect(try SocketPath("/a.sock") == SocketPath("/a.sock") && SocketPath("/a.sock").folder == "/")
    }

    @Test("The peer's process, user and group are told; what is no Unix connection tells nothing")
    func peer() throws {
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends) == 0)
        defer { for end in ends { close(end) } }
        let peer = try #require(PeerCredentials(fileDescriptor: ends[0]))
        #expect(peer.processIdentifier == getpid())
        #expect(peer.userIdentifier == geteuid() && peer.groupIdentifier == getegid())
        let network = makeStreamSocket(family: AF_INET)
        defer { close(network) }
        #expect(PeerCredentials(fileDescriptor: network) == nil)
        #expect(PeerCredentials(fileDescriptor: -1) == nil)
    }
}

/// The umask is the whole process's, so each of these runs in a process of its own.
@Suite("Under a hostile umask")
struct UmaskTests {
    @Test("The mode is exactly the configured one", arguments: [0, 0o777, 0o022, 0o077] as [mode_t])
    func exactMode(mask: mode_t) async {
        await #expect(processExitsWith: .success) { [mask] in
            let folder = try TemporaryFolder()
            umask(mask)
            for mode: UInt32 in [0o660, 0o600, 0o666, 0o777, 0o000] {
                let path = folder.file("\(mode).sock")
                let listener = try UnixListener.open(path: path, mode: mode)
                #expect(access(of: path)?.mode == mode)
                close(listener.fileDescriptor)
            }
        }
    }

    @Test("Before it listens the file has no permission at all", arguments: [0, 0o777] as [mode_t])
    func unreachable(mask: mode_t) async {
        await #expect(processExitsWith: .success) { [mask] in
            let folder = try TemporaryFolder()
            let path = folder.file("a.sock")
            umask(mask)
            let lock = try PathLock(SocketPath(path))
            let bound = try UnixListener.bindUnreachable(at: try SocketPath(path), lock)
            #expect(access(of: path)?.mode == 0)
            close(bound.fileDescriptor)
        }
    }
}

@Suite("The group of a Unix listener")
struct GroupTests {
    @Test("The group is the configured one, by name or by number", .enabled(if: geteuid() == 0, "only root can"))
    func group() throws {
        let folder = try TemporaryFolder()
        let entry = try #require(getgrnam("daemon"))
        let number = entry.pointee.gr_gid
        for group in ["daemon", "\(number)"] {
            let path = folder.file("\(group).sock")
            let listener = try UnixListener.open(path: path, mode: 0o660, group: group)
            let found = try #require(access(of: path))
            #expect(found == (0o660, number))
            close(listener.fileDescriptor)
        }
    }
}
