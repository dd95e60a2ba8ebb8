import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Waits for what leases hold")
    struct LeaseWaitTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 2}
            """
        private static let day = 86_400

        private func start() throws -> Daemon {
            let path = try folder.write(Self.file, to: "limits.yaml")
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "1000"])
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String) throws -> HTTPResponse {
            try client.request("POST", path, body: #"{"user":"\#(user)"\#(members)}"#)
        }

        /// Reserves for a day.
        private func reserve(_ client: HTTPConnection, tokens: Int = 1) throws -> HTTPResponse {
            try post(client, "/v1/reserve", #","output_tokens":\#(tokens),"ttl":\#(Self.day)"#)
        }

        private func lease(_ client: HTTPConnection, tokens: Int = 1) throws -> String {
            try #require(try reserve(client, tokens: tokens).json["lease"] as? String)
        }

        /// The wait that a denial tells, which must be one wherever it stands; and the bound beside it.
        private func wait(_ response: HTTPResponse, status: Int) throws -> (told: Int, atMost: Int?) {
            let told = try #require(try response.number("retry_after"))
            #expect(response.status == status && response["Retry-After"] == "\(told)")
            // Of limits that no field announces, such as those of tokens, there is none.
            if let field = response["RateLimit"] { #expect(field.hasSuffix(";t=\(told)")) }
            #expect((response["RateLimit"] == nil) == (status == 429))
            return (told, try response.number("retry_after_at_most"))
        }

        @Test(
            "At capacity a client is told a wait it can use, though a lease may live a day; the bound stands beside it")
        func capacity() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let leases = try (0..<2).map { _ in try lease(client) }
            // No lease has ended yet: two that take ten seconds each, by assumption.
            let (told, atMost) = try wait(reserve(client), status: 503)
            #expect(try told == 5 && (Self.day - 100...Self.day).contains(#require(atMost)))
            // The next ones take as long as these did.
            pause(milliseconds: 2_100)
            for lease in leases { #expect(try post(client, "/v1/settle", #","lease":"\#(lease)""#).status == 200) }
            _ = try (0..<2).map { _ in try lease(client) }
            let learned = try wait(reserve(client), status: 503)
            #expect(learned.told >= 2 && learned.told <= 60 && learned.atMost != nil)
        }

        @Test("What was learned is learned where a lease is ended, whichever daemon gave it")
        func otherDaemon() throws {
            let daemons = try (0..<2).map { _ in try start() }
            let clients = try daemons.map { try $0.connect() }
            for _ in 0..<8 {
                let lease = try lease(clients[0])
                #expect(try post(clients[1], "/v1/release", #","lease":"\#(lease)""#).status == 200)
            }
            _ = try (0..<2).map { _ in try lease(clients[0]) }
            // The first has seen no lease end.
            #expect(try wait(reserve(clients[0]), status: 503).told == 5)
            #expect(try wait(reserve(clients[1]), status: 503).told < 5)
        }

        @Test("Where held tokens deny, the wait is a forecast; where charged ones do, it is exact")
        func tokens() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let lease = try lease(client, tokens: 900)
            let held = try wait(post(client, "/v1/check", #","output_tokens":200"#), status: 429)
            #expect(try held.told == 10 && (3_600...Self.day).contains(#require(held.atMost)))
            #expect(try post(client, "/v1/settle", #","lease":"\#(lease)","output_tokens":900"#).status == 200)
            let charged = try wait(post(client, "/v1/check", #","output_tokens":200"#), status: 429)
            #expect((3_500...3_600).contains(charged.told) && charged.atMost == nil)
        }

        @Test("Where charged and held tokens deny, the wait is at least what the charged ones need")
        func both() throws {
            let daemon = try start()
            let client = try daemon.connect()
            for tokens in [600, 0] { _ = try lease(client, tokens: tokens) }
            #expect(try post(client, "/v1/usage", #","output_tokens":900"#).status == 200)
            let (told, atMost) = try wait(post(client, "/v1/check", #","output_tokens":500"#), status: 429)
            #expect(try (3_500...3_600).contains(told) && #require(atMost) > told)
            // At capacity as well: the longer wait counts.
            let full = try wait(reserve(client, tokens: 500), status: 503)
            #expect((3_500...3_600).contains(full.told))
        }

        @Test("A plain check that what reservations hold denies is told such a wait too")
        func plainCheck() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1", "WINDOW": "1d"])
            let client = try daemon.connect()
            _ = try lease(client)
            let denied = try client.check(user)
            #expect(denied.status == 429 && denied["Retry-After"] == "10")
            #expect(try denied.number("retry_after") == 10)
        }
    }
}
