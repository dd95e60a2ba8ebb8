import ArgumentParser
import DaemonConfiguration

/// `reset`: gives a user the full quota back, over the admin socket.
struct ResetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset",
        abstract: "Give a user the full quota back.",
        discussion: """
            Uses the daemon's admin socket, which only the daemon's own user may open. \
            Exit code: 0 done, 1 not possible now, 2 error.

              llm-rate-limit reset 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11
            """)

    static let defaultSocket = Settings().adminSocketPath ?? ""

    @OptionGroup var user: UserArgument

    @Option(
        help: ArgumentHelp(
            "The admin socket. (default: LLM_RATE_LIMIT_ADMIN_SOCKET, else \(defaultSocket))", valueName: "path"))
    var adminSocket: String?

    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        let path = adminSocket ?? processEnvironment()[OptionName.adminSocket.variable] ?? Self.defaultSocket
        let request = DaemonRequest(method: .delete, uri: "/v1/users/\(user.uuid)")
        let report = await DaemonClient(socketPath: path).report(request, json: json) {
            response throws(UnexpectedAnswer) in
            try Self.report(response, user: user.uuid, json: json)
        }
        try report.deliver()
    }

    /// Tells that it is done; the daemon's answer to that has no body, so the JSON is this command's own.
    static func report(
        _ response: DaemonResponse, user: String, json: Bool
    ) throws(UnexpectedAnswer) -> CommandReport {
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(output: ["not reset: \(problem.text)"], exitCode: .denied)
        }
        guard response.status == 204 else { throw UnexpectedAnswer() }
        return CommandReport(output: [json ? #"{"user":"\#(user)","reset":true}"# : "reset: \(user)"])
    }
}
