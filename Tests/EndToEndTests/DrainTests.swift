import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// What happens between the signal to stop and the end. The drain times here are so long that a test would not end
    /// in time by waiting for them, or so short that nothing depends on them.
    @Suite("While it drains")
    struct DrainTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        private static let long = ["DRAIN_TIMEOUT_MS": "600000"]

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        /// Has it begin to drain, and waits until its probes say so.
        private func drain(_ daemon: Daemon) throws {
            daemon.process.send(SIGTERM)
            #expect(eventually(within: 20) { !daemon.logLines(containing: "draining").isEmpty })
            let probe = try daemon.connect()
            #expect(try eventually(within: 20) { try probe.request("GET", "/readyz").status == 503 })
        }

        @Test("a gateway settles its streams on connections old and new, and the daemon ends once the last has closed")
        func settles() throws {
            let file = """
                limits:
                  - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
                """
            let path = try folder.write(file, to: "limits.yaml")
            let daemon = try Daemon(redis: redis.url, ["LIMITS_FILE": path].merging(Self.long) { $1 })
            let user = newUser()
            func reserve(_ client: HTTPConnection) throws -> String {
                let body = #"{"user":"\#(user)","output_tokens":400,"ttl":60}"#
                return try #require(try client.request("POST", "/v1/reserve", body: body).json["lease"] as? String)
            }
            func settle(_ client: HTTPConnection, _ lease: String) throws -> HTTPResponse {
                let body = #"{"user":"\#(user)","lease":"\#(lease)","output_tokens":150}"#
                return try client.request("POST", "/v1/settle", body: body)
            }
            var clients = try (0..<3).map { _ in try daemon.connect() }
            let leases = try (0..<2).map { try reserve(clients[$0]) }
            #expect(try clients[2].check(newUser()).status == 200)
            try drain(daemon)
            // Well behind the moment at which nothing is owed to anybody.
            #expect(try !clients[2].isClosed(withinSeconds: 0.3))
            for (client, lease) in zip([clients[0], try daemon.connect()], leases) {
                let response = try settle(client, lease)
                #expect(response.text.hasPrefix(#"{"charged":true"#) && response["Connection"] == nil)
            }
            for client in clients { #expect(try client.check(newUser())["Connection"] == nil) }
            #expect(try clients[0].request("GET", "/v1/users/\(user)/usage").text.contains(#""used":300"#))
            #expect(daemon.process.exitCode == nil)
            clients.removeAll()
            #expect(try daemon.process.wait() == 0)
            #expect(daemon.logLines(containing: "stopped").count == 1)
        }

        @Test("an idle connection holds it until the time is over, and no longer")
        func idle() throws {
            let daemon = try Daemon(redis: redis.url, ["DRAIN_TIMEOUT_MS": "400"])
            let clients = try [daemon.connect(), daemon.connectAdmin()]
            for client in clients { #expect(try client.check(newUser()).status == 200) }
            let start = monotonicMilliseconds()
            daemon.process.send(SIGTERM)
            for client in clients { #expect(try client.isClosed(withinSeconds: 20)) }
            #expect(monotonicMilliseconds() - start >= 400)
            #expect(try daemon.process.wait() == 0)
        }

        @Test("probes that ask whether to send it traffic are told no, all others that it is well")
        func probes() throws {
            let daemon = try Daemon(redis: redis.url, Self.long)
            let client = try daemon.connect()
            #expect(try client.request("GET", "/readyz").status == 200)
            try drain(daemon)
            let ready = try client.request("GET", "/readyz?require=redis")
            #expect(ready.status == 503 && ready.text.contains("The daemon is stopping."))
            for page in ["/livez", "/healthz", "/metrics", "/v1/config", "/v1/version"] {
                #expect(try client.request("GET", page).status == 200, "\(page)")
            }
            #expect(try client.request("GET", "/healthz").text.hasPrefix(#"{"status":"draining","redis":{"state":"av"#))
            let command = try ChildProcess(Daemon.program, ["health", "--socket", daemon.socketPath])
            #expect(try command.wait() == 1 && command.output.hasPrefix("draining ("))
        }

        @Test("its sockets stay, another daemon does not take them, and with its end they are free")
        func sockets() throws {
            let daemon = try Daemon(redis: redis.url, Self.long, folder: folder)
            let client = try daemon.connect()
            #expect(try client.check(newUser()).status == 200)
            try drain(daemon)
            let early = try ChildProcess(
                Daemon.program, ["serve"], environment: Daemon.variables(folder, ["REDIS_URL": redis.url]))
            #expect(try early.wait() == 1 && early.errors.contains("another process answers there"))
            #expect(try daemon.connect().check(newUser()).status == 200)
            daemon.process.send(SIGTERM)
            #expect(try daemon.process.wait() == 0)
            for path in [daemon.socketPath, daemon.adminSocketPath] { #expect(TestSupport.access(of: path) == nil) }
            let next = try Daemon(redis: redis.url, folder: folder)
            #expect(try next.connect().check(newUser()).status == 200)
        }

        @Test("a second signal ends it, with an answer for whoever has asked", arguments: [SIGTERM, SIGINT])
        func second(signal: CInt) throws {
            let settings = ["REDIS_TIMEOUT_MS": "600"].merging(Self.long) { $1 }
            let daemon = try Daemon(redis: redis.url, settings)
            let idle = try daemon.connect()
            #expect(try idle.request("GET", "/livez").status == 200)
            let half = try daemon.connect()
            try half.send("POST /v1/check HTTP/1.1\r\n")
            try drain(daemon)
            let clients = try (0..<5).map { _ in try daemon.connect() }
            for client in clients { #expect(try client.request("GET", "/livez").status == 200) }
            redis.stop()
            for client in clients { try client.send(HTTPConnection.checkText(newUser())) }
            #expect(
                try eventually(within: 10) { try daemon.metric("llm_rate_limit_queue_depth_checks") ?? 0 > 4 }
            )
            daemon.process.send(signal)
            for client in clients {
                let response = try client.response()
                #expect(response.isAllowed && response.text.contains("redis_timeout"))
                #expect(try response["Connection"] == "close" && client.isClosed())
            }
            #expect(try idle.isClosed() && half.isClosed())
            #expect(try daemon.process.wait() == 0)
        }

        @Test("every request that was sent before the end is answered, under load as well")
        func underLoad() throws {
            for _ in 0..<5 {
                let daemon = try Daemon(redis: redis.url, ["DRAIN_TIMEOUT_MS": "100"])
                let started = Tally()
                let clients = (0..<16).map { _ in
                    Background { () -> (answered: Int, lostSentAt: Double) in
                        let client = try daemon.connect()
                        var answered = 0
                        while true {
                            let isSent = (try? client.send(HTTPConnection.checkText(newUser()))) == true
                            let sentAt = monotonicMilliseconds()
                            guard isSent, let response = try? client.response(), response.status == 200 else {
                                return (answered, isSent ? sentAt : .infinity)
                            }
                            answered += 1
                            if answered == 1 { started.add() }
                            // From here on the daemon has said that it takes no more.
                            if response["Connection"] == "close" { return (answered, .infinity) }
                        }
                    }
                }
                #expect(eventually(within: 20) { started.value == 16 })
                let signalledAt = monotonicMilliseconds()
                daemon.process.send(SIGTERM)
                for client in clients {
                    let seen = try client.value()
                    #expect(seen.answered > 0)
                    // A request that is sent later may meet a connection that is already closed, as ever with HTTP.
                    #expect(seen.lostSentAt > signalledAt + 100)
                }
                #expect(try daemon.process.wait() == 0)
            }
        }

        @Test("a client that has said it sends no more gets its answers, and the rest is as ever")
        func halfClosed() throws {
            let daemon = try Daemon(redis: redis.url, Self.long)
            let held = try daemon.connect()
            #expect(try held.check(newUser()).status == 200)
            try drain(daemon)
            let client = try daemon.connect()
            try client.send(String(repeating: HTTPConnection.checkText(newUser()), count: 10))
            client.finish()
            for _ in 0..<10 { #expect(try client.response().status == 200) }
            #expect(try client.isClosed())
            #expect(try held.check(newUser()).status == 200 && daemon.process.exitCode == nil)
        }

        @Test("a signal that comes while it starts ends it in order, and no socket is left")
        func early() throws {
            for _ in 0..<8 {
                let folder = try TemporaryFolder()
                let variables = Daemon.variables(folder, ["REDIS_URL": redis.url])
                let process = try ChildProcess(Daemon.program, ["serve"], environment: variables)
                #expect(eventually(within: 20) { TestSupport.access(of: folder.file("check")) != nil })
                process.send(SIGTERM)
                #expect(try process.wait() == 0)
                for name in ["check", "admin"] { #expect(TestSupport.access(of: folder.file(name)) == nil) }
            }
        }

        @Test("SIGHUP still puts a changed limit in force")
        func reload() throws {
            let file = try folder.write("LLM_RATE_LIMIT_REQUESTS=5\n", to: "limit.env")
            let daemon = try Daemon(redis: redis.url, ["ENV_FILE": file].merging(Self.long) { $1 })
            let client = try daemon.connect()
            #expect(try client.check(newUser()).number("limit") == 5)
            try drain(daemon)
            try folder.write("LLM_RATE_LIMIT_REQUESTS=6\n", to: "limit.env")
            try daemon.reload()
            #expect(try client.check(newUser()).number("limit") == 6)
        }

        @Test("the watchdog is fed, the service manager is asked for the time, and Redis's heartbeat goes on")
        func aliveMeanwhile() throws {
            let manager = try NotifySocket(in: folder)
            let daemon = try Daemon(
                redis: redis.url, Self.long,
                environment: ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "100000"]
            )
            let client = try daemon.connect()
            #expect(try client.check(newUser()).status == 200)
            daemon.process.send(SIGTERM)
            #expect(manager.waits(for: "STOPPING=1\nEXTEND_TIMEOUT_USEC=60"))
            for _ in 0..<5 { #expect(manager.waits(for: "WATCHDOG=1")) }
            let before = try redis.command("GET", "llm-rate:heartbeat").text
            #expect(try eventually(within: 20) { try redis.command("GET", "llm-rate:heartbeat").text != before })
            #expect(try !client.check(newUser()).isDegraded)
        }

        @Test("it answers at the service manager's socket, and leaves who comes after it to the next daemon")
        func activated() throws {
            let socket = try ListeningSocket(folder.file("activated"))
            func start() throws -> ChildProcess {
                let settings = ["REDIS_URL": redis.url, "REDIS_TIMEOUT_MS": "5000"].merging(Self.long) { $1 }
                return try ChildProcess(
                    "/bin/sh", ["-c", "LISTEN_PID=$$ exec \"$0\" serve", Daemon.program],
                    environment: Daemon.variables(folder, settings).merging(["LISTEN_FDS": "1"]) { $1 },
                    descriptors: [socket.descriptor]
                )
            }
            let user = newUser()
            let first = try start()
            let held = try HTTPConnection(.unix(socket.path))
            #expect(try held.check(user).number("remaining") == 19)
            first.send(SIGTERM)
            #expect(eventually(within: 20) { first.errors.contains("draining") })
            #expect(try HTTPConnection(.unix(socket.path)).check(user).number("remaining") == 18)
            first.send(SIGTERM)
            #expect(try first.wait() == 0)
            let late = try HTTPConnection(.unix(socket.path))
            try late.send(HTTPConnection.checkText(user))
            let second = try start()
            #expect(try late.response().number("remaining") == 17)
            withExtendedLifetime((held, second)) {}
        }
    }
}
