import Glibc

/// A listening TCP socket on a loopback address, or on any where the operator said so.
///
/// The descriptor is the caller's, who closes it (or hands it to a server that does).
public struct TCPListener: Sendable {
    /// The listening socket: not blocking, closed on exec.
    public let fileDescriptor: CInt
    /// The port it listens on: the one the system chose where 0 was asked for.
    public let port: UInt16
    /// The address and the port, such as `[::1]:8089`.
    public let name: String

    /// How often another port is tried where the system chose one that only one of two addresses has free.
    private static let portTries = 8

    /// Listens at `text`: `127.0.0.1:8089`, `[::1]:8089`, or `localhost:8089`, which is both of these.
    ///
    /// Other host names are not looked up: what they lead to could change under the daemon. `[::]` takes IPv4
    /// connections too. Port 0 lets the system choose, one port for both addresses.
    ///
    /// - Returns: One listener; of `localhost` one for each of its addresses that this machine has.
    /// - Throws: ``ListenerError``, above all ``ListenerError/notLoopback(_:)`` unless `allowPublic` is set; nothing is
    ///   left open.
    public static func open(_ text: String, allowPublic: Bool = false) throws(ListenerError) -> [TCPListener] {
        guard let addresses = TCPAddress.all(text) else { throw .invalidAddress(text) }
        guard allowPublic || addresses.allSatisfy(\.isLoopback) else { throw .notLoopback(text) }
        for _ in 1..<portTries {
            do throws(ListenerError) {
                return try open(addresses)
            } catch .alreadyInUse where addresses[0].port == 0 {
                continue
            }
        }
        return try open(addresses)
    }

    /// Listens at each address that this machine has, at least at one.
    private static func open(_ addresses: [TCPAddress]) throws(ListenerError) -> [TCPListener] {
        var listeners: [TCPListener] = []
        var missing: ListenerError?
        for address in addresses {
            do throws(ListenerError) {
                listeners.append(try open(listeners.first.map { address.with(port: $0.port) } ?? address))
            } catch {
                // Of two addresses one may be that of a family which is switched off.
                if addresses.count > 1, error.isMissingAddress {
                    missing = error
                    continue
                }
                for listener in listeners { close(listener.fileDescriptor) }
                throw error
            }
        }
        if listeners.isEmpty, let missing { throw missing }
        return listeners
    }

    private static func open(_ address: TCPAddress) throws(ListenerError) -> TCPListener {
        let descriptor = makeStreamSocket(family: address.family)
        guard descriptor >= 0 else { throw failure("socket", at: address, errno) }
        guard let port = listen(descriptor, at: address) else {
            let number = errno
            close(descriptor)
            throw failure("bind", at: address, number)
        }
        return TCPListener(fileDescriptor: descriptor, port: port, name: "\(address.with(port: port))")
    }

    /// What an error number of `socket` or `bind` means for an address.
    static func failure(_ call: String, at address: TCPAddress, _ number: CInt) -> ListenerError {
        switch number {
        case EADDRINUSE: .alreadyInUse(address: "\(address)")
        case EAFNOSUPPORT: .missingFamily(address: "\(address)", isVersion6: address.family == AF_INET6)
        default: .system(address: "\(address)", call: call, errorNumber: number)
        }
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
            // Said, since a system may have another default: `[::]` is every address of both families.
            guard setSocketOption(descriptor, level: CInt(IPPROTO_IPV6), IPV6_V6ONLY, to: 0),
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
            guard inet_pton(AF_INET, String(host), &address) == 1 else { return nil }
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

    /// The addresses that a text stands for; nil where it stands for none.
    static func all(_ text: String) -> [TCPAddress]? {
        let localhost = "localhost:"
        guard text.hasPrefix(localhost) else { return TCPAddress(text).map { [$0] } }
        let port = text.dropFirst(localhost.count)
        guard let version4 = TCPAddress("127.0.0.1:\(port)"), let version6 = TCPAddress("[::1]:\(port)") else {
            return nil
        }
        return [version4, version6]
    }

    var port: UInt16 {
        switch self {
        case .version4(_, let port), .version6(_, let port): port
        }
    }

    func with(port: UInt16) -> TCPAddress {
        switch self {
        case .version4(let host, _): .version4(host, port: port)
        case .version6(let host, _): .version6(host, port: port)
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
