import Glibc
import Testing

@testable import Listeners

@Suite("A TCP listener")
struct TCPListenerTests {
    /// The one listener of a text that is one address.
    private func open(_ text: String, allowPublic: Bool = false) throws -> TCPListener {
        let listeners = try TCPListener.open(text, allowPublic: allowPublic)
        try #require(listeners.count == 1)
        return listeners[0]
    }

    @Test("Clients connect to the port that the system chose", arguments: ["127.0.0.1:0", "[::1]:0"])
    func connects(text: String) throws {
        let listener = try open(text)
        defer { close(listener.fileDescriptor) }
        #expect(listener.port > 0)
        let again = text.replacingZeroPort(by: listener.port)
        #expect(listener.name == again)
        // Only a listening socket has the port for itself.
        let error = listenerError { () throws(ListenerError) in try TCPListener.open(again) }
        #expect(error == .alreadyInUse(address: again))
        #expect(connectError(listener.port, version6: text.hasPrefix("[")) == 0)
        #expect(fcntl(listener.fileDescriptor, F_GETFD) & FD_CLOEXEC != 0)
        #expect(fcntl(listener.fileDescriptor, F_GETFL) & O_NONBLOCK != 0)
    }

    @Test("localhost is both its addresses, with one port")
    func localhost() throws {
        let listeners = try TCPListener.open("localhost:0")
        defer { for listener in listeners { close(listener.fileDescriptor) } }
        let port = listeners[0].port
        #expect(listeners.map(\.name) == ["127.0.0.1:\(port)", "[::1]:\(port)"])
        #expect(connectError(port, version6: false) == 0 && connectError(port, version6: true) == 0)
        let error = listenerError { () throws(ListenerError) in try TCPListener.open("localhost:\(port)") }
        #expect(error == .alreadyInUse(address: "127.0.0.1:\(port)"))
    }

    @Test("Where another process has localhost's port at one address, nothing is listened on at the other")
    func halfTaken() throws {
        let taken = try open("[::1]:0")
        defer { close(taken.fileDescriptor) }
        let error = listenerError { () throws(ListenerError) in try TCPListener.open("localhost:\(taken.port)") }
        #expect(error == .alreadyInUse(address: "[::1]:\(taken.port)"))
        #expect(connectError(taken.port, version6: false) == ECONNREFUSED)
    }

    @Test("[::] takes IPv4 connections too")
    func both() throws {
        let listener = try open("[::]:0", allowPublic: true)
        defer { close(listener.fileDescriptor) }
        #expect(connectError(listener.port, version6: false) == 0)
        #expect(connectError(listener.port, version6: true) == 0)
    }

    @Test("A family that the system does not have is said, with what to listen on")
    func missingFamily() throws {
        let address = try #require(TCPAddress("[::]:8089"))
        let error = TCPListener.failure("socket", at: address, EAFNOSUPPORT)
        #expect(error.isMissingAddress)
        #expect(
            "\(error)" == "cannot listen on [::]:8089: this machine has no IPv6; an address of IPv4, such as 127.0.0.1 "
                + "or 0.0.0.0, is accepted")
        let other = TCPListener.failure("socket", at: try #require(TCPAddress("127.0.0.1:1")), EAFNOSUPPORT)
        #expect("\(other)".contains("this machine has no IPv4; an address of IPv6, such as [::1] or [::], is accepted"))
        #expect(!TCPListener.failure("bind", at: address, EACCES).isMissingAddress)
    }

    @Test("The port is free again at once, although a connection has just been closed")
    func timeWait() throws {
        let first = try open("127.0.0.1:0")
        let client = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        #expect(connectError(first.port, version6: false, client: client) == 0)
        // The end that closes first keeps the port in TIME_WAIT.
        close(accept(first.fileDescriptor, nil, nil))
        close(client)
        close(first.fileDescriptor)
        let second = try open("127.0.0.1:\(first.port)")
        close(second.fileDescriptor)
    }

    @Test(
        "Addresses that other machines reach need a word from the operator",
        arguments: ["0.0.0.0:0", "[::]:0", "10.1.2.3:0", "[::ffff:10.1.2.3]:0", "128.0.0.1:0", "[fe80::1]:0"]
    )
    func publicAddress(text: String) {
        let error = listenerError { () throws(ListenerError) in try TCPListener.open(text) }
        #expect(error == .notLoopback(text))
        #expect("\(error!)".contains("LLM_RATE_LIMIT_LISTEN_PUBLIC=yes"))
    }

    @Test("With that word they are listened on", arguments: ["0.0.0.0:0", "[::]:0"])
    func allowed(text: String) throws {
        let listener = try open(text, allowPublic: true)
        close(listener.fileDescriptor)
    }

    @Test("All of 127.0.0.0/8 is loopback", arguments: ["127.0.0.2:0", "127.255.255.254:0"])
    func loopback(text: String) throws {
        let listener = try open(text)
        close(listener.fileDescriptor)
    }

    @Test(
        "Everything else is refused with what is accepted",
        arguments: [
            "", ":", "8089", ":8089", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1",
            "127.0.0.1: 1", "127.1:80", "::1:80", "[::1]", "[::1]:", "[127.0.0.1]:80", "example.com:80",
            "127.0.0.1:000080", "[fe80::1%lo]:80", "127.0.0.1\u{0}:80", "localhost.:80",
            "localhost:", "localhost:x", "localhost:65536", "localhost",
        ]
    )
    func invalid(text: String) {
        let error = listenerError { () throws(ListenerError) in try TCPListener.open(text, allowPublic: true) }
        #expect(error == .invalidAddress(text))
    }

    @Test("A socket of the service manager's is looked at by its address", arguments: ["127.0.0.1:0", "[::1]:0"])
    func givenLoopback(text: String) throws {
        let listener = try open(text)
        defer { close(listener.fileDescriptor) }
        #expect(throws: Never.self) { try TCPListener.requireLoopback(listener.fileDescriptor) }
    }

    @Test("One that other machines reach is told by that", arguments: ["0.0.0.0", "[::]"])
    func givenPublic(host: String) throws {
        let listener = try open("\(host):0", allowPublic: true)
        defer { close(listener.fileDescriptor) }
        let error = listenerError { () throws(ListenerError) in
            try TCPListener.requireLoopback(listener.fileDescriptor)
        }
        #expect(error == .notLoopback("\(host):\(listener.port)"))
    }

    @Test("An address that this machine does not have is the system's error")
    func foreign() {
        let error = listenerError { () throws(ListenerError) in
            try TCPListener.open("203.0.113.7:0", allowPublic: true)
        }
        #expect(error == .system(address: "203.0.113.7:0", call: "bind", errorNumber: EADDRNOTAVAIL))
        #expect("\(error!)" == "cannot listen on 203.0.113.7:0: bind: Cannot assign requested address")
    }

    private func connectError(_ port: UInt16, version6: Bool, client: CInt? = nil) -> CInt {
        let descriptor = client ?? socket(version6 ? AF_INET6 : AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        defer { if client == nil { close(descriptor) } }
        if version6 {
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_addr = in6addr_loopback
            address.sin6_port = port.bigEndian
            return withGenericAddress(&address) { connect(descriptor, $0, $1) == 0 ? 0 : errno }
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        address.sin_port = port.bigEndian
        return withGenericAddress(&address) { connect(descriptor, $0, $1) == 0 ? 0 : errno }
    }
}

extension String {
    fileprivate func replacingZeroPort(by port: UInt16) -> String { "\(dropLast())\(port)" }
}
