import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    @Suite("SIGHUP")
    struct ReloadTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private func write(_ lines: [String]) throws -> String {
            try folder.write(lines.map { "LLM_RATE_LIMIT_\($0)\n" }.joined(), to: "env")
        }

        @Test("puts limit, window, shadow and log level in force, and keeps connections and what is counted")
        func reload() throws {
            let file = try write(["REQUESTS=5", "WINDOW=60", "SHADOW=no", "LOG_LEVEL=info"])
            let daemon = try Daemon(redis: redis.url, ["ENV_FILE": file, "THREADS": "2"])
            let clients = try (0..<4).map { _ in try daemon.connect() }
            let user = newUser()
            for client in clients { #expect(try client.check(user).status == 200) }

            _ = try write(["REQUESTS=8", "WINDOW=2m", "SHADOW=no", "LOG_LEVEL=info"])
            try daemon.reload()
            let response = try clients[0].check(user)
            #expect(try response.number("limit") == 8 && response.number("remaining") == 3)
            #expect(response["RateLimit-Policy"] == #""requests";q=8;w=120"#)
            #expect(daemon.logLines(containing: "LLM_RATE_LIMIT_REQUESTS: 5 -> 8").count == 1)
            #expect(try daemon.metric("llm_rate_limit_limit_requests") == 8)
            #expect(try clients[1].request("GET", "/v1/config").text.contains(#""value":"8""#))

            _ = try write(["REQUESTS=3", "WINDOW=2m", "SHADOW=yes", "LOG_LEVEL=error"])
            try reloadSilently(daemon, limit: 3)
            let shadowed = try clients[2].check(user)
            #expect(shadowed.isAllowed && shadowed.text.contains(#""shadow_denied":true"#))
            let lines = daemon.logLines.count
            _ = try write(["REQUESTS=5", "WINDOW=2m", "SHADOW=no", "LOG_LEVEL=error"])
            try reloadSilently(daemon, limit: 5)
            #expect(daemon.logLines.count == lines)
            let denied = try clients[3].check(user)
            #expect(try denied.status == 429 && denied.number("limit") == 5)
            for client in clients { #expect(try client.request("GET", "/livez").status == 200) }
        }

        /// Has a daemon reload whose log says nothing of it; a new limit shows that it has.
        private func reloadSilently(_ daemon: Daemon, limit: Double) throws {
            daemon.process.send(SIGHUP)
            #expect(try eventually(within: 60) { try daemon.metric("llm_rate_limit_limit_requests") == limit })
            // The metric is there before every event loop has turned once more.
            for _ in 0..<4 { _ = try daemon.connect().request("GET", "/livez") }
        }

        @Test("puts the failure mode in force")
        func failureMode() throws {
            let file = try write(["FAILURE_MODE=open"])
            let daemon = try Daemon(redis: redis.url, ["ENV_FILE": file, "REDIS_TIMEOUT_MS": "100"])
            redis.end()
            let client = try daemon.connect()
            #expect(try eventually(within: 10) { try client.check(newUser()).isDegraded })
            _ = try write(["FAILURE_MODE=closed"])
            try daemon.reload()
            #expect(try client.check(newUser()).status == 503)
        }

        @Test("puts other headers of quotas in force, on every event loop and at /v1/auth")
        func quotaHeaders() throws {
            let file = try write(["HEADERS=ietf"])
            let daemon = try Daemon(redis: redis.url, ["ENV_FILE": file, "THREADS": "2", "REQUESTS": "5"])
            let clients = try (0..<4).map { _ in try daemon.connect() }
            for (headers, hasDraft, hasX) in [
                ("x", false, true), ("both", true, true), ("none", false, false), ("ietf", true, false),
            ] {
                _ = try write(["HEADERS=\(headers)"])
                try daemon.reload()
                for _ in 0..<4 { _ = try daemon.connect().request("GET", "/livez") }
                for client in clients {
                    let user = newUser()
                    for response in [
                        try client.check(user), try client.request("GET", "/v1/auth", ["X-User-Id": user]),
                    ] {
                        #expect((response["RateLimit-Policy"] != nil) == hasDraft, "\(headers)")
                        #expect((response["RateLimit"] != nil) == hasDraft, "\(headers)")
                        #expect((response["X-RateLimit-Limit"] == "5") == hasX, "\(headers)")
                        #expect((response["X-RateLimit-Remaining"] != nil) == hasX, "\(headers)")
                        #expect((response["X-RateLimit-Reset"] == "3600") == hasX, "\(headers)")
                    }
                }
            }
        }

        @Test("drops nothing under load")
        func underLoad() throws {
            let file = try write(["REQUESTS=1000"])
            let daemon = try Daemon(redis: redis.url, ["ENV_FILE": file])
            let load = Load(on: daemon, clients: 8)
            for round in 1...5 {
                _ = try write(["REQUESTS=\(1_000 + round)"])
                try daemon.reload()
                #expect(load.hasAnswers(more: 50))
            }
            let result = try load.end()
            #expect(result.checks.allSatisfy { $0.status == 200 && !$0.isDegraded })
        }

        @Test("leaves each pipelined answer with one limit, in its head and in its body", arguments: OneLimit.allCases)
        func oneLimit(what: OneLimit) throws {
            let limits = try folder.write(what.limitsFile(0), to: "limits.yaml")
            func settings(_ round: Int) -> [String] {
                // Denials are remembered now and then.
                what.settings(round) + ["DENY_CACHE_MS=\(round % 3 * 10)"]
                    + (what == .underLimitsFile ? ["LIMITS_FILE=\(limits)"] : [])
            }
            let daemon = try Daemon(redis: redis.url, ["ENV_FILE": try write(settings(0)), "THREADS": "2"])
            let (flag, user) = (Flag(), newUser())
            let clients = (0..<4).map { _ in Background { try what.limitsSeen(daemon, user, until: flag) } }
            for round in 1...OneLimit.rounds {
                _ = try folder.write(what.limitsFile(round), to: "limits.yaml")
                _ = try write(settings(round))
                try daemon.reload()
            }
            flag.set()
            let seen = try clients.map { try $0.value() }
            #expect(seen.flatMap(\.torn).prefix(3) == [])
            #expect(seen.allSatisfy { $0.quotas.count > 1 }, "no limit but one was seen")
        }

        @Test("keeps everything where the file is bad, and says why")
        func badFile() throws {
            let file = try write(["REQUESTS=5"])
            let daemon = try Daemon(redis: redis.url, ["ENV_FILE": file])
            let client = try daemon.connect()
            _ = try write(["REQUESTS=many", "WINDOW=30m"])
            try daemon.reload()
            #expect(daemon.logLines(containing: "kept as it was").count == 1)
            #expect(daemon.logLines(containing: "LLM_RATE_LIMIT_REQUESTS").count == 1)
            let response = try client.check(newUser())
            #expect(try response.number("limit") == 5)
            #expect(response["RateLimit-Policy"] == #""requests";q=5;w=3600"#)
            unlink(file)
            try daemon.reload()
            #expect(try client.check(newUser()).number("limit") == 5)
        }

        @Test("that comes while the daemon starts does not end it")
        func early() throws {
            for _ in 0..<8 {
                let folder = try TemporaryFolder()
                let variables = Daemon.variables(folder, ["REDIS_URL": redis.url])
                let process = try ChildProcess(Daemon.program, ["serve"], environment: variables)
                #expect(eventually(within: 20) { TestSupport.access(of: folder.file("check")) != nil })
                process.send(SIGHUP)
                #expect(eventually(within: 20) { process.errors.contains("configuration reloaded") })
                #expect(try HTTPConnection(.unix(folder.file("check"))).request("GET", "/livez").status == 200)
                process.send(SIGTERM)
                #expect(try process.wait() == 0)
            }
        }

        @Test("says what changes only with a restart, and does not change it")
        func needsRestart() throws {
            let file = try write(["REQUESTS=5", "KEY_PREFIX=a"])
            let daemon = try Daemon(redis: redis.unrestrictedURL, ["ENV_FILE": file])
            _ = try write(["REQUESTS=6", "KEY_PREFIX=b"])
            try daemon.reload()
            #expect(daemon.logLines(containing: "only with a restart: LLM_RATE_LIMIT_KEY_PREFIX").count == 1)
            let user = newUser()
            #expect(try daemon.connect().check(user).number("limit") == 6)
            #expect(try redis.command("EXISTS", "a:\(user)") == .integer(1))
        }
    }

    @Suite("Failure modes")
    struct FailureModeTests {
        @Test("closed refuses with a 503 problem and Retry-After")
        func closed() throws {
            let daemon = try daemonWithoutRedis(["FAILURE_MODE": "closed"])
            let response = try daemon.connect().check(newUser())
            #expect(response.status == 503 && response["Retry-After"] == "1" && response["RateLimit"] == nil)
            #expect(response["Content-Type"] == "application/problem+json")
            let problem = try response.json
            #expect(
                problem["type"] as? String
                    == "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
            )
            #expect((problem["detail"] as? String)?.contains("redis_unreachable") == true)
            #expect(try daemon.metric(#"llm_rate_limit_checks_total{decision="refused",source="failure_mode"}"#) == 1)
            #expect(try daemon.connect().request("GET", "/readyz").status == 200)
        }

        @Test("closed does not refuse in shadow mode, which always allows")
        func closedInShadow() throws {
            let daemon = try daemonWithoutRedis(["FAILURE_MODE": "closed", "SHADOW": "yes"])
            let response = try daemon.connect().check(newUser())
            #expect(response.isAllowed && response.isDegraded)
        }

        @Test("open allows and says so")
        func open() throws {
            let daemon = try daemonWithoutRedis([:])
            for _ in 0..<30 {
                #expect(
                    try daemon.connect().check("6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11").text
                        == #"{"allowed":true,"limit_name":"requests","#
                        + #""limit":20,"remaining":null,"retry_after":0,"reset_after":null,"#
                        + #""degraded":true,"reason":"redis_unreachable"}"#
                )
            }
            #expect(try daemon.metric(#"llm_rate_limit_degraded_checks_total{reason="redis_unreachable"}"#) == 30)
        }

        @Test(
            "local holds this replica's share, rounded up, over all event loops together",
            arguments: [
                (20, 1, 20), (20, 3, 7), (10, 4, 3), (1, 100, 1),
            ])
        func local(limit: Int, replicas: Int, share: Int) throws {
            let daemon = try daemonWithoutRedis([
                "FAILURE_MODE": "local", "REQUESTS": "\(limit)", "REPLICAS": "\(replicas)", "THREADS": "2",
            ])
            let user = newUser()
            let answers = try concurrently(8) { _ in
                let client = try daemon.connect()
                return try (0..<10).map { _ in try client.check(user) }
            }.flatMap { $0 }
            let allowed = answers.filter(\.isAllowed)
            #expect(allowed.count == share)
            let denied = answers.filter { $0.status == 429 }
            #expect(denied.count == answers.count - share)
            #expect(answers.allSatisfy { $0.isDegraded && $0["RateLimit"] == nil })
            #expect(denied.allSatisfy { (3_500...3_600).contains(Int($0["Retry-After"] ?? "") ?? 0) })
        }

        @Test("local slides as well")
        func localWindow() throws {
            let daemon = try daemonWithoutRedis(["FAILURE_MODE": "local", "REQUESTS": "2", "WINDOW": "2"])
            let client = try daemon.connect()
            let user = newUser()
            for _ in 0..<3 {
                var admitted = 0
                var wait: Int?
                while wait == nil {
                    let response = try client.check(user)
                    if response.status == 200 { admitted += 1 } else { wait = try response.number("retry_after") ?? 0 }
                }
                #expect(admitted > 0 && (1...2).contains(wait ?? 0))
                pause(milliseconds: (wait ?? 0) * 1_000)
            }
        }

        private func daemonWithoutRedis(_ settings: [String: String]) throws -> Daemon {
            try Daemon(redis: "unix:///nonexistent/redis.sock", settings)
        }
    }
}

