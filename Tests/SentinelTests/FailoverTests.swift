import TestSupport
import Testing

extension SentinelTests {
    /// Real failovers under load. The Sentinels need most of the time: half a second to be sure that the master is away,
    /// up to a second until one of them is chosen, and some rounds of asking. Times are figures for the table, and nothing
    /// is asserted of them.
    @Suite("A failover under load")
    struct FailoverTests {
        let deployment: SentinelDeployment
        let daemons: [Daemon]
        let reference: Daemon

        init() throws {
            deployment = try SentinelDeployment()
            // One is told of a Sentinel that is down and of one that tells of the others; one, of two event loops, of all.
            let oneOfThem = deployment.url([try freePort(), deployment.sentinels[0].port])
            daemons = [
                try Daemon(redis: oneOfThem, ["REDIS_TIMEOUT_MS": "50"]),
                try Daemon(redis: deployment.url(), ["REDIS_TIMEOUT_MS": "50", "THREADS": "2"]),
            ]
            let otherRedis = try RedisServer()
            reference = try Daemon(redis: otherRedis.url)
        }

        /// Injects a fault under load and asserts what holds of every failover. Gives the port of the new master.
        private func failOver(_ fault: Fault, _ inject: () throws -> Void) throws -> UInt16 {
            for daemon in daemons { try waitUntilExact(daemon) }
            let load = Load(on: daemons, clients: 8, reference: reference, pauseMilliseconds: 6, user: LoadUsers().next)
            let switches = try SwitchLog(deployment.sentinels)
            let injection = Swift.Result { () throws -> (start: Double, lines: (all: Int, outage: Int)) in
                pause(milliseconds: 300)
                let lines = daemons.map { (all: $0.logLines.count, outage: $0.outageLines.count) }.reduce(
                    (all: 0, outage: 0)
                ) {
                    (all: $0.all + $1.all, outage: $0.outage + $1.outage)
                }
                let start = monotonicMilliseconds()
                try inject()
                let isAnswered = load.hasAnswers(more: 16)
                #expect(isAnswered, "no answers while there is no master")
                let isFollowed = eventually(within: 120) {
                    daemons.allSatisfy { mastersFollowed(by: $0).count == 2 }
                }
                try #require(isFollowed, "\(daemons.map(\.process.errors))")
                for daemon in daemons { try waitUntilExact(daemon) }
                pause(milliseconds: 300)
                return (start, lines)
            }
            let result = try load.end()
            let switched = try switches.end()
            let (start, lines) = try injection.get()
            let degraded = result.checks.filter(\.isDegraded)
            let exactAt = degraded.map(\.answeredAt).max() ?? start
            // Redis passes on what it has decided a moment later: the failover forgets what was under way.
            let audit = Audit(result.checks, limit: 20, forgets: start - 500...exactAt)
            let newLines = daemons.map(\.logLines.count).reduce(0, +) - lines.all
            let otherLines = newLines - (daemons.map(\.outageLines.count).reduce(0, +) - lines.outage)
            // A figure of the table, which a busy machine's listeners may miss.
            if let second = switched.dropFirst().first {
                print("Sentinel: exact \((exactAt - second).rounded()) ms from the second +switch-master")
            }
            try FaultRecord(
                fault, checks: result.checks.count, degraded: degraded.count,
                slowestMilliseconds: result.longestOwnMilliseconds, noiseMilliseconds: result.noiseMilliseconds,
                deniedWrongly: audit.deniedWrongly, overLimit: audit.overLimit, exactAfterMilliseconds: exactAt - start,
                logLines: newLines
            ).record()
            #expect(audit == Audit())
            // Beside away and back: following; one where the new master had not been told the latest second; and a few more
            // where a busy machine makes Sentinels miss each other. None for a check, of which there are thousands.
            #expect(otherLines <= 20, "\(daemons.map(\.process.errors))")
            for daemon in daemons { #expect(daemon.saysOutagesOnce, "\(daemon.process.errors)") }
            let masters = daemons.map { mastersFollowed(by: $0).last }
            #expect(masters[0] == masters[1] && masters[0] != deployment.ports[0])
            try expectExact(daemons)
            return try #require(masters[0])
        }

        /// What a server has been asked for by daemons: its checks.
        private func checks(_ server: RedisServer) throws -> Int { try server.calls(of: "evalsha") }

        /// Whether a server is a replica that follows another now.
        private func isReplica(_ server: RedisServer) -> Bool {
            // A Sentinel that makes it a replica cuts all its connections, this one too.
            guard let role = try? server.command("ROLE").elements else { return false }
            return role.first?.text == "slave" && role.dropFirst(3).first?.text == "connected"
        }

        @Test("The master is killed; when it comes back, as an empty master first, nothing is asked of it")
        func killed() throws {
            let old = deployment.servers[0]
            _ = try failOver(.sentinelKill) { old.end() }
            try old.restart()
            // Until a Sentinel makes it a replica it would take whatever is sent.
            #expect(eventually(within: 60) { isReplica(old) })
            try expectExact(daemons)
            #expect(try checks(old) == 0)
        }

        @Test("The master hangs; when it goes on, in the belief that it is the master, nothing is asked of it")
        func stopped() throws {
            let old = deployment.servers[0]
            _ = try failOver(.sentinelStop) { old.stop() }
            old.resume()
            // What had been sent to it before it was left is decided now, and forgotten when it copies the new master.
            pause(milliseconds: 100)
            let before = try checks(old)
            let client = try daemons[0].connect()
            let isReplicaAgain = try eventually(within: 60) {
                _ = try client.check(newUser())
                return isReplica(old)
            }
            #expect(isReplicaAgain)
            try expectExact(daemons)
            #expect(try checks(old) == before)
        }

        @Test("The Sentinels are told to fail over: the counts that had been copied stay")
        func planned() throws {
            let user = newUser()
            let client = try daemons[0].connect()
            // Against the memory of denials the other daemon is asked.
            for _ in 0..<20 { #expect(try client.check(user).status == 200) }
            let windows = {
                try deployment.servers.map { try $0.command("GET", "llm-rate:\(user)") }
            }
            #expect(try eventually(within: 60) { try windows().allSatisfy { try $0 == windows()[0] } })
            let port = try failOver(.sentinelFailover) {
                try deployment.sentinels[0].command("SENTINEL", "FAILOVER", SentinelDeployment.masterName)
            }
            #expect(try daemons[1].connect().check(user).status == 429)
            let old = deployment.servers[0]
            #expect(eventually(within: 60) { isReplica(old) })
            let before = try checks(old)
            try expectExact(daemons)
            #expect(try checks(old) == before)
            let new = try #require(deployment.server(on: port))
            #expect(try new.command("ROLE").elements.first?.text == "master")
        }
    }
}
