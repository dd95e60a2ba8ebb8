import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// A request that is refused, and how.
    struct BadRequest: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var text: String
        var status: Int
        /// What the problem's detail names: the offence, or what is accepted.
        var detail: String
        var closes = false

        init(_ name: String, _ text: String, _ status: Int, _ detail: String, closes: Bool = false) {
            testDescription = name
            self.text = text
            self.status = status
            self.detail = detail
            self.closes = closes
        }

        private static func post(_ body: String, _ headers: [String: String] = [:]) -> String {
            HTTPConnection.text("POST", "/v1/check", headers, body: body)
        }

        private static func get(_ target: String, _ method: String = "GET") -> String {
            HTTPConnection.text(method, target)
        }

        private static let user = "6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11"
        private static let good = #"{"user":"\#(user)"}"#

        private static let accepted = "a text of 1 to 256 bytes of UTF-8"

        static let all = bodies + queries + routes + protocols

        private static let bodies: [BadRequest] = [
            .init("a body that is no JSON", post("user=1"), 400, "expected an object at byte 0"),
            .init("a body that is cut off", post(#"{"user":"\#(user)""#), 400, "expected"),
            .init("two objects", post(good + good), 400, "nothing after the object"),
            .init("an array", post("[\(good)]"), 400, "expected an object"),
            .init("an empty body", post(""), 400, "No user"),
            .init("no user", post(#"{"cost":1}"#), 400, "No user"),
            .init("a user that is a number", post(#"{"user":17}"#), 400, accepted),
            .init("a user that is null", post(#"{"user":null}"#), 400, "No user is named"),
            .init("an empty user", post(#"{"user":""}"#), 400, accepted),
            .init("a user above 256 bytes", post(#"{"user":"\#(String(repeating: "k", count: 257))"}"#), 400, accepted),
            .init("a user with half a surrogate pair", post(#"{"user":"\ud800"}"#), 400, accepted),
            .init("a cost of 0", post(#"{"user":"\#(user)","cost":0}"#), 400, "from 1 to 1,000,000"),
            .init("a negative cost", post(#"{"user":"\#(user)","cost":-1}"#), 400, "from 1 to 1,000,000"),
            .init("a cost above a million", post(#"{"user":"\#(user)","cost":1000001}"#), 400, "from 1 to 1,000,000"),
            .init("a fractional cost", post(#"{"user":"\#(user)","cost":1.5}"#), 400, "from 1 to 1,000,000"),
            .init("a cost as a text", post(#"{"user":"\#(user)","cost":"1"}"#), 400, "from 1 to 1,000,000"),
            .init("deep nesting", post(#"{"x":\#(String(repeating: "[", count: 9_000))"#), 400, "nesting"),
            .init("another type", post(good, ["Content-Type": "text/plain"]), 415, "application/json"),
            .init(
                "a form", post("user=\(user)", ["Content-Type": "application/x-www-form-urlencoded"]), 415,
                "application/json"
            ),
        ]

        private static let queries: [BadRequest] = [
            .init("GET without a user", get("/v1/check"), 400, "/v1/check?user=<text>&cost=1"),
            .init("a query without a user", get("/v1/check?cost=1"), 400, "No user"),
            .init("a query with a bad user", get("/v1/check?user="), 400, accepted),
            .init("a query with a bad cost", get("/v1/check?user=\(user)&cost=1e9"), 400, "from 1 to 1,000,000"),
            .init("a query with an empty cost", get("/v1/check?user=\(user)&cost="), 400, "from 1 to 1,000,000"),
            .init("a query with a bad escape", get("/v1/check?user=%zz"), 400, "percent"),
            .init("readyz with an unknown query", get("/readyz?require=all"), 400, "require=redis"),
            .init("the status of nobody", get("/v1/users/%ff"), 400, accepted),
        ]

        private static let routes: [BadRequest] = [
            .init("an unknown path", get("/v2/check"), 404, "/v1/check"),
            .init("the root", get("/"), 404, "/livez"),
            .init("a path below a user", get("/v1/users/\(user)/x"), 404, "/v1/users/<user>"),
            .init("POST to a page", get("/livez", "POST"), 405, "GET, HEAD"),
            .init("PUT to metrics", get("/metrics", "PUT"), 405, "GET, HEAD"),
            .init("PUT to a user", get("/v1/users/\(user)", "PUT"), 405, "GET, HEAD, DELETE"),
        ]

        private static let protocols: [BadRequest] = [
            .init("POST without a length", get("/v1/check", "POST"), 411, "Content-Length"),
            .init(
                "a body above the bound, announced", post("", ["Content-Length": "65537"]), 413, "65536", closes: true
            ),
            .init(
                "a body above the bound, in chunks",
                HTTPConnection.text("POST", "/v1/check", ["Transfer-Encoding": "chunked"])
                    + "11000\r\n" + String(repeating: " ", count: 0x11000) + "\r\n0\r\n\r\n",
                413, "65536", closes: true
            ),
            .init(
                "headers above the bound",
                HTTPConnection.text("GET", "/livez", ["X-Long": String(repeating: "x", count: 17_000)]), 431, "16384",
                closes: true
            ),
            .init(
                "a check with headers above the bound",
                HTTPConnection.text("GET", "/v1/check?user=\(user)", ["X-Long": String(repeating: "x", count: 17_000)]),
                431, "16384", closes: true
            ),
            .init("no Host", "GET /v1/check?user=\(user) HTTP/1.1\r\n\r\n", 400, "Host", closes: true),
            .init(
                "two Hosts", "GET /v1/check?user=\(user) HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "Host",
                closes: true
            ),
            .init("no HTTP", "hello\r\n\r\n", 400, "HTTP/1.1", closes: true),
            .init("TLS", "\u{16}\u{03}\u{01}\u{02}\u{00}\u{01}\u{00}\u{01}\u{FC}\u{03}", 400, "HTTP/1.1", closes: true),
            .init("HTTP/3.0", "GET /livez HTTP/3.0\r\nHost: a\r\n\r\n", 400, "HTTP/1.1", closes: true),
            .init(
                "a bad Content-Length", post(good, ["Content-Length": "1x"]), 400, "Content-Length", closes: true
            ),
            .init(
                "two lengths",
                "POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 47\r\nContent-Length: 3\r\n\r\n" + good, 400,
                "HTTP/1.1", closes: true
            ),
            .init(
                "a length and chunks", post(good, ["Transfer-Encoding": "chunked"]), 400, "HTTP/1.1", closes: true
            ),
        ]
    }

    @Suite("Bad input")
    struct ProblemTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        @Test("is refused as problem details that say what is accepted, and consumes nothing")
        func refused() throws {
            let daemon = try Daemon(redis: redis.url)
            let before = try redis.calls(of: "evalsha")
            for bad in BadRequest.all {
                let client = try daemon.connect(timeoutSeconds: 5)
                try client.send(bad.text)
                let response: HTTPResponse
                do {
                    response = try client.response()
                } catch {
                    Issue.record("\(bad.testDescription): \(error)")
                    continue
                }
                #expect(response.status == bad.status, "\(bad.testDescription): \(response.text)")
                #expect(response["Content-Type"] == "application/problem+json", "\(bad.testDescription)")
                let problem = try response.json
                #expect(problem["status"] as? Int == bad.status && problem["title"] is String)
                let detail = problem["detail"] as? String ?? ""
                #expect(detail.contains(bad.detail), "\(bad.testDescription): \(detail)")
                #expect((response["Allow"] != nil) == (bad.status == 405))
                #expect((response["Connection"] == "close") == bad.closes, "\(bad.testDescription)")
                if bad.closes {
                    #expect(try client.isClosed(), "\(bad.testDescription)")
                } else {
                    // The connection goes on.
                    #expect(try client.request("GET", "/livez").status == 200, "\(bad.testDescription)")
                }
            }
            #expect(try redis.keys().count == 0)
            #expect(try redis.calls(of: "evalsha") == before)
        }

        @Test("A large body that is refused still gets its answer over TCP, where a reset would lose it")
        func largeBodyOverTCP() throws {
            let port = try freePort()
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "127.0.0.1:\(port)"])
            for _ in 0..<20 {
                let client = try HTTPConnection(.tcp(port), timeoutSeconds: 5)
                let body = String(repeating: " ", count: 400_000)
                try client.send(HTTPConnection.text("POST", "/v1/check", body: body))
                #expect(try client.response().status == 413)
            }
            withExtendedLifetime(daemon) {}
        }

        @Test(
            "A request that does not arrive whole in time gets 408",
            arguments: [
                "POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Le", "GET /livez HTTP/1.1\r\nHost: a\r\n", "P",
                "POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n{",
                "POST /v1/check HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
                "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HT",
            ])
        func slow(start: String) throws {
            let daemon = try Daemon(redis: redis.url, ["REQUEST_TIMEOUT_MS": "300"])
            let client = try daemon.connect(timeoutSeconds: 5)
            try client.send(start)
            if start.contains("\r\n\r\nGET") { #expect(try client.response().status == 200) }
            let response = try client.response()
            #expect(response.status == 408 && response["Connection"] == "close")
            #expect(response["Content-Type"] == "application/problem+json")
            #expect(try client.isClosed())
        }

        @Test("A sender of one byte at a time gets 408 as well, and an idle connection is left alone")
        func dripping() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUEST_TIMEOUT_MS": "300"])
            let idle = try daemon.connect()
            #expect(try idle.request("GET", "/livez").status == 200)
            let user = newUser()
            #expect(try idle.check(user).status == 200)
            let client = try daemon.connect(timeoutSeconds: 5)
            for byte in HTTPConnection.checkText(newUser()).prefix(25) {
                guard try client.send(String(byte)) else { break }
                pause(milliseconds: 20)
            }
            #expect(try client.response().status == 408)
            pause(milliseconds: 400)
            #expect(try idle.request("GET", "/livez").status == 200)
            #expect(try idle.check(user).status == 200)
            #expect(try redis.keys().count == 1)
        }

        @Test(
            "A client that sends headers without end gets 431, for a check and for any other request",
            arguments: [
                "GET /livez HTTP/1.1\r\nHost: a\r\n", "POST /v1/check HTTP/1.1\r\nHost: a\r\n",
            ])
        func endlessHeaders(start: String) throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect(timeoutSeconds: 5)
            try client.send(start)
            var sent = 0
            // More than what is read and dropped before the close, and what fits into the buffers on the way.
            let most = 64_000_000
            while sent < most, try client.send("X-Header-\(sent): \(String(repeating: "x", count: 900))\r\n") {
                sent += 920
            }
            #expect(sent < most)
            let response = try client.response()
            #expect(response.status == 431 && response["Connection"] == "close")
        }
    }
}
