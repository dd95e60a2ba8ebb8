import Foundation
import TestSupport
import Testing

/// `deploy/envoy/rate-limit-service.yaml`, run by the real Envoy against the daemon's gRPC.
@Suite("Envoy's rate limit service", .serialized, .needs("envoy"))
struct EnvoyRateLimitTests {
    /// So many requests in an hour, and tokens in a day.
    private func limits(_ requests: Int, tokens: Int = 1_000_000) -> String {
        """
        domain: api
        descriptors:
          - key: user
            rate_limit: {unit: hour, requests_per_unit: \(requests)}
          - key: user_tokens
            rate_limit: {unit: day, requests_per_unit: \(tokens)}

        """
    }

    private func setting(_ requests: Int, tokens: Int = 1_000_000, _ settings: [String: String] = [:]) throws
        -> GatewaySetting
    {
        try GatewaySetting(.envoyGRPC, envoyLimits: limits(requests, tokens: tokens), settings)
    }

    @Test("What is within the limit passes, the rest is 429 with Retry-After at the client")
    func limit() throws {
        let setting = try setting(3)
        let user = newUser()
        let client = try setting.connect()
        for left in [2, 1, 0] {
            let response = try setting.get(user, on: client)
            #expect(response.status == 200 && response.text.contains(#""host""#), "\(response)")
            #expect(response["x-ratelimit-remaining"] == "\(left)", "\(response)")
            #expect(response["x-ratelimit-limit"]?.hasPrefix("3, 3;w=3600") == true, "\(response)")
        }
        let denied = try setting.get(user, on: client)
        #expect(denied.status == 429 && denied["x-envoy-ratelimited"] == "true", "\(denied)")
        #expect(denied["Retry-After"].flatMap { Int($0) }.map { $0 > 3_000 && $0 <= 3_600 } == true, "\(denied)")
        #expect(try setting.get(newUser(), on: client).status == 200)
        // Whom no header names meets no limit of this file.
        #expect(try client.request("GET", "/x").status == 200)
    }

    @Test("Of many requests at once exactly as many pass as the limit says")
    func exact() async throws {
        let setting = try setting(20)
        let user = newUser()
        let port = setting.port
        let passed = try await withThrowingTaskGroup(of: Int.self) { tasks in
            for _ in 0..<16 {
                tasks.addTask {
                    let client = try HTTPConnection(.tcp(port))
                    return try (0..<4).count { _ in
                        try client.request("GET", "/x", ["X-User-Id": user]).status == 200
                    }
                }
            }
            return try await tasks.reduce(0, +)
        }
        #expect(passed == 20)
    }

    @Test("The tokens of an answer are charged when it has ended, and the next is denied where none is left")
    func tokens() throws {
        let setting = try setting(1_000, tokens: 1_500)
        let user = newUser()
        // Each takes 980: the second passes with 520 left, and what it took is charged all the same.
        #expect(try setting.call(user).status == 200)
        #expect(try eventually(within: 10) { try told(setting, "ok") == 2 })
        #expect(try setting.call(user).status == 200)
        #expect(try eventually(within: 10) { try told(setting, "over") == 1 })
        let denied = try setting.call(user)
        #expect(denied.status == 429 && denied["Retry-After"] != nil, "\(denied)")
        #expect(try setting.call(newUser()).status == 200)
    }

