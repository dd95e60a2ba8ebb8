import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// What holds while Redis is away and behind it.
    ///
    /// "Within the deadline plus 20 ms" and "exact again within a second" hold on a machine that gives the daemon and
    /// the client the processor when they ask for it; these tests share it with others' work. So they assert that
    /// answers come while Redis is away, however long it stays so, and that decisions are exact again behind it. The
    /// times are printed, beside how late the machine itself was.
    @Suite("Redis away")
    struct OutageTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        private func startDaemon(_ settings: [String: String] = [:]) throws -> Daemon {
            try Daemon(redis: redis.url, ["REDIS_TIMEOUT_MS": "50"].merging(settings) { $1 })
        }

        /// Asks until Redis decides, and says after how many milliseconds it did.
        private func millisecondsUntilExact(_ daemon: Daemon) throws -> Double {
            let start = monotonicMilliseconds()
            let client = try daemon.connect()
            #expect(try eventually(within: 60) { try !client.check(newUser()).isDegraded })
            return monotonicMilliseconds() - start
        }

        /// A user's limit holds to the last one.
        private func expectExact(_ daemon: Daemon) throws {
            let client = try daemon.connect()
            let isExact = try eventually(within: 60) {
                let user = newUser()
                let answers = try (0..<30).map { _ in try client.check(user) }
                // A busy machine may be later than the deadline; then another user tells.
                guard !answers.contains(where: \.isDegraded) else { return false }
                #expect(answers.map(\.status) == Array(repeating: 200, count: 20) + Array(repeating: 429, count: 10))
                return true
            }
            #expect(isExact)
        }

        @Test("Killed, stopped and restarted under load: answers in time, nobody denied wrongly, then exact again")
        func underLoad() throws {
            let daemon = try startDaemon()
            let otherRedis = try RedisServer()
            let reference = try Daemon(redis: otherRedis.url)
            let load = Load(on: daemon, clients: 16, reference: reference)
            #expect(load.hasAnswers(more: 100))
            var back: [Double] = []

            // The last for longer than the daemon keeps a silent connection.
            for milliseconds in [300, 300, 2_500] {
                redis.stop()
                pause(milliseconds: milliseconds)
                // Some were on their way to Redis, one for each client; the others were asked for while it was stopped.
                #expect(load.hasAnswers(more: 100), "no answers while Redis is stopped")
                redis.resume()
                back.append(try millisecondsUntilExact(daemon))
                #expect(load.hasAnswers(more: 100))
            }

            redis.end()
            pause(milliseconds: 700)
            #expect(load.hasAnswers(more: 100), "no answers while there is no Redis")
            try redis.restart()
            back.append(try millisecondsUntilExact(daemon))
            #expect(load.hasAnswers(more: 100))

            let result = try load.end()
            let denied = result.checks.count { $0.status != 200 }
            let degraded = result.checks.count { $0.isDegraded }
            print(
                "outage: \(result.checks.count) checks, \(degraded) degraded, longest "
                    + "\(result.longestMilliseconds.rounded()) ms, of which its own "
                    + "\(result.longestOwnMilliseconds.rounded()) ms at most, noise \(result.noiseMilliseconds.rounded()) ms, "
                    + "exact again after \(back.map { $0.rounded() }) ms"
            )
            #expect(denied == 0 && degraded > 0)
            try expectExact(daemon)
        }

        @Test("One log line marks each change of state, however many requests there are")
        func logLines() throws {
            // Longer than a busy machine keeps a process waiting: it makes no outage of its own.
            let daemon = try startDaemon(["REDIS_TIMEOUT_MS": "2000"])
            let load = Load(on: daemon, clients: 4)
            for round in 1...3 {
                #expect(load.hasAnswers(more: 50))
                if round == 2 { redis.stop() } else { redis.end() }
                #expect(eventually(within: 60) { daemon.logLines(containing: "Redis is away").count == round })
                #expect(load.hasAnswers(more: 100))
                // Long enough for several attempts to connect.
                pause(milliseconds: 1_500)
                if round == 2 { redis.resume() } else { try redis.restart() }
                #expect(eventually(within: 60) { daemon.logLines(containing: "Redis is back").count == round })
            }
            let result = try load.end()
            #expect(result.checks.count { $0.isDegraded } >= 250)
            #expect(daemon.logLines(containing: "Redis is away").count == 3)
            #expect(daemon.logLines(containing: "Redis is back").count == 3)
            #expect(daemon.logLines.count < 12, "\(daemon.process.errors)")
        }

        @Test("A hiccup as long as the deadline, again and again, leaves no breaker open")
        func hiccups() throws {
            let daemon = try startDaemon()
            let load = Load(on: daemon, clients: 8, pauseMilliseconds: 40)
            for round in 0..<20 {
                redis.stop()
                // When Redis goes on, some of the checks under way are past their deadline and some are not.
                pause(milliseconds: 45 + round)
                redis.resume()
                _ = try millisecondsUntilExact(daemon)
                pause(milliseconds: 50)
            }
            let result = try load.end()
            #expect(result.checks.allSatisfy { $0.status == 200 })
            try expectExact(daemon)
        }

        @Test("While Redis is known to be away an answer waits for nothing")
        func quickWhileAway() throws {
            let deadline = 2_000.0
            let daemon = try startDaemon(["REDIS_TIMEOUT_MS": "2000"])
            for isKilled in [false, true] {
                if isKilled { redis.end() } else { redis.stop() }
                let client = try daemon.connect()
                #expect(try eventually(within: 60) { try client.request("GET", "/readyz?require=redis").status == 503 })
                let times = try (0..<200).map { _ in
                    let start = monotonicMilliseconds()
                    let response = try client.check(newUser())
                    #expect(response.status == 200 && response.isDegraded)
                    return monotonicMilliseconds() - start
                }
                // Microseconds by design. One that waited for Redis would take the deadline at least.
                let median = times.sorted()[100]
                print("away: median \(median) ms")
                #expect(median < deadline)
                redis.resume()
            }
        }

        @Test("Counts outlive an outage: whoever was denied before is let through in it and denied after it")
        func countsStay() throws {
            let daemon = try startDaemon(["DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let user = newUser()
            for _ in 0..<20 { #expect(try client.check(user).status == 200) }
            #expect(try client.check(user).status == 429)
            redis.stop()
            let response = try client.check(user)
            #expect(response.status == 200)
            #expect(
                response.text == #"{"allowed":true,"limit_name":"requests","#
                    + #""limit":20,"remaining":null,"retry_after":0,"reset_after":null,"#
                    + #""degraded":true,"reason":"redis_timeout"}"#
            )
            #expect(response["RateLimit"] == nil && response["RateLimit-Policy"] == nil)
            #expect(try client.request("GET", "/v1/users/\(user)").status == 503)
            #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(user)").status == 503)
            redis.resume()
            #expect(try eventually(within: 60) { try client.check(user).status == 429 })
        }

        @Test("Started without Redis the daemon serves at once, and is exact when Redis comes")
        func startsWithout() throws {
            let late = try RedisServer(isStarted: false)
            let start = monotonicMilliseconds()
            let daemon = try Daemon(redis: late.url, ["REDIS_TIMEOUT_MS": "2000"])
            let client = try daemon.connect()
            let response = try client.check(newUser())
            print("start without Redis: first answer after \((monotonicMilliseconds() - start).rounded()) ms")
            #expect(response.status == 200 && response.text.contains(#""reason":"redis_unreachable""#))
            #expect(try client.request("GET", "/readyz").status == 200)
            #expect(try client.request("GET", "/readyz?require=redis").status == 503)
            #expect(daemon.logLines(containing: "Redis is away").count == 1)
            pause(milliseconds: 500)
            try late.restart()
            let milliseconds = try millisecondsUntilExact(daemon)
            print("start without Redis: exact after \(milliseconds.rounded()) ms")
            try expectExact(daemon)
            #expect(daemon.logLines(containing: "Redis").count == 2, "\(daemon.process.errors)")
        }

        @Test("A Redis that answers with errors is told from one that is away")
        func errors() throws {
            let full = try RedisServer(["--maxmemory", "1", "--maxmemory-policy", "noeviction"])
            let daemon = try Daemon(redis: full.url)
            let client = try daemon.connect()
            for _ in 0..<5 {
                let response = try client.check(newUser())
                #expect(response.status == 200 && response.text.contains(#""reason":"redis_error""#))
            }
            try full.command("CONFIG", "SET", "maxmemory", "0")
            #expect(try client.check(newUser()).number("remaining") == 19)
        }
    }
}
