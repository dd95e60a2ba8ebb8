import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Who gets in at the sockets of the built daemon. What another user may do is tried as another user.
    @Suite("Who gets in")
    struct SocketAccessTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        @Test("Modes are as configured under a umask that gives everything or nothing", arguments: ["0", "0777"])
        func umask(mask: String) throws {
            for mode in ["0600", "0660", "0666"] {
                let folder = try TemporaryFolder()
                let daemon = try startUnder(umask: mask, in: folder, settings: ["SOCKET_MODE": mode])
                #expect(eventually(within: 20) { access(of: folder.file("admin"))?.mode == 0o600 })
                #expect(access(of: folder.file("check"))?.mode == UInt32(mode, radix: 8))
                #expect(eventually(within: 20) { (try? HTTPConnection(.unix(folder.file("check")))) != nil })
                daemon.end()
            }
        }

        @Test(
            "At no moment of the start does anybody connect whom mode and group do not let in",
            .enabled(if: isRoot, "only root can become another user"))
        func watched() async throws {
            let url = redis.url
            await #expect(processExitsWith: .success) { [url = url as String] in
                // The group that the process has by itself is the one that a file gets before it is given another.
                setgroups(0, nil)
                var seen: [CInt: Int] = [:]
                var modes: Set<UInt32> = []
                for round in 0..<10 {
                    let folder = try TemporaryFolder()
                    chmod(folder.path, 0o755)
                    let settings = ["REDIS_URL": url, "SOCKET_MODE": "0660", "SOCKET_GROUP": "daemon"]
                    let daemon = try ChildProcess(
                        "/bin/sh", ["-c", "umask 0; sleep 0.05; exec \"$0\" serve", Daemon.program],
                        environment: Daemon.variables(folder, settings)
                    )
                    // A member of that group, and somebody who has no group in common with anything.
                    #expect(setegid(round.isMultiple(of: 5) ? 65_534 : 0) == 0 && seteuid(65_534) == 0)
                    let path = folder.file("check")
                    var end = ContinuousClock.now + .seconds(20)
                    var isServing = false
                    while ContinuousClock.now < end {
                        // What is wrong may last some microseconds: most of the time is for connecting.
                        for _ in 0..<20 { seen[connectError(path), default: 0] += 1 }
                        seen[connectError(folder.file("admin")), default: 0] += 1
                        guard let mode = access(of: path)?.mode else { continue }
                        modes.insert(mode)
                        if !isServing, mode == 0o660, access(of: folder.file("admin")) != nil {
                            isServing = true
                            end = .now + .milliseconds(50)
                        }
                    }
                    #expect(isServing)
                    #expect(seteuid(0) == 0 && setegid(0) == 0)
                    daemon.end()
                }
                print("watched: connect() said \(seen), modes \(modes.map { String($0, radix: 8) }.sorted())")
                #expect(seen[0] == nil)
                #expect(seen[EACCES, default: 0] > 0 && seen[ENOENT, default: 0] > 0)
                #expect(modes.isSubset(of: [0, 0o660]))
            }
        }

        @Test(
            "Where users are named nobody else is answered, on either socket: 403, counted, and one log line",
            .enabled(if: isRoot, "only root can become another user"))
        func allowedUsers() async throws {
            let folder = try TemporaryFolder()
            chmod(folder.path, 0o755)
            let settings = ["SOCKET_MODE": "0666", "ALLOWED_UIDS": "33,daemon"]
            let daemon = try Daemon(redis: redis.url, settings, folder: folder)
            chmod(daemon.adminSocketPath, 0o666)
            let sockets = [daemon.socketPath, daemon.adminSocketPath]
            await #expect(processExitsWith: .success) { [sockets = sockets as [String]] in
                for path in sockets {
                    // The daemon's own user, here root, needs no mention.
                    for user: uid_t in [33, 1, 0] {
                        #expect(seteuid(user) == 0)
                        #expect(try HTTPConnection(.unix(path)).check(newUser()).status == 200, "\(user)")
                        #expect(seteuid(0) == 0)
                    }
                    #expect(seteuid(65_534) == 0)
                    let client = try HTTPConnection(.unix(path))
                    let response = try client.check(newUser())
                    #expect(response.status == 403 && response["Content-Type"] == "application/problem+json")
                    #expect(
                        response.text.contains("user 65534") && response.text.contains("LLM_RATE_LIMIT_ALLOWED_UIDS"))
                    #expect(try client.isClosed())
                    // Whoever says nothing is sent away as well.
                    #expect(try HTTPConnection(.unix(path)).isClosed(withinSeconds: 10))
                    #expect(seteuid(0) == 0)
                }
            }
            #expect(try daemon.metric(#"llm_rate_limit_connections_total{result="forbidden"}"#) == 4)
            let lines = daemon.logLines(containing: "refused a connection")
            #expect(lines.count == 1 && lines[0].contains(#""uid":"65534""#), "\(lines)")
        }

        @Test(
            "Refused peers take no place of others, however many they are",
            .enabled(if: isRoot, "only root can become another user"))
        func refusedPeers() async throws {
            let folder = try TemporaryFolder()
            chmod(folder.path, 0o755)
            let settings = ["SOCKET_MODE": "0666", "ALLOWED_UIDS": "33", "MAX_CONNECTIONS": "10"]
            let daemon = try Daemon(redis: redis.url, settings, folder: folder)
            let path = daemon.socketPath
            await #expect(processExitsWith: .success) { [path = path as String] in
                #expect(seteuid(65_534) == 0)
                // Some of them are closed at once, and none is ever answered anything but 403.
                let held = (0..<200).compactMap { _ in try? HTTPConnection(.unix(path)) }
                #expect(held.count > 64)
                #expect(seteuid(0) == 0)
                for _ in 0..<20 {
                    let response = try HTTPConnection(.unix(path)).check(newUser())
                    #expect(response.status == 200)
                }
                withExtendedLifetime(held) {}
            }
            #expect(try daemon.metric(#"llm_rate_limit_connections_total{result="forbidden"}"#) == 200)
            #expect(try daemon.metric(#"llm_rate_limit_connections_total{result="refused"}"#) == 0)
        }

        @Test("Nothing but the admin socket resets, in whatever form it is asked for, also over TCP")
        func adminOnly() throws {
            let port = try freePort()
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "127.0.0.1:\(port)", "DENY_CACHE_MS": "0"])
            let user = newUser()
            #expect(try daemon.connect().check(user, cost: 20).status == 200)
            let path = "/v1/users/\(user)"
            let forms: [(text: String, statuses: [Int])] = [
                (HTTPConnection.text("DELETE", path), [403]),
                (HTTPConnection.text("DELETE", "/v1/users/\(user.uppercased())"), [403]),
                (HTTPConnection.text("DELETE", "http://localhost\(path)"), [403]),
                (HTTPConnection.text("DELETE", path, ["Host": "admin", "X-Forwarded-For": "127.0.0.1"]), [403]),
                (HTTPConnection.text("DELETE", "\(path)?admin=1"), [403]),
                (HTTPConnection.text("DELETE", path, body: "{}"), [403]),
                (HTTPConnection.text("DELETE", path, ["Transfer-Encoding": "chunked"]) + "0\r\n\r\n", [403]),
                (HTTPConnection.text("GET", path) + HTTPConnection.text("DELETE", path), [200, 403]),
                (HTTPConnection.text("GET", path, ["X-HTTP-Method-Override": "DELETE"]), [200]),
                (HTTPConnection.text("POST", path, ["X-HTTP-Method-Override": "DELETE"], body: "{}"), [405]),
                (HTTPConnection.text("PUT", path, body: "{}"), [405]),
                (HTTPConnection.text("PATCH", "/v1/config", body: "{}"), [405]),
                (HTTPConnection.text("DELETE", "/v1/users/"), [403]),
                (HTTPConnection.text("DELETE", "/v1/users"), [404]),
                ("DELETE \(path) HTTP/1.0\r\n\r\n", [403]),
            ]
            for address in [Address.unix(daemon.socketPath), .tcp(port)] {
                for form in forms {
                    let client = try HTTPConnection(address)
                    try client.send(form.text)
                    for status in form.statuses {
                        #expect(try client.response().status == status, "\(form.text)")
                    }
                    #expect(try daemon.connect().check(user).status == 429, "\(form.text)")
                }
            }
            #expect(try daemon.connectAdmin().request("PUT", "/v1/config", body: "{}").status == 405)
            #expect(try daemon.connectAdmin().request("DELETE", path).status == 204)
            #expect(try daemon.connect().check(user).status == 200)
        }

        @Test(
            "An address that other machines reach is not listened on without a word: exit 78 and one line",
            arguments: ["0.0.0.0:0", "[::]:0", "10.1.2.3:8089", "[::ffff:10.1.2.3]:8089", "[fe80::1]:8089"])
        func publicAddress(address: String) throws {
            let folder = try TemporaryFolder()
            let daemon = try ChildProcess(
                Daemon.program, ["serve"],
                environment: Daemon.variables(folder, ["REDIS_URL": redis.url, "LISTEN": address])
            )
            #expect(try daemon.wait() == 78)
            #expect(
                daemon.errors == "Error: cannot use LLM_RATE_LIMIT_LISTEN=\(address): other machines can reach it; "
                    + "accepted are loopback addresses, and others with LLM_RATE_LIMIT_LISTEN_PUBLIC=yes\n"
            )
            #expect(access(of: folder.file("check")) == nil)
        }

        @Test("Nor is one that the service manager hands over")
        func publicActivated() throws {
            let listening = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            defer { close(listening) }
            // An unbound socket listens on every address, at a port that the system chooses.
            #expect(listen(listening, 1) == 0)
            for (isPublic, code) in [("no", 78), ("yes", 0)] as [(String, Int32)] {
                let folder = try TemporaryFolder()
                let settings = ["REDIS_URL": redis.url, "LISTEN_PUBLIC": isPublic]
                let daemon = try ChildProcess(
                    "/bin/sh", ["-c", "LISTEN_PID=$$ exec \"$0\" serve", Daemon.program],
                    environment: Daemon.variables(folder, settings)
                        .merging(["LISTEN_FDS": "1", "LISTEN_FDNAMES": "tcp"]) { $1 },
                    descriptors: [listening]
                )
                #expect(eventually(within: 20) { daemon.exitCode != nil || daemon.errors.contains("serving") })
                daemon.send(SIGTERM)
                #expect(try daemon.wait() == code)
                #expect(daemon.errors.contains("other machines could reach it") == (code == 78))
                #expect(access(of: folder.file("check")) == nil)
            }
        }

        @Test(
            "The daemon's own user is let in without mention and root is not; only root looks into the process",
            .enabled(if: isRoot, "only root can become another user"))
        func ownUser() async throws {
            let folder = try TemporaryFolder()
            // Where the program is need not be open to everybody.
            let program = folder.file("program")
            #expect(try ChildProcess("cp", [Daemon.program, program]).wait() == 0)
            chown(folder.path, 65_534, 65_534)
            chmod(folder.path, 0o755)
            let tcp = ["REDIS_URL": "redis://127.0.0.1:1", "ALLOWED_UIDS": "33", "SOCKET_MODE": "0666"]
            let other = ["--reuid", "65534", "--regid", "65534", "--clear-groups"]
            let daemon = try ChildProcess(
                "setpriv", other + [program, "serve"], environment: Daemon.variables(folder, tcp)
            )
            #expect(eventually(within: 20) { daemon.errors.contains("serving") })
            let path = folder.file("check")
            await #expect(processExitsWith: .success) { [path = path as String] in
                let root = try HTTPConnection(.unix(path)).check(newUser())
                #expect(root.status == 403)
                #expect(seteuid(65_534) == 0)
                let own = try HTTPConnection(.unix(path)).check(newUser())
                #expect(own.status == 200)
            }
            let sleeper = try ChildProcess("setpriv", other + ["sleep", "60"])
            #expect(eventually(within: 10) { readFile("/proc/\(sleeper.id)/comm") == "sleep\n" })
            #expect(owner(of: "/proc/\(sleeper.id)/environ") == 65_534)
            #expect(owner(of: "/proc/\(daemon.id)/environ") == 0 && owner(of: "/proc/\(daemon.id)/mem") == 0)
        }

        private func owner(of path: String) -> uid_t? {
            var status = stat()
            return stat(path, &status) == 0 ? status.st_uid : nil
        }

        @Test("With that word it is")
        func publicAllowed() throws {
            let port = try freePort()
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "0.0.0.0:\(port)", "LISTEN_PUBLIC": "yes"])
            #expect(try HTTPConnection(.tcp(port)).request("GET", "/livez").status == 200)
            withExtendedLifetime(daemon) {}
        }

        private func startUnder(
            umask mask: String, in folder: TemporaryFolder, settings: [String: String]
        ) throws -> ChildProcess {
            try ChildProcess(
                "/bin/sh", ["-c", "umask \(mask); exec \"$0\" serve", Daemon.program],
                environment: Daemon.variables(folder, ["REDIS_URL": redis.url].merging(settings) { $1 })
            )
        }
    }
}

/// Connects to a Unix socket and closes again: 0, or the error number.
private func connectError(_ path: String) -> CInt {
    let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    return withUnixAddress(path) { connect(descriptor, $0, $1) == 0 ? 0 : errno }
}
