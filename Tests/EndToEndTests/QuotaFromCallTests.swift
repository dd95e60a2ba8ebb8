import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// The example of Limits, "The quota of the call", among them.
    @Suite("The quota of the call")
    struct QuotaFromCallTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: day, per: user, unit: requests, quota: 2, quota_from_call: {max: 1000}, window: 1d}
              - {name: tokens, per: user, unit: tokens, quota: 100, quota_from_call: {max: 5000}, window: 1h}
              - {name: team, per: group, unit: requests, quota: 1000, quota_from_call: {max: 3000}, window: 1d}
              - {name: session, per: [user, "label:session"], unit: requests, quota: 50, quota_from_call: {max: 60}, window: 1d}
              - {name: fixed, per: user, unit: requests, quota: 100000, window: 1h}
            """

        private func start(_ settings: [String: String] = [:], file: String = Self.file) throws -> Daemon {
            let path = try folder.write(file, to: "limits.yaml")
            let all = ["LIMITS_FILE": path, "REQUESTS": "0", "GROUPS": "given"].merging(settings) { $1 }
            return try Daemon(redis: redis.url, all)
        }

        private func post(
            _ client: HTTPConnection, _ user: String, _ members: String, to path: String = "/v1/check"
        ) throws -> HTTPResponse {
            try client.request("POST", path, body: #"{"user":"\#(user)"\#(members)}"#)
        }

        private func standing(_ response: HTTPResponse, _ name: String) throws -> [String: Any] {
            let limits = try #require(try response.json["limits"] as? [[String: Any]])
            return try #require(limits.first { $0["name"] as? String == name })
        }

        @Test("A call's quota stands in place of the file's, an override before it, and without one the file's holds")
        func page() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let (free, paid, blocked) = (newUser(), newUser(), newUser())
            let plan = #","quotas":{"day":5}"#
            #expect(try (0..<3).map { _ in try post(client, free, "").status } == [200, 200, 429])
            #expect(try (0..<6).map { _ in try post(client, paid, plan).status } == [200, 200, 200, 200, 200, 429])
            #expect(try post(client, paid, "").status == 429, "what is counted is one, whichever quota it is under")
            let override = try daemon.connectAdmin().request(
                "PUT", "/v1/users/\(blocked)/budget", body: #"{"limits":{"day":1}}"#)
            #expect(override.status == 200)
            #expect(try (0..<2).map { _ in try post(client, blocked, plan).status } == [200, 429])
            // Above the max it is the max, and the answer says so.
            let much = try post(client, newUser(), #","quotas":{"day":100000}"#)
            #expect(try much.json["limit_name"] as? String == "day" && much.json["limit"] as? Int == 1000)
            let reason = "that of limit day is above the max of its quota_from_call, 1000, which counts"
            #expect(much.text.contains(#""ignored":[{"member":"quotas","reason":"\#(reason)"}]"#))
        }

        @Test(
            "What cannot count is told: a limit without quota_from_call, one that is not there; what is none is refused"
        )
        func unusable() throws {
            let daemon = try start()
            let client = try daemon.connect()
            for (quotas, reason) in [
                (#"{"fixed":5}"#, "limit fixed takes none from calls: it has no quota_from_call"),
                (#"{"absent":5}"#, "one is of a limit that is not in force"),
            ] {
                let response = try post(client, newUser(), #","quotas":\#(quotas)"#)
                #expect(response.status == 200 && response.text.contains(reason), "\(response.text)")
            }
            for quotas in ["5", "[]", #"{"day":-1}"#, #"{"day":"many"}"#, #"{"day":1.5}"#] {
                #expect(try post(client, newUser(), #","quotas":\#(quotas)"#).status == 400, "\(quotas)")
                let usage = try post(client, newUser(), #","output_tokens":1,"quotas":\#(quotas)"#, to: "/v1/usage")
                #expect(usage.text.hasPrefix(#"{"charged":true,"ignored":[{"member":"quotas""#), "\(usage.text)")
            }
            #expect(try post(client, newUser(), #","quotas":null"#).status == 200)
            #expect(try post(client, newUser(), #","quotas":{"day":null}"#).json["limit"] as? Int == 2)
            #expect(try post(client, newUser(), #","quotas":{"day":0}"#).status == 429, "0 blocks")
        }

        @Test("A denial under one quota answers no call with another, in either direction")
        func denials() throws {
            let daemon = try start(["DENY_CACHE_MS": "60000"])
            let client = try daemon.connect()
            try redis.waitUntilSubscribed()
            let user = newUser()
            let (low, high) = (#","quotas":{"day":1}"#, #","quotas":{"day":3}"#)
            #expect(try (0..<3).map { _ in try post(client, user, low).status } == [200, 429, 429])
            #expect(try (0..<3).map { _ in try post(client, user, high).status } == [200, 200, 429])
            let before = try redis.calls(of: "evalsha")
            for quotas in [low, high] { #expect(try post(client, user, quotas).status == 429) }
            #expect(try redis.calls(of: "evalsha") == before, "each is remembered by itself")
        }

        @Test("It is that of the group's window, and of each window for a value")
        func owners() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let quotas = #","quotas":{"day":1000,"team":2,"session":1}"#
            let call = #","groups":["g"]"# + quotas
            for status in [200, 200, 429] { #expect(try post(client, newUser(), call).status == status) }
            let user = newUser()
            let session = { (name: String) in #","labels":{"session":"\#(name)"}"# + quotas }
            for (name, status) in [("a", 200), ("a", 429), ("b", 200)] {
                let response = try post(client, user, session(name))
                #expect(response.status == status)
                if status == 429 { #expect(try response.json["limit_name"] as? String == "session") }
            }
        }

        @Test("A lease carries it, so that settle and usage speak of the same quota; a settle may name another")
        func leases() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let plan = #","output_tokens":900,"quotas":{"tokens":2000,"day":9}"#
            let lease = try #require(try post(client, user, plan, to: "/v1/reserve").json["lease"] as? String)
            let settled = try post(
                client, user, #","lease":"\#(lease)","output_tokens":1200"#, to: "/v1/settle?verbose=1")
            let standing = try standing(settled, "tokens")
            #expect(standing["limit"] as? Int == 2000 && standing["used"] as? Int == 1200)
            #expect(standing["rule"] as? String == "call" && standing["remaining"] as? Int == 800)
            let second = try #require(
                try post(client, user, plan.replacing("900", with: "1"), to: "/v1/reserve").json["lease"] as? String)
            let other = try post(
                client, user, #","lease":"\#(second)","output_tokens":1,"quotas":{"tokens":3000}"#,
                to: "/v1/settle?verbose=1")
            #expect(try self.standing(other, "tokens")["limit"] as? Int == 3000)
            let told = try post(
                client, user, #","output_tokens":1,"quotas":{"tokens":4000}"#, to: "/v1/usage?verbose=1")
            #expect(try self.standing(told, "tokens")["limit"] as? Int == 4000)
            let page = try client.request("GET", "/v1/users/\(user)/usage?quota.tokens=4500")
            #expect(try self.standing(page, "tokens")["limit"] as? Int == 4500)
            #expect(try self.standing(page, "day")["rule"] as? String == "default")
            let explained = try ChildProcess(
                Daemon.program, ["explain", user, "--quota", "tokens=4500", "--socket", daemon.socketPath])
            _ = try explained.wait()
            let words = explained.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            #expect(words.contains("of 4500 tokens used"), "\(words)")
            #expect(words.contains("the quota is the one that was named, in place of the default"))
        }

        @Test("A grant raises it, and a reload that lowers the max holds for plans that were remembered")
        func changes() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let plan = #","quotas":{"day":1}"#
            #expect(try (0..<2).map { _ in try post(client, user, plan).status } == [200, 429])
            let grant = try daemon.connectAdmin().request(
                "POST", "/v1/users/\(user)/grants", body: #"{"limit":"day","amount":1}"#)
            #expect(grant.status == 200)
            #expect(try (0..<2).map { _ in try post(client, user, plan).status } == [200, 429])
            let much = #","quotas":{"day":900}"#
            #expect(try post(client, newUser(), much).json["limit"] as? Int == 900)
            _ = try folder.write(Self.file.replacing("max: 1000", with: "max: 4"), to: "limits.yaml")
            try daemon.reload()
            #expect(try eventually(within: 20) { try post(client, newUser(), much).json["limit"] as? Int == 4 })
        }

        @Test("Without Redis the windows of the daemon itself go by it")
        func local() throws {
            let file =
                "limits: [{name: day, per: user, unit: requests, quota: 1, quota_from_call: {max: 9}, window: 1d, on_redis_failure: local}]\n"
            let daemon = try start(file: file)
            let client = try daemon.connect()
            let user = newUser()
            #expect(try post(client, user, #","cost":1"#).status == 200)
            redis.end()
            let plan = #","quotas":{"day":3}"#
            #expect(try (0..<4).map { _ in try post(client, user, plan).status } == [200, 200, 200, 429])
        }

        @Test("/v1/auth takes it from the header that the gateway sets")
        func headers() throws {
            let daemon = try start(["AUTH_HEADERS": "quota.day=X-Plan-Day"])
            let client = try daemon.connect()
            let user = newUser()
            func ask(_ plan: String?) throws -> Int {
                var headers = ["X-User-Id": user]
                headers["X-Plan-Day"] = plan
                return try client.request("GET", "/v1/auth", headers).status
            }
            #expect(try (0..<4).map { _ in try ask("3") } == [200, 200, 200, 429])
            #expect(try ask("4") == 200)
            #expect(try ask("many") == 403)
            #expect(try ask(nil) == 429)
        }
    }
}
