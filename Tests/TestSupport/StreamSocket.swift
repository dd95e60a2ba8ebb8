package import Glibc

/// Where a test connects to.
package enum Address: Sendable {
    case unix(String)
    /// A port of 127.0.0.1.
    case tcp(UInt16)
    /// A port of ::1.
    case tcp6(UInt16)
}

/// A blocking stream socket; every wait ends.
package final class StreamSocket {
    private let descriptor: CInt
    private let timeoutMilliseconds: CInt

    package init(_ address: Address, timeoutSeconds: Double = 20) throws {
        timeoutMilliseconds = CInt(timeoutSeconds * 1_000)
        let family =
            switch address {
            case .unix: AF_UNIX
            case .tcp: AF_INET
            case .tcp6: AF_INET6
            }
        descriptor = socket(family, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure("no socket: errno \(errno)") }
        // A listener that does not accept and whose backlog is full must not keep the test for ever.
        var patience = timeval(tv_sec: Int(timeoutSeconds.rounded(.up)), tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let code = Self.connect(descriptor, address)
        guard code == 0 else {
            // Closed by deinit, which runs since all is initialized: to close it here as well would close another's.
            throw TestFailure("cannot connect to \(address): \(String(cString: strerror(code)))")
        }
    }

    deinit { close(descriptor) }

    private static func connect(_ descriptor: CInt, _ address: Address) -> CInt {
        switch address {
        case .unix(let path): return withUnixAddress(path) { Glibc.connect(descriptor, $0, $1) == 0 ? 0 : errno }
        case .tcp(let port):
            var one: CInt = 1
            setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            return withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 ? 0 : errno
                }
            }
        case .tcp6(let port):
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = port.bigEndian
            address.sin6_addr = in6addr_loopback
            return withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size)) == 0 ? 0 : errno
                }
            }
        }
    }

    /// Sends everything; false where the other side has closed.
    @discardableResult
    package func send(_ bytes: some Collection<UInt8>) throws -> Bool {
        let bytes = Array(bytes)
        var sent = 0
        while sent < bytes.count {
            guard try wait(for: POLLOUT) else { throw TestFailure("nothing can be sent: the other side does not read") }
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    descriptor, $0.baseAddress! + sent, $0.count - sent, CInt(MSG_NOSIGNAL | MSG_DONTWAIT)
                )
            }
            if count >= 0 {
                sent += count
            } else if errno == EPIPE || errno == ECONNRESET {
                return false
            } else if errno != EAGAIN, errno != EINTR {
                throw TestFailure("cannot send: \(String(cString: strerror(errno)))")
            }
        }
        return true
    }

    /// The bytes that come next; none where the other side has closed, nil where nothing comes in time.
    package func receive(withinMilliseconds milliseconds: Int? = nil) throws -> [UInt8]? {
        guard try wait(for: POLLIN, milliseconds.map { CInt($0) }) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        if count < 0 {
            guard errno == ECONNRESET else { throw TestFailure("cannot receive: \(String(cString: strerror(errno)))") }
            return []
        }
        return Array(bytes[..<count])
    }

    /// Says that nothing more will be sent.
    package func finish() { shutdown(descriptor, CInt(SHUT_WR)) }

    private func wait(for event: CInt, _ milliseconds: CInt? = nil) throws -> Bool {
        var poller = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        while true {
            let count = poll(&poller, 1, milliseconds ?? timeoutMilliseconds)
            if count >= 0 { return count > 0 }
            guard errno == EINTR else { throw TestFailure("poll: errno \(errno)") }
        }
    }
}

/// Calls `body` with a Unix socket's address.
package func withUnixAddress<Value>(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value) -> Value {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    precondition(bytes.count < MemoryLayout.size(ofValue: address.sun_path))
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
}

/// A TCP port of 127.0.0.1 that nobody listens on at this moment.
package func freePort() throws -> UInt16 {
    let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, length) == 0 ? getsockname(descriptor, $0, &length) : -1
        }
    }
    guard code == 0 else { throw TestFailure("no port: errno \(errno)") }
    return UInt16(bigEndian: address.sin_port)
}

/// Whether the tests run as root.
package var isRoot: Bool { geteuid() == 0 }
