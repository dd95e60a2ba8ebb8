import Foundation
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("A master that refuses to decide")
    struct EnforcementTests {
        let cluster: ClusterDeployment
        let folder: TemporaryFolder
        /// Slots of which one master has all.
        private let slots = 3_000...3_999
        private let otherSlots = 13_000...13_999

        init() throws {
            cluster = try ClusterSuite.cluster()
            folder = try TemporaryFolder()
        }

        private static let limits = """
            limits:
              - {name: own, per: user, unit: requests, quota: 1000, window: 1h}
              - {name: all, per: global, unit: requests, quota: 1000000, window: 1h}
            """

        private func isEnforcing(_ daemon: Daemon) throws -> Bool {
            try daemon.connect().request("GET", "/readyz?require=redis").status == 200
                && daemon.metric("llm_rate_limit_enforcing") == 1
                && daemon.metric("llm_rate_limit_not_enforcing_since_timestamp_seconds") == 0
        }

        @Test("is found without a check, with a limits file and without, is named, and makes one line when it is over")
        func oneMaster() throws {
            let path = try folder.write(Self.limits, to: "limits.yaml")
            let plain = try Daemon(redis: cluster.url(), ["THREADS": "2"])
            let limits = try Daemon(redis: cluster.url(), ["LIMITS_FILE": path, "FAILURE_MODE": "closed"])
            for daemon in [plain, limits] { #expect(try eventually(within: 20) { try isEnforcing(daemon) }) }
            let master = try cluster.master(of: slots.lowerBound)
            try master.command("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
            let late = try Daemon(redis: cluster.url(), ["SHADOW": "yes"])
            let words = "\(master.address): OOM command not allowed when used memory"
            for daemon in [plain, limits, late] {
                let isSeen = try eventually(within: 20) {
                    try daemon.connect().request("GET", "/readyz?require=redis").text.contains(words)
                }
                #expect(isSeen, "\(daemon.process.errors)")
                let health = try daemon.connect().request("GET", "/healthz").text
                #expect(health.contains(#""state":"refusing""#) && health.contains(#""enforcing":false"#))
                #expect(try daemon.metric("llm_rate_limit_enforcing") == 0)
                #expect(try daemon.metric("llm_rate_limit_breaker_open") == 0)
            }
            let client = try plain.connect()
            for user in newUsers(5, in: slots) { #expect(try client.check(user).degradedReason == "redis_error") }
            for user in newUsers(5, in: otherSlots) { #expect(try !client.check(user).isDegraded) }
            try master.command("CONFIG", "SET", "maxmemory", "0")
            for daemon in [plain, limits, late] {
                #expect(try eventually(within: 20) { try isEnforcing(daemon) }, "\(daemon.process.errors)")
                let said = daemon.logLines(containing: "Redis node refuses to decide")
                #expect(said.count == 1 && said[0].contains(master.address) && said[0].contains("OOM"), "\(said)")
                #expect(daemon.logLines(containing: "Redis node decides again").count == 1)
            }
        }

        @Test("Each master has a heartbeat on keys of its own slots, also of slots that have just come")
        func everyMaster() throws {
            let daemon = try Daemon(redis: cluster.url())
            #expect(try eventually(within: 20) { try isEnforcing(daemon) })
            let masters = try cluster.masters()
            let before = try masters.map { try $0.server.heartbeats() }
            for (master, calls) in zip(masters, before) {
                #expect(try eventually(within: 20) { try master.server.heartbeats() > calls + 1 })
                let heartbeats = try master.command("KEYS", "llm-rate:heartbeat:*").elements.compactMap(\.text)
                #expect(heartbeats.contains { $0.hasSuffix("}:latest") })
            }
            // The slot of a heartbeat goes to another master: it finds another one, and nothing is refused.
            let source = masters[0], target = masters[1]
            let heartbeats = try source.command("KEYS", "llm-rate:heartbeat:*:latest").elements.compactMap(\.text)
            let slot = try #require(
                try heartbeats.first.map { try source.command("CLUSTER", "KEYSLOT", $0).integer ?? 0 })
            try cluster.beginMove(of: slot, to: target)
            var moved = 0
            repeat { moved = try cluster.moveKeys(of: slot, to: target, count: 100) } while moved > 0
            try cluster.endMove(of: slot, to: target)
            let calls = try source.server.heartbeats()
            #expect(try eventually(within: 30) { try source.server.heartbeats() > calls + 2 })
            #expect(try isEnforcing(daemon), "\(daemon.process.errors)")
            #expect(daemon.logLines(containing: "refuses").isEmpty)
            try cluster.beginMove(of: slot, to: source)
            repeat { moved = try cluster.moveKeys(of: slot, to: source, count: 100) } while moved > 0
            try cluster.endMove(of: slot, to: source)
            try cluster.heal()
        }
    }
}
