import Foundation
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("Faults")
    struct FaultTests {
        let cluster: ClusterDeployment

        init() throws { cluster = try ClusterSuite.cluster() }

        /// Slots of which one master has all.
        private let slots = 3_000...3_999
        private let otherSlots = 13_000...13_999

        private func startDaemon(deadline milliseconds: Int) throws -> Daemon {
            try Daemon(redis: cluster.url(), ["REDIS_TIMEOUT_MS": "\(milliseconds)", "DENY_CACHE_MS": "0"])
        }

        @Test("kill -9 of a master: its replica takes over, and one line marks each change")
        func masterKilled() throws {
            // Longer than this machine may keep a process waiting: no other master seems to be away.
            let daemon = try startDaemon(deadline: 2_000)
            let before = try cluster.nodes.map { try $0.server.calls(of: "cluster|slots") }
            let start = monotonicMilliseconds()
            let result = try failover(of: daemon, .clusterKill) { $0.server.end() }
            // The daemon's requests, and one of the test's own.
            let maps = try zip(cluster.nodes, before).filter(\.0.isRunning).reduce(0) { sum, node in
                sum + (try node.0.server.calls(of: "cluster|slots")) - node.1
            }
            #expect(maps <= 3 + Int((monotonicMilliseconds() - start) / 1_000), "at most once a second")
            #expect(result.deniedWrongly == 0)
            #expect(daemon.logLines(containing: "Redis node is away").count == 1, "\(daemon.process.errors)")
            #expect(daemon.logLines(containing: "masters have changed").count == 1, "\(daemon.process.errors)")
            let client = try daemon.connect()
            #expect(try eventually(within: 10) { try client.request("GET", "/readyz?require=redis").status == 200 })
            // The subscription is on a node that is there.
            #expect(
                try eventually(within: 10) {
                    try cluster.nodes.filter(\.isRunning).contains { node in
                        try node.command("PUBSUB", "NUMSUB", "llm-rate:invalidate").elements.last == .integer(1)
                    }
                }
            )
            try cluster.heal()
        }

        @Test("A master that is stopped: answers come all the same, and its replica takes over")
        func masterStopped() throws {
            let daemon = try startDaemon(deadline: 50)
            let result = try failover(of: daemon, .clusterStop) { $0.server.stop() }
            #expect(result.deniedWrongly == 0)
            try cluster.heal()
        }

        /// Has a fault strike a master under load, and waits until another has its slots.
        private func failover(
            of daemon: Daemon, _ fault: Fault, by strike: (ClusterDeployment.Node) -> Void
        ) throws -> ClusterLoadResult {
            let users = NumberedUsers(seed: .random(in: 0 ... .max))
            let load = ClusterLoad(on: [daemon], clients: 6, next: users.rounds(width: 128, times: 24))
            pause(milliseconds: 500)
            let master = try cluster.master(of: slots.lowerBound)
            let struck = monotonicMilliseconds()
            strike(master)
            let isAnswered = load.hasAnswers(more: 64)
            #expect(isAnswered, "no answers while a master is away")
            // It must have been seen before a decision can be one of the new master's.
            let isSeen = eventually(within: 60) { !daemon.logLines(containing: "Redis node is away").isEmpty }
            #expect(isSeen, "\(daemon.process.errors)")
            let exact = try millisecondsUntilExact(daemon, in: slots, since: struck)
            pause(milliseconds: 500)
            let result = try load.end(limit: 20)
            // What a master had answered and not yet passed on at its end is lost.
            let overLimit = result.admittedAbove(outside: [struck - 500...struck + exact])
            try result.record(fault, [daemon], overLimit: overLimit, exactAfter: exact)
            #expect(overLimit == 0)
            #expect(result.exchanges.allSatisfy { $0.status != 503 })
            return result
        }

        @Test("CLUSTER FAILOVER: the replica takes over in order, and nothing is lost")
        func plannedFailover() throws {
            let daemon = try Daemon(redis: cluster.url(), ["DENY_CACHE_MS": "0"])
            let users = NumberedUsers(seed: .random(in: 0 ... .max))
            let load = ClusterLoad(on: [daemon], clients: 6, next: users.rounds(width: 128, times: 24))
            pause(milliseconds: 300)
            let master = try cluster.master(of: slots.lowerBound)
            let replica = try cluster.replica(of: master)
            let start = monotonicMilliseconds()
            #expect(try replica.command("CLUSTER", "FAILOVER") == .status("OK"))
            #expect(try eventually(within: 20) { try replica.info("replication", "role") == "master" })
            let exact = try millisecondsUntilExact(daemon, in: slots, since: start)
            pause(milliseconds: 300)
            let result = try load.end(limit: 20)
            try result.record(
                .clusterFailover, [daemon], overLimit: result.admittedAbove(),
                exactAfter: result.exchanges.contains(where: \.isDegraded) ? exact : 0
            )
            // With patience enough no check is answered but by Redis: those that wait while the master hands over are
            // answered MOVED, and sent to the new one.
            #expect(result.deniedWrongly == 0 && result.admittedAbove() == 0)
            #expect(result.exchanges.count { $0.isDegraded } == 0)
            try cluster.waitUntilWhole()
        }

        @Test("A master gone with its replica: its users are degraded, the others exact; then CLUSTERDOWN for all")
        func nodeGone() throws {
            let daemon = try startDaemon(deadline: 2_000)
            let master = try cluster.master(of: slots.lowerBound)
            let replica = try cluster.replica(of: master)
            let users = newUsers(400, in: otherSlots)
            let gone = newUsers(40, in: slots)
            let load = ClusterLoad(on: [daemon], clients: 4) { number in
                let index = number / 24 % users.count
                return (index, users[index])
            }
            let client = try daemon.connect()
            let killed = monotonicMilliseconds()
            replica.server.end()
            master.server.end()
            let isSeen = eventually(within: 60) { !daemon.logLines(containing: "Redis node is away").isEmpty }
            #expect(isSeen)
            for user in gone { #expect(try client.check(user).isDegraded) }
            let ready = try client.request("GET", "/readyz?require=redis")
            #expect(ready.status == 503 && ready.text.contains("2 of 3 masters reachable; \(master.address): "))
            #expect(try daemon.metric("llm_rate_limit_breaker_open") == 1)
            pause(milliseconds: 1_200)
            let result = try load.end(limit: 20)
            try result.record(.clusterNodeGone, [daemon], overLimit: result.admittedAbove())
            #expect(result.deniedWrongly == 0)
            #expect(result.admittedAbove() == 0)
            #expect(result.exchanges.count { $0.isDegraded && $0.sentAt > killed } == 0)
            #expect(daemon.logLines(containing: "Redis node is away").count == 1, "\(daemon.process.errors)")

            try coverage(of: daemon, client)
            try master.server.restart()
            try replica.server.restart()
            #expect(eventually(within: 20) { !daemon.logLines(containing: "Redis node is back").isEmpty })
            let exact = try millisecondsUntilExact(daemon, in: slots, since: monotonicMilliseconds())
            print("cluster node gone: exact \(exact.rounded()) ms after its connection is back")
            #expect(try eventually(within: 10) { try client.request("GET", "/readyz?require=redis").status == 200 })
            #expect(daemon.logLines.count < 12, "\(daemon.process.errors)")
            try cluster.heal()
        }

        /// With full coverage required the cluster serves nobody: CLUSTERDOWN.
        private func coverage(of daemon: Daemon, _ client: HTTPConnection) throws {
            let live = cluster.nodes.filter(\.isRunning)
            for node in live { try node.command("CONFIG", "SET", "cluster-require-full-coverage", "yes") }
            // A setting alone is not looked at before something changes: here a slot that nobody serves any more.
            for node in live { try node.command("CLUSTER", "DELSLOTS", "\(slots.lowerBound + 500)") }
            let user = newUsers(1, in: otherSlots)[0]
            let isDown = try eventually(within: 20) {
                try client.check(user).text.contains(#""reason":"redis_error""#)
            }
            try #require(isDown)
            try #require(eventually(within: 10) { !daemon.logLines(containing: "slots of the cluster").isEmpty })
            let lines = daemon.logLines.count
            var times: [Double] = []
            var degraded = 0
            for _ in 0..<100 {
                let start = monotonicMilliseconds()
                if try client.check(user).isDegraded { degraded += 1 }
                times.append(monotonicMilliseconds() - start)
            }
            #expect(degraded == times.count)
            print("CLUSTERDOWN: median \(times.sorted()[50]) ms")
            #expect(daemon.logLines.count == lines, "\(daemon.process.errors)")
            for node in live { try node.command("CONFIG", "SET", "cluster-require-full-coverage", "no") }
            let start = monotonicMilliseconds()
            let exact = try millisecondsUntilExact(daemon, in: otherSlots, since: start)
            print("CLUSTERDOWN: exact again \(exact.rounded()) ms after the cluster serves what it has")
        }

        @Test("A seed that is no cluster is told once; the daemon serves all the same")
        func noCluster() throws {
            let other = try RedisServer(["--port", "\(try freePort())"])
            let port = try other.command("CONFIG", "GET", "port").elements.last?.text ?? ""
            let daemon = try Daemon(redis: "redis+cluster://127.0.0.1:\(port)", ["REDIS_TIMEOUT_MS": "50"])
            #expect(try daemon.connect().check(newUser()).isDegraded)
            pause(milliseconds: 500)
            #expect(daemon.logLines(containing: "cluster support disabled").count == 1, "\(daemon.process.errors)")
            #expect(daemon.logLines.count < 4, "\(daemon.process.errors)")
        }

        @Test("A seed that hangs delays nothing where another answers")
        func hangingSeed() throws {
            let seed = try cluster.replica(of: cluster.master(of: otherSlots.lowerBound))
            let other = try cluster.master(of: slots.lowerBound)
            seed.server.stop()
            defer { seed.server.resume() }
            let late = try Daemon(redis: cluster.url([seed, other]), ["REDIS_TIMEOUT_MS": "50"])
            let exact = try millisecondsUntilExact(late, in: slots, since: monotonicMilliseconds())
            print("cluster: exact \(exact.rounded()) ms after the start")
        }
    }
}
