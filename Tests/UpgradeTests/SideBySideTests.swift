import Foundation
import TestSupport
import Testing

/// Each test with the last release first and this one second, and the other way round.
@Suite("Two releases side by side on one Redis", .serialized, .needsReleases)
struct SideBySideTests {
    static let orders: [[Release]] = [[.last, .current], [.current, .last]]

    @Test("Under load over both, a user has the whole quota and no more: of requests alone, and of tokens of a file")
    func exact() throws {
        let pair = try Pair([.last, .current], ["DENY_CACHE_MS": "0", "REQUESTS": "150"])
        let plain = try [Release.last, .current].map {
            try Daemon(
                redis: pair.redis.url, ["REQUESTS": "150", "DENY_CACHE_MS": "0", "KEY_PREFIX": "llm-rate:plain"],
                program: $0.program)
        }
        for (daemons, body, quota) in [
            (plain, "", 150), (pair.daemons, #","input_tokens":10"#, 100), (pair.daemons, #","output_tokens":8"#, 100),
        ] {
            for _ in 0..<3 {
                let user = newUser()
                let statuses = try concurrently(8) { number in
                    let client = try daemons[number % 2].connect()
                    return try (0..<quota / 4 + 5).map { _ in
                        try client.request("POST", "/v1/check", body: #"{"user":"\#(user)"\#(body)}"#).status
                    }
                }.joined()
                #expect(statuses.count { $0 == 200 } == quota)
                #expect(statuses.count { $0 == 429 } == statuses.count - quota)
            }
        }
    }

    @Test(
        "A lease of one is renewed, settled and released by the other, once, and what it held is free",
        arguments: orders)
    func leases(order: [Release]) throws {
        let pair = try Pair(order)
        let (user, group) = (newUser(), newUser())
        #expect(try pair.admins[0].request("PUT", "/v1/groups/\(group)/members/\(user)").status == 200)
        let who = #""user":"\#(user)","model":"m","labels":{"session":"s"}"#
        _ = try pair.agree(user)
        let leases = try (0..<3).map { _ in try pair.reserve(0, who + #","output_tokens":200"#) }
        #expect(try pair.used("tokens", of: user) == 600 && pair.used("calls", of: user) == 3)
        // All slots are held, whoever asks.
        for daemon in 0..<2 { #expect(try pair.post(daemon, "reserve", who).status == 503) }

        #expect(try pair.post(1, "renew", #""user":"\#(user)","lease":"\#(leases[0])","ttl":30"#).status == 200)
        let settle = #""user":"\#(user)","lease":"\#(leases[0])","usage":{"prompt_tokens":10,"completion_tokens":50}"#
        #expect(try pair.post(1, "settle", settle).text.hasPrefix(#"{"charged":true"#))
        for daemon in 0..<2 {
            #expect(try pair.post(daemon, "settle", settle).text.hasPrefix(#"{"charged":false,"repeated":true"#))
        }
        #expect(try pair.used("tokens", of: user) == 460 && pair.used("day", of: user) == 450)
        // 10 tokens for a millionth of a dollar each, 50 for two, and what the other two leases hold.
        #expect(try pair.used("team", of: user) == 910)
        #expect(
            try pair.post(1, "release", #""user":"\#(user)","lease":"\#(leases[1])""#).text == #"{"released":true}"#)
        #expect(try pair.used("tokens", of: user) == 260 && pair.used("calls", of: user) == 1)
        // The settle without the user, as a gateway may send it.
        #expect(
            try pair.post(1, "settle", #""lease":"\#(leases[2])","output_tokens":1"#).text.contains(#""charged":true"#))
        #expect(try pair.used("tokens", of: user) == 61 && pair.used("calls", of: user) == 0)
        #expect(try pair.used("session", of: user) == 2 && pair.used("team-week", of: user) == 2)
    }

    @Test(
        "A lease of one that lapses gives back what it held at the other too, and its late settle is charged",
        arguments: orders)
    func lapsed(order: [Release]) throws {
        let pair = try Pair(order)
        let user = newUser()
        let lease = try pair.reserve(0, #""user":"\#(user)","output_tokens":700,"ttl":1"#)
        #expect(try pair.used("tokens", of: user) == 700)
        #expect(try eventually(within: 20) { try pair.used("tokens", of: user) == 0 })
        let settle = #""user":"\#(user)","lease":"\#(lease)","output_tokens":90"#
        #expect(try pair.post(1, "settle", settle).text.hasPrefix(#"{"charged":true"#))
        #expect(try pair.post(0, "settle", settle).text.hasPrefix(#"{"charged":false,"repeated":true"#))
        #expect(try pair.used("tokens", of: user) == 90)
    }

    @Test("What one has charged once, under an id, the other does not charge again", arguments: orders)
    func identified(order: [Release]) throws {
        let pair = try Pair(order)
        let user = newUser()
        let usage = #""user":"\#(user)","request_id":"u1","output_tokens":70"#
        #expect(try pair.post(0, "usage", usage).text == #"{"charged":true}"#)
        #expect(try pair.post(1, "usage", usage).text.hasPrefix(#"{"charged":false,"repeated":true"#))
        let check = #""user":"\#(user)","request_id":"c1","output_tokens":30"#
        for daemon in 0..<2 { #expect(try pair.post(daemon, "check", check).isAllowed) }
        #expect(try pair.used("tokens", of: user) == 100 && pair.used("day", of: user) == 100)
        #expect(try pair.used("trial", of: user) == 100)
    }

    @Test(
        "Budgets, memberships and grants of one hold at the other, and are read and taken back there", arguments: orders
    )
    func budgets(order: [Release]) throws {
        let pair = try Pair(order)
        let (user, group) = (newUser(), newUser())
        _ = try pair.agree(user)
        #expect(try pair.admins[0].request("PUT", "/v1/groups/\(group)/members/\(user)").status == 200)
        let groupBudget = #"{"limits":{"team":40000000,"team-week":5}}"#
        #expect(try pair.admins[0].request("PUT", "/v1/groups/\(group)/budget", body: groupBudget).status == 200)
        let budget = #"{"limits":{"tokens":2000,"day":40}}"#
        #expect(try pair.admins[0].request("PUT", "/v1/users/\(user)/budget", body: budget).status == 200)
        let grant = #"{"limit":"day","amount":10,"request_id":"g"}"#
        #expect(try pair.admins[0].request("POST", "/v1/users/\(user)/grants", body: grant).status == 200)
        func isQuota(_ quota: Int, _ limit: String) throws -> Bool {
            try eventually(within: 20) {
                try pair.agree(user).contains { $0.key.hasPrefix("\(limit) ") && $0.value.contains(" of \(quota),") }
            }
        }
        #expect(try isQuota(50, "day") && isQuota(2000, "tokens"))
        #expect(try isQuota(40_000_000, "team") && isQuota(5, "team-week"))
        for path in ["users/\(user)/budget", "groups/\(group)/budget", "groups/\(group)/members/\(user)"] {
            let told = try pair.admins.map { try $0.request("GET", "/v1/\(path)") }
            #expect(told.allSatisfy { $0.status == 200 } && told[0].text == told[1].text, "\(told.map(\.text))")
        }
        // By the second they are enforced, to the last one that fits.
        #expect(
            try (0..<6).map { _ in
                try pair.post(1, "check", #""user":"\#(user)","model":"m","output_tokens":10"#).status
            }
                == [200, 200, 200, 200, 200, 429])
        // What was granted once is not granted again by the other.
        let again = try pair.admins[1].request("POST", "/v1/users/\(user)/grants", body: grant)
        #expect(try again.json["granted"] as? Bool == false, "\(again.text)")
        #expect(try pair.admins[1].request("DELETE", "/v1/users/\(user)/grants?limit=day").status == 204)
        #expect(try isQuota(40, "day"))
        #expect(try pair.admins[1].request("DELETE", "/v1/users/\(user)/budget").status == 204)
        #expect(try isQuota(800, "day"))
        #expect(try pair.admins[1].request("DELETE", "/v1/groups/\(group)/members/\(user)").status == 204)
        #expect(try eventually(within: 20) { try !pair.agree(user).keys.contains { $0.hasPrefix("team ") } })
        let audits = try pair.admins.map { try $0.request("GET", "/v1/audit").text }
        #expect(audits[0] == audits[1] && audits[0].contains(user))
    }

    @Test(
        "A denial that one remembers ends as soon as the other resets the user, a limit, a group, or gives more",
        arguments: orders)
    func denials(order: [Release]) throws {
        let pair = try Pair(order, ["DENY_CACHE_MS": "60000", "REQUESTS": "3"])
        try pair.redis.waitUntilSubscribed()
        let group = newUser()
        func exhausted(_ user: String) throws {
            // The membership is known, and what was denied before it is forgotten.
            _ = try pair.agree(user)
            for _ in 0..<3 { _ = try pair.post(0, "check", #""user":"\#(user)""#) }
            for daemon in 0..<2 { #expect(try pair.post(daemon, "check", #""user":"\#(user)""#).status == 429) }
        }
        func passes(_ user: String) throws {
            for daemon in 0..<2 {
                #expect(
                    try eventually(within: 20) { try pair.post(daemon, "check", #""user":"\#(user)""#).status == 200 })
            }
        }
        for path in ["", "?limit=requests"] {
            let user = newUser()
            try exhausted(user)
            #expect(try pair.admins[1].request("DELETE", "/v1/users/\(user)\(path)").status == 204)
            try passes(user)
        }
        let member = newUser()
        #expect(try pair.admins[0].request("PUT", "/v1/groups/\(group)/members/\(member)").status == 200)
        let budget = #"{"limits":{"team-week":1}}"#
        #expect(try pair.admins[0].request("PUT", "/v1/groups/\(group)/budget", body: budget).status == 200)
        try exhausted(member)
        #expect(try pair.admins[1].request("DELETE", "/v1/groups/\(group)/usage").status == 204)
        #expect(try pair.admins[1].request("DELETE", "/v1/groups/\(group)/budget").status == 204)
        #expect(try eventually(within: 20) { try pair.post(0, "check", #""user":"\#(member)""#).status == 200 })
    }

    @Test(
        "Windows, leases and budgets that one has written the other goes on with when it comes later", arguments: orders
    )
    func successor(order: [Release]) throws {
        let redis = try RedisServer()
        let folder = try TemporaryFolder()
        let settings = [
            "LIMITS_FILE": try folder.write(Pair.limits, to: "limits.yaml"), "REQUESTS": "200",
            // The client's connection stays until then.
            "DRAIN_TIMEOUT_MS": "100",
        ]
        let user = newUser()
        var lease = ""
        for (number, release) in order.enumerated() {
            let daemon = try Daemon(redis: redis.url, settings, program: release.program)
            let client = try daemon.connect()
            func used() throws -> [Int?] {
                let page = try client.request("GET", "/v1/users/\(user)/usage").json
                let limits = try #require(page["limits"] as? [[String: Any]])
                return ["requests", "tokens", "day", "calls"].map { name in
                    limits.first { $0["name"] as? String == name }?["used"] as? Int
                }
            }
            if number == 0 {
                for _ in 0..<50 {
                    let check = #"{"user":"\#(user)","input_tokens":3,"output_tokens":2}"#
                    #expect(try client.request("POST", "/v1/check", body: check).isAllowed)
                }
                let reserve = #"{"user":"\#(user)","output_tokens":100,"ttl":600}"#
                lease = try client.request("POST", "/v1/reserve", body: reserve).json["lease"] as? String ?? ""
                #expect(try used() == [51, 350, 200, 1])
            } else {
                #expect(try used() == [51, 350, 200, 1])
                let settle = #"{"lease":"\#(lease)","output_tokens":40}"#
                #expect(try client.request("POST", "/v1/settle", body: settle).text.contains(#""charged":true"#))
                #expect(try used() == [51, 290, 140, 0])
            }
            #expect(try daemon.terminate() == 0)
        }
    }
}
