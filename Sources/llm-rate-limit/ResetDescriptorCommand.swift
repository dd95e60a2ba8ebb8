import ArgumentParser
import LLMRateLimitClient

/// `reset-descriptor`: begins the window of a descriptor anew, over the admin socket.
struct ResetDescriptorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset-descriptor",
        abstract: "Give a descriptor of Envoy's rate limit service its quota back.",
        usage: "llm-rate-limit reset-descriptor <domain> <key>=<value> ... [<options>]",
        discussion: """
            The entries are those of one descriptor, in the proxy's order. Uses the \
            daemon's admin socket, which only the daemon's own user may open. \
            Exit code: 0 done, 1 not possible now, 2 error.

              llm-rate-limit reset-descriptor edge tenant=acme path=/v1
            """)

    @Argument(help: ArgumentHelp("The domain.", valueName: "domain"))
    var domain: String

    @Argument(
        help: ArgumentHelp("An entry; up to the first = is the key.", valueName: "key=value"),
        transform: { try Entry($0) })
    var entries: [Entry]

    @OptionGroup var daemon: AdminConnection

    /// One key with its value.
    struct Entry: Equatable {
        var key: Substring
        var value: Substring

        init(_ text: String) throws(ValidationError) {
            guard let mark = text.firstIndex(of: "="), mark != text.startIndex else {
                throw ValidationError("accepted are <key>=<value>, such as tenant=acme")
            }
            key = text[..<mark]
            value = text[text.index(after: mark)...]
        }
    }

    func run() async throws {
        try await daemon.report(DaemonRequest(method: .delete, uri: uri)) { response throws(UnexpectedAnswer) in
            try report(response)
        }.deliver()
    }

    /// What is asked of the daemon.
    var uri: String {
        let pairs = entries.map { "&key=\(queryText(String($0.key)))&value=\(queryText(String($0.value)))" }
        return "/v1/descriptors?domain=\(queryText(domain))" + pairs.joined()
    }

    /// Tells that it is done; the daemon's answer to that has no body, so the JSON is this command's own.
    func report(_ response: DaemonResponse) throws(UnexpectedAnswer) -> CommandReport {
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(wrapping: "not reset: \(problem.text)", exitCode: .denied)
        }
        guard response.status == 204 else { throw UnexpectedAnswer() }
        let text = entries.map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
        return CommandReport(output: [daemon.json ? #"{"reset":true}"# : "reset: \(printable("\(domain): \(text)"))"])
    }
}
