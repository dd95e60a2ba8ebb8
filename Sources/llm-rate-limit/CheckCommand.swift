import ArgumentParser
import LLMRateLimitClient
import RateLimitCore

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
        let body = #"{"user":\#(user.id.jsonText),"cost":\#(cost)}"#
        // A verbose answer tells the unit of the limit that it names; `--json` prints the plain one.
        let uri = daemon.json ? "/v1/check" : "/v1/check?verbose=1"
        let request = DaemonRequest(method: .post, uri: uri, body: body)
        try await daemon.report(request) { response throws(UnexpectedAnswer) in
            try Self.report(response, cost: cost)
        }.deliver()
    }

    /// Tells a decision, and how the limit stands that decided or of which the least share is left.
    static func report(_ response: DaemonResponse, cost: Int) throws(UnexpectedAnswer) -> CommandReport {
        // 503 is capacity or the failure mode: a decision in the first case, a problem in the second.
        if [200, 429, 503].contains(response.status), let answer = response.decoded(CheckAnswer.self) {
            guard !answer.allowed else { return CommandReport(wrapping: "allowed: \(allowance(answer))") }
            return CommandReport(wrapping: "denied: \(denial(answer, cost: cost))", exitCode: .denied)
        }
        guard response.status == 503, let problem = response.decoded(ProblemAnswer.self) else {
            throw UnexpectedAnswer()
        }
        return CommandReport(wrapping: "denied: \(problem.text)", exitCode: .denied)
    }

    private static func denial(_ answer: CheckAnswer, cost: Int) -> String {
        let text = answer.limitText
        guard let limit = answer.limit, let remaining = answer.remaining else { return answer.message ?? "no reason" }
        if let wait = answer.retryAfter {
            let amounts = "\(text.text(of: remaining, outOf: limit)) remaining\(text.owner)"
            return "\(text.start)\(amounts). Try again in \(durationText(seconds: wait))."
        }
        if limit > 0, text.unit == .requests || text.unit == nil {
            return "\(text.start)A cost of \(cost) is above the limit of \(text.text(of: limit)): no wait helps."
        }
        return "\(text.start)The quota\(text.owner) is \(text.text(of: limit)): no wait helps."
    }

    private static func allowance(_ answer: CheckAnswer) -> String {
        var parts: [String] = []
        if answer.shadowDenied == true { parts.append("only because of shadow mode") }
        if let limit = answer.limit, let remaining = answer.remaining {
            let text = answer.limitText
            parts.append("\(text.start)\(text.text(of: remaining, outOf: limit)) remaining\(text.owner)")
            if let reset = answer.resetAfter, reset > 0 {
                parts.append("full again in \(durationText(seconds: reset))")
            }
        } else if answer.degraded == true {
            parts.append("not counted")
        } else {
            parts.append("no limit")
        }
        if let over = answer.over, !over.isEmpty {
            parts.append("above the soft line of \(over.map { printable($0) }.joined(separator: " and "))")
        }
        let degraded = answer.degraded == true ? " (degraded: \(answer.reason ?? "Redis cannot decide"))" : ""
        return parts.joined(separator: ", ") + degraded
    }
}

extension CheckAnswer {
    /// The limit that the numbers are of. Of a limit of groups there may be several: the one with these numbers.
    fileprivate var limitText: LimitText {
        // Without a list of limits that is the one of checks, of requests.
        guard let limitName, limits != nil || limitName != LimitName.requests.text else { return .requests }
        let named = (limits ?? []).filter { $0.name == limitName }
        let exact = named.first { (one: UsageAnswer.Limit) in one.limit == limit && one.remaining == remaining }
        return (exact ?? named.first)?.text ?? LimitText(name: limitName)
    }
}
