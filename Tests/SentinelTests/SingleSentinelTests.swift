import TestSupport
import Testing

extension SentinelTests {
    /// What one Sentinel is enough to show.
    @Suite("Reaching the Sentinels")
    struct SingleSentinelTests {
        @Test("Sentinels that are gone stop nothing: the daemon goes on with the master it knows")
        func gone() throws {
            let deployment = try SentinelDeployment(replicas: 0, sentinels: 1)
            let sentinel = deployment.sentinels[0]
            let daemon = try Daemon(redis: deployment.url())
            // The daemon waits for its first connection, so the first check is exact.
            #expect(try daemon.connect().check(newUser()).isDegraded == false)
            sentinel.end()
            #expect(eventually(within: 20) { !daemon.logLines(containing: "no Sentinel answers").isEmpty })
            try expectExact([daemon])
            // Also with a new connection.
            try deployment.servers[0].command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            try waitUntilExact(daemon)

            // One that starts now fails open, and is exact when a Sentinel comes.
            let late = try Daemon(redis: deployment.url(), ["REDIS_TIMEOUT_MS": "50"])
            let response = try late.connect().check(newUser())
            #expect(response.status == 200 && response.text.contains(#""reason":"redis_unreachable""#))
            #expect(late.logLines(containing: "Redis is away").first?.contains("no Sentinel answers") == true)
            pause(milliseconds: 700)
            try sentinel.restart()
            let start = monotonicMilliseconds()
            try waitUntilExact(late)
            print("Sentinels back: exact after \((monotonicMilliseconds() - start).rounded()) ms")
            #expect(eventually(within: 20) { daemon.logLines(containing: "Sentinels answer again").count == 1 })
            #expect(late.logLines(containing: "no Sentinel answers: ").count <= 2)
            #expect(daemon.logLines(containing: "no Sentinel answers").count == 1)
            try expectExact([daemon, late])
        }

        @Test("A name that no Sentinel knows is told once, as an error, and checks fail open")
        func unknownName() throws {
            let deployment = try SentinelDeployment(replicas: 0, sentinels: 1)
            let daemon = try Daemon(redis: deployment.url(name: "nobody"))
            let response = try daemon.connect().check(newUser())
            #expect(response.status == 200 && response.text.contains(#""reason":"redis_error""#))
            pause(milliseconds: 1_500)
            let lines = daemon.logLines(containing: "cannot find the master")
            #expect(lines.count == 1)
            #expect(lines.first?.contains("nobody") == true && lines.first?.contains("\"error\"") == true, "\(lines)")
            #expect(daemon.logLines(containing: "Redis is away").count == 1)
        }

        @Test("Sentinels take a login of their own, with the least of permissions; the URL's is the master's")
        func login() throws {
            let permissions =
                "resetchannels &+switch-master +ping +subscribe +sentinel|myid +sentinel|sentinels "
                + "+sentinel|get-master-addr-by-name +sentinel|master"
            let deployment = try SentinelDeployment(
                replicas: 0, sentinels: 1,
                serverArguments: [
                    "--user", "gateway", "on", ">masterpw", "~llm-rate:*", "&llm-rate:invalidate", "+@all",
                ],
                configuration: ["user watcher on >sentinelpw \(permissions)"]
            )
            // This connection goes on as it is.
            let sentinel = try deployment.sentinels[0].connect()
            try sentinel.command("ACL", "SETUSER", "default", ">other")
            let folder = try TemporaryFolder()
            let file = try folder.write("sentinelpw\n", to: "password")
            let url = deployment.url(login: "gateway:masterpw@")
            let daemon = try Daemon(redis: url, ["SENTINEL_USER": "watcher", "SENTINEL_PASSWORD_FILE": file])
            #expect(try daemon.connect().check(newUser()).isDegraded == false, "\(daemon.process.errors)")
            let clients = try deployment.servers[0].command("CLIENT", "LIST").text ?? ""
            #expect(clients.contains("user=gateway"))
            for line in daemon.logLines { #expect(!line.contains("sentinelpw") && !line.contains("masterpw")) }
            // It hears of a switch too.
            let watchers = try sentinel.command("CLIENT", "LIST").text?.split(separator: "\n") ?? []
            #expect(watchers.contains { $0.contains("user=watcher") && $0.contains(" sub=1 ") }, "\(watchers)")

            let stranger = try Daemon(redis: url)
            #expect(try stranger.connect().check(newUser()).isDegraded)
            let refusal = stranger.logLines(containing: "no Sentinel answers").first
            #expect(refusal?.contains("NOAUTH") == true, "\(stranger.process.errors)")
        }
    }

    /// Without Sentinels, where a name stands for whoever is the master.
    @Suite("A master that becomes a replica")
    struct ReadOnlyTests {
        private func connectionsReceived(_ redis: RedisServer) throws -> Int {
            let statistics = try redis.command("INFO", "stats").text ?? ""
            let start = try #require(statistics.firstRange(of: "total_connections_received:")?.upperBound)
            return Int(statistics[start...].prefix { $0.isNumber }) ?? 0
        }

        @Test("READONLY is understood: one line says so, nobody is denied, and the connection is made anew")
        func readOnly() throws {
            let redis = try RedisServer()
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            #expect(try client.check(newUser()).isDegraded == false)
            let connections = try connectionsReceived(redis)
            try redis.command("REPLICAOF", "127.0.0.1", "\(try freePort())")
            for _ in 0..<20 {
                let response = try client.check(newUser())
                #expect(response.status == 200 && response.text.contains(#""reason":"redis_error""#))
                pause(milliseconds: 50)
            }
            let lines = daemon.logLines(containing: "Redis is away")
            #expect(lines.count == 1, "\(daemon.process.errors)")
            #expect(lines.first?.contains("READONLY") == true)
            // It has connected again and again meanwhile, and asked for nothing more than the role.
            // (Three of the connections were this test's.)
            #expect(try connectionsReceived(redis) > connections + 5)
            #expect(try redis.calls(of: "evalsha") == 2)
            try redis.command("REPLICAOF", "NO", "ONE")
            let start = monotonicMilliseconds()
            try waitUntilExact(daemon)
            print("READONLY over: exact after \((monotonicMilliseconds() - start).rounded()) ms")
            try expectExact([daemon])
            #expect(daemon.logLines(containing: "Redis is back").count == 1)
        }
    }
}
