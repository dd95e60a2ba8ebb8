import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Listeners

/// Numbers far from those that the process uses, handed out in blocks: tests run side by side.
private let nextDescriptor = Atomic<Int>(600)

@Suite("Socket activation")
struct ActivatedSocketsTests {
    let folder: TemporaryFolder
    let first: CInt

    init() throws {
        folder = try TemporaryFolder()
        first = CInt(nextDescriptor.wrappingAdd(20, ordering: .relaxed).oldValue)
    }

    private enum Kind {
        case unix, tcp, datagram, connected
    }

    /// Puts sockets of those kinds at `first` and the numbers after it, as systemd does from 3.
    private func place(_ kinds: [Kind]) throws {
        for (index, kind) in kinds.enumerated() {
            let made: CInt
            switch kind {
            case .unix: made = try UnixListener.open(path: folder.file("\(index).sock")).fileDescriptor
            case .tcp: made = try TCPListener.open("127.0.0.1:0")[0].fileDescriptor
            case .datagram: made = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
            case .connected: made = makeStreamSocket(family: AF_UNIX)
            }
            // dup2 leaves close-on-exec off, as it is over an exec.
            try #require(dup2(made, first + CInt(index)) >= 0)
            _ = fcntl(first + CInt(index), F_SETFL, 0)
            close(made)
        }
    }

    private func take(
        _ count: String,
        names: String? = nil,
        process: String = "77"
    ) throws(ListenerError) -> (sockets: ActivatedSockets, unset: [String]) {
        var environment = ["LISTEN_FDS": count, "LISTEN_PID": process]
        environment["LISTEN_FDNAMES"] = names
        var unset: [String] = []
        let sockets = try ActivatedSockets.fromEnvironment(
            environment,
            processIdentifier: 77,
            firstDescriptor: first,
            unset: { unset.append($0) }
        )
        return (sockets, unset)
    }

    private func closeAll(_ count: Int) {
        for index in 0..<count { close(first + CInt(index)) }
    }

    @Test("Sockets come by name, closed on exec and not blocking, and the variables go")
    func named() throws {
        try place([.tcp, .unix, .unix])
        defer { closeAll(3) }
        let (sockets, unset) = try take("3", names: "tcp:admin:check")
        #expect(sockets == ActivatedSockets(check: first + 2, admin: first + 1, tcp: first))
        #expect(!sockets.isEmpty)
        #expect(Set(unset) == ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"])
        for descriptor in first..<(first + 3) {
            #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
            #expect(fcntl(descriptor, F_GETFL) & O_NONBLOCK != 0)
        }
    }

    @Test(
        "Without a known name the first Unix socket is for checks and the first TCP socket for TCP",
        arguments: [nil, "llm-rate-limit.socket:llm-rate-limit.socket", ":", "unknown:unknown"]
    )
    func unnamed(names: String?) throws {
        try place([.tcp, .unix])
        defer { closeAll(2) }
        #expect(try take("2", names: names).sockets == ActivatedSockets(check: first + 1, tcp: first))
    }

    @Test("What is meant for another process, or not there, is left alone")
    func notOurs() throws {
        let (sockets, unset) = try take("3", process: "78")
        #expect(sockets.isEmpty && unset.isEmpty)
        #expect(try ActivatedSockets.fromEnvironment([:]).isEmpty)
        #expect(try ActivatedSockets.fromEnvironment(["LISTEN_FDS": "1"]).isEmpty)
        #expect(try take("", process: "").sockets.isEmpty)
        #expect(try take("0").sockets.isEmpty)
    }

    @Test("Variables that make no sense are refused")
    func variables() {
        for (count, names, process) in [
            ("17", nil, "77"), ("-1", nil, "77"), ("x", nil, "77"), ("99999999999999999999", nil, "77"),
            ("1", "check:admin", "77"), ("1", nil, "x"),
        ] as [(String, String?, String)] {
            let error = listenerError { () throws(ListenerError) in
                try take(count, names: names, process: process)
            }
            guard case .invalidActivation = error else {
                Issue.record("\(count) \(process): \(String(describing: error))")
                continue
            }
        }
    }

    @Test("Sockets that cannot be used are refused, with what is accepted")
    func sockets() throws {
        func text(_ kinds: [Kind], _ names: String) throws -> String {
            try place(kinds)
            defer { closeAll(kinds.count) }
            let error = listenerError { () throws(ListenerError) in try take("\(kinds.count)", names: names) }
            return error.map { "\($0)" } ?? "none"
        }
        #expect(try text([.datagram], "check").hasSuffix("is not a listening socket; ListenStream= is accepted"))
        #expect(try text([.connected], "check").contains("is not a listening socket"))
        #expect(try text([.tcp], "check").contains("wrong kind for its name"))
        #expect(try text([.unix], "tcp").contains("wrong kind for its name"))
        #expect(try text([.unix, .unix], "check:other").contains("one too many"))
        let closed = listenerError { () throws(ListenerError) in try take("1") }
        #expect("\(closed!)".contains("is not a listening socket"))
    }
}
