import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// The end-to-end tests' daemons all log in as a user with these permissions: each of those tests shows that they
    /// are enough.
    @Suite("The least permissions")
    struct LeastPermissionTests {
        /// What a daemon does with Redis, each thing at least once.
        ///
        /// - Parameter losesMaster: whether Redis becomes a replica for a while, which takes longest of all.
        private func useAll(of redis: RedisServer, losesMaster: Bool = true) throws {
            let url = "\(redis.url)?db=1"
            let daemon = try Daemon(redis: url, ["REQUESTS": "2000", "DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let user = newUser()
            // Longer than the script reads whole.
            for _ in 0..<50 {
                try client.send(String(repeating: HTTPConnection.checkText(user), count: 40))
                for _ in 0..<40 { _ = try client.response() }
            }
            _ = try client.check(user)
            try redis.command("SCRIPT", "FLUSH")
            _ = try client.check(user)
            _ = try daemon.connectAdmin().request("DELETE", "/v1/users/\(user)")
            _ = try client.check(user)
            try useBudgets(of: daemon, user)
            guard losesMaster else { return }
            // A server that says READONLY is asked for its role before it is used again.
            try redis.command("REPLICAOF", "127.0.0.1", "1")
            _ = try client.check(user)
            _ = try eventually(within: 20) { try redis.calls(of: "role") > 0 || denials(redis).contains("role") }
            try redis.command("REPLICAOF", "NO", "ONE")
        }

        private func useBudgets(of daemon: Daemon, _ user: String) throws {
            let admin = try daemon.connectAdmin()
            let group = newUser()
            let member = "/v1/groups/\(group)/members/\(user)"
            _ = try admin.request("PUT", member)
            _ = try admin.request("PUT", "/v1/users/\(user)/budget", body: #"{"group_id":"\#(group)"}"#)
            _ = try admin.request("GET", "/v1/users/\(user)/budget")
            _ = try admin.request("GET", member)
            _ = try admin.request("DELETE", member)
            _ = try admin.request("DELETE", "/v1/users/\(user)/budget")
            let budget = "/v1/groups/\(newUser())/budget"
            _ = try admin.request("PUT", budget, body: "{}")
            _ = try admin.request("GET", budget)
            _ = try admin.request("DELETE", budget)
            _ = try admin.request("GET", "/v1/audit")
            _ = try admin.request("GET", "/v1/events")
        }

        /// Reserves, renews, settles, is at capacity, and lets a lease lapse.
        private func useLeases(of redis: RedisServer) throws {
            let folder = try TemporaryFolder()
            let limits = """
                limits:
                  - {name: calls, per: user, unit: concurrency, quota: 1}
                  - {name: tokens, per: user, unit: tokens, quota: 10, window: 1h}
                """
            let file = try folder.write(limits, to: "limits")
            let daemon = try Daemon(redis: redis.url, ["LIMITS_FILE": file, "DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let user = "\"user\":\"\(newUser())\""
            func ask(_ path: String, _ members: String = "") throws -> HTTPResponse {
                try client.request("POST", path, body: "{\(user)\(members)}")
            }
            func reserve(seconds: Int) throws -> String {
                let lease = try ask("/v1/reserve", ",\"ttl\":\(seconds),\"output_tokens\":8").json["lease"] as? String
                return ",\"lease\":\"\(lease ?? "")\""
            }
            let lease = try reserve(seconds: 60)
            _ = try reserve(seconds: 60)
            _ = try ask("/v1/renew", lease)
            _ = try ask("/v1/settle", lease)
            _ = try ask("/v1/usage", ",\"request_id\":\"a\"")
            _ = try ask("/v1/release", try reserve(seconds: 60))
            _ = try reserve(seconds: 1)
            pause(milliseconds: 1_050)
            _ = try ask("/v1/check")
            try grantAndReset(daemon, user: user)
        }

        private func grantAndReset(_ daemon: Daemon, user: String) throws {
            let id = user.filter { $0 != "\"" }.dropFirst("user:".count)
            let admin = try daemon.connectAdmin()
            let grant = #"{"limit":"tokens","amount":5,"request_id":"b"}"#
            _ = try admin.request("POST", "/v1/users/\(id)/grants", body: grant)
            _ = try admin.request("DELETE", "/v1/users/\(id)/grants")
            _ = try daemon.connect().request("GET", "/v1/users/\(id)/usage")
            _ = try admin.request("DELETE", "/v1/users/\(id)?limit=tokens")
            for path in ["/v1/users/\(id)", "/v1/groups/\(id)/usage", "/v1/global/usage"] {
                _ = try admin.request("DELETE", path)
            }
        }

        private func denials(_ redis: RedisServer) throws -> [String] {
            try redis.command("ACL", "LOG").elements.map { entry in
                let fields = entry.elements.map { $0.text ?? "" }
                return fields.firstIndex(of: "object").map { fields[$0 + 1] } ?? ""
            }
        }

        @Test("are those in the documentation")
        func documented() throws {
            let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
            let page = readFile("/\(root)/Sources/llm-rate-limit/LLMRateLimit.docc/Operating.md")
            let words = page.split { $0 == "\n" || $0 == " " }.map(String.init)
            let start = try #require(words.firstIndex(of: "SETUSER"))
            let line = Array(words[start...].dropFirst().prefix { $0 != "```" })
            #expect(line == ["limiter", "on", ">secret"] + RedisServer.leastPermissions)
        }

        @Test("are enough for everything")
        func enough() throws {
            let redis = try RedisServer()
            try useAll(of: redis)
            try useLeases(of: redis)
            #expect(try denials(redis) == [])
        }

        @Test("are each needed")
        func needed() throws {
            let redis = try RedisServer()
            for permission in RedisServer.leastPermissions where permission.hasPrefix("+") {
                let without = "-\(permission.dropFirst())"
                // A subcommand alone cannot be taken away where it alone was given.
                let rules = permission.contains("|") ? ["-script"] : [without]
                try redis.connect().command(["ACL", "SETUSER", RedisServer.leastUser] + rules)
                try redis.command("ACL", "LOG", "RESET")
                if RedisServer.leasePermissions.contains(permission) {
                    try useLeases(of: redis)
                } else {
                    try useAll(of: redis, losesMaster: permission == "+role")
                }
                #expect(try denials(redis).contains(String(permission.dropFirst())), "\(permission)")
                try redis.connect().command(["ACL", "SETUSER", RedisServer.leastUser] + RedisServer.leastPermissions)
            }
        }
    }

    @Suite("Logging in to Redis")
    struct LoginTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        @Test("takes user and password from files, the password of the default user as well")
        func files() throws {
            let user = try folder.write("\(RedisServer.leastUser)\n", to: "user")
            let password = try folder.write("\(RedisServer.leastPassword)\n", to: "password")
            let daemon = try Daemon(
                redis: redis.unrestrictedURL, ["REDIS_USER_FILE": user, "REDIS_PASSWORD_FILE": password]
            )
            #expect(try daemon.connect().check(newUser()).number("remaining") == 19)
            #expect(try redis.command("CLIENT", "LIST").text?.contains("user=limiter") == true)

            try redis.command("CONFIG", "SET", "requirepass", "from-a-file")
            let alone = try folder.write("from-a-file", to: "alone")
            let other = try Daemon(redis: redis.unrestrictedURL, ["REDIS_PASSWORD_FILE": alone])
            #expect(try other.connect().check(newUser()).number("remaining") == 19)
            #expect(try !other.connect().request("GET", "/v1/config").text.contains("from-a-file"))
            #expect(!other.process.errors.contains("from-a-file"))
        }

        @Test("goes on with a new user and password as soon as the files have them, without a restart")
        func changed() throws {
            let user = try folder.write(RedisServer.leastUser, to: "user")
            let password = try folder.write(RedisServer.leastPassword, to: "password")
            let daemon = try Daemon(
                redis: redis.unrestrictedURL,
                ["REDIS_USER_FILE": user, "REDIS_PASSWORD_FILE": password, "DENY_CACHE_MS": "60000"]
            )
            let client = try daemon.connect()
            let rules = ["ACL", "SETUSER", "successor", "on", ">next"] + RedisServer.leastPermissions
            try redis.connect().command(rules)
            // Ends the user's connections as well.
            try redis.command("ACL", "DELUSER", RedisServer.leastUser)
            #expect(try eventually(within: 20) { try client.request("GET", "/healthz").text.contains("WRONGPASS") })
            #expect(try client.check(newUser()).isDegraded)
            try folder.write("", to: "password")
            try folder.write("successor\n", to: "user")
            pause(milliseconds: 300)
            #expect(try client.check(newUser()).isDegraded)
            try folder.write("next\n", to: "password")
            let start = monotonicMilliseconds()
            #expect(try eventually(within: 20) { try !client.check(newUser()).isDegraded })
            print("exact again \(Int(monotonicMilliseconds() - start)) ms after the new login was there")
            // What the daemons tell each other has the new login too.
            #expect(
                try eventually(within: 20) {
                    try redis.command("PUBSUB", "NUMSUB", "llm-rate:invalidate").elements.last == .integer(1)
                }
            )
            try daemon.reload()
            #expect(daemon.logLines(containing: "only with a restart").isEmpty)
            #expect(daemon.logLines(containing: "Redis is away").count == 1)
        }
    }
}
