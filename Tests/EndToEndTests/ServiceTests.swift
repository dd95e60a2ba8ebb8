import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    @Suite("From start to end")
    struct ServiceTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        @Test("SIGTERM answers what is under way, says that the connection ends, and removes the sockets")
        func drain() throws {
            let daemon = try Daemon(redis: redis.url, ["REDIS_TIMEOUT_MS": "3000"])
            let clients = try (0..<5).map { _ in try daemon.connect() }
            let idle = try daemon.connect()
            #expect(try idle.request("GET", "/livez").status == 200)
            let half = try daemon.connect()
            let request = HTTPConnection.checkText(newUser())
            try half.send(String(request.prefix(60)))
            redis.stop()
            for client in clients { try client.send(HTTPConnection.checkText(newUser())) }
            pause(milliseconds: 100)
            daemon.process.send(SIGTERM)
            #expect(eventually(within: 10) { TestSupport.access(of: daemon.socketPath) == nil })
            try half.send(String(request.dropFirst(60)))
            for client in clients {
                let response = try client.response()
                #expect(response.isAllowed && response.text.contains("redis_timeout"))
                #expect(response["Connection"] == "close")
                #expect(try client.isClosed())
            }
            #expect(try half.response().status == 200)
            #expect(try idle.isClosed())
            #expect(try daemon.process.wait() == 0)
            #expect(TestSupport.access(of: daemon.adminSocketPath) == nil)
            #expect(daemon.logLines(containing: "stopped").count == 1)
        }

        @Test("SIGTERM under load: every request that was sent before it is answered")
        func drainUnderLoad() throws {
            for _ in 0..<5 {
                let daemon = try Daemon(redis: redis.url)
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
                pause(milliseconds: 50)
                let signalledAt = monotonicMilliseconds()
                daemon.process.send(SIGTERM)
                for client in clients {
                    let seen = try client.value()
                    #expect(seen.answered > 0)
                    // A request that is sent later may meet a connection that is already closed, as ever with HTTP.
                    #expect(seen.lostSentAt > signalledAt)
                }
                #expect(try daemon.process.wait() == 0)
            }
        }

        @Test("SIGTERM does not wait for ever: a connection that owes a request is closed behind the patience")
        func patience() throws {
            // Waiting for the request to arrive would take the ten minutes that it has.
            let settings = ["DRAIN_TIMEOUT_MS": "300", "REQUEST_TIMEOUT_MS": "600000"]
            let daemon = try Daemon(redis: redis.url, settings)
            let client = try daemon.connect()
            try client.send("POST /v1/check HTTP/1.1\r\n")
            pause(milliseconds: 50)
            #expect(try daemon.terminate() == 0)
            #expect(try client.isClosed())
        }

        @Test("SIGINT ends it as well")
        func interrupt() throws {
            let daemon = try Daemon(redis: redis.url)
            daemon.process.send(SIGINT)
            #expect(try daemon.process.wait() == 0)
            #expect(TestSupport.access(of: daemon.socketPath) == nil)
        }

        @Test("A stale socket is replaced, a live one is an error that says so, and what is no socket is left alone")
        func sockets() throws {
            let crashed = try Daemon(redis: redis.url, folder: folder)
            crashed.process.end()
            #expect(TestSupport.access(of: crashed.socketPath) != nil)
            let daemon = try Daemon(redis: redis.url, folder: folder)
            #expect(try daemon.connect().check(newUser()).status == 200)

            let second = try serve(["ADMIN_SOCKET": folder.file("admin2")])
            #expect(try second.wait() == 1)
            #expect(second.errors.contains("\(daemon.socketPath): another process answers there"))
            #expect(try daemon.connect().check(newUser()).status == 200)

            let file = try folder.write("precious", to: "file")
            let third = try serve(["SOCKET": file, "ADMIN_SOCKET": folder.file("admin3")])
            #expect(try third.wait() == 1 && third.errors.contains("not a socket"))
            #expect(readFile(file) == "precious")
            #expect(try daemon.terminate() == 0)
        }

        @Test("A folder that is not there is said, with what to do")
        func missingFolder() throws {
            let daemon = try serve(["SOCKET": "/nonexistent/check"])
            #expect(try daemon.wait() == 1)
            #expect(daemon.errors.contains("mkdir -p /nonexistent"))
        }

        @Test(
            "A bad value stops the start with exit 78 and one line that names variable, value and what is accepted",
            arguments: [
                ("REQUESTS", "many"), ("WINDOW", "0"), ("WINDOW", "366d"), ("SOCKET_MODE", "9"), ("SOCKET_MODE", "432"),
                ("SHADOW", "perhaps"),
                ("REDIS_URL", "http://x"), ("REDIS_TIMEOUT_MS", "0"), ("FAILURE_MODE", "half"), ("LOG_LEVEL", "loud"),
                ("LISTEN", "0.0.0.0:80"), ("KEY_PREFIX", "a b"), ("THREADS", "0"), ("REPLICAS", "0"),
            ]
        )
        func badValue(name: String, value: String) throws {
            let daemon = try serve([name: value])
            #expect(try daemon.wait() == 78)
            let lines = daemon.errors.split(separator: "\n")
            #expect(lines.count == 1, "\(daemon.errors)")
            #expect(lines.first?.contains("LLM_RATE_LIMIT_\(name)") == true)
            #expect(lines.first?.contains(value) == true && lines.first?.contains("accepted") == true)
            let check = try command(["config", "--check"], settings: [name: value])
            #expect(try check.wait() == 78 && check.output.isEmpty)
            #expect(check.errors == daemon.errors)
        }

        @Test("An unknown variable is warned of with the nearest known name, and a flag wins over the environment")
        func unknownVariable() throws {
            let daemon = try Daemon(
                redis: redis.url, ["REQUSTS": "7", "REQUESTS": "8"], arguments: ["--requests", "9"]
            )
            let warnings = daemon.logLines(containing: "LLM_RATE_LIMIT_REQUSTS")
            #expect(warnings.count == 1 && warnings[0].contains("did you mean LLM_RATE_LIMIT_REQUESTS?"))
            #expect(try daemon.connect().check(newUser()).number("limit") == 9)
        }

        @Test("The service manager hears READY, WATCHDOG, RELOADING and STOPPING")
        func notify() throws {
            let manager = try NotifySocket(in: folder)
            let daemon = try Daemon(
                redis: redis.url, environment: ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "100000"]
            )
            #expect(manager.waits(for: "READY=1"))
            // READY comes once everything answers.
            #expect(try daemon.connect().check(newUser()).status == 200)
            for _ in 0..<3 { #expect(manager.waits(for: "WATCHDOG=1")) }
            daemon.process.send(SIGHUP)
            #expect(manager.waits(for: "RELOADING=1\nMONOTONIC_USEC="))
            #expect(manager.waits(for: "READY=1"))
            daemon.process.send(SIGTERM)
            #expect(manager.waits(for: "STOPPING=1"))
            #expect(try daemon.process.wait() == 0)
        }

        @Test("A daemon that hangs stops feeding the watchdog")
        func watchdog() throws {
            let manager = try NotifySocket(in: folder)
            let daemon = try Daemon(
                redis: redis.url, environment: ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "100000"]
            )
            #expect(manager.waits(for: "WATCHDOG=1"))
            daemon.process.send(SIGSTOP)
            while manager.next(withinMilliseconds: 500) != nil {}
            daemon.process.send(SIGCONT)
            #expect(manager.waits(for: "WATCHDOG=1"))
        }

        @Test("Sockets that the service manager has opened are served, and their files left to it")
        func activation() throws {
            let check = try ListeningSocket(folder.file("activated"))
            let admin = try ListeningSocket(folder.file("activated-admin"))
            // A client that came before the daemon waits in the socket and is served.
            let early = try HTTPConnection(.unix(check.path))
            let user = newUser()
            try early.send(HTTPConnection.checkText(user))
            // LISTEN_PID must be the daemon's own id, which the shell knows before it becomes the daemon.
            let variables = Daemon.variables(folder, ["REDIS_URL": redis.url, "REDIS_TIMEOUT_MS": "5000"])
            let process = try ChildProcess(
                "/bin/sh", ["-c", "LISTEN_PID=$$ exec \"$0\" serve", Daemon.program],
                environment: variables.merging(["LISTEN_FDS": "2", "LISTEN_FDNAMES": "check:admin"]) { $1 },
                descriptors: [check.descriptor, admin.descriptor]
            )
            #expect(try early.response().number("remaining") == 19)
            #expect(try HTTPConnection(.unix(check.path)).request("DELETE", "/v1/users/\(user)").status == 403)
            #expect(try HTTPConnection(.unix(admin.path)).request("DELETE", "/v1/users/\(user)").status == 204)
            #expect(TestSupport.access(of: folder.file("check")) == nil)
            process.send(SIGTERM)
            #expect(try process.wait() == 0)
            #expect(TestSupport.access(of: check.path) != nil && TestSupport.access(of: admin.path) != nil)
        }

        private func serve(_ settings: [String: String]) throws -> ChildProcess {
            try command(["serve"], settings: ["REDIS_URL": redis.url].merging(settings) { $1 })
        }

        private func command(_ arguments: [String], settings: [String: String]) throws -> ChildProcess {
            try ChildProcess(Daemon.program, arguments, environment: Daemon.variables(folder, settings))
        }
    }
}
