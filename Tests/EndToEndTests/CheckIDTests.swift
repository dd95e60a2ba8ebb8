import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Checks with an id")
    struct CheckIDTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let limits = """
            limits:
              - {name: minute, per: user, unit: requests, quota: 3, window: 1h}
              - {name: day, per: user, unit: requests, quota: 100, window: 1d}
              - {name: team, per: group, unit: requests, quota: 100, window: 1h}
            """

        /// A daemon under one limit of 3 checks, from the options or from a file with others beside it.
        private func start(hasFile: Bool, _ settings: [String: String] = [:]) throws -> Daemon {
            var all = ["REQUESTS": hasFile ? "1000" : "3", "GROUPS": "given"]
            if hasFile { all["LIMITS_FILE"] = try folder.write(Self.limits, to: "limits.yaml") }
            return try Daemon(redis: redis.url, all.merging(settings) { $1 })
        }

        private func ask(_ client: HTTPConnection, key: String? = nil, _ members: String = "") throws -> HTTPResponse {
            let headers = key.map { ["Idempotency-Key": $0] } ?? [:]
            return try client.request("POST", "/v1/check", headers, body: #"{"user":"\#(user)"\#(members)}"#)
        }

        private func isRepeated(_ response: HTTPResponse) throws -> Bool {
            #expect(response.status == 200, "\(response.text)")
            return try response.json["repeated"] as? Bool ?? false
        }

        @Test(
            "are charged once for each id, in the header or in the body, on whichever daemon",
            arguments: [false, true])
        func once(hasFile: Bool) throws {
            let daemons = try (0..<2).map { _ in try start(hasFile: hasFile) }
            let clients = try daemons.map { try $0.connect() }
            #expect(try !isRepeated(ask(clients[0], key: "a")))
            for index in 0..<6 {
                let again = try ask(clients[index % 2], key: "a")
                #expect(try isRepeated(again) && again.number("remaining") == 2)
                #expect(try again.json["allowed"] as? Bool == true && again["RateLimit"]?.hasSuffix(";r=2") == true)
            }
            // The same id wherever it stands, and of two that of the header.
            #expect(try isRepeated(ask(clients[0], #","request_id":"a""#)))
            #expect(try isRepeated(ask(clients[0], key: "a", #","request_id":"b""#)))
            let query = try clients[1].request("GET", "/v1/check?user=\(user)", ["idempotency-key": "a"])
            #expect(try isRepeated(query))
            #expect(try !isRepeated(ask(clients[0], #","request_id":"b""#)))
            #expect(try isRepeated(ask(clients[1], key: "b")))
            // Without an id, or with one that is null, each is charged.
            #expect(try !isRepeated(ask(clients[0], #","request_id":null"#)))
            #expect(try ask(clients[0], key: "").status == 429)
        }

        @Test(
            "that were admitted are so again while their user is denied, from Redis and from memory",
            arguments: [false, true])
        func denied(hasFile: Bool) throws {
            let daemon = try start(hasFile: hasFile, ["DENY_CACHE_MS": "60000"])
            try redis.waitUntilSubscribed()
            let client = try daemon.connect()
            #expect(try !isRepeated(ask(client, key: "a")))
            for _ in 0..<2 { #expect(try ask(client).status == 200) }
            for _ in 0..<3 {
                #expect(try ask(client).status == 429)
                #expect(try isRepeated(ask(client, key: "a")))
                // Another id is not known, nor is one that was denied.
                let denied = try ask(client, key: "b")
                #expect(try denied.status == 429 && denied.json["repeated"] == nil && denied["Retry-After"] != nil)
            }
        }

        @Test("that were denied are decided anew, and then charged once")
        func deniedFirst() throws {
            let daemon = try start(hasFile: false)
            let client = try daemon.connect()
            #expect(try ask(client, #","cost":3"#).status == 200)
            for _ in 0..<2 { #expect(try ask(client, key: "a").status == 429) }
            let admin = try daemon.connectAdmin()
            #expect(try admin.request("DELETE", "/v1/users/\(user)").status == 204)
            #expect(try !isRepeated(ask(client, key: "a")))
            #expect(try isRepeated(ask(client, key: "a")))
            #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 1)
        }

        @Test("of which 64 ask at once are charged once", arguments: [false, true])
        func atOnce(hasFile: Bool) throws {
            let daemon = try start(hasFile: hasFile, ["THREADS": "2"])
            let clients = try (0..<64).map { _ in try daemon.connect() }
            let text = HTTPConnection.text(
                "POST", "/v1/check", ["Idempotency-Key": "one"], body: #"{"user":"\#(user)"}"#)
            for client in clients { try client.send(text) }
            var firsts = 0
            for client in clients where try !isRepeated(client.response()) { firsts += 1 }
            #expect(firsts == 1)
            #expect(try ask(clients[0]).number("remaining") == 1)
        }

        @Test("whose id cannot be used are refused and charge nothing", arguments: [false, true])
        func refused(hasFile: Bool) throws {
            let daemon = try start(hasFile: hasFile)
            let client = try daemon.connect()
            #expect(try ask(client, key: String(repeating: "k", count: 257)).status == 400)
            #expect(try !isRepeated(ask(client, key: String(repeating: "k", count: 256))))
            let body = #"{"user":"\#(user)"}"#
            try client.send(
                "POST /v1/check HTTP/1.1\r\nHost: a\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n"
                    + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
            #expect(try client.response().status == 400)
            let long = String(repeating: "k", count: 129)
            for id in [#""""#, "7", "{}", #""\#(long)""#] {
                #expect(try ask(client, #","request_id":\#(id)"#).status == 400, "\(id)")
            }
            #expect(try ask(client).number("remaining") == 1)
        }

        @Test("pass while Redis is away as the failure mode says, and nobody knows their ids")
        func withoutRedis() throws {
            let daemon = try start(hasFile: false, ["REDIS_TIMEOUT_MS": "50"])
            let client = try daemon.connect()
            #expect(try !isRepeated(ask(client, key: "a")))
            redis.end()
            for _ in 0..<2 {
                let answer = try ask(client, key: "a")
                #expect(try !isRepeated(answer) && answer.json["degraded"] as? Bool == true)
            }
        }

        @Test(
            "at /v1/auth are known by the header that is configured, and by none that a client may choose",
            arguments: [false, true])
        func authorization(hasFile: Bool) throws {
            let file = try folder.write("LLM_RATE_LIMIT_AUTH_ID_HEADER=X-Request-Id\n", to: "env")
            let daemon = try start(hasFile: hasFile, ["ENV_FILE": file])
            let client = try daemon.connect()
            func ask(_ headers: [String: String]) throws -> HTTPResponse {
                try client.request("GET", "/v1/auth/any", headers.merging(["X-User-Id": user]) { $1 })
            }
            for _ in 0..<4 {
                let answer = try ask(["x-request-id": "a", "Idempotency-Key": "\(UUID())"])
                #expect(answer.status == 200 && answer.body.isEmpty)
                #expect(answer["RateLimit"]?.hasSuffix(";r=2") == true)
            }
            let body = #"{"user":"\#(user)","request_id":"b"}"#
            for left in [1, 0] {
                let answer = try client.request(
                    "POST", "/v1/auth?request_id=b", ["X-User-Id": user, "Idempotency-Key": "b"], body: body)
                #expect(answer.status == 200 && answer["RateLimit"]?.hasSuffix(";r=\(left)") == true)
            }
            #expect(try ask(["Idempotency-Key": "b"]).status == 429)
            #expect(try ask(["X-Request-Id": "a"]).status == 200)
            // Of two nobody can tell which the gateway's is.
            try client.send(
                "GET /v1/auth HTTP/1.1\r\nHost: a\r\nX-User-Id: \(user)\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n")
            #expect(try client.response().status == 403)

            _ = try folder.write("LLM_RATE_LIMIT_AUTH_ID_HEADER=\n", to: "env")
            try daemon.reload()
            #expect(try ask(["X-Request-Id": "a"]).status == 429)
        }
    }
}
