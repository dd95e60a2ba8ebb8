import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("The script and Redis's permissions")
    struct ScriptTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        @Test("Redis forgets its scripts under load: nothing is lost and nothing is counted twice")
        func noScript() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1000000000", "THREADS": "2"])
            let user = newUser()
            let flag = Flag()
            let redis = redis
            let flusher = Background {
                let connection = try redis.connect()
                var flushes = 0
                while !flag.isSet {
                    try connection.command("SCRIPT", "FLUSH")
                    flushes += 1
                    usleep(1_500)
                }
                return flushes
            }
            let counts = try concurrently(8) { _ in
                let connection = try daemon.connect()
                var allowed = 0
                let batch = String(repeating: HTTPConnection.checkText(user), count: 25)
                for _ in 0..<60 {
                    try connection.send(batch)
                    for _ in 0..<25 {
                        let response = try connection.response()
                        if response.isAllowed, !response.isDegraded { allowed += 1 }
                    }
                }
                return allowed
            }
            flag.set()
            let flushes = try flusher.value()
            let used = try daemon.connect().request("GET", "/v1/users/\(user)").number("used")
            print("script flush: \(flushes) flushes")
            #expect(counts.reduce(0, +) == 8 * 60 * 25)
            #expect(used == 8 * 60 * 25)
            #expect(flushes > 3)
        }

        @Test("The script is put to Redis by its digest, in full only where Redis does not know it")
        func digest() throws {
            let redis = try RedisServer(["--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000"])
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            for _ in 0..<10 { _ = try client.check(newUser()) }
            #expect(try redis.calls(of: "evalsha") == 10 && redis.checksWithSource() == 0)
            try redis.command("SCRIPT", "FLUSH")
            for _ in 0..<10 { #expect(try client.check(newUser()).number("remaining") == 19) }
            #expect(try redis.checksWithSource() == 1)
        }

        @Test("A permission that a command inside the script lacks is an error, and nothing is sent a second time")
        func forbiddenInside() throws {
            let redis = try RedisServer(["--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000"])
            let rules = ["ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-time"]
            #expect(try redis.connect().command(rules) == .status("OK"))
            let daemon = try Daemon(redis: redis.url(user: "limited", password: "secret"))
            let user = newUser()
            let response = try daemon.connect().check(user)
            #expect(response.isAllowed && response.text.contains(#""reason":"redis_error""#))
            let sent = try redis.command("SLOWLOG", "GET", "1000").elements.compactMap { entry in
                entry.elements.count > 3 ? entry.elements[3].elements.compactMap(\.text) : nil
            }.filter { $0.contains("llm-rate:\(user)") }
            #expect(sent.map(\.first) == ["EVALSHA"], "\(sent)")
        }

        @Test("A wrong password is said, and the failure mode answers")
        func wrongPassword() throws {
            try redis.command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all")
            let daemon = try Daemon(
                redis: redis.url(user: "limited", password: "wrong"), ["REDIS_TIMEOUT_MS": "100"]
            )
            let client = try daemon.connect()
            let reason = #""reason":"redis_error""#
            #expect(try eventually(within: 10) { try client.check(newUser()).text.contains(reason) })
            #expect(try client.check(newUser()).isAllowed)
            #expect(eventually(within: 10) { daemon.logLines(containing: "WRONGPASS").count == 1 })
            pause(milliseconds: 1_000)
            #expect(daemon.logLines(containing: "Redis is away").count == 1)
            #expect(!daemon.process.errors.contains("wrong\""))
        }

        @Test("A user whose key is broken fails alone, within one batch with others")
        func brokenKey() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            let users = (0..<9).map { _ in newUser() }
            try redis.command("RPUSH", "llm-rate:\(users[2])", "x")
            try redis.command("SET", "llm-rate:\(users[4])", "somebody else's")
            try redis.command("SET", "llm-rate:\(users[6])", String(repeating: "long ", count: 2_000))
            try redis.command("HSET", "llm-rate:\(users[7])", "a", "b")
            for remaining in [19, 18] {
                try client.send(users.map { HTTPConnection.checkText($0) }.joined())
                for index in users.indices {
                    let response = try client.response()
                    if [2, 4, 6, 7].contains(index) {
                        #expect(response.isAllowed && response.text.contains(#""reason":"redis_error""#), "\(index)")
                    } else {
                        #expect(try response.number("remaining") == remaining, "\(index)")
                    }
                }
            }
            #expect(try daemon.metric("llm_rate_limit_batch_size_checks_count") == 2)
            // A reset mends it.
            for index in [2, 4, 6, 7] {
                #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(users[index])").status == 204)
                #expect(try client.check(users[index]).number("remaining") == 19)
            }
        }
    }
}
