import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// What holds of checks holds of calls under limits of a file too: they go the same way.
    @Suite("Calls on their way to Redis")
    struct CallPipelineTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: hourly, per: user, unit: requests, quota: 3, window: 1h}
              - {name: tokens, per: user, unit: tokens, quota: 100, window: 1h}
              - {name: slots, per: user, unit: concurrency, quota: 1}
              - {name: team, per: group, unit: tokens, quota: 1000, window: 1h}
            """

        private func start(
            _ settings: [String: String] = [:], file: String = Self.file
        ) throws -> Daemon {
            let path = try folder.write(file, to: "limits.yaml")
            return try Daemon(
                redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "100000"].merging(settings) { $1 })
        }

        private func rejectedCalls(of command: String) throws -> Int {
            let statistics = try redis.command("INFO", "commandstats").text ?? ""
            let line = statistics.split(whereSeparator: \.isNewline).first { $0.hasPrefix("cmdstat_\(command):") }
            let field = line?.split(separator: ",").first { $0.hasPrefix("rejected_calls=") }
            return field.flatMap { Int($0.dropFirst("rejected_calls=".count)) } ?? 0
        }

        @Test("A service that refuses EVALSHA costs a second round trip once a second at most, and one line says so")
        func refusedEvalsha() throws {
            try redis.connect().command(["ACL", "SETUSER", RedisServer.leastUser, "-evalsha"])
            let daemon = try start(["DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            #expect(try client.check(newUser()).status == 200)
            let before = try rejectedCalls(of: "evalsha")
            let start = monotonicMilliseconds()
            for _ in 0..<300 { #expect(try !client.check(newUser()).isDegraded) }
            let seconds = Int(monotonicMilliseconds() - start) / 1_000
            // The heartbeat tries what it sends once a second too.
            #expect(try rejectedCalls(of: "evalsha") - before <= 10 * (seconds + 2))
            #expect(eventually(within: 20) { daemon.logLines(containing: "cannot use EVALSHA").count == 1 })
        }

        @Test("Calls of one turn go in one batch, whoever of their users is known yet")
        func batches() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let known = (0..<8).map { _ in newUser() }
            for user in known { #expect(try client.check(user).status == 200) }
            func batches() throws -> Double { try daemon.metric("llm_rate_limit_batch_size_checks_count") ?? 0 }
            let before = try batches()
            let texts = known.map { HTTPConnection.checkText($0) + HTTPConnection.checkText(newUser()) }
            #expect(try client.send(texts.joined()))
            for _ in 0..<16 { #expect(try client.response().status == 200) }
            // Those who are known, then those who are not; each twice where the machine cuts what was sent.
            #expect(try batches() - before <= 4)
        }

        @Test("MAX_QUEUE bounds calls, and among them those that wait for what their caller was given")
        func queue() throws {
            let daemon = try start(["MAX_QUEUE": "10", "REDIS_TIMEOUT_MS": "3000"])
            let client = try daemon.connect()
            let known = newUser()
            #expect(try client.check(known).status == 200)
            redis.stop()
            // Of users who are not known yet.
            try client.send((0..<60).map { _ in HTTPConnection.checkText(newUser()) }.joined())
            let answers = try (0..<60).map { _ in try client.response().text }
            #expect(answers.count { $0.contains("redis_timeout") } == 10)
            #expect(answers.count { $0.contains("overloaded") } == 50)
            redis.resume()
            #expect(try eventually(within: 20) { try !client.check(newUser()).isDegraded })
        }

        @Test(
            "A Redis that is killed is told as unreachable to calls that wait for it, whether or not their users are known"
        )
        func killed() throws {
            let daemon = try start(["REDIS_TIMEOUT_MS": "20000"])
            let client = try daemon.connect()
            let known = newUser()
            #expect(try client.check(known).status == 200)
            redis.stop()
            try client.send([known, newUser()].map { HTTPConnection.checkText($0) }.joined())
            pause(milliseconds: 50)
            redis.end()
            for _ in 0..<2 { #expect(try client.response().json["reason"] as? String == "redis_unreachable") }
            for user in [known, newUser()] {
                #expect(try client.check(user).json["reason"] as? String == "redis_unreachable")
            }
        }

        private func tokens(_ count: Int, _ user: String, _ more: String = "") -> String {
            #"{"user":"\#(user)","output_tokens":\#(count)\#(more)}"#
        }

        @Test("A denied user who keeps asking costs Redis nothing, and is told the time still to wait")
        func denials() throws {
            let daemon = try start(["DENY_CACHE_MS": "60000"])
            try redis.waitUntilSubscribed()
            let client = try daemon.connect()
            let user = newUser()
            for _ in 0..<3 { #expect(try client.request("POST", "/v1/check", body: tokens(1, user)).status == 200) }
            let first = try client.request("POST", "/v1/check", body: tokens(1, user))
            let before = try redis.calls(of: "evalsha")
            var last = first
            for _ in 0..<500 {
                last = try client.request("POST", "/v1/check", body: tokens(1, user))
                #expect(last.status == 429)
            }
            #expect(try redis.calls(of: "evalsha") == before)
            #expect(try last.json.keys.sorted() == first.json.keys.sorted())
            #expect(try last.json["limit_name"] as? String == "hourly" && last.number("remaining") == 0)
            let waits = try [first, last].map { try $0.number("retry_after") ?? 0 }
            #expect(waits[1] <= waits[0] && waits[1] > 0)
            // Other costs are another question.
            #expect(try client.request("POST", "/v1/check", body: tokens(2, user)).status == 429)
            #expect(try redis.calls(of: "evalsha") == before + 1)
            let metric = #"llm_rate_limit_checks_total{decision="denied",source="memory"}"#
            #expect(try daemon.metric(metric) == 500)
        }

        @Test("A reset, a budget, a grant and a new file end the denials that are remembered")
        func forgotten() throws {
            let daemon = try start(["DENY_CACHE_MS": "60000"])
            try redis.waitUntilSubscribed()
            let (client, admin) = try (daemon.connect(), daemon.connectAdmin())
            func exhaust(_ user: String) throws {
                while try client.check(user).status == 200 {}
                #expect(try client.check(user).status == 429)
            }
            let user = newUser()
            try exhaust(user)
            #expect(try admin.request("DELETE", "/v1/users/\(user)").status == 204)
            #expect(try client.check(user).status == 200)
            try exhaust(user)
            let budget = #"{"limits":{"hourly":10}}"#
            #expect(try admin.request("PUT", "/v1/users/\(user)/budget", body: budget).status == 200)
            #expect(try client.check(user).status == 200)
            try exhaust(user)
            let grant = #"{"limit":"hourly","amount":2}"#
            #expect(try admin.request("POST", "/v1/users/\(user)/grants", body: grant).status < 300)
            #expect(try client.check(user).status == 200)
            try exhaust(user)
            try folder.write(Self.file.replacing("quota: 3", with: "quota: 50"), to: "limits.yaml")
            let stranger = newUser()
            try exhaust(stranger)
            try daemon.reload()
            #expect(try client.check(stranger).status == 200)
        }

        @Test("The denials of a group's members end when the group's window is reset")
        func groupReset() throws {
            let daemon = try start(["DENY_CACHE_MS": "60000", "GROUPS": "given"])
            let other = try start(["DENY_CACHE_MS": "60000", "GROUPS": "given"])
            try redis.waitUntilSubscribed()
            let group = newUser()
            let clients = try [daemon, other].map { try $0.connect() }
            func ask(_ client: HTTPConnection, _ user: String) throws -> Int {
                try client.request("POST", "/v1/check", body: tokens(100, user, #","groups":["\#(group)"]"#)).status
            }
            for _ in 0..<10 { #expect(try ask(clients[0], newUser()) == 200) }
            let members = [newUser(), newUser()]
            for (client, member) in zip(clients, members) {
                #expect(try ask(client, member) == 429)
                #expect(try ask(client, member) == 429)
            }
            let path = "/v1/groups/\(group)/usage?limit=team"
            #expect(try daemon.connectAdmin().request("DELETE", path).status == 204)
            #expect(try ask(clients[0], members[0]) == 200)
            #expect(try eventually(within: 20) { try ask(clients[1], members[1]) == 200 })
        }

        @Test("A check is answered the same members in the same order, whether or not there is a limits file")
        func answers() throws {
            let file = "limits:\n  - {name: wide, per: global, unit: requests, quota: 1000000, window: 1h}\n"
            for settings in [[:], ["SHADOW": "true"], ["REDIS_URL": "unix:///nonexistent/redis"]] {
                let settings = ["REQUESTS": "2"].merging(settings) { $1 }
                let daemons = [try Daemon(redis: redis.url, settings), try start(settings, file: file)]
                let answers = try daemons.map { daemon in
                    let client = try daemon.connect()
                    let user = newUser()
                    return try [1, 1, 1, 3].map { cost in
                        let response = try client.check(user, cost: cost)
                        let members = response.text.matches(of: /"([a-z_]+)":/).map { String($0.output.1) }
                        let name = response.isDegraded ? nil : try response.json["limit_name"] as? String
                        let message = try response.json["message"] as? String
                        return "\(response.status) \(members) \(name ?? "") \(message ?? "")"
                    }
                }
                #expect(answers[0] == answers[1])
                #expect(!answers[0].isEmpty)
            }
        }

        @Test("What leases hold denies only for as long as they do")
        func held() throws {
            let daemon = try start(["DENY_CACHE_MS": "60000"])
            let client = try daemon.connect()
            let user = newUser()
            func reserve() throws -> HTTPResponse {
                try client.request("POST", "/v1/reserve", body: tokens(80, user))
            }
            let lease = try #require(try reserve().json["lease"] as? String)
            let denied = try client.request("POST", "/v1/check", body: tokens(30, user))
            #expect(denied.status == 429)
            #expect(try reserve().status == 503)
            let release = #"{"user":"\#(user)","lease":"\#(lease)"}"#
            #expect(try client.request("POST", "/v1/release", body: release).status == 200)
            #expect(try client.request("POST", "/v1/check", body: tokens(30, user)).status == 200)
            #expect(try client.request("POST", "/v1/reserve", body: tokens(60, user)).status == 200)
        }
    }
}
