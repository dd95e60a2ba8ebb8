import NIOCore
import RateLimitCore
import RateLimitService
import TestSupport
import Testing

@testable import HTTPServer

@Suite("A connection")
struct ConnectionTests {
    private static let live = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"

    /// The statuses of the answers to some bytes, and whether the connection was closed behind them.
    private func answers(_ text: String, isAdmin: Bool = false) async throws -> (statuses: [Int], isClosed: Bool) {
        try await onEventLoop { gateway in
            let connection = gateway.connect(isAdmin: isAdmin)
            connection.send(text.utf8)
            let parts = connection.text.components("HTTP/1.1 ").dropFirst()
            defer { connection.close() }
            return (parts.compactMap { Int($0.prefix(3)) }, connection.isClosed)
        }
    }

    @Test("answers pipelined requests of both ways in their order")
    func pipelined() async throws {
        let requests = [
            post(["Host: a"]), Self.live, get(["Host: a"]), post(["Host: a"], "{}"), post(["Host: a"]),
            "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", get(["Host: a"], "user=\(someText)&cost=7&x=%41"),
        ]
        let (statuses, isClosed) = try await answers(requests.joined())
        #expect(statuses == [200, 200, 200, 400, 429, 404, 429])
        #expect(!isClosed)
    }

    @Test(
        "takes nothing more in once its client is found to be gone while something is written",
        arguments: [
            // The body waits behind the answer to Expect.
            "POST /v1/check HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
            // Requests beyond the 256 that may be open wait behind the first answers.
            String(repeating: "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", count: 600),
        ])
    func gone(_ text: String) async throws {
        let isClosed = try await onEventLoop { gateway in
            let connection = gateway.connect(breaksAtWrite: true)
            connection.send(text.utf8)
            defer { connection.close() }
            return connection.isClosed
        }
        #expect(isClosed)
    }

    @Test(
        "closes behind a request that cannot be told from what follows it, and behind one that asks for it",
        arguments: [
            ("GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
            ("GET /livez HTTP/1.0\r\n\r\n", 200),
            ("GET /livez HTTP/1.1\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n", 413),
            ("POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
            ("POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
            (
                "POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400
            ),
            ("GET /livez HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 17_000))\r\n\r\n", 431),
            ("GET /livez HTTP/1.1\r\nHost: a\r\n\(String(repeating: "X: y\r\n", count: 4_000))\r\n", 431),
            ("GET /\(String(repeating: "x", count: 17_000)) HTTP/1.1\r\nHost: a\r\n\r\n", 431),
            ("nonsense\r\n\r\n", 400),
            ("\0\0\0\0", 400),
        ])
    func closes(_ request: String, _ status: Int) async throws {
        let (statuses, isClosed) = try await answers(request + Self.live + Self.live)
        #expect(statuses == [status])
        #expect(isClosed)
    }

    @Test("bounds the memory of a head without end, be it in the target or in a header")
    func endlessHead() async throws {
        for start in ["GET /", "GET / HTTP/1.1\r\nX: ", "GET / HTTP/1.1\r\nX", "GET /v1/check?"] {
            let sent = try await onEventLoop { gateway in
                let connection = gateway.connect()
                connection.send(start.utf8)
                var sent = 0
                while !connection.isClosed, sent < 1 << 20 {
                    connection.send([UInt8](repeating: 0x78, count: 1_024))
                    sent += 1_024
                }
                #expect(connection.text.hasPrefix("HTTP/1.1 431 "))
                return sent
            }
            #expect(sent <= 2 * RequestBounds.headBytes)
        }
    }

    @Test("bounds the body that comes in chunks")
    func endlessBody() async throws {
        try await onEventLoop { gateway in
            let connection = gateway.connect()
            connection.send("POST /v1/check HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".utf8)
            var sent = 0
            while !connection.isClosed, sent < 1 << 20 {
                connection.send(Array("400\r\n".utf8) + [UInt8](repeating: 0x20, count: 1_024) + Array("\r\n".utf8))
                sent += 1_024
            }
            #expect(connection.text.hasPrefix("HTTP/1.1 413 "))
            #expect(sent <= RequestBounds.bodyBytes + 1_024)
        }
    }

    @Test("ends with 408 where a request does not arrive whole in time, and not where there is none")
    func timeout() async throws {
        try await onEventLoop { gateway in
            for start in ["POST /v1/check HTT", "GET /livez HTTP/1.1\r\nHo", post(["Host: a"]) + "P"] {
                let connection = gateway.connect()
                connection.send(start.utf8)
                connection.advance(by: .milliseconds(4_999))
                #expect(!connection.isClosed)
                connection.advance(by: .milliseconds(1))
                #expect(connection.isClosed)
                #expect(connection.text.contains("HTTP/1.1 408 Request Timeout\r\n"))
            }
            for whole in ["", post(["Host: a"]), Self.live, post(["Host: a", "X: é"])] {
                let connection = gateway.connect()
                connection.send(whole.utf8)
                connection.advance(by: .seconds(60))
                #expect(!connection.isClosed)
                connection.send(Self.live.utf8)
                #expect(connection.text.contains("alive"))
                connection.close()
            }
        }
    }

    @Test("tells a client that waits for it to go on, once and before the answer")
    func expectContinue() async throws {
        try await onEventLoop { gateway in
            let body = "{\"user\":\"\(someText)\"}"
            let connection = gateway.connect()
            connection.send(post(["Host: a", "Expect: 100-continue"], "", length: body.utf8.count).utf8)
            #expect(connection.text == "HTTP/1.1 100 Continue\r\n\r\n")
            connection.send(body.utf8)
            #expect(connection.text.hasPrefix("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"))
            connection.close()
        }
    }

    @Test("is freed when it has closed, also where no Redis ever answers")
    func freed() async throws {
        try await onEventLoop(failureMode: .open) { gateway in
            for request in [post(["Host: a"]), Self.live] {
                weak var handler: ConnectionHandler?
                do {
                    let connection = gateway.connect()
                    handler = connection.handler
                    for _ in 0..<10 { connection.send(request.utf8) }
                    connection.close()
                }
                #expect(handler == nil)
            }
        }
    }
}
