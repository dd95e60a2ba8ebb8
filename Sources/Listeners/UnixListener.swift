import Glibc

/// A listening Unix socket whose file has the configured mode and group before anybody can connect.
///
/// The descriptor is the caller's, who closes it (or hands it to a server that does).
public struct UnixListener: Sendable {
    /// The longest path in bytes: what `sockaddr_un` holds beside the zero byte at its end.
    public static let maximumPathBytes = 107
    /// How long ``open(path:mode:group:)`` waits for another daemon that is just starting at the same path.
    public static let lockWaitMilliseconds = 2_000

    /// The listening socket: not blocking, closed on exec.
    public let fileDescriptor: CInt
    /// Where clients connect, as it was given.
    public var path: String { location.text }

    private let location: SocketPath
    private let device: dev_t
    private let inode: ino_t
    private var mode: UInt32 = 0
    private var group: String?

    /// What is at the path of a socket.
    public enum Presence: Sendable {
        /// Its file.
        case ours
        /// Nothing: nobody can connect.
        case gone
        /// A file of somebody else.
        case another
    }

    /// Listens at `path`, replacing a socket there on which nobody listens any more.
    ///
    /// - Parameters:
    ///   - path: 1 to ``maximumPathBytes`` bytes; the folder must exist.
    ///   - mode: The file's permission bits, at most 0777, exact under any umask.
    ///   - group: A group's name or number; nil leaves the process's own.
    /// - Throws: ``ListenerError``; nothing is left behind, and nothing but a stale socket has been removed.
    public static func open(
        path: String,
        mode: UInt32 = 0o660,
        group: String? = nil
    ) throws(ListenerError) -> UnixListener {
        let location = try SocketPath(path)
        guard mode <= 0o777 else { throw .invalidMode(mode) }
        var groupNumber: gid_t?
        if let group { groupNumber = try groupIdentifier(group) }

        let lock = try PathLock(location)
        try removeStaleSocket(at: location, lock)
        var bound = try bindUnreachable(at: location, lock)
        bound.mode = mode
        bound.group = group
        do throws(ListenerError) {
            try bound.setAccess(mode: mode, group: groupNumber, lock)
            try bound.startListening()
        } catch {
            unlinkat(lock.folder, location.name, 0)
            close(bound.fileDescriptor)
            throw error
        }
        return bound
    }

    /// What is at the path now.
    public var presence: Presence {
        var status = stat()
        guard lstat(path, &status) == 0 else { return errno == ENOENT ? .gone : .another }
        return status.st_dev == device && status.st_ino == inode ? .ours : .another
    }

    /// Listens at the same path with the same mode and group once more; the old descriptor stays the caller's.
    public func openedAgain() throws(ListenerError) -> UnixListener {
        try Self.open(path: path, mode: mode, group: group)
    }

    /// Removes the socket file at shutdown, unless another daemon's (or nothing) has the path by now.
    ///
    /// To be called before the descriptor is closed: until then the kernel cannot give the file's inode number to
    /// another file. Waits at most ``lockWaitMilliseconds``, and leaves the file where the path stays locked.
    ///
    /// - Returns: Whether a file was removed.
    @discardableResult
    public func removeIfStillOurs() -> Bool {
        guard let lock = try? PathLock(location) else { return false }
        guard let status = lock.status(of: location.name) else { return false }
        guard status.st_dev == device, status.st_ino == inode else { return false }
        return unlinkat(lock.folder, location.name, 0) == 0
    }
}

// The steps of `open`, in their order.
extension UnixListener {
    /// Makes the path free, or says who has it.
    static func removeStaleSocket(at location: SocketPath, _ lock: borrowing PathLock) throws(ListenerError) {
        guard let status = lock.status(of: location.name) else {
            if errno == ENOENT { return }
            throw .system(address: location.text, call: "stat", errorNumber: errno)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path: location.text) }

        let probe = makeStreamSocket(family: AF_UNIX)
        guard probe >= 0 else { throw .system(address: location.text, call: "socket", errorNumber: errno) }
        defer { close(probe) }
        let result = withUnixAddress(location.bytes) { connect(probe, $0, $1) == 0 ? 0 : errno }
        switch result {
        // EAGAIN: its backlog is full; EPROTOTYPE: a datagram socket. Somebody is there.
        case 0, EAGAIN, EPROTOTYPE:
            throw .alreadyInUse(address: location.text)
        case ENOENT:
            return
        case ECONNREFUSED:
            guard unlinkat(lock.folder, location.name, 0) == 0 || errno == ENOENT else {
                throw .system(address: location.text, call: "remove the stale socket", errorNumber: errno)
            }
        default:
            throw .system(address: location.text, call: "connect, to see whether a daemon answers", errorNumber: result)
        }
    }

    /// Binds a socket to which nobody can connect: its file has no permission bits, and it does not listen.
    static func bindUnreachable(
        at location: SocketPath,
        _ lock: borrowing PathLock
    ) throws(ListenerError) -> UnixListener {
        let descriptor = makeStreamSocket(family: AF_UNIX)
        guard descriptor >= 0 else { throw .system(address: location.text, call: "socket", errorNumber: errno) }
        // Linux gives the file the mode of the unbound socket less the umask. Mode 0 this way needs no change of the
        // umask, which is the whole process's and would reach files that other threads create meanwhile.
        guard fchmod(descriptor, 0) == 0, withUnixAddress(location.bytes, { bind(descriptor, $0, $1) }) == 0 else {
            let number = errno
            close(descriptor)
            if number == EADDRINUSE { throw .alreadyInUse(address: location.text) }
            throw .system(address: location.text, call: "bind", errorNumber: number)
        }
        guard let status = lock.status(of: location.name), status.st_mode & S_IFMT == S_IFSOCK else {
            close(descriptor)
            throw .notASocket(path: location.text)
        }
        return UnixListener(
            fileDescriptor: descriptor,
            location: location,
            device: status.st_dev,
            inode: status.st_ino
        )
    }

    /// Sets group and then mode, so that at no moment the wrong group has the right mode.
    func setAccess(mode: UInt32, group: gid_t?, _ lock: borrowing PathLock) throws(ListenerError) {
        if let group, fchownat(lock.folder, location.name, uid_t.max, group, AT_SYMLINK_NOFOLLOW) != 0 {
            throw .system(address: path, call: "give the socket to group \(group)", errorNumber: errno)
        }
        guard fchmodat(lock.folder, location.name, mode, AT_SYMLINK_NOFOLLOW) == 0 else {
            throw .system(address: path, call: "set mode 0\(String(mode, radix: 8))", errorNumber: errno)
        }
    }

    func startListening() throws(ListenerError) {
        guard listen(fileDescriptor, listenBacklog) == 0 else {
            throw .system(address: path, call: "listen", errorNumber: errno)
        }
    }
}
