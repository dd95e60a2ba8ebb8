import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// The worked example of Limits, and what a lifetime is to gateways besides.
    @Suite("A session cap for an agent")
    struct SessionCapTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        /// The file of the page's example.
        static let example = """
            limits:
              - {name: session-calls, per: [user, label:session], unit: requests, quota: 200, window: {lifetime: true, idle: 1d}, missing: deny}
              - {name: session-tokens, per: [user, label:session], unit: tokens, quota: 2000000, window: {lifetime: true, idle: 1d}}
              - {name: session-spend, per: [user, label:session], unit: spend, quota: $5, window: {lifetime: true, idle: 1d}, warn_at: [0.8]}
            prices:
              models: {gpt-4o: {input: 2500000, output: 10000000}}
            """

        private func start(_ file: String) throws -> Daemon {
            try Daemon(redis: redis.url, ["LIMITS_FILE": try folder.write(file, to: "limits.yaml"), "REQUESTS": "0"])
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String) throws -> HTTPResponse {
            try client.request("POST", path, body: "{\(members)}")
        }

        private func limits(_ client: HTTPConnection, _ user: String, session: String) throws -> [[String: Any]] {
            let page = try client.request("GET", "/v1/users/\(user)/usage?label.session=\(session)").json
            return try #require(page["limits"] as? [[String: Any]])
        }

        @Test("Of the page's example each row is as it says, on two daemons")
        func example() throws {
            let daemons = try (0..<2).map { _ in try start(Self.example) }
            let clients = try daemons.map { try $0.connect() }
            let user = newUser()
            func members(_ session: String, _ more: String = "") -> String {
                #""user":"\#(user)","model":"gpt-4o","labels":{"session":"\#(session)"}\#(more)"#
            }
            func next(_ session: String) throws -> (status: Int, limit: String?) {
                let answer = try post(clients[1], "/v1/check", members(session))
                return (answer.status, try answer.json["limit_name"] as? String)
            }
            #expect(try post(clients[0], "/v1/check", members("calls", #","cost":199"#)).status == 200)
            #expect(try next("calls").status == 200)
            #expect(try next("calls") == (429, "session-calls"))
            let wait = try post(clients[0], "/v1/check", members("calls"))["Retry-After"].flatMap { Int($0) } ?? 0
            #expect((86_000...86_400).contains(wait))
            #expect(try next("other").status == 200)
            let unnamed = try post(clients[0], "/v1/check", #""user":"\#(user)","model":"gpt-4o""#)
            #expect(try unnamed.json["limit_name"] as? String == "session-calls")
            #expect(unnamed.status == 429 && unnamed["Retry-After"] == nil)

            _ = try post(clients[0], "/v1/usage", members("spend", #","cost_micros":4200000"#))
            let warned = try post(clients[1], "/v1/check", members("spend"))
            #expect(warned.status == 200)
            #expect(warned.text.contains(#""warnings":[{"limit_name":"session-spend","share":0.800}]"#))
            let lease = try #require(
                try post(clients[0], "/v1/reserve", members("spend", #","cost_micros":700000"#)).json["lease"]
                    as? String)
            _ = try post(clients[0], "/v1/usage", members("spend", #","cost_micros":800000"#))
            #expect(try next("spend") == (429, "session-spend"))
            // What is under way is settled, also where that passes the quota.
            let settle = members("spend", #","lease":"\#(lease)","cost_micros":900000"#)
            #expect(try post(clients[1], "/v1/settle", settle).text.hasPrefix(#"{"charged":true"#))
            let spent = try limits(clients[0], user, session: "spend").first {
                $0["name"] as? String == "session-spend"
            }
            #expect(spent?["used"] as? Int == 5_900_000)

            _ = try post(clients[0], "/v1/usage", members("tokens", #","input_tokens":2000000,"cost_micros":0"#))
            #expect(try next("tokens") == (429, "session-tokens"))

            let reset = try ChildProcess(
                Daemon.program, ["reset", user, "--admin-socket", daemons[0].adminSocketPath])
            #expect(try reset.wait() == 0, "\(reset.errors)")
            for session in ["calls", "spend", "tokens"] {
                #expect(try eventually(within: 20) { try next(session).status == 200 })
            }
        }

        @Test("The usage page, explain and the header fields say that it is a lifetime, and until when")
        func told() throws {
            let daemon = try start(Self.example)
            let client = try daemon.connect()
            let user = newUser()
            let members = #""user":"\#(user)","labels":{"session":"a"},"input_tokens":1,"cost_micros":0"#
            let fresh = try #require(try limits(client, user, session: "a").first)
            #expect(fresh["period"] as? String == "lifetime 86400s" && fresh["reset_after"] as? Int == 0)
            #expect(fresh["period_start"] is NSNull && fresh["period_end"] is NSNull)
            let answer = try post(client, "/v1/check", members)
            #expect(answer["RateLimit-Policy"] == #""session-calls";q=200"#)
            #expect(answer["RateLimit"]?.hasPrefix(#""session-calls";r=199;t=86"#) == true)
            let used = try #require(try limits(client, user, session: "a").first)
            #expect(used["used"] as? Int == 1 && used["period_start"] is NSNull && used["period_end"] is String)
            let explained = try ChildProcess(
                Daemon.program, ["explain", user, "--label", "session=a", "--socket", daemon.socketPath])
            #expect(try explained.wait() == 0)
            #expect(
                explained.outputInOneLine.contains(
                    "1 of 200 requests used with label:session=a, until nothing is used for 1 day, all free in "),
                "\(explained.output)")
        }

        @Test("A session that nobody uses is forgotten in Redis too, and one whose call takes longer is not")
        func idle() throws {
            let daemon = try start(
                """
                limits:
                  - {name: run, per: [user, label:session], unit: tokens, quota: 10, window: {lifetime: true, idle: 1s}}
                lease: {ttl: 30s, remember: 1s}
                """)
            let client = try daemon.connect()
            let user = newUser()
            func members(_ session: String, _ more: String) -> String {
                #""user":"\#(user)","labels":{"session":"\#(session)"},\#(more)"#
            }
            for session in ["idle", "held"] {
                _ = try post(client, "/v1/usage", members(session, #""input_tokens":9"#))
            }
            let held = members("held", #""input_tokens":1"#)
            let lease = try #require(try post(client, "/v1/reserve", held).json["lease"] as? String)
            func check(_ session: String) throws -> HTTPResponse {
                try post(client, "/v1/check", members(session, #""input_tokens":9"#))
            }
            // It never slides: until a second without a charge everything counts.
            #expect(try eventually(within: 20) { try check("idle").status == 200 })
            #expect(try check("held").status == 429)
            // What the lease holds keeps the nine tokens, and its settlement is the tenth.
            let settle = members("held", #""lease":"\#(lease)","input_tokens":1"#)
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":true}"#)
            #expect(try limits(client, user, session: "held").first?["used"] as? Int == 10)
            #expect(try eventually(within: 20) { try check("held").status == 200 })
            // Of a lease Redis knows for longer that it has ended.
            func keys() throws -> Int { try redis.command("KEYS", "*:by:*session=idle").elements.count }
            #expect(try eventually(within: 20) { try keys() == 0 })
        }

        @Test(
            "A limit that becomes a lifetime at a reload keeps what is counted, and so does one that is none any more")
        func reload() throws {
            func file(_ window: String) -> String {
                "limits: [{name: tokens, per: user, unit: tokens, quota: 1000, window: \(window)}]\n"
            }
            let daemon = try start(file("2h"))
            let client = try daemon.connect()
            let user = newUser()
            var used = 0
            let windows = [
                "{lifetime: true, idle: 1d}", "7d", "{lifetime: true, idle: 2h}", "{lifetime: true, idle: 2d}",
            ]
            for window in windows {
                _ = try post(client, "/v1/usage", #""user":"\#(user)","input_tokens":100"#)
                used += 100
                _ = try folder.write(file(window), to: "limits.yaml")
                try daemon.reload()
                let page = try client.request("GET", "/v1/users/\(user)/usage").json
                let limits = try #require(page["limits"] as? [[String: Any]])
                #expect(limits.map { $0["used"] as? Int } == [used], "\(window)")
            }
        }
    }
}
