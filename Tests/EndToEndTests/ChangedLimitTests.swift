import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// A limits file is edited while the daemon runs.
    @Suite("Limits that change")
    struct ChangedLimitTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let prices = """

            prices:
              models:
                big: {input: 10000000, output: 10000000}
                small: {input: 1000000, output: 1000000}

            """

        private func write(_ limits: String...) throws -> String {
            let lines = limits.map { "  - {\($0)}\n" }.joined()
            return try folder.write("limits:\n\(lines)\(Self.prices)", to: "limits.yaml")
        }

        private func start(_ limits: String...) throws -> Daemon {
            let path = try write(limits.joined(separator: "}\n  - {"))
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "0"])
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String) throws -> HTTPResponse {
            try client.request("POST", path, body: "{\(members)}")
        }

        private func used(_ user: String, _ client: HTTPConnection) throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        private func quota(_ user: String, _ client: HTTPConnection) throws -> (amount: Int?, rule: String?) {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limit = try #require((page["limits"] as? [[String: Any]])?.first)
            return (limit["limit"] as? Int, limit["rule"] as? String)
        }

        private static let spend = "name: daily, per: user, unit: spend, quota: $50, window: 1d"
        private static let requests = "name: daily, per: user, unit: requests, quota: 100, window: 1d"

        @Test("What was spent, held, granted and budgeted is nothing once the limit counts requests, and is told once")
        func unit() throws {
            let daemon = try start(Self.spend)
            let client = try daemon.connect()
            let admin = try daemon.connectAdmin()
            let user = newUser()
            let user1 = #""user":"\#(user)""#
            #expect(try post(client, "/v1/usage", user1 + #","cost_micros":5000000"#).status == 200)
            #expect(try post(client, "/v1/reserve", user1 + #","cost_micros":1000000"#).status == 200)
            let put = try admin.request(
                "PUT", "/v1/users/\(user)/budget", body: #"{"limits":{"daily":40000000}}"#)
            #expect(put.status == 200 && put.text.contains(#""units":{"daily":"spend"}"#))
            let grant = try admin.request(
                "POST", "/v1/users/\(user)/grants", body: #"{"limit":"daily","amount":2000000}"#)
            #expect(grant.status == 200)
            #expect(try used(user, client) == ["daily": 6_000_000])
            #expect(try quota(user, client).amount == 42_000_000)

            _ = try write(Self.requests)
            try daemon.reload()
            #expect(try used(user, client) == ["daily": 0])
            #expect(try quota(user, client) == (100, "default"))
            for _ in 0..<90 { #expect(try client.check(user).status == 200) }
            #expect(try used(user, client) == ["daily": 90])
            let told = "limit daily counts requests now, not spend: what was counted, held, granted and budgeted begins"
            #expect(daemon.logLines(containing: told).count == 1)
            // A replica that has never known the limit otherwise learns of it from what was budgeted.
            let replica = try start(Self.requests)
            for _ in 0..<2 { #expect(try used(user, replica.connect()) == ["daily": 90]) }
            let useless = "of limit daily is in spend, and the limit counts requests: it counts for nothing"
            #expect(eventually(within: 10) { replica.logLines(containing: useless).count == 1 })
            // Whoever looks sees what is kept, and in which unit.
            let kept = try admin.request("GET", "/v1/users/\(user)/budget").text
            #expect(kept.contains(#""limits":{"daily":40000000},"units":{"daily":"spend"}"#))
            #expect(kept.contains(#""unit":"spend""#))

            // Back again, the requests are nothing, and what was spent within the window is what it was.
            _ = try write(Self.spend)
            try daemon.reload()
            #expect(try used(user, client) == ["daily": 6_000_000])
            #expect(try quota(user, client) == (42_000_000, "override"))
        }

        @Test("A quota and a window's length that change keep what is counted")
        func keeps() throws {
            let daemon = try start("name: daily, per: user, unit: tokens, quota: 1000, window: 1d")
            let client = try daemon.connect()
            let user = newUser()
            _ = try post(client, "/v1/usage", #""user":"\#(user)","input_tokens":600"#)
            for (quota, window) in [(700, "2h"), (500, "{calendar: month}"), (900, "{calendar: day}"), (800, "7d")] {
                _ = try write("name: daily, per: user, unit: tokens, quota: \(quota), window: \(window)")
                try daemon.reload()
                // Around midnight a day's count may be over.
                #expect(try window.contains("day") || used(user, client) == ["daily": 600])
            }
        }

        @Test("A call that was reserved under a limit of another name is charged to the limits in force")
        func renamed() throws {
            let daemon = try start("name: old, per: user, unit: tokens, quota: 10000, window: 1h")
            let client = try daemon.connect()
            let user = newUser()
            let members = #""user":"\#(user)","input_tokens":100"#
            let leases = try (0..<2).map { _ in
                try #require(try post(client, "/v1/reserve", members).json["lease"] as? String)
            }
            _ = try write("name: new, per: user, unit: tokens, quota: 10000, window: 1h")
            try daemon.reload()
            let settle = #""user":"\#(user)","lease":"\#(leases[0])","input_tokens":5000"#
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":true}"#)
            #expect(try used(user, client) == ["new": 5_000])
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":false,"repeated":true}"#)

            // Where no limit counts what the call came to, nothing is charged, and the answer says so.
            _ = try write("name: calls, per: user, unit: concurrency, quota: 2")
            try daemon.reload()
            let other = #""user":"\#(user)","lease":"\#(leases[1])","input_tokens":5000"#
            #expect(try post(client, "/v1/settle", other).text == #"{"charged":false}"#)
        }

        @Test(
            "A lease carries the labels that limits named when it was given: a limit that counts by another does not charge it"
        )
        func labelNamedLater() throws {
            let all = "name: all, per: user, unit: tokens, quota: 10000, window: 1h"
            let tenant = "name: tenant, per: 'label:tenant', unit: tokens, quota: 10000, window: 1h"
            let daemon = try start(all)
            let client = try daemon.connect()
            let user = newUser()
            let call = #""user":"\#(user)","labels":{"tenant":"acme"},"input_tokens":100"#
            func lease() throws -> String {
                try #require(try post(client, "/v1/reserve", call).json["lease"] as? String)
            }
            func settle(_ lease: String) throws -> String {
                try post(client, "/v1/settle", #""user":"\#(user)","lease":"\#(lease)","input_tokens":500"#).text
            }
            func ofTenant() throws -> [Int] {
                let page = try client.request("GET", "/v1/users/\(user)/usage?label.tenant=acme").json
                return try #require(page["limits"] as? [[String: Any]]).map { $0["used"] as? Int ?? -1 }
            }
            let before = try lease()
            _ = try write(all, tenant)
            try daemon.reload()
            #expect(try settle(before) == #"{"charged":true}"#)
            #expect(try ofTenant() == [500, 0])
            #expect(try settle(lease()) == #"{"charged":true}"#)
            #expect(try ofTenant() == [1_000, 500])
        }

        @Test("A call that another model served is settled at that model's price, and learned under it")
        func fellBack() throws {
            let daemon = try start("name: spend, per: user, unit: spend, quota: $50, window: 1d")
            let client = try daemon.connect()
            let user = newUser()
            for _ in 0..<4 {
                let reserved = try post(client, "/v1/reserve", #""user":"\#(user)","model":"big","input_tokens":1000"#)
                let lease = try #require(try reserved.json["lease"] as? String)
                let settle = #""user":"\#(user)","lease":"\#(lease)","model":"small","input_tokens":1000"#
                #expect(try post(client, "/v1/settle", settle).text == #"{"charged":true}"#)
            }
            #expect(try used(user, client) == ["spend": 4_000])
            let small = try post(client, "/v1/reserve", #""user":"\#(user)","model":"small""#).text
            #expect(
                small.contains(#""learned_from":"user","input_tokens":1000"#) && small.contains(#""cost_micros":1000"#))
            let big = try post(client, "/v1/reserve", #""user":"\#(user)","model":"big""#).text
            #expect(big.contains(#""estimate":{"source":"none""#))
            // One that names none is of the model that it was reserved for.
            let lease = try #require(
                try post(client, "/v1/reserve", #""user":"\#(user)","model":"big","cost_micros":1"#).json["lease"]
                    as? String)
            let before = try used(user, client)["spend"] ?? 0
            _ = try post(client, "/v1/settle", #""user":"\#(user)","lease":"\#(lease)","input_tokens":1000"#)
            #expect(try used(user, client)["spend"] == before - 1 + 10_000)
        }

        @Test("A lease is its owner's: settled, renewed or released under another user it is the owner's all the same")
        func owner() throws {
            let daemon = try start(
                "name: tokens, per: user, unit: tokens, quota: 10000, window: 1h",
                "name: calls, per: user, unit: concurrency, quota: 5")
            let client = try daemon.connect()
            let (user, other) = (newUser(), newUser())
            let leases = try (0..<2).map { _ in
                try #require(
                    try post(client, "/v1/reserve", #""user":"\#(user)","input_tokens":100"#).json["lease"] as? String)
            }
            func members(_ lease: String) -> String { #""user":"\#(other)","lease":"\#(lease)""# }
            let renewed = try post(client, "/v1/renew", members(leases[0]))
            #expect(try renewed.status == 200 && renewed.json["user"] as? String == user)
            let settled = try post(client, "/v1/settle", members(leases[0]) + #","input_tokens":70"#)
            #expect(settled.text == #"{"charged":true,"user":"\#(user)"}"#)
            #expect(try used(user, client) == ["tokens": 170, "calls": 1])
            let released = try post(client, "/v1/release", members(leases[1]))
            #expect(released.text == #"{"released":true,"user":"\#(user)"}"#)
            #expect(try used(user, client) == ["tokens": 70, "calls": 0])
            #expect(try used(other, client) == ["tokens": 0, "calls": 0])
        }
    }
}
