import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Every password here holds `s3cret`, which then must be nowhere.
    @Suite("Secrets and users stay inside")
    struct SecrecyTests {
        /// How the daemon is told its password.
        enum Way: String, CaseIterable, CustomTestStringConvertible {
            case variable = "a URL in the environment"
            case flag = "a URL behind its flag"
            case joinedFlag = "a URL joined to its flag"
            case passwordFile = "a password file"
            case variablesFile = "a URL in the file of variables"
            var testDescription: String { rawValue }
        }

        let folder: TemporaryFolder

        init() throws { folder = try TemporaryFolder() }

        @Test("A password is in no page, log line, argument or variable, however it is given", arguments: Way.allCases)
        func ways(way: Way) throws {
            let redis = try RedisServer()
            try redis.command("CONFIG", "SET", "requirepass", "s3cret/word")
            let daemon = try start(way, redis: redis, password: "s3cret/word")
            let client = try daemon.connect()
            // It is the right one.
            #expect(try eventually(within: 10) { try !client.check(newUser()).isDegraded })
            try daemon.reload()
            try expectSecrecy(of: daemon)
            #expect(try daemon.terminate() == 0)
            #expect(!daemon.process.errors.contains("s3cret"))
        }

        @Test(
            "Nor where Redis refuses it, or repeats it in its error",
            arguments: [["--save", ""], ["--rename-command", "AUTH", ""]])
        func refused(arguments: [String]) throws {
            let redis = try RedisServer(arguments)
            // Another password: WRONGPASS. A Redis without AUTH repeats what it was given.
            try redis.command("CONFIG", "SET", "requirepass", "another")
            let daemon = try start(.variable, redis: redis, password: "s3cret/word")
            #expect(eventually(within: 10) { daemon.logLines(containing: "Redis is away").count == 1 })
            #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(newUser())").status == 503)
            try expectSecrecy(of: daemon)
        }

        @Test("Nor a header for the collector of spans, however it is given", arguments: ["variable", "flag", "file"])
        func collectorHeaders(way: String) throws {
            let redis = try RedisServer()
            let (name, headers) = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret,x=y%20s3cret")
            // Nobody listens there, which is logged.
            var environment = ["OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:\(try freePort())"]
            var settings = ["LOG_LEVEL": "trace"]
            var arguments: [String] = []
            switch way {
            case "variable": environment[name] = headers
            case "flag": arguments = ["--otel-exporter-otlp-headers", headers]
            default: settings["ENV_FILE"] = try folder.write("\(name)=\(headers)\n", to: "variables")
            }
            let daemon = try Daemon(redis: redis.url, settings, arguments: arguments, environment: environment)
            #expect(try daemon.connect().check(newUser()).status == 200)
            #expect(eventually(within: 20) { !daemon.logLines(containing: "cannot send spans").isEmpty })
            #expect(try daemon.connect().request("GET", "/v1/config").text.contains("api-key=***,x=***"))
            try expectSecrecy(of: daemon)
        }

        private func start(_ way: Way, redis: RedisServer, password: String) throws -> Daemon {
            let url = redis.url(user: "default", password: password.replacing("/", with: "%2F"))
            let settings = ["LOG_LEVEL": "trace"]
            switch way {
            case .variable: return try Daemon(redis: url, settings)
            case .flag: return try Daemon(redis: nil, settings, arguments: ["--redis-url", url])
            case .joinedFlag: return try Daemon(redis: nil, settings, arguments: ["--redis-url=\(url)"])
            case .passwordFile:
                let file = try folder.write("\(password)\n", to: "password")
                return try Daemon(redis: redis.unrestrictedURL, settings.merging(["REDIS_PASSWORD_FILE": file]) { $1 })
            case .variablesFile:
                let file = try folder.write("LLM_RATE_LIMIT_REDIS_URL=\(url)\n", to: "variables")
                return try Daemon(redis: nil, settings.merging(["ENV_FILE": file]) { $1 })
            }
        }

        private func expectSecrecy(of daemon: Daemon) throws {
            let paths = ["/v1/config", "/metrics", "/healthz", "/readyz?require=redis", "/v1/version", "/nothing"]
            for connection in [try daemon.connect(), try daemon.connectAdmin()] {
                for path in paths {
                    let page = try connection.request("GET", path)
                    #expect(!page.text.isEmpty && !page.text.contains("s3cret"), "\(path): \(page.text)")
                }
            }
            for file in ["cmdline", "environ"] {
                let text = readFile("/proc/\(daemon.process.id)/\(file)")
                #expect(!text.isEmpty && !text.contains("s3cret"), "\(file)")
            }
            #expect(!daemon.process.errors.isEmpty)
            #expect(!(daemon.process.errors + daemon.process.output).contains("s3cret"), "\(daemon.process.errors)")
        }

        @Test(
            "No mistake on the command line or in a value prints one",
            arguments: [
                ["serve", "--redis-url", "redis://u:s3cret@h:x"], ["serve", "--redis-url", "s3cret"],
                ["serve", "--redis-url=unix://u:s3cret@run"], ["serve", "redis://u:s3cret@h"],
                ["serve", "--redis-ulr=redis://u:s3cret@h"], ["serve", "--redis-ulr", "redis://u:s3cret@h"],
                ["check", "redis://u:s3cret@h"], ["redis://u:s3cret@h"],
                ["config", "--redis-url", "redis://u:s3cret@"],
                ["config", "--redis-url", "redis://u:s3cret@h"], ["config", "--json", "--redis-url=redis://:s3cret@h"],
                ["serve", "--redis-password-file", "/nonexistent", "--redis-url", "redis://:s3cret@h"],
            ])
        func mistakes(arguments: [String]) throws {
            let process = try ChildProcess(Daemon.program, arguments)
            _ = try process.wait()
            #expect(!(process.errors + process.output).isEmpty)
            #expect(!(process.errors + process.output).contains("s3cret"), "\(process.errors)")
        }

        @Test("A crash leaves no core and prints no memory", arguments: [SIGSEGV, SIGABRT, SIGILL, SIGBUS, SIGQUIT])
        func crash(signal: CInt) throws {
            let script = "ulimit -c unlimited; cd \"$1\" && shift && exec \"$@\""
            let crashed = try ChildProcess(
                "/bin/sh", ["-c", script, "sh", folder.path, Daemon.program, "serve"],
                environment: Daemon.variables(folder, ["REDIS_URL": "redis://:s3cret@127.0.0.1:1"])
                    .merging(["SWIFT_BACKTRACE": "enable=yes,registers=all,color=no,symbolicate=off"]) { $1 }
            )
            #expect(eventually(within: 20) { crashed.errors.contains("serving") })
            crashed.send(signal)
            #expect(try crashed.wait() == 128 + signal)
            #expect(!crashed.errors.contains("crashed"), "\(crashed.errors)")
            #expect(!crashed.errors.contains("s3cret"))
            #expect(try cores() == [])
        }

        @Test(
            "Another program in its place does leave both, where this machine has them at all",
            .enabled(if: !Sanitizer.isOn, "a sanitizer takes the signal for itself"))
        func crashOfAnother() throws {
            let script = "ulimit -c unlimited; cd \"$1\" && shift && exec \"$@\""
            let other = try ChildProcess("/bin/sh", ["-c", script, "sh", folder.path, "/bin/sleep", "60"])
            #expect(eventually(within: 10) { readFile("/proc/\(other.id)/comm") == "sleep\n" })
            other.send(SIGSEGV)
            #expect(try other.wait() == 128 + SIGSEGV)
            if readFile("/proc/sys/kernel/core_pattern") == "core\n" { #expect(try cores().count == 1) }
            // A command of the same program, which has nothing to hide and waits for an answer that never comes.
            let silent = try ListeningSocket(folder.file("silent"))
            let command = try ChildProcess(
                Daemon.program, ["health", "--socket", silent.path],
                environment: ["SWIFT_BACKTRACE": "enable=yes,registers=all,color=no,symbolicate=off"]
            )
            pause(milliseconds: 500)
            command.send(SIGSEGV)
            _ = try command.wait(seconds: 60)
            #expect(command.errors.contains("crashed"))
        }

        private func cores() throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix("core") }
        }

        @Test("A log line names a user as LOG_USERS says, by the digest unless told otherwise, and who asked")
        func users() throws {
            let redis = try RedisServer()
            let file = try folder.write("LLM_RATE_LIMIT_LOG_LEVEL=trace\n", to: "variables")
            let daemon = try Daemon(redis: redis.url, ["ENV_FILE": file], folder: folder)
            let user = newUser()
            let client = try daemon.connect()
            // Everything else that names a user, to see that nothing is logged of it.
            for _ in 0..<22 { _ = try client.check(user) }
            _ = try client.request("GET", "/v1/users/\(user)")
            _ = try client.request("GET", "/v1/check?user=\(user)&cost=0")
            _ = try client.request("DELETE", "/v1/users/\(user)")
            _ = try client.request("POST", "/v1/check", body: "{\"user\":\"\(user)\"")
            #expect(!daemon.process.errors.contains(user))

            let digest = try sha256(user).prefix(16)
            for (value, expected) in [(nil, String(digest)), ("plain", user), ("none", nil), ("hash", String(digest))] {
                if let value {
                    try folder.write("LLM_RATE_LIMIT_LOG_USERS=\(value)\n", to: "variables")
                    try daemon.reload()
                }
                let before = daemon.logLines.count
                #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(user)").status == 204)
                #expect(eventually(within: 20) { daemon.logLines.count > before })
                let line = try #require(daemon.logLines.last)
                #expect(line.contains(#""message":"reset a user""#) && line.contains("\"by_uid\":\"\(getuid())\""))
                #expect(line.contains("\"by_pid\":\"\(getpid())\""))
                #expect(line.contains("\"user\":") == (expected != nil) && line.contains(user) == (value == "plain"))
                if let expected { #expect(line.contains("\"user\":\"\(expected)\""), "\(line)") }
            }
            redis.end()
            #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(user)").status == 503)
            #expect(eventually(within: 20) { daemon.logLines(containing: "cannot reset a user").count == 1 })
            #expect(daemon.logLines(containing: "cannot reset").first?.contains(#""user":"\#(digest)""#) == true)
        }

        /// By the tool that an operator would use.
        private func sha256(_ text: String) throws -> String {
            let file = try folder.write(text, to: "text")
            let process = try ChildProcess("sha256sum", [file])
            #expect(try process.wait() == 0)
            return String(process.output.prefix { $0 != " " })
        }
    }
}
