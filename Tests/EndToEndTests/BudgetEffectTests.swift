import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Budgets that can have an effect")
    struct BudgetEffectTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()
        let group = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private var ofUser: String { "/v1/users/\(user)/budget" }
        private var ofGroup: String { "/v1/groups/\(group)/budget" }

        private func start(_ limits: [String]) throws -> Daemon {
            let text = "limits:\n" + limits.map { "  - {\($0)}\n" }.joined()
            let path = try folder.write(text, to: "limits-\(UUID().uuidString)")
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "1000", "GROUPS": "given"])
        }

        @Test("What can have none is refused with the names that are known, and nothing is kept")
        func refused() throws {
            let daemon = try start([
                "name: member-day, per: user, unit: requests, quota: 5, window: 1d",
                "name: team-day, per: group, unit: requests, quota: 5, window: 1d",
                "name: all-day, per: global, unit: requests, quota: 5, window: 1d",
            ])
            let admin = try daemon.connectAdmin()
            let rows = [
                (
                    ofUser, #"{"limits":{"member-dya":0}}"#,
                    "no limit member-dya; those that it can set: requests, member-day."
                ),
                (ofUser, #"{"limits":{"team-day":0}}"#, "team-day is a limit of groups"),
                (ofUser, #"{"limits":{"all-day":0}}"#, "all-day is a limit of all together"),
                (ofGroup, #"{"limits":{"all-day":0}}"#, "can set: requests, member-day, team-day."),
                (ofUser, #"{"spend_limit_micros":5}"#, "requests, member-day."),
                (ofGroup, #"{"spend_limit_micros":5}"#, "requests, member-day, team-day."),
            ]
            for (path, body, words) in rows {
                let response = try admin.request("PUT", path, body: body)
                #expect(response.status == 400 && response.text.contains(words), "\(response.text)")
                #expect(try admin.request("GET", path).status == 404)
                #expect(try admin.request("DELETE", path).status == 204)
            }
            #expect(
                try admin.request("PUT", ofUser, body: #"{"limits":{"member-day":0,"team-day":null}}"#).status == 200)
            #expect(try admin.request("PUT", ofGroup, body: #"{"limits":{"member-day":1,"team-day":0}}"#).status == 200)
        }

        @Test("A daemon without limits of a file refuses every budget but one that sets nothing, and deletes any")
        func noFile() throws {
            let daemon = try Daemon(redis: redis.url)
            let admin = try daemon.connectAdmin()
            for path in [ofUser, ofGroup] {
                for body in [#"{"limits":{"requests":0}}"#, #"{"spend_limit_micros":1}"#] {
                    let response = try admin.request("PUT", path, body: body)
                    #expect(response.status == 400 && response.text.contains("LLM_RATE_LIMIT_LIMITS_FILE"))
                }
                #expect(try admin.request("PUT", path, body: "{}").status == 200)
                #expect(try admin.request("DELETE", path).status == 204)
            }
        }

        @Test("spend_limit_micros of a group whose one limit of spend is its own caps the group")
        func groupSpend() throws {
            let daemon = try start(["name: team-month, per: group, unit: spend, quota: $50, window: {calendar: month}"])
            let (admin, client) = (try daemon.connectAdmin(), try daemon.connect())
            #expect(try admin.request("PUT", ofGroup, body: #"{"spend_limit_micros":1000}"#).status == 200)
            let call = #"{"user":"\#(user)","groups":["\#(group)"],"cost_micros":600}"#
            for status in [200, 429] {
                let response = try client.request("POST", "/v1/check", body: call)
                #expect(response.status == status, "\(response.text)")
                #expect(try response.json["limit_name"] as? String == "team-month" && response.number("limit") == 1_000)
            }
            #expect(try admin.request("PUT", ofUser, body: #"{"spend_limit_micros":5}"#).status == 400)
        }

        @Test("spend_limit_micros under two limits of spend is refused with their names, until one is named spend")
        func severalSpends() throws {
            let (day, week) = (
                "per: user, unit: spend, quota: $5, window: 1d", "per: user, unit: spend, quota: $9, window: 7d"
            )
            let body = #"{"spend_limit_micros":1000}"#
            for path in [ofUser, ofGroup] {
                let two = try start(["name: day, \(day)", "name: week, \(week)"])
                let refused = try two.connectAdmin().request("PUT", path, body: body)
                #expect(
                    refused.status == 400 && refused.text.contains("there are day, week: name them"), "\(refused.text)")
                let named = try start(["name: day, \(day)", "name: spend, \(week)"])
                #expect(try named.connectAdmin().request("PUT", path, body: body).status == 200)
                let call = #"{"user":"\#(user)","groups":["\#(group)"],"cost_micros":1001}"#
                let denied = try named.connect().request("POST", "/v1/check", body: call)
                #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "spend")
                #expect(try named.connectAdmin().request("DELETE", path).status == 204)
            }
        }

        @Test("An amount in a unit that its limit no longer counts keeps it, however often the answer is sent back")
        func unitIsKept() throws {
            let daemons = [
                try start(["name: daily, per: user, unit: spend, quota: $50, window: 1d"]),
                try start([
                    "name: daily, per: user, unit: requests, quota: 5, window: 1d",
                    "name: mail, per: user, unit: requests, quota: 5, window: 1d",
                ]),
            ]
            let (money, calls) = (try daemons[0].connectAdmin(), try daemons[1].connectAdmin())
            for path in [ofUser, ofGroup] {
                #expect(try money.request("PUT", path, body: #"{"limits":{"daily":40000000}}"#).status == 200)
                let read = try calls.request("GET", path)
                #expect(try read.json["without_effect"] as? [String] == ["daily"], "\(read.text)")
                let edited = read.text.replacing(#""daily":40000000"#, with: #""daily":40000000,"mail":3"#)
                let kept = try calls.request("PUT", path, body: edited)
                #expect(
                    try kept.json["units"] as? [String: String] == ["daily": "spend", "mail": "requests"],
                    "\(kept.text)")
                let own = #"{"limits":{"daily":4},"units":{"daily":"spend"}}"#
                #expect(try calls.request("PUT", path, body: own).status == 400)
                #expect(try money.request("PUT", path, body: own).status == 200)
            }
        }

        @Test("What another replica wrote for limits that are not known here is told, and goes with DELETE")
        func withoutEffect() throws {
            let daemons = [
                try start([
                    "name: chat, per: user, unit: requests, quota: 5, window: 1d",
                    "name: money, per: user, unit: spend, quota: $5, window: 1d",
                ]),
                try start(["name: mail, per: user, unit: requests, quota: 5, window: 1d"]),
            ]
            let (other, here) = (try daemons[0].connectAdmin(), try daemons[1].connectAdmin())
            let body = #"{"spend_limit_micros":7,"limits":{"chat":1}}"#
            for path in [ofUser, ofGroup] { #expect(try other.request("PUT", path, body: body).status == 200) }
            let grant = #"{"limit":"chat","amount":2}"#
            #expect(try other.request("POST", "/v1/users/\(user)/grants", body: grant).status == 200)
            for path in [ofUser, ofGroup] {
                #expect(try other.request("GET", path).json["without_effect"] == nil)
                let read = try here.request("GET", path)
                #expect(try read.json["limits"] as? [String: Int] == ["chat": 1])
                #expect(try read.json["without_effect"] as? [String] == ["chat", "spend_limit_micros"], "\(read.text)")
                // There, what was answered here can be sent back.
                #expect(try other.request("PUT", path, body: read.text).status == 200)
                // Here too, changed in what has an effect; what is new and has none is refused.
                let edited = read.text.replacing(#""limits":{"chat":1}"#, with: #""limits":{"chat":1,"mail":3}"#)
                let kept = try here.request("PUT", path, body: edited)
                #expect(try kept.json["limits"] as? [String: Int] == ["chat": 1, "mail": 3], "\(kept.text)")
                let other = edited.replacing(#""chat":1"#, with: #""chat":1,"chta":1"#)
                #expect(try here.request("PUT", path, body: other).status == 400)
                #expect(try here.request("PUT", path, body: body).status == 400)
                #expect(try here.request("DELETE", path).status == 204)
            }
        }
    }
}
