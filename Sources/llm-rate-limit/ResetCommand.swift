import ArgumentParser
import LLMRateLimitClient
import RateLimitCore

/// `reset`: gives a user the full quota back, of one limit or of all, over the admin socket.
struct ResetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset",
        abstract: "Give a user the full quota back.",
        usage: "llm-rate-limit reset <user> [--limit <name>] [<options>]",
        discussion: """
            Uses the daemon's admin socket, which only the daemon's own user may open. \
            Exit code: 0 done, 1 not possible now, 2 error.

              llm-rate-limit reset 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11
              llm-rate-limit reset 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11 --limit spend
            """)

    @OptionGroup var user: UserArgument

    @Option(
        help: ArgumentHelp("The one limit to reset; without, all limits of the user's own.", valueName: "name"),
        transform: { try Self.limitName($0) })
    var limit: String?

    @OptionGroup var daemon: AdminConnection

    func run() async throws {
        let request = DaemonRequest(
            method: .delete, uri: "/v1/users/\(user.id.urlText)" + (limit.map { "?limit=\($0)" } ?? ""))
        try await daemon.report(request) { response throws(UnexpectedAnswer) in
            try Self.report(response, user: user.id, limit: limit, json: daemon.json)
        }.deliver()
    }

    /// Tells that it is done; the daemon's answer to that has no body, so the JSON is this command's own.
    static func report(
        _ response: DaemonResponse, user: SubjectID, limit: String? = nil, json: Bool
    ) throws(UnexpectedAnswer) -> CommandReport {
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(wrapping: "not reset: \(problem.text)", exitCode: .denied)
        }
        guard response.status == 204 else { throw UnexpectedAnswer() }
        guard let limit else {
            return CommandReport(output: [
                json ? #"{"user":\#(printable(user.jsonText)),"reset":true}"# : "reset: \(printable(user.text))"
            ])
        }
        return CommandReport(
            output: [
                json
                    ? #"{"user":\#(printable(user.jsonText)),"limit":"\#(limit)","reset":true}"#
                    : "reset: \(limit) of \(printable(user.text))"
            ])
    }

    private static func limitName(_ text: String) throws(ValidationError) -> String {
        guard let name = LimitName(text) else {
            throw ValidationError(
                "accepted are names of limits: 1 to 64 of a-z, 0-9, -, _ and ., beginning with a letter or digit")
        }
        return name.text
    }
}
