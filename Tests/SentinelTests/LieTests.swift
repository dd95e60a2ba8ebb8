import TestSupport
import Testing

extension SentinelTests {
    /// Sentinels that are wrong: cut off, or worse.
    @Suite("A Sentinel that lies")
    struct LieTests {
        private func checks(_ server: RedisServer) throws -> Int { try server.calls(of: "evalsha") }

        /// A redis-server on a port, beside the deployment.
        private func startServer(_ arguments: [String] = []) throws -> (server: RedisServer, port: UInt16) {
            let port = try freePort()
            return (try RedisServer(["--port", "\(port)", "--bind", "127.0.0.1"] + arguments), port)
        }

        @Test("Two that tell the truth win over one, whatever it names and however high its epoch")
        func outvoted() throws {
            let deployment = try SentinelDeployment(replicas: 1, sentinels: 2)
            let other = try startServer()
            let liars = [
                // Another master, and a replica.
                try FakeSentinel(masterPort: other.port, configEpoch: 999),
                try FakeSentinel(masterPort: deployment.ports[1], configEpoch: 999),
            ]
            let honest = deployment.sentinels.map(\.port)
            let daemons = try liars.map { try Daemon(redis: deployment.url([$0.port] + honest)) }
            for daemon in daemons { try waitUntilExact(daemon) }
            try expectExact(daemons)
            let load = Load(on: daemons, clients: 8, pauseMilliseconds: 6, user: LoadUsers().next)
            // The liar says so by itself as well, and is told of when it goes on for some seconds.
            liars[0].switchMaster(to: other.port, configEpoch: 1_000, isTold: true)
            for daemon in daemons {
                #expect(eventually(within: 60) { !daemon.logLines(containing: "a Sentinel names another").isEmpty })
            }

            // Left alone with the liar, the daemons go on with a master that answers.
            for sentinel in deployment.sentinels { sentinel.end() }
            liars[0].switchMaster(to: other.port, configEpoch: 1_001, isTold: true)
            pause(milliseconds: 1_500)
            let result = try load.end()
            try expectExact(daemons)
            for daemon in daemons {
                #expect(mastersFollowed(by: daemon) == [deployment.ports[0]])
                #expect(daemon.logLines(containing: "a Sentinel names another").count == 1)
                #expect(daemon.logLines(containing: "Redis is away").isEmpty)
            }
            #expect(try checks(other.server) == 0)
            #expect(try checks(deployment.servers[1]) == 0)
            let degraded = result.checks.count { $0.isDegraded }
            let audit = Audit(result.checks, limit: 20)
            try FaultRecord(
                .sentinelLie, checks: result.checks.count, degraded: degraded,
                slowestMilliseconds: result.longestOwnMilliseconds, noiseMilliseconds: result.noiseMilliseconds,
                deniedWrongly: audit.deniedWrongly, overLimit: audit.overLimit, exactAfterMilliseconds: 0,
                logLines: daemons.map(\.logLines.count).reduce(0, +) - 6
            ).record()
            #expect(degraded == 0 && audit == Audit())
        }

        @Test("A replica that is named is not used, not even where nobody contradicts")
        func replica() throws {
            let master = try startServer()
            let replica = try startServer(["--replicaof", "127.0.0.1", "\(master.port)"])
            let liar = try FakeSentinel(masterPort: replica.port)
            let daemon = try Daemon(redis: "redis+sentinel://127.0.0.1:\(liar.port)/mymaster")
            let client = try daemon.connect()
            #expect(eventually(within: 60) { !daemon.logLines(containing: "is no master").isEmpty })
            for _ in 0..<5 {
                let response = try client.check(newUser())
                #expect(response.status == 200 && response.text.contains(#""reason":"redis_error""#))
                pause(milliseconds: 100)
            }
            #expect(daemon.logLines(containing: "Redis is away").count == 1)
            #expect(try checks(replica.server) == 0)
            // Once it is one, it is used.
            try replica.server.command("REPLICAOF", "NO", "ONE")
            try waitUntilExact(daemon)
        }

        @Test("A master that is only cut off from the Sentinels is left as soon as most of them name another")
        func cutOff() throws {
            let servers = [try startServer(), try startServer()]
            let sentinels = try (0..<3).map { _ in try FakeSentinel(masterPort: servers[0].port) }
            let hosts = sentinels.map { "127.0.0.1:\($0.port)" }.joined(separator: ",")
            let daemon = try Daemon(redis: "redis+sentinel://\(hosts)/mymaster")
            try waitUntilExact(daemon)
            sentinels[0].switchMaster(to: servers[1].port, configEpoch: 1, isTold: true)
            pause(milliseconds: 300)
            #expect(mastersFollowed(by: daemon) == [servers[0].port])
            let start = monotonicMilliseconds()
            sentinels[1].switchMaster(to: servers[1].port, configEpoch: 1, isTold: true)
            #expect(eventually(within: 60) { mastersFollowed(by: daemon) == servers.map(\.port) })
            print("moved \((monotonicMilliseconds() - start).rounded()) ms after the second of three said so")
            try waitUntilExact(daemon)
            let before = try checks(servers[0].server)
            try expectExact([daemon])
            #expect(try checks(servers[0].server) == before)

            // A message that is lost is made up for by asking: here because one Sentinel had dissented.
            for sentinel in sentinels { sentinel.switchMaster(to: servers[0].port, configEpoch: 2, isTold: false) }
            #expect(eventually(within: 60) { mastersFollowed(by: daemon).count == 3 })

            try waitUntilExact(daemon)

            // A master that is made a replica by hand keeps its connections; it is left all the same, without a check.
            try servers[0].server.command("REPLICAOF", "127.0.0.1", "\(servers[1].port)")
            // It is asked for its role all the time; a heartbeat that it refuses to write may say so before.
            let isLeft = eventually(within: 60) {
                daemon.logLines(containing: "Redis is away").contains {
                    $0.contains("is no master") || $0.contains("READONLY")
                }
            }
            #expect(isLeft, "\(daemon.process.errors)")
            #expect(try daemon.connect().check(newUser()).isDegraded)
        }
    }
}
