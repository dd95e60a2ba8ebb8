import Glibc

/// Where a load goes: a Unix socket, or a host and port.
public enum Endpoint: Sendable, Equatable, CustomStringConvertible {
    /// A Unix stream socket; at most 107 bytes of path.
    case unixSocket(path: String)
    /// A TCP listener; the host is a name or an address, an IPv6 address without brackets.
    case tcp(host: String, port: UInt16)

    /// How long a connect, a send or an answer may take, in seconds.
    static let patienceSeconds = 5

    /// Reads a path, `host:port` or `[address]:port`. Whatever contains a slash or no colon is a path.
    public init(_ text: String) throws(LoadError) {
        if text.contains("/") || !text.isEmpty && !text.contains(":") {
            self = .unixSocket(path: text)
            return
        }
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0,
            colon > text.startIndex
        else {
            throw .invalid(option: "address", value: text, accepted: "the path of a Unix socket, or host:port")
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        self = .tcp(host: String(host), port: port)
    }

    /// As it is written on the command line.
    public var description: String {
        switch self {
        case .unixSocket(let path): path
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }

    /// Opens a blocking connection, each of whose calls gives up after 5 seconds. The caller closes it.
    func connect() throws(LoadError) -> Int32 {
        switch self {
        case .unixSocket(let path): try connectUnix(path)
        case .tcp(let host, let port): try connectTCP(host, port)
        }
    }

    private func connectUnix(_ path: String) throws(LoadError) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard !bytes.isEmpty, bytes.count < room else {
            throw .invalid(option: "socket path", value: path, accepted: "1 to \(room - 1) bytes")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let descriptor = try open(AF_UNIX)
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, length) }
        }
        return try checked(descriptor, result)
    }

    private func connectTCP(_ host: String, _ port: UInt16) throws(LoadError) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &found)
        guard status == 0, let found else {
            throw .cannotConnect(target: description, reason: String(cString: gai_strerror(status)))
        }
        defer { freeaddrinfo(found) }
        let descriptor = try open(found.pointee.ai_family)
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        return try checked(descriptor, Glibc.connect(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen))
    }

    /// The time-outs hold for connect too, which otherwise waits for ever on a listener whose queue is full.
    private func open(_ family: Int32) throws(LoadError) -> Int32 {
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .system(call: "open a socket", reason: systemReason()) }
        var patience = timeval(tv_sec: Self.patienceSeconds, tv_usec: 0)
        let length = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, length)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, length)
        return descriptor
    }

    private func checked(_ descriptor: Int32, _ result: Int32) throws(LoadError) -> Int32 {
        if result == 0 { return descriptor }
        let code = errno
        close(descriptor)
        if code == EAGAIN || code == EINPROGRESS { throw .noAnswer(target: description) }
        throw .cannotConnect(target: description, reason: systemReason(code))
    }
}

/// The system's own word for an error number.
func systemReason(_ code: Int32 = errno) -> String {
    String(cString: strerror(code))
}

/// The process at the other end of a connected Unix socket, as the kernel knows it (SO_PEERCRED).
///
/// - Returns: nil for TCP, and for a peer in a process namespace that this one cannot see.
public func peerProcessID(of descriptor: Int32) -> Int32? {
    // struct ucred: pid, uid, gid. Glibc's module hides the type behind _GNU_SOURCE.
    var credentials: (process: Int32, user: UInt32, group: UInt32) = (0, 0, 0)
    var length = socklen_t(12)
    let result = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length)
    return result == 0 && credentials.process > 0 ? credentials.process : nil
}

extension Endpoint {
    /// Connects once to learn which process listens at a Unix socket.
    ///
    /// - Returns: nil for TCP, and for a listener in a process namespace that this one cannot see.
    public func listeningProcessID() throws(LoadError) -> Int32? {
        guard case .unixSocket = self else { return nil }
        let descriptor = try connect()
        defer { close(descriptor) }
        return peerProcessID(of: descriptor)
    }
}
