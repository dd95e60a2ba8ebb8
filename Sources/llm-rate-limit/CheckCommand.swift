import ArgumentParser

/// `check`: asks for a decision, which consumes quota when it is to allow.
struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Ask for a decision, and spend the cost if allowed.",
        usage: "llm-rate-limit check <user> [--cost <n>] [<options>]",
        discussion: """
            Exit code: 0 allowed, 1 denied, 2 error.

              llm-rate-limit check 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11
              llm-rate-limit check 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11 --cost 5 --json
            """)

    static let costs = 1...1_000_000

    @OptionGroup var user: UserArgument

    @Option(help: ArgumentHelp("What the request costs, 1 to 1000000.", valueName: "n"))
    var cost = 1

    @OptionGroup var daemon: DaemonConnection

    func validate() throws {
        guard Self.costs.contains(cost) else {
            throw ValidationError("cannot use --cost \(cost): accepted are whole numbers from 1 to 1000000")
        }
    }

    func run() async throws {
        let body = #"{"user":"\#(user.uuid)","cost":\#(cost)}"#
        let request = DaemonRequest(method: .post, uri: "/v1/check", body: body)
        try await daemon.report(request) { response throws(UnexpectedAnswer) in
            try Self.report(response, cost: cost)
        }.deliver()
    }

    /// Tells a decision in one line.
    static func report(_ response: DaemonResponse, cost: Int) throws(UnexpectedAnswer) -> CommandReport {
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(output: ["denied: \(problem.text)"], exitCode: .denied)
        }
        guard [200, 429].contains(response.status), let answer = response.decoded(CheckAnswer.self) else {
            throw UnexpectedAnswer()
        }
        guard answer.allowed else {
            return CommandReport(output: ["denied: \(denial(answer, cost: cost))"], exitCode: .denied)
        }
        return CommandReport(output: ["allowed: \(allowance(answer))"])
    }

    private static func denial(_ answer: CheckAnswer, cost: Int) -> String {
        if answer.retryAfter == nil, let limit = answer.limit, cost > limit {
            return "A cost of \(cost) is above the limit of \(limit), so waiting does not help."
        }
        return answer.message ?? answer.retryAfter.map { "Try again in \(durationText(seconds: $0))." } ?? "no reason"
    }

    private static func allowance(_ answer: CheckAnswer) -> String {
        var parts: [String] = []
        if answer.shadowDenied == true { parts.append("only because of shadow mode") }
        if let limit = answer.limit, let remaining = answer.remaining {
            parts.append("\(remaining) of \(limit) remaining")
            if let reset = answer.resetAfter, reset > 0 {
                parts.append("full again in \(durationText(seconds: reset))")
            }
        } else if answer.degraded == true {
            parts.append("not counted")
        } else {
            parts.append("no limit")
        }
        let degraded = answer.degraded == true ? " (degraded: \(answer.reason ?? "Redis cannot decide"))" : ""
        return parts.joined(separator: ", ") + degraded
    }
}
