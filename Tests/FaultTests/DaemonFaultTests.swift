import Glibc
import TestSupport
import Testing

extension FaultMatrix {
    /// What happens to the daemon itself.
    @Suite("The daemon")
    struct DaemonFaultTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        @Test("Connections flood in until no file descriptor is left: those served go on, and Redis is reached again")
        func descriptors() throws {
            let wrapper = ["sh", "-c", #"ulimit -n 96 && exec "$@""#, "sh"]
            let daemon = try FaultMatrix.startDaemon(redis.url, wrapper: wrapper)
            #expect(daemon.logLines(containing: "is lowered to").count == 1)
            let row = FaultRow(fault: .descriptors, daemons: [daemon], reasons: ["redis_unreachable"])
            // Kept until the end of the run: closed ones would make room.
            var flood: [StreamSocket] = []
            try row.run {
                for _ in 0..<300 { flood.append(try StreamSocket(.unix(daemon.socketPath), timeoutSeconds: 2)) }
                pause(milliseconds: 200)
                try redis.command("CLIENT", "KILL", "TYPE", "normal")
                pause(milliseconds: 400)
                // Nobody has gone yet, and Redis has been reached all the same.
                let probe = readFile("/proc/\(daemon.process.id)/limits")
                #expect(probe.contains("Max open files            96"))
                #expect(try eventually(within: 20) { try redis.calls(of: "script|load") >= 2 })
            } remove: {
                flood = []
            }
            let refused = try daemon.metric(#"llm_rate_limit_connections_total{result="refused"}"#)
            #expect((refused ?? 0) > 200)
        }

        @Test("The socket's file is deleted: clients that are there notice nothing, and new ones soon connect again")
        func socketDeleted() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(fault: .socketDeleted, daemons: [daemon])
            let mode = access(of: daemon.socketPath)?.mode
            let figures = try row.run {
                #expect(unlink(daemon.socketPath) == 0)
                #expect(unlink(daemon.adminSocketPath) == 0)
            }
            // A busy machine may make a decision late, but no connection was lost.
            #expect(!figures.reasons.contains("redis_unreachable"))
            #expect(daemon.logLines(containing: "listening again").count == 2)
            #expect(access(of: daemon.socketPath)?.mode == mode)
            #expect(try daemon.connectAdmin().request("GET", "/livez").status == 200)
            // What it made anew it also takes away.
            #expect(try daemon.terminate() == 0)
            #expect(access(of: daemon.socketPath) == nil && access(of: daemon.adminSocketPath) == nil)
        }

        @Test("Another socket at the path is left alone, and said once")
        func socketTaken() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            unlink(daemon.socketPath)
            let other = try ListeningSocket(daemon.socketPath)
            #expect(eventually(within: 10) { daemon.logLines(containing: "something else is at the path").count == 1 })
            pause(milliseconds: 1_200)
            #expect(daemon.logLines(containing: "something else is at the path").count == 1)
            #expect(try daemon.terminate() == 0)
            #expect(access(of: other.path) != nil)
        }

        @Test("A folder that is gone is said once for each socket, and its return is enough")
        func folderGone() throws {
            let folder = try TemporaryFolder()
            let daemon = try Daemon(redis: redis.url, folder: folder)
            #expect(rename(folder.path, "\(folder.path)-away") == 0)
            #expect(eventually(within: 10) { daemon.logLines(containing: "does not exist").count == 2 })
            pause(milliseconds: 1_200)
            #expect(daemon.logLines(containing: "does not exist").count == 2)
            #expect(rename("\(folder.path)-away", folder.path) == 0)
            #expect(try daemon.connect().request("GET", "/livez").status == 200)
        }

        @Test("The disk under the log is full while there is something to say")
        func fullDisk() throws {
            let daemon = try FaultMatrix.startDaemon(
                redis.url, wrapper: ["sh", "-c", #"exec "$@" 2>/dev/full"#, "sh"]
            )
            let row = FaultRow(
                fault: .fullDisk, daemons: [daemon], reasons: ["redis_unreachable"], forgets: true, logLines: 0
            )
            try row.run {
                redis.end()
                pause(milliseconds: 300)
            } remove: {
                try redis.restart()
            }
            #expect(try daemon.terminate() == 0)
        }

        @Test("Killed with -9 and started again: its socket is replaced, and the counts are Redis's")
        func daemonKilled() throws {
            let daemon = try FaultMatrix.startDaemon(redis.url)
            let row = FaultRow(fault: .daemonKilled, daemons: [daemon], losesConnections: true)
            let figures = try row.run {
                daemon.kill()
                #expect(access(of: daemon.socketPath) != nil)
                pause(milliseconds: 200)
            } remove: {
                try daemon.restart()
            }
            #expect(figures.unanswered > 0)
        }
    }
}
