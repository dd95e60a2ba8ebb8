import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("The commands")
    struct CommandLineTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        private struct Result {
            var exitCode: Int32
            var output: String
            var errors: String
        }

        private func run(_ arguments: [String], on daemon: Daemon? = nil) throws -> Result {
            var environment: [String: String] = [:]
            if let daemon {
                environment["LLM_RATE_LIMIT_SOCKET"] = daemon.socketPath
                environment["LLM_RATE_LIMIT_ADMIN_SOCKET"] = daemon.adminSocketPath
            }
            let process = try ChildProcess(Daemon.program, arguments, environment: environment)
            return Result(exitCode: try process.wait(), output: process.output, errors: process.errors)
        }

        /// A daemon whose sockets a file of variables names, and nothing else does.
        private func daemonOfFile(_ folder: TemporaryFolder, _ more: String = "") throws -> (Daemon, file: String) {
            let text = """
                LLM_RATE_LIMIT_SOCKET=\(folder.file("elsewhere"))
                LLM_RATE_LIMIT_ADMIN_SOCKET=\(folder.file("elsewhere-admin"))
                \(more)
                """
            let file = try folder.write(text, to: "limit.env")
            let settings = ["SOCKET": folder.file("elsewhere"), "ADMIN_SOCKET": folder.file("elsewhere-admin")]
            return (try Daemon(redis: redis.url, settings, folder: folder), file)
        }

        private static let user = "6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11"

        /// Each command that asks the daemon, and whether over the admin socket.
        private static let askers: [(arguments: [String], isAdmin: Bool)] = [
            (["health"], false), (["check", user], false), (["status", user], false), (["explain", user], false),
            (["reset", user], true), (["grant", user, "--limit", "requests", "--amount", "1"], true),
            (["events"], true),
            (["bench", "--connections", "1", "--duration", "1", "--users", "1"], false),
        ]

        @Test("Every command that asks finds the sockets that the daemon's file names, by variable or by flag")
        func socketOfFile() throws {
            let folder = try TemporaryFolder()
            let (daemon, file) = try daemonOfFile(folder, "LLM_RATE_LIMIT_REQUESTS=no-number")
            for (arguments, _) in Self.askers {
                let byVariable = try ChildProcess(
                    Daemon.program, arguments, environment: ["LLM_RATE_LIMIT_ENV_FILE": file])
                let byFlag = try ChildProcess(
                    Daemon.program, arguments + ["--env-file", file],
                    environment: ["LLM_RATE_LIMIT_ENV_FILE": "/nonexistent"])
                for process in [byVariable, byFlag] {
                    let code = try process.wait()
                    // Without a limits file there is nothing to grant, and the daemon says so.
                    let isAnswered = code == 0 || process.errors.contains("the daemon answered")
                    #expect(isAnswered, "\(arguments): \(process.errors)")
                }
            }
            withExtendedLifetime(daemon) {}
        }

        @Test("Flag wins over variable, and variable over file")
        func precedence() throws {
            let folder = try TemporaryFolder()
            let (daemon, file) = try daemonOfFile(folder)
            let wrong = try folder.write("LLM_RATE_LIMIT_SOCKET=/nonexistent/of-file\n", to: "wrong.env")
            func health(_ arguments: [String], _ environment: [String: String]) throws -> (Int32, String) {
                let process = try ChildProcess(Daemon.program, ["health"] + arguments, environment: environment)
                return (try process.wait(), process.errors)
            }
            let socket = "LLM_RATE_LIMIT_SOCKET"
            let envFile = "LLM_RATE_LIMIT_ENV_FILE"
            #expect(try health([], [envFile: wrong]).1.contains("/nonexistent/of-file"))
            #expect(try health([], [envFile: wrong, socket: daemon.socketPath]).0 == 0)
            #expect(
                try health([], [envFile: file, socket: "/nonexistent/variable"]).1.contains("/nonexistent/variable"))
            let flags = ["--socket", daemon.socketPath]
            #expect(try health(flags, [envFile: wrong, socket: "/nonexistent/variable"]).0 == 0)
            #expect(try health([], [:]).1.contains("/run/llm-rate-limit/llm-rate-limit.sock"))
        }

        @Test("A file that cannot be used is said, with the flag that does without, and that does without")
        func brokenFile() throws {
            let folder = try TemporaryFolder()
            let (daemon, _) = try daemonOfFile(folder)
            let bad = try folder.write(
                "LLM_RATE_LIMIT_SOCKET=\(String(repeating: "x", count: 200))\nLLM_RATE_LIMIT_ADMIN_SOCKET=\n",
                to: "bad.env")
            for (file, socketReason, adminReason) in [
                ("/nonexistent/limit.env", "No such file or directory", "No such file or directory"),
                (bad, "paths of 1 to 107 bytes", "is empty, which switches it off"),
            ] {
                for (arguments, isAdmin) in Self.askers {
                    let environment = ["LLM_RATE_LIMIT_ENV_FILE": file]
                    let process = try ChildProcess(Daemon.program, arguments, environment: environment)
                    #expect(try process.wait() == 2 && process.output.isEmpty)
                    let reason = isAdmin ? adminReason : socketReason
                    #expect(process.errors.contains(reason), "\(arguments): \(process.errors)")
                    #expect(process.errors.contains(isAdmin ? "with --admin-socket" : "with --socket"))
                    let flag =
                        isAdmin
                        ? ["--admin-socket", daemon.adminSocketPath] : ["--socket", daemon.socketPath]
                    let named = try ChildProcess(Daemon.program, arguments + flag, environment: environment)
                    #expect(try named.wait() == 0 || named.errors.contains("the daemon answered"))
                }
            }
        }

        @Test("The help of each says where the socket is looked for")
        func helpOfSocket() throws {
            for (arguments, isAdmin) in Self.askers {
                let process = try ChildProcess(Daemon.program, [arguments[0], "--help"])
                #expect(try process.wait() == 0)
                let help = process.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
                #expect(help.contains("--env-file <path>") && help.contains("LLM_RATE_LIMIT_ENV_FILE"))
                #expect(help.contains("where serve would listen"))
                #expect(help.contains("LLM_RATE_LIMIT_ADMIN_SOCKET") == isAdmin)
            }
        }

        private func members(_ output: String) throws -> [String: Any] {
            try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
        }

        @Test("check exits 0 when allowed and 1 when denied, in words and as JSON")
        func check() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "2"])
            let user = newUser()
            let allowed = try run(["check", user], on: daemon)
            #expect(allowed.exitCode == 0 && allowed.output.hasPrefix("allowed: 1 of 2 requests remaining"))
            let json = try run(["check", user.uppercased(), "--json"], on: daemon)
            #expect(json.exitCode == 0)
            #expect(try members(json.output)["remaining"] as? Int == 0)
            let denied = try run(["check", user], on: daemon)
            #expect(denied.exitCode == 1 && denied.output.hasPrefix("denied: 0 of 2 requests remaining. Try again in "))
            let deniedJSON = try run(["check", user, "--json"], on: daemon)
            #expect(deniedJSON.exitCode == 1)
            #expect(try members(deniedJSON.output)["allowed"] as? Bool == false)
            let tooMuch = try run(["check", newUser(), "--cost", "3"], on: daemon)
            #expect(tooMuch.exitCode == 1 && tooMuch.output.contains("no wait helps"))
        }

        @Test("status looks and consumes nothing, and reset gives the quota back")
        func statusAndReset() throws {
            let daemon = try Daemon(redis: redis.url)
            let user = newUser()
            _ = try daemon.connect().check(user, cost: 7)
            for _ in 0..<2 {
                let status = try run(["status", user], on: daemon)
                #expect(status.exitCode == 0 && status.output.hasPrefix("7 of 20 requests used, 13 remaining"))
            }
            #expect(try members(run(["status", user, "--json"], on: daemon).output)["used"] as? Int == 7)
            let reset = try run(["reset", user, "--json"], on: daemon)
            #expect(reset.exitCode == 0)
            #expect(try members(reset.output)["reset"] as? Bool == true)
            #expect(try run(["status", user], on: daemon).output.hasPrefix("0 of 20 requests used"))
            // The check socket does not reset.
            let wrong = try run(["reset", user, "--admin-socket", daemon.socketPath], on: daemon)
            #expect(wrong.exitCode == 2 && wrong.errors.contains("admin socket"))
        }

        @Test("health tells a daemon that is well, one without Redis, and none")
        func health() throws {
            let daemon = try Daemon(redis: redis.url)
            let well = try run(["health"], on: daemon)
            #expect(well.exitCode == 0 && well.output.hasPrefix("ok"))
            #expect(try members(run(["health", "--json"], on: daemon).output)["status"] as? String == "ok")
            redis.end()
            #expect(
                try eventually(within: 10) { try run(["health", "--require-redis"], on: daemon).exitCode == 1 }
            )
            let degraded = try run(["health"], on: daemon)
            #expect(degraded.exitCode == 0 && degraded.output.hasPrefix("degraded"))
            #expect(try run(["status", newUser()], on: daemon).exitCode == 1)
            #expect(try run(["reset", newUser()], on: daemon).exitCode == 1)
            let allowed = try run(["check", newUser()], on: daemon)
            #expect(allowed.exitCode == 0 && allowed.output.contains("degraded"))
            #expect(try daemon.terminate() == 0)
            let none = try run(["health"], on: daemon)
            #expect(none.exitCode == 2 && none.errors.contains("is it running?") && none.output.isEmpty)
        }

        @Test(
            "Wrong usage and a missing daemon exit 2",
            arguments: [
                ["check", "me"], ["check"], ["check", "6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11", "--cost", "0"],
                ["status", "x"],
                ["check", "6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11", "--socket", "/nonexistent/socket"],
                ["reset", "6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11", "--admin-socket", "/nonexistent/socket"],
            ])
        func usage(arguments: [String]) throws {
            let result = try run(arguments)
            #expect(result.exitCode == 2 && result.output.isEmpty && !result.errors.isEmpty)
        }

        @Test("config shows what would be in force without serving, and version says the version")
        func config() throws {
            let shown = try run(["config", "--json", "--requests", "5"])
            #expect(shown.exitCode == 0)
            let options = try #require(try members(shown.output)["options"] as? [[String: Any]])
            let requests = options.first { $0["name"] as? String == "LLM_RATE_LIMIT_REQUESTS" }
            #expect(requests?["value"] as? String == "5")
            #expect(try run(["config", "--check"]).exitCode == 0)
            let version = try run(["version"])
            #expect(version.exitCode == 0 && version.output.contains("."))
        }

        @Test(
            "Without /proc, where no argument can be read, every command says so and exits 78",
            .enabled(if: geteuid() == 0, "only root can make a namespace for it"),
            arguments: ["--version", "serve", "config --check"])
        func withoutProc(arguments: String) throws {
            let hidden = "mount -t tmpfs none /proc && exec \(Daemon.program) \(arguments)"
            let process = try ChildProcess("/usr/bin/unshare", ["--mount", "/bin/sh", "-c", hidden])
            #expect(try process.wait() == 78)
            #expect(process.output.isEmpty && process.errors.contains("mount -t proc proc /proc"), "\(process.errors)")
        }
    }
}
