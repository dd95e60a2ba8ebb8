import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("The memory of denials")
    struct DenialMemoryTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        private func exhaust(_ user: String, on daemon: Daemon, limit: Int) throws -> HTTPConnection {
            try redis.waitUntilSubscribed()
            let client = try daemon.connect()
            for _ in 0..<limit { #expect(try client.check(user).status == 200) }
            #expect(try client.check(user).status == 429)
            return client
        }

        @Test("A denial is repeated from memory without a call to Redis, with the time still to wait")
        func noCall() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "5", "WINDOW": "60", "DENY_CACHE_MS": "60000"])
            let user = newUser()
            let client = try exhaust(user, on: daemon, limit: 5)
            let before = try redis.calls(of: "evalsha")
            pause(milliseconds: 1_100)
            for _ in 0..<200 {
                let response = try client.check(user)
                let seconds = try #require(try response.number("retry_after"))
                #expect(response.status == 429 && (40...59).contains(seconds))
                #expect(try response.number("limit") == 5 && response.number("remaining") == 0)
                #expect(response["Retry-After"] == "\(seconds)")
            }
            #expect(try redis.calls(of: "evalsha") == before)
            // Another cost, and a look, are other questions.
            #expect(try client.check(user, cost: 2).status == 429)
            #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 5)
            #expect(try redis.calls(of: "evalsha") == before + 2)
        }

        @Test("It ends at the exact instant: whoever waits as told passes, over and over")
        func exactEnd() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "2", "WINDOW": "1", "DENY_CACHE_MS": "60000"])
            let client = try daemon.connect()
            let user = newUser()
            var lateMilliseconds: [Int] = []
            for _ in 0..<3 {
                while try client.check(user).status == 200 {}
                // Asking all the time, on one connection, until the window has room: the first admission that was
                // counted left it a window later, by Redis's own clock, and not earlier.
                let bytes = try redis.command("GET", "llm-rate:\(user)")
                guard case .bulk(let window) = bytes else { return }
                let oldest = try #require(try StoredWindow(window).entries.first).time
                while try client.check(user).status == 429 {}
                let late = StoredWindow.microseconds(from: oldest) - 1_000_000
                #expect(late >= 0)
                lateMilliseconds.append(late / 1_000)
            }
            print("denial memory: passed \(lateMilliseconds) ms after the instant")
            // The memory rounds down to the millisecond and then asks Redis; the rest is the machine's. A memory that
            // held on would deny for a minute.
            #expect(lateMilliseconds.allSatisfy { $0 < 30_000 })
        }

        @Test("Waiting retry_after seconds is always enough")
        func retryAfter() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1", "WINDOW": "1", "DENY_CACHE_MS": "60000"])
            let client = try daemon.connect()
            let user = newUser()
            var waits = 0
            while waits < 3 {
                let response = try client.check(user)
                guard response.status == 429 else { continue }
                waits += 1
                // Later denials come from memory, and each counts from its own moment.
                pause(milliseconds: 150 * waits)
                let again = try client.check(user)
                guard again.status == 429 else { continue }
                pause(milliseconds: (try again.number("retry_after") ?? 0) * 1_000)
                #expect(try client.check(user).status == 200)
            }
        }

        @Test("It is off where DENY_CACHE_MS is 0, and lasts no longer than that where it is not")
        func bounded() throws {
            for (milliseconds, expectedCalls) in [(0, 11), (300, 2)] {
                let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1", "DENY_CACHE_MS": "\(milliseconds)"])
                let user = newUser()
                let client = try exhaust(user, on: daemon, limit: 1)
                let before = try redis.calls(of: "evalsha")
                pause(milliseconds: 400)
                // Behind it one call renews the memory; a machine that is slow here may need a second.
                for _ in 0..<11 { #expect(try client.check(user).status == 429) }
                let calls = try redis.calls(of: "evalsha") - before
                if milliseconds == 0 { #expect(calls == expectedCalls) } else { #expect((1...11).contains(calls)) }
            }
        }

        @Test("A reset through one daemon holds on another at once")
        func reset() throws {
            let settings = ["REQUESTS": "3", "DENY_CACHE_MS": "60000", "THREADS": "2"]
            let daemons = try (0..<3).map { _ in try Daemon(redis: redis.url, settings) }
            for round in 0..<5 {
                let user = newUser()
                let clients = try daemons.map { try $0.connect() }
                while try clients[0].check(user).status == 200 {}
                for client in clients { #expect(try client.check(user).status == 429) }
                let start = monotonicMilliseconds()
                #expect(try daemons[round % 3].connectAdmin().request("DELETE", "/v1/users/\(user)").status == 204)
                for client in clients {
                    // The memory would deny for a minute.
                    #expect(try eventually(within: 20) { try client.check(user).status == 200 })
                }
                if round == 4 { print("reset: held everywhere after \(monotonicMilliseconds() - start) ms") }
            }
        }

        @Test("So does a changed limit")
        func changedLimit() throws {
            let folder = try TemporaryFolder()
            let file = try folder.write("LLM_RATE_LIMIT_REQUESTS=3\n", to: "env")
            let settings = ["DENY_CACHE_MS": "60000", "ENV_FILE": file]
            let daemons = try (0..<2).map { _ in try Daemon(redis: redis.url, settings) }
            let user = newUser()
            let clients = try daemons.map { try $0.connect() }
            while try clients[0].check(user).status == 200 {}
            for client in clients { #expect(try client.check(user).status == 429) }
            try folder.write("LLM_RATE_LIMIT_REQUESTS=5\n", to: "env")
            try daemons[0].reload()
            #expect(try clients[0].check(user).number("remaining") == 1)
            // The other one still has its limit of 3, but has forgotten what it remembered: it asks Redis.
            let before = try redis.calls(of: "evalsha")
            let hasAsked = try eventually(within: 20) {
                #expect(try clients[1].check(user).status == 429)
                return try redis.calls(of: "evalsha") > before
            }
            #expect(hasAsked)
            try daemons[1].reload()
            #expect(try clients[1].check(user).number("remaining") == 0)
        }

        /// Makes two daemons that remember for a minute, and has the second remember the denial of a user.
        private func twoThatRemember(
            _ user: String, through url: String? = nil
        ) throws -> (daemons: [Daemon], client: HTTPConnection) {
            let settings = ["REQUESTS": "1", "DENY_CACHE_MS": "60000", "THREADS": "2"]
            let daemons = try [redis.url, url ?? redis.url].map { try Daemon(redis: $0, settings) }
            let client = try daemons[1].connect()
            _ = try client.check(user)
            #expect(try isRepeated(user, client))
            return (daemons, client)
        }

        /// Waits until denials are repeated without a call to Redis for longer than any is that nobody can vouch for.
        private func isRepeated(_ user: String, _ client: HTTPConnection) throws -> Bool {
            try eventually(within: 20) {
                #expect(try client.check(user).status == 429)
                let before = try redis.calls(of: "evalsha")
                pause(milliseconds: 1_500)
                #expect(try client.check(user).status == 429)
                // The heartbeats of the daemons are not by EVALSHA of this user's window.
                return try redis.calls(of: "evalsha") == before
            }
        }

        @Test("A reset holds on another daemon though no message comes from Redis, and nothing says that it is lost")
        func silentSubscription() throws {
            let proxy = try FaultProxy(to: redis)
            let path = redis.url.replacingOccurrences(of: redis.socketPath, with: proxy.socketPath)
            let user = newUser()
            let (daemons, client) = try twoThatRemember(user, through: path)
            proxy.set(.silentSubscriptions)
            #expect(try daemons[0].connectAdmin().request("DELETE", "/v1/users/\(user)").status == 204)
            // The memory would deny for a minute.
            #expect(try eventually(within: 20) { try client.check(user).status == 200 })
        }

        @Test("So does a reset where Redis forbids the messages", arguments: [["-subscribe"], ["-publish"]])
        func forbiddenMessages(rules: [String]) throws {
            try redis.connect().command(["ACL", "SETUSER", RedisServer.leastUser] + rules)
            let user = newUser()
            let (daemons, client) = try twoThatRemember(user)
            #expect(try daemons[0].connectAdmin().request("DELETE", "/v1/users/\(user)").status == 204)
            #expect(try eventually(within: 20) { try client.check(user).status == 200 })
        }

        @Test("Where Redis does not say whether something was changed, it is asked again each second")
        func unproven() throws {
            // What stands there is no version that can be read.
            try redis.connect().command(["HSET", "llm-rate:changes:version", "a", "b"])
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1", "DENY_CACHE_MS": "60000"])
            let user = newUser()
            let client = try exhaust(user, on: daemon, limit: 1)
            let before = try redis.calls(of: "evalsha")
            for _ in 0..<35 {
                #expect(try client.check(user).status == 429)
                pause(milliseconds: 100)
            }
            let calls = try redis.calls(of: "evalsha") - before
            // A busy machine takes longer for them, and a second's worth of denials costs one call.
            #expect((2...34).contains(calls), "\(calls)")
        }

        @Test("Data that Redis has lost end it, also on the daemon whose heartbeat does not show it")
        func lostData() throws {
            let user = newUser()
            let (daemons, client) = try twoThatRemember(user)
            // The heartbeat shows it.
            try redis.waitUntilHeartbeatIsLater()
            try redis.command("FLUSHALL")
            #expect(try eventually(within: 20) { try client.check(user).status == 200 })
            #expect(daemons.contains { !$0.logLines(containing: "Redis has lost its data").isEmpty })
        }

        /// Has each of these users denied once, who may ask once.
        private func deny(_ users: [String], on daemon: Daemon) throws {
            let statuses = try concurrently(4) { worker in
                let client = try daemon.connect()
                var denied = 0
                for start in stride(from: worker * 100, to: users.count, by: 400) {
                    let requests = users[start..<min(start + 100, users.count)].map { HTTPConnection.checkText($0) }
                    for _ in 0..<2 {
                        try client.send(requests.joined())
                        for _ in requests where try client.response().status == 429 { denied += 1 }
                    }
                }
                return denied
            }
            #expect(statuses.reduce(0, +) == users.count)
        }

        @Test("Denials that come after others were forgotten stand in the memory that those had")
        func refilled() throws {
            let daemon = try Daemon(
                redis: redis.url, ["REQUESTS": "1", "DENY_CACHE_MS": "60000", "REDIS_TIMEOUT_MS": "60000"])
            try redis.waitUntilSubscribed()
            func deny(_ count: Int) throws -> Int {
                try self.deny((0..<count).map { _ in newUser() }, on: daemon)
                return daemon.anonymousKilobytes
            }
            let count = 20_000
            let before = try deny(400)
            let filled = try deny(count)
            try redis.waitUntilHeartbeatIsLater()
            try redis.command("FLUSHALL")
            let losses = #"llm_rate_limit_redis_data_losses_total{kind="emptied"}"#
            #expect(try eventually(within: 20) { try daemon.metric(losses) == 1 })
            let forgotten = try deny(400)
            let refilled = try deny(count)
            print("denials: \(filled - before) kB, refilled \(refilled - forgotten) kB")
            // Each takes 64 bytes and its part of the index.
            #expect(filled - before > count * 64 / 1_024 || Sanitizer.isOn)
            #expect(refilled - forgotten < count * 64 / 1_024 / 2 || Sanitizer.isOn)
        }

        @Test("A subscription that breaks and comes back makes every daemon forget")
        func brokenSubscription() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1", "DENY_CACHE_MS": "60000"])
            let user = newUser()
            let client = try exhaust(user, on: daemon, limit: 1)
            // While nobody listens the window is emptied behind the daemon's back.
            try redis.command("DEL", "llm-rate:\(user)")
            #expect(try client.check(user).status == 429)
            try redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            #expect(try eventually(within: 20) { try client.check(user).status == 200 })
        }
    }
}
