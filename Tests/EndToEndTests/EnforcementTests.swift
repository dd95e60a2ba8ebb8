import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// What is not enforced must be seen: whatever Redis refuses, every page that says whether decisions are being made
    /// says that they are not, from the first moment to the last.
    @Suite("Redis that refuses to decide")
    struct EnforcementTests {
        let folder: TemporaryFolder
        let limitsFile: String

        init() throws {
            folder = try TemporaryFolder()
            limitsFile = try folder.write(Self.limits, to: "limits.yaml")
        }

        /// Limits that meet a user, a group and all.
        private static let limits = """
            limits:
              - {name: own, per: user, unit: requests, quota: 1000, window: 1h}
              - {name: team, per: group, unit: requests, quota: 1000, window: 1h}
              - {name: everybody, per: global, unit: requests, quota: 1000, window: 1h}
            """
        private static let begins = "refuses to decide: the failure mode", ends = "decides again: decisions"

        /// A daemon, with a limits file or without.
        private func start(_ url: String, limits: Bool, _ settings: [String: String] = [:]) throws -> Daemon {
            var all = ["REQUESTS": "1000"]
            if limits {
                all["LIMITS_FILE"] = limitsFile
                all["GROUPS"] = "given"
            }
            return try Daemon(redis: url, all.merging(settings) { $1 })
        }

        /// What one look at a daemon says: every page and command that tells whether decisions are being made.
        private struct Look {
            var health: [String: Any]
            var ready: HTTPResponse
            var enforcing: Double?
            var since: Double?

            init(_ daemon: Daemon) throws {
                let client = try daemon.connect()
                health = try client.request("GET", "/healthz").json
                ready = try client.request("GET", "/readyz?require=redis")
                enforcing = try daemon.metric("llm_rate_limit_enforcing")
                since = try daemon.metric("llm_rate_limit_not_enforcing_since_timestamp_seconds")
            }

            var redis: [String: Any] { health["redis"] as? [String: Any] ?? [:] }
            var detail: String { redis["detail"] as? String ?? "" }

            var isEnforcing: Bool {
                health["status"] as? String == "ok" && redis["state"] as? String == "available"
                    && health["enforcing"] as? Bool == true && health["not_enforcing_since"] is NSNull
                    && ready.status == 200 && enforcing == 1 && since == 0
            }

            func isRefusing(saying words: String) -> Bool {
                health["status"] as? String == "degraded" && redis["state"] as? String == "refusing"
                    && redis["reason"] as? String == "redis_error" && detail.contains(words)
                    && health["enforcing"] as? Bool == false && ready.status == 503 && ready.text.contains(words)
                    && enforcing == 0 && since == (health["not_enforcing_since"] as? Int).map(Double.init)
            }
        }

        private func healthExitCode(_ daemon: Daemon) throws -> Int32 {
            let environment = ["LLM_RATE_LIMIT_SOCKET": daemon.socketPath]
            return try ChildProcess(Daemon.program, ["health", "--require-redis"], environment: environment).wait()
        }

        /// Waits until a daemon says everywhere that decisions are not being made, and why.
        private func expectRefusing(
            _ daemon: Daemon, saying words: String, lines: Int = 1, _ what: String,
            location: SourceLocation = #_sourceLocation
        ) throws {
            let isSeen = try eventually(within: 20) { try Look(daemon).isRefusing(saying: words) }
            let look = try Look(daemon)
            #expect(isSeen, "\(what): \(look)", sourceLocation: location)
            let now = Date().timeIntervalSince1970
            #expect(look.since.map { $0 <= now && $0 > now - 120 } == true, sourceLocation: location)
            #expect(try healthExitCode(daemon) == 1, "\(what)", sourceLocation: location)
            let said = daemon.logLines(containing: Self.begins)
            #expect(said.count == lines && said.allSatisfy { $0.contains(words) && $0.contains("warning") }, "\(said)")
        }

        /// Waits until a daemon says everywhere that decisions are being made.
        private func expectEnforcing(
            _ daemon: Daemon, lines: Int, _ what: String, location: SourceLocation = #_sourceLocation
        ) throws {
            let isSeen = try eventually(within: 30) { try Look(daemon).isEnforcing }
            let look = try Look(daemon)
            #expect(isSeen, "\(what): \(look)", sourceLocation: location)
            #expect(try healthExitCode(daemon) == 0, "\(what)", sourceLocation: location)
            #expect(daemon.logLines(containing: Self.begins).count == lines, "\(what)", sourceLocation: location)
            let said = daemon.logLines(containing: Self.ends)
            #expect(said.count == lines && said.allSatisfy { $0.contains("refused_ms") }, "\(said)")
        }

        private func call(_ client: HTTPConnection, _ user: String = newUser()) throws -> HTTPResponse {
            try client.request("POST", "/v1/check", body: #"{"user":"\#(user)","groups":["\#(newUser())"]}"#)
        }

        // MARK: - A server that takes no writes

        /// A way of a server not to take writes.
        enum Trouble: CaseIterable, CustomTestStringConvertible {
            case full, notSaved, tooFewReplicas

            var testDescription: String { "\(self)" }

            var words: String {
                switch self {
                case .full: "OOM command not allowed when used memory"
                case .notSaved: "MISCONF Redis is configured to save RDB snapshots"
                case .tooFewReplicas: "NOREPLICAS Not enough good replicas to write"
                }
            }

            func begin(_ redis: RedisServer) throws {
                switch self {
                case .full: try redis.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
                case .tooFewReplicas: try redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
                case .notSaved:
                    // The snapshot's name is that of a folder.
                    mkdir(redis.folder.file("dump.rdb"), 0o700)
                    try redis.command("CONFIG", "SET", "save", "3600 1000000")
                    try redis.command("BGSAVE")
                    let hasFailed = try eventually(within: 20) {
                        try redis.command("INFO", "persistence").text?.contains("rdb_last_bgsave_status:err") == true
                    }
                    #expect(hasFailed)
                }
            }

            func end(_ redis: RedisServer) throws {
                switch self {
                case .full: try redis.command("CONFIG", "SET", "maxmemory", "0")
                case .tooFewReplicas: try redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
                case .notSaved: try redis.command("CONFIG", "SET", "save", "")
                }
            }
        }

        @Test(
            "A server that takes no writes is seen without a check, from the start or later, in every failure mode",
            arguments: Trouble.allCases)
        func takesNoWrites(trouble: Trouble) throws {
            let redis = try RedisServer()
            let modes = [
                ["FAILURE_MODE": "open"], ["FAILURE_MODE": "closed"], ["FAILURE_MODE": "local", "THREADS": "2"],
                ["SHADOW": "yes"],
            ]
            let wellBefore = try modes.enumerated().map { try start(redis.url, limits: $0 % 2 == 0, $1) }
            for daemon in wellBefore { try expectEnforcing(daemon, lines: 0, "before") }
            try trouble.begin(redis)
            for daemon in wellBefore { try expectRefusing(daemon, saying: trouble.words, "begun while running") }
            let fromTheStart = try modes.enumerated().map { try start(redis.url, limits: $0 % 2 == 1, $1) }
            for (index, daemon) in fromTheStart.enumerated() {
                // Not even the first answer says that all is well.
                #expect(try daemon.connect().request("GET", "/readyz?require=redis").status == 503)
                try expectRefusing(daemon, saying: trouble.words, "from the start")
                // What is asked changes nothing, and the answers say why.
                let client = try daemon.connect()
                for _ in 0..<5 {
                    let response = try call(client)
                    #expect(response.degradedReason == "redis_error" || response.status == 503, "\(response.text)")
                    #expect(response.status == (index == 1 ? 503 : 200))
                }
            }
            try trouble.end(redis)
            for daemon in wellBefore + fromTheStart {
                try expectEnforcing(daemon, lines: 1, "over")
                #expect(try !call(daemon.connect()).isDegraded)
            }
        }

        @Test("While checks are refused, thousands of them on several event loops make the same two lines")
        func underLoad() throws {
            let redis = try RedisServer()
            let daemon = try start(redis.url, limits: false, ["THREADS": "3"])
            try Trouble.full.begin(redis)
            let refused = try concurrently(6) { _ in
                let client = try daemon.connect()
                var refused = 0
                for _ in 0..<20 {
                    try client.send((0..<20).map { _ in HTTPConnection.checkText(newUser()) }.joined())
                    for _ in 0..<20 where try client.response().degradedReason == "redis_error" { refused += 1 }
                }
                return refused
            }
            #expect(refused.reduce(0, +) == 2_400)
            try expectRefusing(daemon, saying: Trouble.full.words, "under load")
            try Trouble.full.end(redis)
            try expectEnforcing(daemon, lines: 1, "over")
        }

        // MARK: - Permissions that are missing

        private static let neededByChecks = [
            "time", "getrange", "strlen", "get", "set", "append", "pexpireat", "del",
        ]
        private static let neededByCalls =
            ["hgetall", "hset", "hdel"] + [
                "hget", "hlen", "zadd", "zcard", "zrange", "zrangebyscore", "zrem", "zscore", "rename",
            ]

        /// A daemon that logs in as a user of Redis who has all that is needed, but for what rules take away.
        private func daemon(
            _ redis: RedisServer, lacking rules: [String], as name: String, limits: Bool
        ) throws -> Daemon {
            let reply = try redis.connect().command(
                ["ACL", "SETUSER", name, "on", ">p"] + RedisServer.leastPermissions + rules)
            #expect(reply == .status("OK"), "\(rules)")
            return try start(redis.url(user: name, password: "p"), limits: limits)
        }

        @Test(
            "A missing permission of any command is seen without a check, from the start and when it is taken away",
            arguments: [false, true])
        func commands(limits: Bool) throws {
            let redis = try RedisServer()
            let needed = Self.neededByChecks + (limits ? Self.neededByCalls : [])
            var all: [(name: String, rules: [String], back: [String], daemon: Daemon)] = []
            for command in needed {
                let daemon = try daemon(redis, lacking: ["-\(command)"], as: command, limits: limits)
                all.append((command, ["-\(command)"], ["+\(command)"], daemon))
            }
            let scripts = ["-evalsha", "-eval"]
            let daemon = try daemon(redis, lacking: scripts, as: "scripts", limits: limits)
            all.append(("scripts", scripts, ["+evalsha", "+eval"], daemon))
            for lacking in all {
                #expect(try lacking.daemon.connect().request("GET", "/readyz?require=redis").status == 503)
                let words = lacking.name == "scripts" ? "NOPERM" : "can't run this command"
                try expectRefusing(lacking.daemon, saying: words, "lacking \(lacking.name) from the start")
                try redis.connect().command(["ACL", "SETUSER", lacking.name] + lacking.back)
            }
            for lacking in all {
                try expectEnforcing(lacking.daemon, lines: 1, "\(lacking.name) given")
                #expect(try !call(lacking.daemon.connect()).isDegraded)
                try redis.connect().command(["ACL", "SETUSER", lacking.name] + lacking.rules)
            }
            for lacking in all {
                let isSeen = try eventually(within: 20) { try Look(lacking.daemon).enforcing == 0 }
                #expect(isSeen, "\(lacking.name) taken away")
            }
        }

        @Test("What a daemon without a limits file does not need may be missing, and all is well")
        func notNeeded() throws {
            let redis = try RedisServer()
            let others = ["-publish", "-subscribe", "-xadd", "-xrevrange", "-xrange", "-script"]
            let rules = Self.neededByCalls.map { "-\($0)" } + others
            let daemon = try daemon(redis, lacking: rules, as: "little", limits: false)
            let only = try self.daemon(
                redis, lacking: ["resetkeys", "~llm-rate:*"], as: "narrow", limits: false)
            let noEval = try self.daemon(redis, lacking: ["-eval"], as: "digest", limits: true)
            for daemon in [daemon, only, noEval] {
                for _ in 0..<3 {
                    #expect(try !call(daemon.connect()).isDegraded)
                    try expectEnforcing(daemon, lines: 0, "all that is needed")
                    let heartbeats = try redis.heartbeats()
                    #expect(try eventually(within: 20) { try redis.heartbeats() > heartbeats + 1 })
                }
            }
        }

        @Test("A key pattern that is missing is seen without a check: of groups, of all, of leases and budgets, of any")
        func keyPatterns() throws {
            let redis = try RedisServer()
            let users = ["~llm-rate:[0-9a-f]*", "~llm-rate:user:*", "~llm-rate:check:*", "~{llm-rate:*"]
            let common = ["resetkeys", "~llm-rate:heartbeat", "~llm-rate:heartbeat:*", "~llm-rate:budgets:*"] + users
            let patterns: [(name: String, rules: [String], limits: Bool)] = [
                ("groups", common + ["~llm-rate:global", "~llm-rate:global:*"], true),
                ("all", common + ["~llm-rate:group:*"], true),
                ("leases", ["resetkeys", "~llm-rate:*"], true),
                ("none", ["resetkeys"], true), ("none-at-all", ["resetkeys"], false),
                ("others", ["resetkeys", "~other:*", "~{other:*"], false),
            ]
            let daemons = try patterns.map { pattern in
                try daemon(redis, lacking: pattern.rules, as: pattern.name, limits: pattern.limits)
            }
            for (pattern, daemon) in zip(patterns, daemons) {
                try expectRefusing(daemon, saying: "access", pattern.name)
                try redis.command("ACL", "SETUSER", pattern.name, "~llm-rate:*", "~{llm-rate:*")
            }
            for (pattern, daemon) in zip(patterns, daemons) {
                try expectEnforcing(daemon, lines: 1, pattern.name)
                #expect(try !call(daemon.connect()).isDegraded)
            }
        }

        @Test("What only some meet, and no heartbeat, is seen when they meet it, and holds for ten seconds behind that")
        func someUsersOnly() throws {
            let redis = try RedisServer()
            let rules = ["resetkeys", "~llm-rate:heartbeat", "~llm-rate:heartbeat:*", "~llm-rate:check:*"]
            let daemon = try daemon(redis, lacking: rules, as: "some", limits: false)
            try expectEnforcing(daemon, lines: 0, "no user has been met")
            let client = try daemon.connect()
            let askedAt = monotonicMilliseconds()
            #expect(try client.check(newUser()).degradedReason == "redis_error")
            try expectRefusing(daemon, saying: "NOPERM", "a user has been met")
            try expectEnforcing(daemon, lines: 1, "nobody has been met for a while")
            #expect(monotonicMilliseconds() - askedAt > 9_990)
        }

        @Test(
            "Keys of another type under users' names are those users' trouble alone, and under a heartbeat's nobody's")
        func oneKey() throws {
            let redis = try RedisServer()
            let plain = try start(redis.url, limits: false), limits = try start(redis.url, limits: true)
            let users = (0..<3).map { _ in newUser() }
            try redis.command("LPUSH", "llm-rate:\(users[0])", "x")
            try redis.command("SET", "llm-rate:\(users[1])", "no window")
            try redis.command("SET", "llm-rate:\(users[2])", "\u{1}")
            // Nor do they matter where they stand in a heartbeat's way.
            for name in ["check", "user", "group", "global"] {
                try redis.command("DEL", "llm-rate:\(name):heartbeat:0")
                try redis.command("LPUSH", "llm-rate:\(name):heartbeat:0", "x")
            }
            try redis.command("DEL", "llm-rate:heartbeat:{0}:string")
            try redis.command("LPUSH", "llm-rate:heartbeat:{0}:string", "x")
            let heartbeats = try redis.heartbeats()
            repeat {
                for daemon in [plain, limits] {
                    for user in users { #expect(try call(daemon.connect(), user).degradedReason == "redis_error") }
                }
            } while try redis.heartbeats() < heartbeats + 6
            for daemon in [plain, limits] { try expectEnforcing(daemon, lines: 0, "keys of another type") }
            try Trouble.full.begin(redis)
            for daemon in [plain, limits] { try expectRefusing(daemon, saying: "OOM", "and then full") }
        }

        // MARK: - Reasons

        @Test("A budget that Redis forbids to read is redis_error and not redis_timeout, and is seen")
        func budgets() throws {
            let redis = try RedisServer()
            let daemon = try daemon(redis, lacking: [], as: "reader", limits: true)
            let client = try daemon.connect()
            #expect(try !call(client).isDegraded)
            try redis.command("ACL", "SETUSER", "reader", "-hgetall")
            for _ in 0..<5 { #expect(try call(client).degradedReason == "redis_error") }
            try expectRefusing(daemon, saying: "hgetall", "budgets")
            let said = daemon.logLines(containing: Self.begins)
            #expect(said.contains { $0.contains("budgets") || $0.contains("calls") }, "\(said)")
            let page = try daemon.connectAdmin().request("GET", "/v1/users/\(newUser())/budget")
            #expect(page.status == 503 && !page.text.contains("time"), "\(page.text)")
        }

        @Test("Away wins over refusing, and what is back and still refuses is not said to be exact")
        func awayAndBack() throws {
            let redis = try RedisServer()
            let daemon = try start(redis.url, limits: false)
            try Trouble.tooFewReplicas.begin(redis)
            try expectRefusing(daemon, saying: "NOREPLICAS", "refusing")
            redis.end()
            #expect(try eventually(within: 20) { try Look(daemon).redis["state"] as? String == "away" })
            try redis.restart(["--min-replicas-to-write", "1"])
            #expect(try eventually(within: 20) { try Look(daemon).isRefusing(saying: "NOREPLICAS") })
            #expect(daemon.logLines(containing: "Redis is back").allSatisfy { !$0.contains("exact") })
            #expect(daemon.logLines(containing: Self.begins).count == 1)
            try Trouble.tooFewReplicas.end(redis)
            try expectEnforcing(daemon, lines: 1, "over")
        }
    }
}
