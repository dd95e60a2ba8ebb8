import Glibc

/// The lock of a socket's path, held while the socket there is looked at, replaced or removed.
///
/// Every daemon takes it before it touches the path, so none can take away a socket that another has bound and not yet
/// listened on. It is an advisory lock on a file of its own beside the socket: who cannot write to the folder can
/// neither make that file nor open it, and so cannot hold the lock. The file is there only while somebody holds the
/// lock or waits for it. The kernel lets the lock go when this value ends, also when the process does.
struct PathLock: ~Copyable {
    /// What a lock's file is called, behind the name of the socket.
    static let suffix = ".lock"
    private static let pauseMilliseconds: CInt = 10

    /// The folder of the socket, in which names are looked up.
    let folder: CInt
    private let file: CInt
    private let name: String

    /// What one try to lock came to.
    private enum Attempt {
        case locked(CInt)
        /// Another process holds it.
        case held
        /// The file was taken away, or is just being made.
        case changed
    }

    /// Waits at most ``UnixListener/lockWaitMilliseconds``.
    init(_ location: SocketPath) throws(ListenerError) {
        let folder = try Self.openFolder(location)
        do throws(ListenerError) {
            file = try Self.lock(in: folder, location)
        } catch {
            close(folder)
            throw error
        }
        self.folder = folder
        name = location.name + Self.suffix
    }

    private static func openFolder(_ location: SocketPath) throws(ListenerError) -> CInt {
        let descriptor = open(location.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor < 0 else { return descriptor }
        switch errno {
        case ENOENT: throw .missingFolder(path: location.text, folder: location.folder)
        case ENOTDIR: throw .invalidPath(path: location.text, reason: "\(location.folder) is not a folder")
        default: throw .system(address: location.text, call: "open folder \(location.folder)", errorNumber: errno)
        }
    }

    private static func lock(in folder: CInt, _ location: SocketPath) throws(ListenerError) -> CInt {
        for _ in 0..<(UnixListener.lockWaitMilliseconds / Int(pauseMilliseconds)) {
            if case .locked(let descriptor) = try attempt(in: folder, location) { return descriptor }
            poll(nil, 0, pauseMilliseconds)
        }
        throw .pathLocked(path: location.text, lockFile: location.text + suffix)
    }

    private static func attempt(in folder: CInt, _ location: SocketPath) throws(ListenerError) -> Attempt {
        let name = location.name + suffix
        let descriptor = openFile(name, in: folder)
        guard descriptor >= 0 else { return try withoutFile(name, in: folder, location, errno) }
        var opened = stat()
        guard fstat(descriptor, &opened) == 0, isOurs(opened) else {
            close(descriptor)
            throw .foreignLockFile(path: location.text, lockFile: location.text + suffix)
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            return .held
        }
        // Who had the lock before has taken its file away: a lock on a file that nobody finds keeps nobody out.
        guard let found = status(of: name, in: folder), found.st_dev == opened.st_dev, found.st_ino == opened.st_ino
        else {
            close(descriptor)
            return .changed
        }
        return .locked(descriptor)
    }

    /// Makes the file, or opens the one there is; -1 with `errno`.
    private static func openFile(_ name: String, in folder: CInt) -> CInt {
        let flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        let descriptor = openat(folder, name, flags | O_CREAT | O_EXCL, 0o600)
        guard descriptor >= 0 else { return errno == EEXIST ? openat(folder, name, flags) : -1 }
        // The umask may have taken bits away, without which another daemon of this user could not open it.
        fchmod(descriptor, 0o600)
        return descriptor
    }

    /// What it means that there is no file to lock.
    private static func withoutFile(
        _ name: String, in folder: CInt, _ location: SocketPath, _ number: CInt
    ) throws(ListenerError) -> Attempt {
        guard let found = status(of: name, in: folder) else {
            if number == ENOENT { return .changed }
            throw .system(address: location.text, call: "make the file of its lock", errorNumber: number)
        }
        guard isOurs(found) else { throw .foreignLockFile(path: location.text, lockFile: location.text + suffix) }
        // It was just made: under a umask, and gets its mode in a moment, or again after it was not found.
        if number == EACCES || number == ENOENT { return .changed }
        throw .system(address: location.text, call: "open the file of its lock", errorNumber: number)
    }

    /// A file of this user's: nobody else but root can have opened one of mode 0600.
    private static func isOurs(_ status: stat) -> Bool {
        status.st_mode & S_IFMT == S_IFREG && status.st_uid == geteuid()
    }

    private static func status(of name: String, in folder: CInt) -> stat? {
        var status = stat()
        return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status : nil
    }

    /// What has that name in the folder (a link itself, not its target), or nil with `errno`.
    func status(of name: String) -> stat? { Self.status(of: name, in: folder) }

    deinit {
        // Before the lock is let go: whoever has the file open already then finds that it is another, or none.
        unlinkat(folder, name, 0)
        close(file)
        close(folder)
    }
}
