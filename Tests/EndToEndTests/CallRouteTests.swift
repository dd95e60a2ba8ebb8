import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Calls whatever limits there are")
    struct CallRouteTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String = "") throws -> HTTPResponse {
            try client.request("POST", path, body: #"{"user":"\#(user)"\#(members)}"#)
        }

        private func used(_ client: HTTPConnection) throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        private func lease(_ client: HTTPConnection, _ members: String = "") throws -> String {
            let response = try post(client, "/v1/reserve", members)
            #expect(response.status == 200, "\(response.text)")
            return try #require(try response.json["lease"] as? String)
        }

        @Test("With the limit of checks alone a call is reserved, renewed and settled under it, beside plain checks")
        func checksAlone() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "5", "WINDOW": "1h"])
            let client = try daemon.connect()
            #expect(try client.check(user).number("remaining") == 4)
            let first = try lease(client, #","output_tokens":9"#)
            #expect(try used(client) == ["requests": 2])
            // A plain check sees what is held, and answers as it does without.
            let check = try client.check(user)
            #expect(try check.number("remaining") == 2 && check.json["limit_name"] as? String == "requests")
            #expect(try post(client, "/v1/renew", #","lease":"\#(first)""#).number("expires_in") == 60)
            let settle = #","lease":"\#(first)","output_tokens":9"#
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":true}"#)
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":false,"repeated":true}"#)
            #expect(try used(client) == ["requests": 3])
            let second = try lease(client, #","cost":2"#)
            let denied = try post(client, "/v1/reserve")
            #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "requests")
            #expect(try client.check(user).status == 429)
            #expect(try post(client, "/v1/release", #","lease":"\#(second)""#).text == #"{"released":true}"#)
            #expect(try used(client) == ["requests": 3])
            #expect(try client.check(user).number("remaining") == 1)
            // Usage is of tokens and money, which nothing counts here.
            #expect(try post(client, "/v1/usage", #","output_tokens":9"#).text == #"{"charged":false}"#)
        }

        @Test(
            "With the limit of checks alone a lease that lapsed is charged by its settle, though a plain check comes before"
        )
        func lateSettle() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "5", "WINDOW": "1h"])
            let client = try daemon.connect()
            let late = try lease(client, #","ttl":1"#)
            pause(milliseconds: 1_100)
            // It finds that the lease has lapsed, and gives back what it holds.
            #expect(try client.check(user).number("remaining") == 4)
            let settle = #","lease":"\#(late)""#
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":true}"#)
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":false,"repeated":true}"#)
            #expect(try used(client) == ["requests": 2])
        }

        @Test(
            "With no limit at all a reserve is allowed and holds nothing, and what ends it says so, without Redis too")
        func noLimit() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "0"])
            let client = try daemon.connect()
            for isThere in [true, false] {
                if !isThere { redis.end() }
                let reserved = try post(client, "/v1/reserve", #","output_tokens":9"#)
                #expect(try reserved.status == 200 && reserved.json["limit_name"] is NSNull)
                let lease = try #require(try reserved.json["lease"] as? String)
                let held = #","lease":"\#(lease)""#
                #expect(try post(client, "/v1/renew", held).number("expires_in") == 60)
                #expect(try post(client, "/v1/settle", held + #","output_tokens":9"#).text == #"{"charged":false}"#)
                #expect(try post(client, "/v1/release", held).text == #"{"released":true}"#)
                #expect(try post(client, "/v1/usage", #","output_tokens":9"#).text == #"{"charged":false}"#)
                #expect(
                    try client.request("GET", "/v1/users/\(user)/usage").text == #"{"user":"\#(user)","limits":[]}"#)
            }
        }

        private static let limits = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 3}
              - {name: team-calls, per: group, unit: concurrency, quota: 3}
              - {name: all-calls, per: global, unit: concurrency, quota: 3}
            """

        @Test("When the last limit leaves the file, what is under way can end: settled, released, renewed, told")
        func lastLimitLeaves() throws {
            let path = try folder.write(Self.limits, to: "limits.yaml")
            let daemon = try Daemon(
                redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "100", "GROUPS": "given"])
            let client = try daemon.connect()
            let group = newUser()
            let members = #","groups":["\#(group)"],"output_tokens":200"#
            let leases = try (0..<3).map { _ in try lease(client, members) }
            let usage = "/v1/users/\(user)/usage?group=\(group)"
            let held = try client.request("GET", usage).text
            #expect(held.components(separatedBy: #""used":3"#).count == 5)

            _ = try folder.write("limits: []\nlease: {ttl: 30s}\n", to: "limits.yaml")
            let isGone = try eventually(within: 20) {
                try client.request("POST", "/v1/check?verbose=1", body: #"{"user":"\#(newUser())"}"#).json["limits"]
                    == nil
            }
            #expect(isGone)
            #expect(try used(client) == ["requests": 3])
            // The file says how long leases live, with or without limits.
            #expect(try post(client, "/v1/renew", #","lease":"\#(leases[0])""#).number("expires_in") == 30)
            let settled = try post(client, "/v1/settle", #","lease":"\#(leases[0])","output_tokens":100"#)
            #expect(settled.text == #"{"charged":true}"#)
            #expect(try post(client, "/v1/release", #","lease":"\#(leases[1])""#).text == #"{"released":true}"#)
            #expect(try post(client, "/v1/usage", #","output_tokens":5"#).status == 200)
            #expect(try used(client) == ["requests": 2])

            // The limits are back: what has ended holds nothing any more, of the user, the group or all.
            _ = try folder.write(Self.limits, to: "limits.yaml")
            #expect(try eventually(within: 20) { try client.request("GET", usage).text.contains("all-calls") })
            let limits = try #require(try client.request("GET", usage).json["limits"] as? [[String: Any]])
            let states = Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
            #expect(states["calls"] == 1 && states["team-calls"] == 1 && states["all-calls"] == 1)
            #expect(states["tokens"] == 200 && states["requests"] == 2)
        }
    }
}
