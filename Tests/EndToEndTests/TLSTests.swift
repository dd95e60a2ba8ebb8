import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    @Suite("TLS")
    struct TLSTests {
        /// Made once: all tests here trust the one and not the other.
        static let authority = Result { try CertificateAuthority() }
        static let stranger = Result { try CertificateAuthority() }
        static let good = Result { try authority.get().issue("server") }

        let authority: CertificateAuthority
        let port: UInt16

        init() throws {
            authority = try Self.authority.get()
            port = try freePort()
        }

        private func server(
            _ certificate: CertificateAuthority.Certificate? = nil, clients: CertificateAuthority? = nil,
            options: [String] = []
        ) throws -> RedisServer {
            let certificate = try certificate ?? Self.good.get()
            return try RedisServer(RedisServer.tlsOptions(port: port, certificate, clients: clients) + options)
        }

        /// A daemon for which Redis cannot be used, once it has said why.
        private func refusal(_ settings: [String: String], host: String = "localhost") throws -> String {
            let daemon = try Daemon(redis: RedisServer.tlsURL(port: port, host: host), settings)
            guard eventually(within: 20, { !daemon.logLines(containing: "Redis is away").isEmpty }) else {
                throw TestFailure("nothing is said: \(daemon.logLines)")
            }
            let response = try daemon.connect().check(newUser())
            #expect(response.isAllowed && response.isDegraded)
            pause(milliseconds: 700)
            #expect(daemon.logLines(containing: "Redis is away").count == 1)
            let page = try daemon.connect().request("GET", "/healthz").json["redis"] as? [String: Any]
            return page?["detail"] as? String ?? ""
        }

        @Test("carries checks, resets and what the daemons tell each other", arguments: ["localhost", "127.0.0.1"])
        func works(host: String) throws {
            let redis = try server()
            let settings = ["REDIS_CA_FILE": authority.file, "THREADS": "2", "DENY_CACHE_MS": "60000"]
            let url = RedisServer.tlsURL(port: port, host: host)
            let one = try Daemon(redis: url, settings)
            let other = try Daemon(redis: url, settings)
            let user = newUser()
            let counts = try concurrently(8) { index in
                let client = try (index.isMultiple(of: 2) ? one : other).connect()
                return try (0..<5).count { _ in try client.check(user).isAllowed }
            }
            #expect(counts.reduce(0, +) == 20)
            #expect(try other.connect().check(user).status == 429)
            #expect(try one.connectAdmin().request("DELETE", "/v1/users/\(user)").status == 204)
            // The other daemon would repeat its denial for a minute had it not been told.
            #expect(try eventually(within: 20) { try other.connect().check(user).status == 200 })
            #expect(one.logLines(containing: "warning").isEmpty && other.logLines(containing: "warning").isEmpty)
            // Nothing but this test's own connection came over the Unix socket.
            let clients = try redis.command("CLIENT", "LIST").text ?? ""
            #expect(clients.split(separator: "\n").count { $0.contains(redis.socketPath) } == 1)
        }

        @Test("carries pipelined load, and each user's count is exact")
        func load() throws {
            let redis = try server()
            let daemon = try Daemon(
                redis: RedisServer.tlsURL(port: port),
                ["REDIS_CA_FILE": authority.file, "REQUESTS": "1000000000", "THREADS": "2"]
            )
            let users = (0..<4).map { _ in newUser() }
            let exact = try concurrently(8) { _ in
                let client = try daemon.connect()
                var exact = 0
                for _ in 0..<40 {
                    try client.send((0..<20).map { HTTPConnection.checkText(users[$0 % 4]) }.joined())
                    for _ in 0..<20 {
                        let response = try client.response()
                        if response.isAllowed, !response.isDegraded { exact += 1 }
                    }
                }
                return exact
            }
            #expect(exact.reduce(0, +) == 8 * 40 * 20)
            for user in users {
                #expect(try daemon.connect().request("GET", "/v1/users/\(user)").number("used") == 8 * 40 * 5)
            }
            // Cut at once, and soon there again.
            try redis.command("CLIENT", "KILL", "TYPE", "normal")
            #expect(try eventually(within: 20) { try !daemon.connect().check(users[0]).isDegraded })
        }

        @Test("refuses a server whose authority is unknown, and says so")
        func unknownAuthority() throws {
            let redis = try server()
            let text = "TLS: no authority that is trusted here vouches for the server's certificate"
            #expect(try refusal(["REDIS_CA_FILE": Self.stranger.get().file]).hasPrefix(text))
            #expect(try refusal([:]).hasPrefix(text), "the system's authorities")
            #expect(try redis.calls(of: "auth") == 0)
        }

        @Test("refuses a server whose certificate is for another name, unless that name is asked for")
        func wrongName() throws {
            let redis = try server(authority.issue("other", names: "DNS:redis.internal,IP:127.0.0.9"))
            let settings = ["REDIS_CA_FILE": authority.file]
            #expect(try refusal(settings) == "TLS: the server's certificate is not for localhost")
            #expect(try refusal(settings, host: "127.0.0.1") == "TLS: the server's certificate is not for 127.0.0.1")
            #expect(try redis.calls(of: "auth") == 0)
            for host in ["localhost", "127.0.0.1"] {
                let daemon = try Daemon(
                    redis: RedisServer.tlsURL(port: port, host: host),
                    settings.merging(["REDIS_SERVER_NAME": "redis.internal"]) { $1 }
                )
                #expect(try !daemon.connect().check(newUser()).isDegraded)
            }
        }

        @Test("refuses a server whose certificate has expired")
        func expired() throws {
            let redis = try server(authority.issue("expired", days: -1))
            let text = try refusal(["REDIS_CA_FILE": authority.file])
            #expect(text.hasPrefix("TLS: the server's certificate expired on 20"))
            #expect(try redis.calls(of: "auth") == 0)
        }

        @Test("takes any server where verification is switched off, and warns of it")
        func unverified() throws {
            let redis = try server(Self.stranger.get().issue("any", names: "DNS:elsewhere", days: -1))
            let daemon = try Daemon(redis: RedisServer.tlsURL(port: port), ["REDIS_TLS_VERIFY": "no"])
            #expect(try !daemon.connect().check(newUser()).isDegraded)
            #expect(daemon.logLines(containing: "REDIS_TLS_VERIFY=no").count == 1)
            _ = redis
        }

        @Test("says where nobody listens, and where one side speaks TLS and the other does not")
        func oneSided() throws {
            #expect(try refusal([:]) == "Connection refused")
            let plain = try RedisServer(["--port", "\(port)"])
            let text = try refusal(["REDIS_CA_FILE": authority.file])
            print("TLS to a plain port: \(text)")
            #expect(text.hasPrefix("TLS: ") && text.contains("speak TLS on this port"))
            plain.end()
            let redis = try server()
            let daemon = try Daemon(redis: "redis://127.0.0.1:\(port)")
            #expect(try daemon.connect().check(newUser()).isDegraded)
            #expect(eventually(within: 20) { !daemon.logLines(containing: "Redis is away").isEmpty })
            #expect(daemon.logLines(containing: "Redis is away").count == 1)
            _ = redis
        }

        @Test("shows a client certificate where the server requires one, and says where that is what is missing")
        func clientCertificate() throws {
            let redis = try server(clients: authority)
            let settings = ["REDIS_CA_FILE": authority.file]
            let text = try refusal(settings)
            #expect(text == "TLS: the server requires a client certificate")
            let foreign = try Self.stranger.get().issue("foreign")
            let refused = try refusal(
                settings.merging(["REDIS_CERT_FILE": foreign.file, "REDIS_KEY_FILE": foreign.keyFile]) { $1 }
            )
            #expect(refused == "TLS: the server does not know the authority of the client certificate")
            let client = try authority.issue("client")
            let daemon = try Daemon(
                redis: RedisServer.tlsURL(port: port),
                settings.merging(["REDIS_CERT_FILE": client.file, "REDIS_KEY_FILE": client.keyFile]) { $1 }
            )
            #expect(try !daemon.connect().check(newUser()).isDegraded)
            _ = redis
        }

        @Test("reads certificates and a key behind a byte order mark, with the line ends of another system")
        func byteOrderMark() throws {
            let folder = try TemporaryFolder()
            func marked(_ path: String, as name: String) throws -> String {
                try folder.write("\u{FEFF}" + readFile(path).replacing("\n", with: "\r\n"), to: name)
            }
            let client = try authority.issue("marked-client")
            let redis = try server(clients: authority)
            let daemon = try Daemon(
                redis: RedisServer.tlsURL(port: port),
                [
                    "REDIS_CA_FILE": try marked(authority.file, as: "ca"),
                    "REDIS_CERT_FILE": try marked(client.file, as: "cert"),
                    "REDIS_KEY_FILE": try marked(client.keyFile, as: "key"),
                ]
            )
            #expect(try !daemon.connect().check(newUser()).isDegraded)
            _ = redis
        }

        @Test("takes up certificates that are rotated, without a restart")
        func rotation() throws {
            let folder = try TemporaryFolder()
            func put(_ path: String, as name: String) throws { try folder.write(readFile(path), to: name) }
            let (old, new) = (authority, try Self.stranger.get())
            let (oldClient, newClient) = (try old.issue("old-client"), try new.issue("new-client"))
            try put(old.file, as: "ca")
            try put(oldClient.file, as: "cert")
            try put(oldClient.keyFile, as: "key")
            let first = try server(clients: old)
            let daemon = try Daemon(
                redis: RedisServer.tlsURL(port: port),
                [
                    "REDIS_CA_FILE": folder.file("ca"), "REDIS_CERT_FILE": folder.file("cert"),
                    "REDIS_KEY_FILE": folder.file("key"),
                ]
            )
            let client = try daemon.connect()
            #expect(try !client.check(newUser()).isDegraded)

            // In the middle of being replaced: what there was goes on, also on new connections.
            try put(newClient.file, as: "cert")
            try folder.write("half a ke", to: "key")
            try first.command("CLIENT", "KILL", "TYPE", "normal")
            #expect(try eventually(within: 20) { try !client.check(newUser()).isDegraded })
            try daemon.reload()
            #expect(daemon.logLines(containing: "kept as it was").count == 1)
            #expect(daemon.logLines(containing: "LLM_RATE_LIMIT_REDIS_KEY_FILE").count == 1)

            first.end()
            let second = try server(new.issue("new-server"), clients: new)
            #expect(try eventually(within: 20) { try client.request("GET", "/healthz").text.contains("TLS: ") })
            #expect(try client.check(newUser()).isDegraded)
            try put(new.file, as: "ca")
            try put(newClient.keyFile, as: "key")
            let start = monotonicMilliseconds()
            #expect(try eventually(within: 20) { try !client.check(newUser()).isDegraded })
            print("exact again \(Int(monotonicMilliseconds() - start)) ms after the new files were there")
            try daemon.reload()
            #expect(daemon.logLines(containing: "only with a restart").isEmpty)
            _ = second
        }

        @Test("stops the start with 78 and one line where its files cannot be used")
        func badFiles() throws {
            let folder = try TemporaryFolder()
            let garbage = try folder.write("no PEM\n", to: "garbage")
            let (one, other) = (try authority.issue("one"), try authority.issue("another"))
            let cases: [(settings: [String: String], text: String)] = [
                (["REDIS_CA_FILE": "/nonexistent"], "REDIS_CA_FILE=/nonexistent: No such file or directory; "),
                (["REDIS_CA_FILE": garbage], "it holds no PEM certificate; "),
                (["REDIS_CERT_FILE": one.file], "LLM_RATE_LIMIT_REDIS_KEY_FILE is missing; "),
                (["REDIS_KEY_FILE": one.keyFile], "LLM_RATE_LIMIT_REDIS_CERT_FILE is missing; "),
                (["REDIS_CERT_FILE": garbage, "REDIS_KEY_FILE": one.keyFile], "it holds no PEM certificate; "),
                (["REDIS_CERT_FILE": one.file, "REDIS_KEY_FILE": garbage], "it holds no PEM key"),
                (
                    ["REDIS_CERT_FILE": one.file, "REDIS_KEY_FILE": other.keyFile],
                    "it is not the key of the client certificate; "
                ),
            ]
            for (settings, text) in cases {
                let variables = Daemon.variables(
                    folder, ["REDIS_URL": RedisServer.tlsURL(port: port)].merging(settings) { $1 }
                )
                let process = try ChildProcess(Daemon.program, ["serve"], environment: variables)
                #expect(try process.wait() == 78, "\(settings)")
                let lines = process.errors.split(separator: "\n")
                #expect(lines.count == 1 && lines.first?.contains(text) == true, "\(settings): \(lines)")
            }
        }

        @Test("speaks TLS 1.2 and later, and nothing before")
        func versions() throws {
            for version in ["TLSv1.2", "TLSv1.3"] {
                let redis = try server(options: ["--tls-protocols", version])
                let daemon = try Daemon(redis: RedisServer.tlsURL(port: port), ["REDIS_CA_FILE": authority.file])
                #expect(try !daemon.connect().check(newUser()).isDegraded, "\(version)")
                redis.end()
            }
            let redis = try server(options: ["--tls-protocols", "TLSv1.1", "--tls-ciphers", "DEFAULT@SECLEVEL=0"])
            let text = try refusal(["REDIS_CA_FILE": authority.file])
            #expect(text == "TLS: the server does not speak TLS 1.2 or later")
            _ = redis
        }

        @Test("names the host that it asks for, but no IP address", arguments: ["localhost", "127.0.0.1"])
        func serverNameIndication(host: String) throws {
            let certificate = try Self.good.get()
            let server = try ChildProcess(
                "openssl",
                [
                    "s_server", "-accept", "127.0.0.1:\(port)", "-cert", certificate.file, "-key", certificate.keyFile,
                    "-tlsextdebug", "-rev",
                ]
            )
            #expect(eventually(within: 20) { server.output.contains("ACCEPT") })
            let daemon = try Daemon(
                redis: RedisServer.tlsURL(port: port, host: host), ["REDIS_CA_FILE": authority.file]
            )
            #expect(eventually(within: 20) { server.errors.contains("CONNECTION ESTABLISHED") })
            #expect(server.output.contains("extension \"server name\"") == (host == "localhost"))
            _ = daemon
        }
    }
}
