import TestSupport
import Testing

extension FaultMatrix {
    /// What happens to the Redis process.
    @Suite("The server")
    struct ServerFaultTests {
        @Test("Killed with -9, away for a while, then back with what it knew")
        func killed() throws {
            let redis = try RedisServer(FaultMatrix.keepsCounts)
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(fault: .killed, daemons: [daemon], reasons: ["redis_unreachable"])
            try row.run {
                redis.end()
                pause(milliseconds: 600)
            } remove: {
                try redis.restart()
            }
        }

        @Test("Killed with -9 and started again empty: every user has the whole limit again, and no more")
        func restartedEmpty() throws {
            let redis = try RedisServer()
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(
                fault: .restartedEmpty, daemons: [daemon], reasons: ["redis_unreachable"], forgets: true
            )
            try row.run {
                redis.end()
            } remove: {
                try redis.restart()
            }
        }

        @Test("Killed with -9 and started again from an old snapshot: what it still knows counts, resets stay")
        func oldSnapshot() throws {
            let redis = try RedisServer()
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(fault: .oldSnapshot, daemons: [daemon], reasons: ["redis_unreachable"], forgets: true)
            let client = try daemon.connect()
            let wasReset = newUser()
            for _ in 0..<FaultRow.limit { _ = try client.check(wasReset) }
            try redis.command("SAVE")
            #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(wasReset)").status == 204)
            try redis.waitUntilHeartbeatIsLater()
            try row.run {
                redis.end()
            } remove: {
                try redis.restart()
            }
            #expect(try client.check(wasReset).status == 200)
            #expect(try daemon.metric(#"llm_rate_limit_redis_data_losses_total{kind="rollback"}"#) == 1)
        }

        @Test("Stopped as it is, and let go on")
        func stopped() throws {
            let redis = try RedisServer()
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(fault: .stopped, daemons: [daemon], reasons: ["redis_timeout"])
            try row.run {
                redis.stop()
                // Longer than the daemon keeps a silent connection.
                pause(milliseconds: 1_500)
            } remove: {
                redis.resume()
            }
        }

        @Test("Started again with much to load: LOADING is an error that nobody waits for")
        func loading() throws {
            let redis = try RedisServer(FaultMatrix.keepsCounts)
            try redis.command(
                "EVAL", "for i = 1, 3000 do redis.call('SET', 'other:' .. i, string.rep('x', 1100)) end", "0"
            )
            try redis.command("BGREWRITEAOF")
            let isRewritten = try eventually(within: 20) {
                try redis.command("INFO", "persistence").text?.contains("aof_rewrite_in_progress:0") == true
            }
            #expect(isRewritten)
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(fault: .loading, daemons: [daemon], reasons: ["redis_error"])
            try row.run {
                try redis.restart(
                    ["--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"], isAwaited: false
                )
                pause(milliseconds: 200)
            } remove: {
                try redis.waitUntilAnswering()
            }
        }

        @Test("SCRIPT FLUSH again and again: every check is still decided")
        func scriptFlush() throws {
            let redis = try RedisServer()
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let before = try redis.calls(of: "eval")
            let row = FaultRow(fault: .scriptFlush, daemons: [daemon])
            try row.run {
                for _ in 0..<20 {
                    try redis.command("SCRIPT", "FLUSH")
                    pause(milliseconds: 30)
                }
            }
            #expect(try redis.calls(of: "eval") > before)
        }

        @Test("FLUSHALL: every user has the whole limit again, and no more")
        func flushAll() throws {
            let redis = try RedisServer()
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(fault: .flushAll, daemons: [daemon], forgets: true)
            var keys = 0
            try row.run {
                keys = try redis.command("DBSIZE").integer ?? 0
                try redis.command("FLUSHALL")
            }
            #expect(keys > 0)
        }
    }
}
