import Foundation
import Glibc
import Synchronization

/// An HTTP server on a port of 127.0.0.1 that does with each request what a test says, on threads of its own.
package final class HTTPReceiver: Sendable {
    /// What it does with a request.
    package enum Reply: Sendable {
        /// Answers, with further headers where there are any.
        case status(Int, [String: String] = [:])
        /// Answers nothing, and keeps the connection.
        case silence
        /// Closes the connection at once.
        case close
        /// Closes it in the middle of an answer of 200.
        case half
    }

    /// A request as it came.
    package struct Request: Sendable {
        package var head: String
        package var body: String

        /// The value of a header that came once.
        package func header(_ name: String) -> String? {
            let lines = head.components(separatedBy: "\r\n").filter { $0.lowercased().hasPrefix("\(name):") }
            return lines.count == 1 ? lines[0].dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces) : nil
        }

        /// The body's members.
        package var json: [String: Any] {
            get throws {
                guard let object = try JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: Any] else {
                    throw TestFailure("no JSON object: \(body)")
                }
                return object
            }
        }
    }

    private struct State {
        var requests: [Request] = []
        var listener: CInt = -1
        var threads: [Background<Void>] = []
        var isStopped = true
    }

    package let port: UInt16
    private let reply: @Sendable (Request, Int) throws -> Reply
    private let state = Mutex(State())

    /// Listens from now on.
    ///
    /// - Parameter reply: told the request and how many came before it.
    package init(_ reply: @escaping @Sendable (Request, Int) throws -> Reply = { _, _ in .status(204) }) throws {
        port = try freePort()
        self.reply = reply
        try start()
    }

    deinit { stop() }

    /// What came, the oldest first.
    package var requests: [Request] { state.withLock { $0.requests } }

    /// The URL of a path here.
    package func url(_ path: String = "/hook") -> String { "http://127.0.0.1:\(port)\(path)" }

    /// Listens again after ``stop()``.
    package func start() throws {
        let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var one: CInt = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<CInt>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0, listen(listener, 64) == 0 else { throw TestFailure("cannot listen: errno \(errno)") }
        let owner: @Sendable () -> HTTPReceiver? = { [weak self] in self }
        state.withLock { state in
            state.isStopped = false
            state.listener = listener
            state.threads = [Background { Self.accept(listener, owner) }]
        }
    }

    /// Listens no more, and ends every connection.
    package func stop() {
        let (threads, listener) = state.withLock { state in
            defer { (state.threads, state.listener, state.isStopped) = ([], -1, true) }
            return (state.threads, state.listener)
        }
        guard listener >= 0 else { return }
        for thread in threads { try? thread.value() }
        close(listener)
        // Those that the accepting thread has begun meanwhile.
        for thread in state.withLock({ $0.threads }) { try? thread.value() }
    }

    private var isStopped: Bool { state.withLock { $0.isStopped } }

    private static func accept(_ listener: CInt, _ receiver: @escaping @Sendable () -> HTTPReceiver?) {
        while let owner = receiver(), !owner.isStopped {
            guard isReadable(listener) else { continue }
            let connection = Glibc.accept(listener, nil, nil)
            guard connection >= 0 else { return }
            let thread = Background { serve(connection, receiver) }
            owner.state.withLock { $0.threads.append(thread) }
        }
    }

    private static func serve(_ connection: CInt, _ receiver: @Sendable () -> HTTPReceiver?) {
        defer { close(connection) }
        var received: [UInt8] = []
        while let owner = receiver(), !owner.isStopped {
            guard isReadable(connection) else { continue }
            var bytes = [UInt8](repeating: 0, count: 65_536)
            let count = recv(connection, &bytes, bytes.count, 0)
            guard count > 0 else { return }
            received += bytes[..<count]
            guard let request = request(&received) else { continue }
            let number = owner.state.withLock { state in
                state.requests.append(request)
                return state.requests.count - 1
            }
            guard answer(connection, (try? owner.reply(request, number)) ?? .close) else { return }
        }
    }

    /// Answers; false where the connection ends.
    private static func answer(_ connection: CInt, _ reply: Reply) -> Bool {
        switch reply {
        case .status(let status, let headers):
            let lines = headers.map { "\($0.key): \($0.value)\r\n" }.joined()
            return send(connection, "HTTP/1.1 \(status) Some\r\n\(lines)Content-Length: 0\r\n\r\n")
        case .silence: return true
        case .close: return false
        case .half:
            _ = send(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            return false
        }
    }

    private static func send(_ connection: CInt, _ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return Glibc.send(connection, bytes, bytes.count, CInt(MSG_NOSIGNAL)) == bytes.count
    }

    /// The whole request that came first, taken out of the bytes; nil where it is not all there.
    private static func request(_ bytes: inout [UInt8]) -> Request? {
        let text = String(decoding: bytes, as: UTF8.self)
        guard let end = text.range(of: "\r\n\r\n") else { return nil }
        var request = Request(head: String(text[..<end.lowerBound]), body: "")
        let start = text[..<end.upperBound].utf8.count
        let length = request.header("content-length").flatMap { Int($0) } ?? 0
        guard bytes.count >= start + length else { return nil }
        request.body = String(decoding: bytes[start..<start + length], as: UTF8.self)
        bytes.removeFirst(start + length)
        return request
    }

    private static func isReadable(_ descriptor: CInt) -> Bool {
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&poller, 1, 20) == 1
    }
}
