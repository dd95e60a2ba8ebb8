import ArgumentParser
import LLMRateLimitClient

/// `status`: looks at a user's window and consumes nothing.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show how many requests a user has used, and consume nothing.",
        usage: "llm-rate-limit status <user> [<options>]",
        discussion: """
            Exit code: 0 when the daemon answered, 1 when it cannot know now, 2 error.

              llm-rate-limit status 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11
            """)

    @OptionGroup var user: UserArgument
    @OptionGroup var daemon: DaemonConnection

    func run() async throws {
        let request = DaemonRequest(method: .get, uri: "/v1/users/\(user.id.urlText)")
        try await daemon.report(request) { response throws(UnexpectedAnswer) in try Self.report(response) }.deliver()
    }

    /// Tells how the limit of requests stands.
    static func report(_ response: DaemonResponse) throws(UnexpectedAnswer) -> CommandReport {
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(wrapping: "unknown: \(problem.text)", exitCode: .denied)
        }
        guard response.status == 200, let answer = response.decoded(StatusAnswer.self) else { throw UnexpectedAnswer() }
        let reset = answer.resetAfter > 0 ? ", full again in \(durationText(seconds: answer.resetAfter))" : ""
        guard let limit = answer.limit, let used = answer.used, let remaining = answer.remaining else {
            return CommandReport(
                wrapping: "The limit of requests is off; explain tells of others, where there are any.")
        }
        let amounts = LimitText.requests.text(of: used, outOf: limit)
        return CommandReport(wrapping: "\(amounts) used, \(remaining) remaining\(reset)")
    }
}
