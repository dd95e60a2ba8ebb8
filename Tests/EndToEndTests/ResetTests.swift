import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Resets")
    struct ResetTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 2}
              - {name: trial, per: user, unit: tokens, quota: 900, window: 1h, mode: shadow}
              - {name: team, per: group, unit: tokens, quota: 1000, window: 1d}
              - {name: team-calls, per: group, unit: requests, quota: 1000, window: {calendar: day}}
              - {name: all, per: global, unit: tokens, quota: 100000, window: 1d}
            """

        private func start(_ settings: [String: String] = [:]) throws -> Daemon {
            let path = try folder.write(Self.file, to: "limits.yaml")
            return try Daemon(
                redis: redis.url,
                ["LIMITS_FILE": path, "REQUESTS": "1000", "GROUPS": "given", "LOG_USERS": "plain"].merging(settings) {
                    $1
                })
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String) throws -> HTTPResponse {
            try client.request("POST", path, body: "{\(members)}")
        }

        /// How much of each limit a call of the user would find used; nothing where Redis cannot say.
        private func used(_ client: HTTPConnection, _ user: String, _ group: String) throws -> [String: Int] {
            let members = #""user":"\#(user)","groups":["\#(group)"],"request_id":"\#(newUser())""#
            let page = try post(client, "/v1/usage?verbose=1", members).json
            let limits = page["limits"] as? [[String: Any]] ?? []
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        @Test("One limit of a user begins anew, the others go on; one that is not in force is 404 with those that are")
        func oneLimit() throws {
            let daemon = try start()
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            let (user, group) = (newUser(), newUser())
            let members = #""user":"\#(user)","groups":["\#(group)"],"output_tokens":70"#
            #expect(try post(client, "/v1/reserve", members).status == 200)
            #expect(try post(client, "/v1/check", members).status == 200)
            let before = try used(client, user, group)
            #expect(before["tokens"] == 140 && before["trial"] == 140 && before["team"] == 140)
            #expect(try admin.request("DELETE", "/v1/users/\(user)?limit=tokens").status == 204)
            var after = before
            after["tokens"] = 0
            #expect(try used(client, user, group) == after)
            #expect(try admin.request("DELETE", "/v1/users/\(user)?limit=requests").status == 204)
            #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 0)
            // The slot of a call that is under way is free again as well.
            #expect(try admin.request("DELETE", "/v1/users/\(user)?limit=calls").status == 204)
            for _ in 0..<2 { #expect(try post(client, "/v1/reserve", members).status == 200) }

            let unknown = try admin.request("DELETE", "/v1/users/\(user)?limit=team")
            #expect(unknown.status == 404 && unknown["Content-Type"] == "application/problem+json")
            #expect(unknown.text.contains("Known are requests, tokens, calls, trial."), "\(unknown.text)")
            #expect(try admin.request("DELETE", "/v1/users/\(user)?limt=tokens").status == 400)
            #expect(eventually(within: 20) { daemon.logLines(containing: "cannot reset a user").count == 1 })
            let refusal = try #require(daemon.logLines(containing: "cannot reset").first)
            #expect(refusal.contains(#""reason":"unknown_limit""#) && refusal.contains(#""limit":"team""#))
            let lines = daemon.logLines(containing: #""reset a user""#)
            #expect(lines.count == 3 && lines[0].contains(#""limit":"tokens""#) && lines[0].contains(user))
            #expect(lines.allSatisfy { $0.contains(#""by_uid":"\#(getuid())""#) })
        }

        @Test("Everything of a user begins anew: windows long and short, slots, leases; their settle charges once")
        func everything() throws {
            let daemon = try start()
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            let (user, group) = (newUser(), newUser())
            let members = #""user":"\#(user)","groups":["\#(group)"]"#
            for _ in 0..<200 { #expect(try post(client, "/v1/check", members + #","output_tokens":1"#).status == 200) }
            #expect(try redis.keys().contains { $0.hasPrefix("{llm-rate:\(user)}:w:") })
            let leases = try (0..<2).map { _ in
                try post(client, "/v1/reserve", members + #","output_tokens":50"#).json["lease"] as? String ?? ""
            }
            #expect(try post(client, "/v1/reserve", members).status == 503)
            #expect(try admin.request("DELETE", "/v1/users/\(user)").status == 204)
            // What stays is which leases have been ended.
            #expect(try redis.keys().filter { $0.contains(user) } == ["llm-rate:\(user)"])
            let usage = try used(client, user, group)
            #expect(usage["tokens"] == 0 && usage["trial"] == 0 && usage["team"] == 300)
            // What was under way ends as it would have.
            for (lease, tokens) in zip(leases, [40, 80]) {
                let settle = members + #","lease":"\#(lease)","output_tokens":40"#
                #expect(try post(client, "/v1/settle", settle).text.hasPrefix(#"{"charged":true"#))
                #expect(try post(client, "/v1/settle", settle).text.hasPrefix(#"{"charged":false"#))
                let usage = try used(client, user, group)
                #expect(usage["tokens"] == tokens && usage["trial"] == tokens)
            }
            #expect(try used(client, user, group)["team"] == 280)
        }

        @Test("What a group shares, and what all share, begins anew by itself, one limit or all of them")
        func shared() throws {
            let daemon = try start()
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            let (user, group) = (newUser(), newUser())
            let members = #""user":"\#(user)","groups":["\#(group)"],"output_tokens":70"#
            for _ in 0..<3 { #expect(try post(client, "/v1/check", members).status == 200) }
            func stand() throws -> [Int?] {
                let verbose = try post(client, "/v1/check?verbose=1", #""user":"\#(user)","groups":["\#(group)"]"#).json
                let limits = try #require(verbose["limits"] as? [[String: Any]])
                return ["tokens", "team", "team-calls", "all"].map { name in
                    limits.first { $0["name"] as? String == name }?["used"] as? Int
                }
            }
            #expect(try stand() == [210, 210, 4, 210])
            #expect(try admin.request("DELETE", "/v1/groups/\(group)/usage?limit=team-calls").status == 204)
            #expect(try stand() == [210, 210, 1, 210])
            #expect(try admin.request("DELETE", "/v1/global/usage?limit=all").status == 204)
            #expect(try stand() == [210, 210, 2, 0])
            #expect(try admin.request("DELETE", "/v1/groups/\(group.uppercased())/usage").status == 204)
            #expect(try stand() == [210, 0, 1, 0])
            #expect(try post(client, "/v1/check", members).status == 200)
            #expect(try admin.request("DELETE", "/v1/global/usage").status == 204)
            #expect(try stand() == [280, 70, 3, 0])
            for (path, known) in [("groups/\(group)", "team, team-calls"), ("global", "all")] {
                let unknown = try admin.request("DELETE", "/v1/\(path)/usage?limit=tokens")
                #expect(unknown.status == 404 && unknown.text.contains("Known are \(known)."), "\(unknown.text)")
                #expect(try client.request("DELETE", "/v1/\(path)/usage").status == 403)
                #expect(try admin.request("GET", "/v1/\(path)/usage").status == 405)
            }
            #expect(eventually(within: 20) { daemon.logLines(containing: #""reset what all share""#).count == 2 })
            let lines = daemon.logLines(containing: #""reset a group""#)
            #expect(lines.count == 2 && lines.allSatisfy { $0.contains(#""group":"\#(group)""#) })
        }

        @Test("Where the one limit is that of checks, its reset ends the denials that every replica remembers")
        func requestsAlone() throws {
            let settings = ["REQUESTS": "2", "DENY_CACHE_MS": "60000"]
            let daemons = try (0..<2).map { _ in try Daemon(redis: redis.url, settings) }
            try redis.waitUntilSubscribed()
            let clients = try daemons.map { try $0.connect() }
            let admin = try daemons[0].connectAdmin()
            let user = newUser()
            #expect(try clients[0].check(user, cost: 2).status == 200)
            for client in clients { for _ in 0..<2 { #expect(try client.check(user).status == 429) } }
            #expect(try admin.request("DELETE", "/v1/users/\(user)?limit=requests").status == 204)
            #expect(try clients[0].check(user).status == 200)
            #expect(try eventually(within: 20) { try clients[1].check(user).status == 200 })
            let unknown = try admin.request("DELETE", "/v1/users/\(user)?limit=tokens")
            #expect(unknown.status == 404 && unknown.text.contains("Known are requests."), "\(unknown.text)")
            let ofGroups = try admin.request("DELETE", "/v1/groups/\(user)/usage?limit=requests")
            #expect(ofGroups.status == 404 && ofGroups.text.contains("There is none."), "\(ofGroups.text)")
        }

        @Test("What a group shares stays reset where Redis goes back to an older state")
        func rollback() throws {
            let daemons = try (0..<2).map { _ in try start() }
            let clients = try daemons.map { try $0.connect() }
            let (user, group) = (newUser(), newUser())
            let members = #""user":"\#(user)","groups":["\#(group)"],"output_tokens":70"#
            #expect(try post(clients[0], "/v1/check", members).status == 200)
            try redis.command("SAVE")
            #expect(try daemons[0].connectAdmin().request("DELETE", "/v1/groups/\(group)/usage").status == 204)
            try redis.waitUntilHeartbeatIsLater()
            redis.end()
            try redis.restart()
            let isReset = eventually(within: 20) {
                guard let usage = try? used(clients[1], user, group) else { return false }
                return usage["team"] == 0 && usage["tokens"] == 70
            }
            #expect(isReset)
            withExtendedLifetime(daemons) {}
        }

        @Test("The command resets one limit, and says where there is no such")
        func command() throws {
            let daemon = try start()
            let (client, user) = (try daemon.connect(), newUser())
            #expect(try post(client, "/v1/check", #""user":"\#(user)","output_tokens":70"#).status == 200)
            func reset(_ limit: String, _ more: String...) throws -> ChildProcess {
                let arguments = ["reset", user, "--limit", limit, "--admin-socket", daemon.adminSocketPath] + more
                let process = try ChildProcess(Daemon.program, arguments)
                _ = try process.wait()
                return process
            }
            let done = try reset("tokens")
            #expect(done.exitCode == 0 && done.output == "reset: tokens of \(user)\n")
            let usage = try used(client, user, newUser())
            #expect(usage["tokens"] == 0 && usage["trial"] == 70)
            #expect(try reset("trial", "--json").output == #"{"user":"\#(user)","limit":"trial","reset":true}"# + "\n")
            let unknown = try reset("token")
            let words = unknown.errors.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            #expect(unknown.exitCode == 2 && words.contains("Known are requests, tokens, calls, trial."))
            #expect(try reset("No Name").errors.contains("accepted are names of limits"))
        }
    }
}
