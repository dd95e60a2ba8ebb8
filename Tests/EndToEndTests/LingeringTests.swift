import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Clients that send everything before they read, as Python's `http.client` does, and how long they are borne.
    @Suite("An answer that ends the connection")
    struct LingeringTests {
        let redis: RedisServer
        let daemon: Daemon
        private let port: UInt16

        init() throws {
            redis = try RedisServer()
            port = try freePort()
            daemon = try Daemon(
                redis: redis.url, ["LISTEN": "127.0.0.1:\(port)", "REQUEST_TIMEOUT_MS": "300", "MAX_CONNECTIONS": "50"])
        }

        /// A request that is refused, with a mebibyte behind the point at which that is clear.
        struct Refused: CustomTestStringConvertible {
            var name: String
            var start: String
            var filler: String
            var status: Int

            var testDescription: String { name }
            var text: String { start + String(repeating: filler, count: (1 << 20) / filler.utf8.count) }

            static let all = [
                Refused(
                    name: "a body above the bound",
                    start: "POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", filler: "x",
                    status: 413),
                Refused(
                    name: "a body in chunks, above the bound",
                    start: "POST /v1/check HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                    filler: "400\r\n\(String(repeating: " ", count: 1_024))\r\n", status: 413),
                Refused(
                    name: "a header above the bound", start: "GET /livez HTTP/1.1\r\nHost: a\r\nX: ", filler: "x",
                    status: 431),
                Refused(name: "a target above the bound", start: "GET /", filler: "x", status: 431),
                Refused(name: "no HTTP", start: "\0\0\0\0", filler: "x", status: 400),
                Refused(
                    name: "a length that is none", start: "POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n",
                    filler: "x", status: 400),
                Refused(
                    name: "no Host", start: "POST /v1/check HTTP/1.1\r\nContent-Length: 60000\r\n\r\n", filler: "x",
                    status: 400),
                Refused(
                    name: "an encoding that is not known",
                    start: "POST /v1/check HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", filler: "x",
                    status: 400),
                Refused(
                    name: "an upgrade",
                    start: "GET /livez HTTP/1.1\r\nHost: a\r\nUpgrade: b\r\nConnection: upgrade\r\n\r\n",
                    filler: "x", status: 200),
                Refused(
                    name: "more behind a request that was the last",
                    start: "GET /livez HTTP/1.1\r\nHost: a\r\n"
                        + "Connection: close\r\n\r\n", filler: "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", status: 200),
            ]
        }

        @Test("reaches a client that sends everything first, twenty times of twenty", arguments: Refused.all)
        func refused(request: Refused) throws {
            let text = request.text
            for address in [Address.unix(daemon.socketPath), .tcp(port)] {
                var statuses: [Int] = []
                for _ in 0..<20 {
                    let client = try HTTPConnection(address)
                    #expect(try client.send(text), "cut off while it sent")
                    let response = try client.response()
                    #expect(response["Connection"] == "close")
                    statuses.append(response.status)
                    // The answer is followed by the end, not by a reset.
                    #expect(try client.isClosed())
                }
                #expect(statuses == Array(repeating: request.status, count: 20))
            }
            #expect(try eventually(within: 20) { try daemon.metric("llm_rate_limit_connections") == 1 })
        }

        @Test("reaches Python's http.client with a body of a mebibyte, twenty times of twenty")
        func python() throws {
            let script = """
                import http.client, socket, sys
                statuses = []
                for _ in range(20):
                    connection = http.client.HTTPConnection("localhost")
                    connection.sock = socket.socket(socket.AF_UNIX)
                    connection.sock.connect(sys.argv[1])
                    connection.request("POST", "/v1/check", body=b"x" * (1 << 20))
                    statuses.append(connection.getresponse().status)
                print(statuses.count(413))
                """
            // A machine without Python has the test above, which does the same.
            guard let process = try? ChildProcess("python3", ["-c", script, daemon.socketPath]) else { return }
            #expect(try process.wait(seconds: 60) == 0 && process.output == "20\n", "\(process.errors)")
        }

        @Test("reaches a client that was too slow and goes on sending")
        func tooSlow() throws {
            for start in ["POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", "GET /livez HTT"] {
                let client = try HTTPConnection(.unix(daemon.socketPath))
                try client.send(start)
                #expect(try client.response().status == 408)
                #expect(try client.send(String(repeating: "x", count: 50_000)))
                #expect(try client.isClosed())
            }
        }

        @Test(
            "reaches a peer who may not connect and sends everything first",
            .enabled(if: isRoot, "only root can become another user"))
        func refusedPeer() async throws {
            let folder = try TemporaryFolder()
            chmod(folder.path, 0o755)
            let daemon = try Daemon(
                redis: redis.url, ["SOCKET_MODE": "0666", "ALLOWED_UIDS": "33"], folder: folder)
            let path = daemon.socketPath
            await #expect(processExitsWith: .success) { [path = path as String] in
                #expect(seteuid(65_534) == 0)
                for _ in 0..<20 {
                    let client = try HTTPConnection(.unix(path))
                    let body = String(repeating: "x", count: 1 << 20)
                    #expect(try client.send(HTTPConnection.text("POST", "/v1/check", body: body)))
                    let response = try client.response()
                    #expect(try response.status == 403 && client.isClosed())
                }
            }
        }

        @Test("is followed by so many bytes and no more, and they cost no memory")
        func boundOfBytes() throws {
            let before = daemon.residentKilobytes
            let client = try StreamSocket(.unix(daemon.socketPath))
            try client.send("POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n".utf8)
            let part = [UInt8](repeating: 0x78, count: 65_536)
            var sent = 0
            while sent < 64 << 20, try client.send(part) { sent += part.count }
            // Beside what was dropped, what the kernel keeps of a socket that nobody reads any more.
            #expect(sent >= 8 << 20 && sent < 16 << 20)
            #expect(daemon.residentKilobytes - before < 8_192 || Sanitizer.isOn)
        }

        @Test("is followed by a time that ends, and those who wait for it count among the connections")
        func boundOfTime() throws {
            let held = try (0..<30).map { _ in
                let client = try HTTPConnection(.unix(daemon.socketPath))
                try client.send("POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n")
                return client
            }
            for client in held {
                #expect(try client.response().status == 413)
                #expect(try client.isClosed())
            }
            let asker = try daemon.connect()
            func connections() throws -> Double {
                let page = try asker.request("GET", "/metrics").text
                let line = page.split(separator: "\n").first { $0.hasPrefix("llm_rate_limit_connections ") }
                return Double(line?.split(separator: " ").last ?? "") ?? -1
            }
            #expect(try eventually(within: 20) { try connections() == 1 })
            // Who still holds its end of a connection that is gone is told so when it sends.
            #expect(try held.allSatisfy { try !$0.send("x") })
        }
    }
}