    /// How many descriptors about tokens ended so.
    private func told(_ setting: GatewaySetting, _ result: String) throws -> Double? {
        try setting.daemon.metric(
            #"llm_rate_limit_descriptors_total{domain="api",path="user_tokens",result="\#(result)"}"#)
    }

    @Test("Without the daemon requests pass; once it is back they are limited")
    func daemonAway() throws {
        let setting = try setting(1)
        let user = newUser()
        let client = try setting.connect()
        #expect(try setting.get(user, on: client).status == 200)
        #expect(try setting.get(user, on: client).status == 429)
        setting.daemon.kill()
        for _ in 0..<3 { #expect(try setting.get(user, on: client).status == 200) }
        try setting.daemon.restart()
        #expect(try eventually(within: 20) { try setting.get(user, on: client).status == 429 })
        // Hanging: Envoy gives each call up by resetting its stream, and keeps the connection.
        let before = try setting.connections()
        try setting.holdDaemon()
        for _ in 0..<5 { #expect(try setting.get(user, on: client).status == 200) }
        setting.daemon.process.send(SIGCONT)
        #expect(try eventually(within: 20) { try setting.get(user, on: client).status == 429 })
        // Two are the questions themselves.
        #expect(try setting.connections() - before <= 2)
    }

    @Test("Without Redis requests pass, and the client is told why; closed refuses them")
    func redisAway() throws {
        let setting = try setting(3)
        let user = newUser()
        #expect(try setting.get(user).status == 200)
        setting.redis.end()
        let reasons = ["redis_unreachable", "redis_timeout", "redis_error"]
        for _ in 0..<5 {
            let response = try setting.get(user)
            #expect(response.status == 200)
            #expect(reasons.contains(response["x-rate-limit-degraded"] ?? ""), "\(response)")
        }
        try setting.redis.restart()
        #expect(try eventually(within: 20) { try setting.get(newUser())["x-rate-limit-degraded"] == nil })

        let closed = try self.setting(3, ["FAILURE_MODE": "closed"])
        closed.redis.end()
        let refused = try closed.get(user)
        #expect(refused.status == 429 && reasons.contains(refused["x-rate-limit-degraded"] ?? ""), "\(refused)")
    }

    @Test("Changed limits hold without a restart, and a slip in the file leaves those that there were")
    func changed() throws {
        let setting = try setting(1)
        let user = newUser()
        #expect(try setting.get(user).status == 200)
        #expect(try setting.get(user).status == 429)
        try setting.folder.write("domain: api\nnonsense: 1\n", to: "envoy-limits.yaml")
        #expect(eventually(within: 20) { !setting.daemon.logLines(containing: "nonsense").isEmpty })
        #expect(try setting.get(user).status == 429)
        try setting.folder.write(limits(3), to: "envoy-limits.yaml")
        // What was counted stays.
        #expect(try eventually(within: 20) { try setting.get(user).status == 200 })
        #expect(try setting.get(user).status == 200)
        #expect(try setting.get(user).status == 429)
    }

    @Test(
        "What the limits say under metadata is Envoy's dynamic metadata, and their metrics are of the values asked for")
    func metadata() throws {
        let limits = """
            domain: api
            descriptors:
              - key: user
                detailed_metric: true
                metadata: {plan: {name: gold, weight: 1.5}}
                rate_limit: {name: users, unit: hour, requests_per_unit: 2}
              - key: user_tokens
                rate_limit: {unit: day, requests_per_unit: 1000000}

            """
        func told(_ key: String) -> String { "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:\(key))%" }
        let setting = try GatewaySetting(
            .envoyGRPC, envoyLimits: limits,
            responseHeaders: [
                "x-plan": told("metadata:plan:name"), "x-weight": told("metadata:plan:weight"),
                "x-asked": told("descriptors"), "x-domain": told("domain"),
            ])
        let user = newUser()
        for _ in 0..<2 {
            let response = try setting.get(user)
            #expect(response.status == 200 && response["x-plan"] == "gold", "\(response)")
            #expect(response["x-weight"] == "1.5" && response["x-domain"] == "api", "\(response)")
            #expect(response["x-asked"]?.contains("user=\(user)") == true, "\(response)")
            #expect(response["x-ratelimit-limit"]?.contains(#"name="users""#) == true, "\(response)")
        }
        // A limit that is over says nothing of its own; what was asked is told all the same.
        let denied = try setting.get(user)
        #expect(denied.status == 429 && denied["x-domain"] == "api", "\(denied)")
        #expect(denied["x-plan"] != "gold", "\(denied)")
        let series = #"llm_rate_limit_descriptors_total{domain="api",path="user_\#(user)",result="#
        #expect(try setting.daemon.metric(series + #""over"}"#) == 1)
    }

    @Test("An operator gives one user the quota back by a command, and the next request passes")
    func resetDescriptor() throws {
        let setting = try setting(1, ["DENY_CACHE_MS": "60000"])
        let (user, other) = (newUser(), newUser())
        for user in [user, other] {
            #expect(try setting.get(user).status == 200)
            #expect(try setting.get(user).status == 429)
        }
        func reset(_ entry: String) throws -> (Int32, String) {
            let command = try ChildProcess(
                Daemon.program,
                ["reset-descriptor", "api", entry, "--admin-socket", setting.daemon.adminSocketPath])
            return (try command.wait(), command.output + command.errors)
        }
        let (code, text) = try reset("user=\(user)")
        #expect(code == 0 && text == "reset: api: user=\(user)\n", "\(code) \(text)")
        #expect(try setting.get(user).status == 200)
        #expect(try setting.get(user).status == 429)
        #expect(try setting.get(other).status == 429)
        let (refused, reason) = try reset("tenant=acme")
        #expect(
            refused == 2 && reason.contains("answered: The descriptor meets no limit that counts in a"), "\(reason)")
        let lines = setting.daemon.logLines(containing: #""reset a descriptor""#)
        #expect(lines.count == 1 && lines[0].contains(#""keys":"user""#) && !lines[0].contains(user), "\(lines)")
    }

    @Test("The daemon drains without a request being lost")
    func drain() throws {
        let setting = try setting(1_000_000, ["DRAIN_TIMEOUT_MS": "2000"])
        let client = try setting.connect()
        #expect(try setting.get(newUser(), on: client).status == 200)
        #expect(try setting.daemon.terminate() == 0)
        #expect(try setting.get(newUser(), on: client).status == 200)
        #expect(setting.daemon.logLines(containing: "stopped").count == 1)
    }

    @Test("ext_authz by gRPC limits as it does by HTTP")
    func authorization() throws {
        let setting = try GatewaySetting(.envoyAuthorization)
        let user = newUser()
        let client = try setting.connect()
        for left in [2, 1, 0] {
            let response = try setting.get(user, on: client)
            #expect(response.status == 200 && response["RateLimit"] == #""requests";r=\#(left)"#, "\(response)")
        }
        let denied = try setting.get(user, on: client)
        #expect(denied.status == 429 && denied["Retry-After"] != nil, "\(denied)")
        #expect((try denied.json["message"] as? String)?.hasPrefix("Try again in ") == true, "\(denied.text)")
        // Who is limited by HTTP is the same user.
        #expect(try setting.daemon.connect().check(user).status == 429)
        // Whom nobody names is limited by the address.
        #expect(try client.request("GET", "/x")["RateLimit"] == #""requests";r=2"#)
        setting.redis.end()
        let degraded = try setting.get(newUser())
        #expect(degraded.status == 200 && degraded["X-Rate-Limit-Degraded"]?.hasPrefix("redis_") == true, "\(degraded)")
        setting.daemon.kill()
        #expect(try setting.get(user).status == 200)
    }
}
