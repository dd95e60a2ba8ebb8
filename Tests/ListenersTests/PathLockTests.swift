import Glibc
import TestSupport
import Testing

@testable import Listeners

@Suite("The lock of a socket's path")
struct PathLockTests {
    let folder: TemporaryFolder
    let path: String
    let lockFile: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.file("a.sock")
        lockFile = folder.file("a.sock.lock")
    }

    /// Makes the folder one that everybody can look into and only this user can write to.
    private func show() { chmod(folder.path, 0o755) }

    @Test("Its file is this user's alone while it is held, and gone with it, whatever the umask")
    func file() async {
        await #expect(processExitsWith: .success) {
            for mask: mode_t in [0, 0o777, 0o022] {
                umask(mask)
                let folder = try TemporaryFolder()
                let path = folder.file("a.sock")
                do {
                    let lock = try PathLock(SocketPath(path))
                    #expect(access(of: path + ".lock")?.mode == 0o600)
                    _ = lock.folder
                }
                #expect(access(of: path + ".lock") == nil)
            }
        }
    }

    @Test("A daemon that starts leaves nothing but its socket, and one that ends leaves nothing")
    func nothingLeft() throws {
        let listener = try UnixListener.open(path: path)
        defer { close(listener.fileDescriptor) }
        #expect(access(of: lockFile) == nil)
        #expect(listener.removeIfStillOurs())
        #expect(access(of: lockFile) == nil && access(of: path) == nil)
    }

    @Test("While another process of this user holds it, the path is left alone, with an error that names the file")
    func held() throws {
        let listener = try UnixListener.open(path: path)
        defer { close(listener.fileDescriptor) }
        let other = folder.file("b.sock")
        let lock = try PathLock(SocketPath(other))
        let error = listenerError { () throws(ListenerError) in try UnixListener.open(path: other) }
        #expect(error == .pathLocked(path: other, lockFile: other + ".lock"))
        // Another path of the folder is another lock.
        #expect(listener.removeIfStillOurs())
        _ = lock.folder
    }

    @Test("A file that a process left which ended while it held the lock is nobody's lock")
    func leftBehind() throws {
        close(creat(lockFile, 0o600))
        let listener = try UnixListener.open(path: path)
        close(listener.fileDescriptor)
        #expect(access(of: lockFile) == nil)
    }

    @Test("The lock is one by whatever way the folder is named")
    func otherName() throws {
        let link = folder.file("link")
        symlink(folder.path, link)
        let lock = try PathLock(SocketPath(path))
        let error = listenerError { () throws(ListenerError) in try UnixListener.open(path: "\(link)/a.sock") }
        #expect(error == .pathLocked(path: "\(link)/a.sock", lockFile: "\(link)/a.sock.lock"))
        _ = lock.folder
    }

    @Test("Of many that lock, hold and let go, two never hold it at once")
    func exclusive() async throws {
        let shared = Tally()
        let mark = folder.file("held")
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask { [path, mark, shared] in
                    for _ in 0..<200 {
                        guard let lock = try? PathLock(SocketPath(path)) else { continue }
                        // Two that hold it would both want to make this.
                        if mkdir(mark, 0o700) != 0 { shared.add() }
                        rmdir(mark)
                        _ = lock.folder
                    }
                }
            }
        }
        #expect(shared.value == 0)
    }

    @Test("A link, a folder, a socket and a file of another user in its place are left alone, with an error")
    func foreign() throws {
        let target = try folder.write("precious", to: "target", mode: 0o644)
        let makers: [() throws -> Void] = [
            { symlink(target, lockFile) }, { mkdir(lockFile, 0o700) },
            { close(try boundSocket(lockFile, type: SOCK_STREAM)) }, { mkfifo(lockFile, 0o600) },
            {
                close(creat(lockFile, 0o666))
                chown(lockFile, 65_534, 65_534)
            },
        ]
        for make in geteuid() == 0 ? makers[...] : makers.dropLast() {
            try make()
            let error = listenerError { () throws(ListenerError) in try UnixListener.open(path: path) }
            #expect(error == .foreignLockFile(path: path, lockFile: lockFile))
            #expect(access(of: lockFile) != nil && access(of: path) == nil)
            if unlink(lockFile) != 0 { rmdir(lockFile) }
        }
        #expect(readFile(target) == "precious" && access(of: target)?.mode == 0o644)
    }

    @Test(
        "A user who cannot write to the folder keeps no daemon from starting, nor from removing its socket",
        .enabled(if: geteuid() == 0, "only root can become another user"))
    func otherUser() throws {
        show()
        let asOther = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "flock", "--no-fork"]
        let held = try ChildProcess("setpriv", asOther + [folder.path, "sleep", "60"])
        // Held, once a second of that user does not get it.
        #expect(
            try eventually(within: 20) {
                try ChildProcess("setpriv", asOther + ["--nonblock", folder.path, "true"]).wait() == 1
            })
        let listener = try UnixListener.open(path: path)
        defer { close(listener.fileDescriptor) }
        #expect(connectError(path) == 0)
        // The lock's own file cannot be made, nor opened while it is there.
        #expect(try ChildProcess("setpriv", asOther + ["--nonblock", lockFile, "true"]).wait() != 0)
        do {
            let lock = try PathLock(SocketPath(path))
            #expect(try ChildProcess("setpriv", asOther + ["--nonblock", lockFile, "true"]).wait() != 0)
            _ = lock.folder
        }
        #expect(listener.removeIfStillOurs() && access(of: path) == nil)
        held.end()
    }
}
