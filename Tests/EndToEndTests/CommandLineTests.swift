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
    }
}
