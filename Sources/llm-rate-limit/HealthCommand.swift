import ArgumentParser
import LLMRateLimitClient

/// `health`: for probes that can run a command but not speak to a Unix socket.
struct HealthCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health",
        abstract: "Ask whether the daemon serves.",
        usage: "llm-rate-limit health [--require-redis] [<options>]",
        discussion: """
            A daemon without Redis still serves, degraded, so that a restart would not \
            help: it counts as healthy unless --require-redis is given. One that has \
            been told to stop counts as unhealthy. \
            Exit code: 0 healthy, 1 unhealthy, 2 error.

              llm-rate-limit health
              llm-rate-limit health --require-redis --json
            """)

    @Flag(help: "Count a daemon for which Redis does not decide as unhealthy: away, or refusing.")
    var requireRedis = false

    @OptionGroup var daemon: DaemonConnection

    func run() async throws {
        let request = DaemonRequest(method: .get, uri: "/healthz")
        try await daemon.report(request) { response throws(UnexpectedAnswer) in
            try Self.report(response, requireRedis: requireRedis)
        }.deliver()
    }

    /// Tells the health in one line, and below it what of the configuration is not in force.
    static func report(_ response: DaemonResponse, requireRedis: Bool) throws(UnexpectedAnswer) -> CommandReport {
        guard let answer = response.decoded(HealthAnswer.self) else { throw UnexpectedAnswer() }
        let program = answer.version.map { " (llm-rate-limit \($0))" } ?? ""
        let stale = (answer.configuration?.problems ?? []).flatMap { problem in
            wrapped("The \(problem.part) as last read are not in force: \(problem.problem)", indentation: 2)
        }
        switch answer.status {
        case "ok":
            return CommandReport(output: ["ok\(program)"] + stale)
        case "degraded":
            let why = answer.redis?.detail.map { ": \($0)" } ?? ""
            let line = "degraded: it serves, but Redis cannot decide\(why)\(program)"
            return CommandReport(output: [line] + stale, exitCode: requireRedis ? .denied : .success)
        default:
            return CommandReport(output: ["\(answer.status)\(program)"] + stale, exitCode: .denied)
        }
    }
}
