import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Refunds of calls")
    struct RefundTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: hourly, per: user, unit: requests, quota: 3, window: 1h, warn_at: [0.1]}
              - {name: tokens, per: user, unit: tokens, quota: 100, window: 1h}
              - {name: money, per: user, unit: spend, quota: 1000, window: {calendar: month}}
              - {name: team, per: group, unit: tokens, quota: 1000, window: 1h}
              - {name: session, per: ["user", "label:session"], unit: tokens, quota: 500, window: 1h}
            prices:
              models: {m: {input: $2.00, output: $4.00}}
            """

        private func start(_ settings: [String: String] = [:], file: String? = Self.file) throws -> Daemon {
            var all = ["REQUESTS": "100000", "GROUPS": "given"].merging(settings) { $1 }
            if let file { all["LIMITS_FILE"] = try folder.write(file, to: "limits.yaml") }
            return try Daemon(redis: redis.url, all)
        }

        private func used(_ client: HTTPConnection, _ user: String, _ query: String = "") throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage?group=g&\(query)").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) }, uniquingKeysWith: { $1 })
        }

        private func usage(_ client: HTTPConnection, _ user: String, _ members: String) throws -> HTTPResponse {
            try client.request(
                "POST", "/v1/usage", body: #"{"user":"\#(user)","groups":["g"],"model":"m",\#(members)}"#)
        }

        @Test(
            "What a usage charged is given back in each limit that counted it, money at the price of its model, once for each id"
        )
        func whole() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let tokens = #""input_tokens":10,"output_tokens":20,"labels":{"session":"s"}"#
            let all = #""request_id":"a",\#(tokens)"#
            #expect(try usage(client, user, all).text.hasPrefix(#"{"charged":true"#))
            let before = try used(client, user, "label.session=s")
            #expect(before == ["requests": 0, "hourly": 0, "tokens": 30, "money": 100, "team": 30, "session": 30])
            // The id of the usage and that of its refund may be the same.
            let refund = all + #","refund":true"#
            #expect(try usage(client, user, refund).text == #"{"refunded":true}"#)
            let nothing = ["requests": 0, "hourly": 0, "tokens": 0, "money": 0, "team": 0, "session": 0]
            #expect(try used(client, user, "label.session=s") == nothing)
            _ = try usage(client, user, tokens)
            #expect(try usage(client, user, refund).text == #"{"refunded":false,"repeated":true}"#)
            #expect(try used(client, user, "label.session=s") == before)
        }

        @Test("It never takes more than there is, says where nothing was left, and makes no window where there is none")
        func bounded() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let (user, stranger) = (newUser(), newUser())
            let refund = #""output_tokens":50,"refund":true,"labels":{"session":"s"}"#
            _ = try usage(client, user, #""output_tokens":20"#)
            let page = try client.request(
                "POST", "/v1/usage?verbose=1",
                body: #"{"user":"\#(user)","model":"m","output_tokens":50,"refund":true}"#)
            let limits = try #require(try page.json["limits"] as? [[String: Any]])
            #expect(limits.first { $0["name"] as? String == "tokens" }?["used"] as? Int == 0)
            #expect(try usage(client, user, refund).text == #"{"refunded":true}"#, "the group has 20 left")
            #expect(try usage(client, user, refund).text == #"{"refunded":false}"#)
            let keys = try redis.command("DBSIZE")
            #expect(try usage(client, stranger, refund).text == #"{"refunded":false}"#)
            #expect(try redis.command("DBSIZE") == keys)
            let counted = try client.request("GET", "/metrics").text
            for (result, count) in [("refunded", 2), ("empty", 2), ("repeated", 0)] {
                #expect(counted.contains("llm_rate_limit_refunds_total{result=\"\(result)\"} \(count)\n"))
            }
        }

        @Test("Requests are given back as many as its cost says, and none where it says no cost")
        func requests() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            _ = try client.request("POST", "/v1/check", body: #"{"user":"\#(user)","cost":3,"model":"m"}"#)
            #expect(try used(client, user)["hourly"] == 3)
            #expect(try usage(client, user, #""output_tokens":5,"refund":true"#).text == #"{"refunded":false}"#)
            #expect(try used(client, user)["hourly"] == 3)
            #expect(try usage(client, user, #""cost":2,"refund":true"#).text == #"{"refunded":true}"#)
            #expect(try used(client, user)["hourly"] == 1 && used(client, user)["requests"] == 1)
        }

        @Test("What this daemon remembers of denials ends for whoever was given something back, and for nobody else")
        func denialMemory() throws {
            let daemon = try start(["DENY_CACHE_MS": "60000", "THREADS": "2"])
            let clients = try (0..<4).map { _ in try daemon.connect() }
            let (user, other) = (newUser(), newUser())
            func check(_ client: HTTPConnection, _ user: String) throws -> Int {
                try client.request("POST", "/v1/check", body: #"{"user":"\#(user)","model":"m"}"#).status
            }
            for client in clients { for user in [user, other] { while try check(client, user) == 200 {} } }
            try redis.waitUntilSubscribed()
            for client in clients { for user in [user, other] { #expect(try check(client, user) == 429) } }
            let before = try redis.calls(of: "evalsha")
            for client in clients { for user in [user, other] { #expect(try check(client, user) == 429) } }
            #expect(try redis.calls(of: "evalsha") == before, "they are remembered")
            #expect(try usage(clients[0], user, #""cost":1,"refund":true"#).text == #"{"refunded":true}"#)
            // Whichever loop remembers it.
            #expect(try check(clients[3], user) == 200)
            let after = try redis.calls(of: "evalsha")
            for client in clients { #expect(try check(client, other) == 429) }
            #expect(try redis.calls(of: "evalsha") == after)
        }

        @Test("Without a limits file it gives requests back, and ends the denial that the hot path remembers")
        func hotPath() throws {
            let daemon = try start(["REQUESTS": "2", "DENY_CACHE_MS": "60000"], file: nil)
            let client = try daemon.connect()
            let user = newUser()
            try redis.waitUntilSubscribed()
            for status in [200, 200, 429, 429] { #expect(try client.check(user).status == status) }
            #expect(try usage(client, user, #""cost":1,"refund":true"#).text == #"{"refunded":true}"#)
            for status in [200, 429] { #expect(try client.check(user).status == status) }
        }

        @Test("Exactly as many calls more pass as were given back, by whichever daemon")
        func exact() throws {
            let file = "limits: [{name: hourly, per: user, unit: requests, quota: 50, window: 1h}]\n"
            let daemons = try (0..<2).map { _ in try start(["DENY_CACHE_MS": "0"], file: file) }
            let clients = try daemons.map { try $0.connect() }
            let user = newUser()
            var admitted = 0
            for round in 0..<4 {
                for client in clients {
                    try client.send((0..<40).map { _ in HTTPConnection.checkText(user) }.joined())
                    for _ in 0..<40 where try client.response().status == 200 { admitted += 1 }
                }
                #expect(admitted == 50 + 14 * round)
                for number in 0..<7 {
                    let refund = #""cost":2,"refund":true,"request_id":"\#(round) \#(number)""#
                    for client in clients { _ = try usage(client, user, refund) }
                }
            }
        }

        @Test("A refund that cannot be used is refused, since another one under its id could not be mended")
        func refusals() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let cases = [
                (#""refund":1,"output_tokens":5"#, "refund is neither true nor false"),
                (#""refund":true,"output_tokens":-5"#, "output_tokens is no whole number from 0"),
                (#""refund":true,"request_id":"""#, "request_id does not have 1 to 128 bytes"),
                (#""refund":true,"cost":0"#, "cost"),
            ]
            for (members, reason) in cases {
                let response = try usage(client, user, members)
                #expect(response.status == 400 && response.text.contains(reason), "\(members) \(response.text)")
            }
            #expect(try used(client, user)["tokens"] == 0)
            #expect(try usage(client, user, #""refund":false,"output_tokens":5"#).text == #"{"charged":true}"#)
            #expect(try usage(client, user, #""refund":null,"output_tokens":5"#).text == #"{"charged":true}"#)
            let check = try client.request(
                "POST", "/v1/check", body: #"{"user":"\#(user)","model":"m","refund":true}"#)
            #expect(check.status == 200)
            #expect(check.text.contains(#""ignored":[{"member":"refund","reason":"it counts for usage alone"}]"#))
        }

        @Test("While Redis is away nothing is given back, and it says so")
        func away() throws {
            let daemon = try start()
            let client = try daemon.connect()
            redis.end()
            let response = try usage(client, newUser(), #""refund":true,"output_tokens":5"#)
            #expect(response.status == 503)
        }
    }
}
