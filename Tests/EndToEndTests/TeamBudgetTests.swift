import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// The worked example of the docs: a team with 50 dollars a month, members with 5 a day, and a nightly batch key with
    /// an override of its own.
    @Suite("A team's budget")
    struct TeamBudgetTests {
        static let file = """
            limits:
              - {name: team-month, per: group, unit: spend, quota: $50, window: {calendar: month, time_zone: UTC}}
              - {name: member-day, per: user, unit: spend, quota: $5, window: 1d, warn_at: [0.8]}
            prices:
              models:
                gpt-4o: {input: 2500000, output: 10000000, cache_read: 1250000}
            """

        @Test("What each of them sees, on two daemons")
        func example() throws {
            let redis = try RedisServer()
            let folder = try TemporaryFolder()
            let path = try folder.write(Self.file, to: "limits.yaml")
            let daemons = try (0..<2).map { _ in
                try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "1000000"])
            }
            let clients = try daemons.map { try $0.connect() }
            let admin = try daemons[0].connectAdmin()
            let (team, member, batch, other) = (newUser(), newUser(), newUser(), newUser())
            for user in [member, batch, other] {
                #expect(try admin.request("PUT", "/v1/groups/\(team)/members/\(user)").status == 200)
            }
            let override = #"{"limits":{"member-day":40000000}}"#
            #expect(try admin.request("PUT", "/v1/users/\(batch)/budget", body: override).status == 200)

            func spend(_ user: String, _ micros: Int) throws {
                let body = #"{"user":"\#(user)","cost_micros":\#(micros)}"#
                #expect(try clients[0].request("POST", "/v1/usage", body: body).text.hasPrefix(#"{"charged":true"#))
            }
            func check(_ user: String) throws -> HTTPResponse {
                try clients[1].request("POST", "/v1/check", body: #"{"user":"\#(user)","model":"gpt-4o"}"#)
            }
            try spend(member, 4_500_000)
            #expect(try check(member).text.contains(#""warnings":[{"limit_name":"member-day","share":0.800}]"#))
            try spend(member, 600_000)
            let denied = try check(member)
            #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "member-day")
            // The others are not concerned: the team has 44.90 dollars left.
            #expect(try check(other).status == 200)
            // The batch has 40 a day by its override, where the others have 5.
            try spend(batch, 39_000_000)
            #expect(try check(batch).status == 200)
            // 50.10 dollars in all: nobody of the team passes, whatever is left of their own.
            try spend(batch, 6_000_000)
            for user in [other, batch] {
                let denied = try check(user)
                #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "team-month")
            }
            let explained = try ChildProcess(Daemon.program, ["explain", other, "--socket", daemons[0].socketPath])
            #expect(try explained.wait() == 0)
            #expect(explained.output.hasPrefix("\(other) is limited by team-month\n"))
            #expect(
                explained.outputInOneLine.contains("$50.10 of $50.00 used of group \(team) this month"),
                "\(explained.output)")
            // More money for the team is there on the other daemon within a second.
            let more = #"{"limits":{"team-month":80000000}}"#
            #expect(try admin.request("PUT", "/v1/groups/\(team)/budget", body: more).status == 200)
            #expect(try eventually(within: 20) { try check(other).status == 200 })
            // Who leaves the team is no longer under its budget.
            #expect(try admin.request("DELETE", "/v1/groups/\(team)/members/\(other)").status == 204)
            #expect(
                try eventually(within: 20) {
                    try !clients[1].request("GET", "/v1/users/\(other)/usage").text.contains("team-month")
                })
        }
    }
}
