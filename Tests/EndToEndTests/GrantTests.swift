import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Grants")
    struct GrantTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()
        let group = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: day, per: user, unit: requests, quota: 2, window: {calendar: day, time_zone: UTC}}
              - {name: brief, per: user, unit: tokens, quota: 100, window: 3s}
              - {name: team, per: group, unit: spend, quota: $1, window: {calendar: month}}
              - {name: calls, per: user, unit: concurrency, quota: 2}
              - {name: open, per: user, unit: requests, window: 1h}
            """

        private func start(_ settings: [String: String] = [:]) throws -> Daemon {
            let path = try folder.write(Self.file, to: "limits.yaml")
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "100"].merging(settings) { $1 })
        }

        private var path: String { "/v1/users/\(user)/grants" }

        private func body(_ limit: String, _ amount: Int, id: String? = nil) -> String {
            #"{"limit":"\#(limit)","amount":\#(amount)\#(id.map { #","request_id":"\#($0)""# } ?? "")}"#
        }

        private func milliseconds(_ text: Any?) throws -> Int {
            let formatter = ISO8601DateFormatter()
            formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
            let text = try #require(text as? String)
            let date = try #require(formatter.date(from: text))
            return Int((date.timeIntervalSince1970 * 1_000).rounded())
        }

        /// How a limit stands, from the page that says it.
        private func standing(_ name: String, _ client: HTTPConnection) throws -> [String: Any] {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return try #require(limits.first { $0["name"] as? String == name })
        }

        private func quota(_ name: String, _ client: HTTPConnection) throws -> Int? {
            try standing(name, client)["limit"] as? Int
        }

        @Test("raise a quota until the day's end, on each replica within a second, and are taken back")
        func calendar() throws {
            let daemons = try (0..<2).map { _ in try start(["LOG_FORMAT": "json"]) }
            let clients = try daemons.map { try $0.connect() }
            let admin = try daemons[0].connectAdmin()
            for expected in [200, 200, 429] { #expect(try clients[1].check(user).status == expected) }
            let startedAt = systemMicroseconds() / 1_000_000
            for round in 0..<2 {
                let response = try admin.request("POST", path, body: body("day", 3, id: "one"))
                let end = try milliseconds(response.json["expires_at"])
                let midnights = [startedAt, systemMicroseconds() / 1_000_000].map { ($0 / 86_400 + 1) * 86_400_000 }
                #expect(response.status == 200 && midnights.contains(end), "\(response.text)")
                #expect(try response.number("amount") == 3 && response.json["limit"] as? String == "day")
                #expect(try response.json["granted"] as? Bool == (round == 0))
            }
            pause(milliseconds: 1_000)
            for client in clients {
                let standing = try standing("day", client)
                #expect(standing["limit"] as? Int == 5 && standing["rule"] as? String == "default")
                #expect((standing["grant"] as? [String: Any])?["amount"] as? Int == 3)
            }
            for expected in [200, 200, 200, 429] { #expect(try clients[1].check(user).status == expected) }
            // Another user has what there was.
            let other = newUser()
            for expected in [200, 200, 429] { #expect(try clients[0].check(other).status == expected) }

            let kept = try admin.request("GET", "/v1/users/\(user)/budget")
            let grants = try #require(try kept.json["grants"] as? [[String: Any]])
            #expect(grants.count == 1 && grants[0]["limit"] as? String == "day" && grants[0]["amount"] as? Int == 3)
            // What was answered can be sent back, and a budget that is put keeps its grants.
            #expect(try admin.request("PUT", "/v1/users/\(user)/budget", body: kept.text).status == 200)
            #expect(
                try admin.request("PUT", "/v1/users/\(user)/budget", body: #"{"limits":{"day":0}}"#).text
                    .contains(#""grants":[{"limit":"day","amount":3,"#))
            // Who is blocked has what was granted.
            #expect(try quota("day", clients[0]) == 3)
            #expect(try admin.request("DELETE", "\(path)?limit=day").status == 204)
            #expect(try quota("day", clients[0]) == 0)
            #expect(eventually(within: 10) { daemons[0].logLines(containing: "delete_user_grant").count == 1 })
            let line = daemons[0].logLines(containing: "add_user_grant")
            #expect(line.count == 2 && line[0].contains("day+=3") && line[0].contains(#""by_uid":"\#(getuid())""#))
            let audit = try admin.request("GET", "/v1/audit")
            #expect(audit.text.contains(#""operation":"delete_user_grant""#) && audit.text.contains(#""amount":3"#))
        }

        @Test("of a sliding window count for its length, and then for nothing, without anybody's help")
        func sliding() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let admin = try daemon.connectAdmin()
            let call = #"{"user":"\#(user)","output_tokens":150}"#
            #expect(try client.request("POST", "/v1/check", body: call).status == 429)
            let begin = systemMicroseconds() / 1_000
            let response = try admin.request("POST", path, body: body("brief", 60))
            let end = try milliseconds(response.json["expires_at"])
            #expect((begin + 3_000...systemMicroseconds() / 1_000 + 3_000).contains(end))
            let admitted = try client.request("POST", "/v1/check", body: call)
            if systemMicroseconds() / 1_000 < end { #expect(admitted.status == 200) }
            while systemMicroseconds() / 1_000 <= end { pause(milliseconds: 10) }
            let standing = try standing("brief", client)
            #expect(standing["limit"] as? Int == 100 && standing["grant"] == nil)
            #expect(try client.request("POST", "/v1/check", body: call).status == 429)
            #expect(try !admin.request("GET", "/v1/users/\(user)/budget").text.contains("grants"))
        }

        @Test("of a group raise what its members have together, and its budget shows them")
        func groups() throws {
            let daemon = try start(["GROUPS": "given"])
            let client = try daemon.connect()
            let admin = try daemon.connectAdmin()
            let call = #"{"user":"\#(user)","groups":["\#(group)"],"cost_micros":1500000}"#
            #expect(try client.request("POST", "/v1/check", body: call).status == 429)
            let grants = "/v1/groups/\(group)/grants"
            #expect(try admin.request("POST", grants, body: body("team", 500_000)).status == 200)
            #expect(try client.request("POST", "/v1/check", body: call).status == 200)
            #expect(try admin.request("GET", "/v1/groups/\(group)/budget").text.contains(#""amount":500000"#))
            #expect(try admin.request("DELETE", grants).status == 204)
            #expect(try admin.request("GET", "/v1/groups/\(group)/budget").status == 404)
        }

        @Test("are refused where there is nothing to raise, and say what would be")
        func refused() throws {
            let daemon = try start(["MAX_CONCURRENCY": "9"])
            let admin = try daemon.connectAdmin()
            let cases = [
                (path, "dya", "those that can be granted here: requests, day, brief, open"),
                (path, "team", "grant it to a group"), ("/v1/groups/\(group)/grants", "day", "grant it to a user"),
                (path, "calls", "no window"), (path, "max-concurrency", "the limits file alone"),
            ]
            for (path, limit, words) in cases {
                let response = try admin.request("POST", path, body: body(limit, 5))
                #expect(response.status == 400 && response.text.contains(words), "\(response.text)")
            }
            #expect(try redis.keys() == [])
            // An unlimited one stays so.
            #expect(try admin.request("POST", path, body: body("open", 5)).status == 200)
            let standing = try standing("open", daemon.connect())
            #expect(standing["limit"] is NSNull && standing["grant"] == nil)
            // The limit of the environment is one of them, with a file; without one there is nothing that it could be.
            #expect(try admin.request("POST", path, body: body("requests", 5)).status == 200)
            #expect(try quota("requests", daemon.connect()) == 105)
            let plain = try Daemon(redis: redis.url)
            let response = try plain.connectAdmin().request("POST", path, body: body("requests", 5))
            #expect(response.status == 404 && response.text.contains("LLM_RATE_LIMIT_LIMITS_FILE"))
        }

        @Test("are made on the command line, once for each id, and explain tells them")
        func commands() throws {
            let daemon = try start()
            func run(_ arguments: [String]) throws -> (code: Int32, output: String, errors: String) {
                let environment = [
                    "LLM_RATE_LIMIT_SOCKET": daemon.socketPath,
                    "LLM_RATE_LIMIT_ADMIN_SOCKET": daemon.adminSocketPath,
                ]
                let process = try ChildProcess(Daemon.program, arguments, environment: environment)
                return (try process.wait(), process.outputInOneLine, process.errors)
            }
            let grant = ["grant", user, "--limit", "day", "--amount", "40", "--request-id", "ticket-1"]
            let first = try run(grant)
            #expect(
                first.code == 0 && first.output.hasPrefix("granted: day is raised by 40 requests until 20"), "\(first)")
            #expect(try run(grant).output.hasPrefix("granted before: day is raised by 40 requests until 20"))
            let json = try run(["grant", user, "--limit", "day", "--amount", "2", "--json"])
            #expect(json.code == 0 && json.output.hasPrefix(#"{"limit":"day","amount":42,"expires_at":""#))
            let explained = try run(["explain", user])
            #expect(explained.code == 0 && explained.output.contains("0 of 44 requests used this day"))
            #expect(explained.output.contains(", raised by a grant of 42 requests until 20"), "\(explained.output)")
            let unknown = try run(["grant", user, "--limit", "nope", "--amount", "2"])
            #expect(unknown.code == 2 && unknown.errors.contains("there is no limit nope"))
            #expect(try run(["grant", user, "--limit", "day", "--amount", "0"]).code == 2)
            redis.stop()
            let away = try run(["grant", user, "--limit", "day", "--amount", "2"])
            #expect(away.code != 0)
            redis.resume()
        }
    }
}
