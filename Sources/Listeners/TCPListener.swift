import Glibc

/// A listening TCP socket on a loopback address, or on any where the operator said so.
///
/// The descriptor is the caller's, who closes it (or hands it to a server that does).
public struct TCPListener: Sendable {
    /// The listening socket: not blocking, closed on exec.
    public let fileDescriptor: CInt
    /// The port it listens on: the one the system chose where 0 was asked for.
    public let port: UInt16

    /// Listens at `text`: `127.0.0.1:8089`, `[::1]:8089` or `localhost:8089` (which is 127.0.0.1).
    ///
    /// Other host names are not looked up: what they lead to could change under the daemon. An IPv6 address takes
    /// IPv6 connections alone. Port 0 lets the system choose.
    ///
    /// - Throws: ``ListenerError``, above all ``ListenerError/notLoopback(_:)`` unless `allowPublic` is set.
    public static func open(_ text: String, allowPublic: Bool = false) throws(ListenerError) -> TCPListener {
        guard let address = TCPAddress(text) else { throw .invalidAddress(text) }
        guard address.isLoopback || allowPublic else { throw .notLoopback(text) }
        let descriptor = makeStreamSocket(family: address.family)
        guard descriptor >= 0 else { throw .system(address: text, call: "socket", errorNumber: errno) }
        guard let port = listen(descriptor, at: address) else {
            let number = errno
            close(descriptor)
            if number == EADDRINUSE { throw .alreadyInUse(address: text) }
            throw .system(address: text, call: "bind", errorNumber: number)
        }
        return TCPListener(fileDescriptor: descriptor, port: port)
    }

    /// Throws ``ListenerError/notLoopback(_:)`` for a listening socket that other machines could reach.
    public static func requireLoopback(_ fileDescriptor: CInt) throws(ListenerError) {
        // An IPv6 address is the longest there is here.
        var storage = sockaddr_in6()
        let code = withGenericAddress(&storage) { generic, length in
            var length = length
            return getsockname(fileDescriptor, generic, &length)
        }
        guard code == 0 else { throw .system(address: "tcp", call: "getsockname", errorNumber: errno) }
        let address =
            switch CInt(storage.sin6_family) {
            case AF_INET6: TCPAddress.version6(storage.sin6_addr, port: UInt16(bigEndian: storage.sin6_port))
            // Where IPv6 has its flow, IPv4 has its address; the port is in one place for both.
            default:
                TCPAddress.version4(
                    in_addr(s_addr: storage.sin6_flowinfo), port: UInt16(bigEndian: storage.sin6_port)
                )
            }
        guard address.isLoopback else { throw .notLoopback("\(address)") }
    }

    /// The port, or nil with `errno`.
    private static func listen(_ descriptor: CInt, at address: TCPAddress) -> UInt16? {
        // Connections of the daemon before, still in TIME_WAIT, must not keep this one from its port.
        guard setSocketOption(descriptor, SO_REUSEADDR, to: 1) else { return nil }
        switch address {
        case .version4(let host, let port):
            var socketAddress = sockaddr_in()
            socketAddress.sin_family = sa_family_t(AF_INET)
            socketAddress.sin_addr = host
            socketAddress.sin_port = port.bigEndian
            guard bindAndListen(descriptor, &socketAddress) else { return nil }
            return UInt16(bigEndian: socketAddress.sin_port)
        case .version6(let host, let port):
            var socketAddress = sockaddr_in6()
            socketAddress.sin6_family = sa_family_t(AF_INET6)
            socketAddress.sin6_addr = host
            socketAddress.sin6_port = port.bigEndian
            guard setSocketOption(descriptor, level: CInt(IPPROTO_IPV6), IPV6_V6ONLY, to: 1),
                bindAndListen(descriptor, &socketAddress)
            else { return nil }
            return UInt16(bigEndian: socketAddress.sin6_port)
        }
    }

    /// Binds, listens, and reads back into `address` what was bound.
    private static func bindAndListen<Address>(_ descriptor: CInt, _ address: inout Address) -> Bool {
        withGenericAddress(&address) { generic, length in
            var length = length
            return bind(descriptor, generic, length) == 0 && Glibc.listen(descriptor, listenBacklog) == 0
                && getsockname(descriptor, generic, &length) == 0
        }
    }
}

/// An IP address and a port, from text.
enum TCPAddress: CustomStringConvertible {
    case version4(in_addr, port: UInt16)
    case version6(in6_addr, port: UInt16)

    init?(_ text: String) {
        // inet_pton stops at a zero byte and would not see what follows.
        guard let colon = text.lastIndex(of: ":"), !text.utf8.contains(0) else { return nil }
        let digits = text[text.index(after: colon)...].utf8
        let isNumber = (1...5).contains(digits.count) && digits.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
        guard isNumber, let port = UInt16(String(text[text.index(after: colon)...])) else { return nil }
        let host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            var address = in6_addr()
            guard inet_pton(AF_INET6, String(host.dropFirst().dropLast()), &address) == 1 else { return nil }
            self = .version6(address, port: port)
        } else {
            var address = in_addr()
            guard inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : String(host), &address) == 1 else {
                return nil
            }
            self = .version4(address, port: port)
        }
    }

    var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let length = socklen_t(text.count)
        switch self {
        case .version4(var host, let port):
            return "\(inet_ntop(AF_INET, &host, &text, length).map { String(cString: $0) } ?? "?"):\(port)"
        case .version6(var host, let port):
            return "[\(inet_ntop(AF_INET6, &host, &text, length).map { String(cString: $0) } ?? "?")]:\(port)"
        }
    }

    var family: CInt {
        switch self {
        case .version4: AF_INET
        case .version6: AF_INET6
        }
    }

    /// 127.0.0.0/8, ::1, or the former written as IPv6.
    var isLoopback: Bool {
        switch self {
        case .version4(let address, _):
            return UInt32(bigEndian: address.s_addr) >> 24 == 127
        case .version6(let address, _):
            let bytes = withUnsafeBytes(of: address) { Array($0) }
            let isMapped = bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff
            return bytes == Array(repeating: 0, count: 15) + [1] || (isMapped && bytes[12] == 127)
        }
    }
}