/// Loads of checks whose limit changes with each reload, quota and window together.
enum OneLimit: String, CaseIterable {
    case admitted, denied, underLimitsFile

    /// How often the limit changes.
    static let rounds = 60

    /// The quota and the window in seconds behind so many reloads: each says what the other must be.
    private func numbers(_ round: Int) -> (quota: Int, window: Int) {
        ((self == .denied ? 1 + round % 2 : 1_000_000 + round), 60 + round % 50)
    }

    func settings(_ round: Int) -> [String] {
        let (quota, window) = numbers(round)
        return self == .underLimitsFile ? ["REQUESTS=1000000000"] : ["REQUESTS=\(quota)", "WINDOW=\(window)"]
    }

    func limitsFile(_ round: Int) -> String {
        let (quota, window) = numbers(round)
        return "limits: [{name: changing, per: user, unit: requests, quota: \(quota), window: \(window)s}]\n"
    }

    /// Keeps 64 checks under way on a connection; gives the quotas that answers named, and those that named two limits.
    func limitsSeen(_ daemon: Daemon, _ user: String, until flag: Flag) throws -> (quotas: Set<Int>, torn: [String]) {
        let client = try daemon.connect()
        let text = HTTPConnection.checkText(user)
        let name = self == .underLimitsFile ? "changing" : "requests"
        var policies: [Int: Set<String>] = [:]
        for (quota, window) in (0...Self.rounds).map({ numbers($0) }) {
            policies[quota, default: []].insert("\"\(name)\";q=\(quota);w=\(window)")
        }
        var quotas: Set<Int> = []
        var torn: [String] = []
        try client.send(String(repeating: text, count: 64))
        while !flag.isSet {
            let response = try client.response()
            try client.send(text)
            let (quota, header) = (try response.number("limit") ?? 0, response["RateLimit-Policy"] ?? "")
            quotas.insert(quota)
            if policies[quota]?.isDisjoint(with: header.components(separatedBy: ", ")) != false {
                torn.append("\(header) before \(response.text)")
            }
        }
        return (quotas, torn)
    }
}
