import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Redis that forgets")
    struct DataLossTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        private func losses(_ daemons: [Daemon], _ kind: String) throws -> Double {
            try daemons.reduce(0) {
                $0 + (try $1.metric(#"llm_rate_limit_redis_data_losses_total{kind="\#(kind)"}"#) ?? -1)
            }
        }

        /// Asks until the answer is Redis's own.
        private func waitUntilExact(_ daemon: Daemon) throws {
            let client = try daemon.connect()
            try #require(try eventually(within: 20) { try !client.check(newUser()).isDegraded })
        }

        @Test("From an old snapshot, what was reset stays reset on every replica, and what was counted still counts")
        func oldSnapshot() throws {
            let daemons = try (0..<2).map { _ in try Daemon(redis: redis.url, ["DENY_CACHE_MS": "0"]) }
            let clients = try daemons.map { try $0.connect() }
            let wasReset = newUser()
            let hasUsed = newUser()
            for index in 0..<20 { #expect(try clients[index % 2].check(wasReset).status == 200) }
            for _ in 0..<12 { #expect(try clients[0].check(hasUsed).status == 200) }
            try redis.command("SAVE")

            #expect(try daemons[0].connectAdmin().request("DELETE", "/v1/users/\(wasReset)").status == 204)
            for _ in 0..<5 { #expect(try clients[1].check(hasUsed).status == 200) }
            // Only a heartbeat that the snapshot does not know tells it from the data that were lost, by whole seconds.
            try redis.waitUntilHeartbeatIsLater()
            redis.end()
            try redis.restart()
            for daemon in daemons { try waitUntilExact(daemon) }

            for client in clients { #expect(try client.check(wasReset).status == 200) }
            let admitted = try (0..<20).count { _ in try clients[1].check(hasUsed).status == 200 }
            #expect(admitted == 8, "twelve were in the snapshot")
            #expect(try eventually(within: 20) { try losses(daemons, "rollback") == 1 })
            #expect(try losses(daemons, "emptied") == 0)
            let lines = daemons.flatMap { $0.logLines(containing: "gone back to an older state") }
            #expect(lines.count == 1, "\(lines)")
        }

        @Test("Restarted empty, or emptied by FLUSHALL, is said in the metric and the log")
        func emptied() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            for _ in 0..<3 { _ = try client.check(newUser()) }
            #expect(try losses([daemon], "emptied") == 0)
            pause(milliseconds: 1_200)
            try redis.command("FLUSHALL")
            #expect(try eventually(within: 20) { try losses([daemon], "emptied") == 1 })
            redis.end()
            try redis.restart()
            try waitUntilExact(daemon)
            #expect(try losses([daemon], "emptied") == 2)
            #expect(try losses([daemon], "rollback") == 0)
            #expect(daemon.logLines(containing: "has lost its data").count == 2)
        }

        @Test("A restart that keeps all data is no loss")
        func keepsData() throws {
            let lasting = try RedisServer(["--appendonly", "yes", "--appendfsync", "always"])
            let daemon = try Daemon(redis: lasting.url, ["DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let user = newUser()
            for _ in 0..<20 { #expect(try client.check(user).status == 200) }
            pause(milliseconds: 1_200)
            lasting.end()
            try lasting.restart()
            try waitUntilExact(daemon)
            #expect(try client.check(user).status == 429)
            #expect(try losses([daemon], "rollback") == 0 && losses([daemon], "emptied") == 0)
        }
    }
}
