import ArgumentParser
import LLMRateLimitClient
import RateLimitCore

/// `explain`: why a user is or is not limited, limit by limit.
struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say why a user is or is not limited, limit by limit.",
        usage: """
            llm-rate-limit explain <user> [--group <group> ...] [<options>]
            llm-rate-limit explain <user> --call '{…}' [--reserve] [<options>]
            """,
        discussion: """
            Tells each limit that can meet the user, how much of it is used, and which rule \
            gave the quota: the user's override, a group's budget, or the default of the \
            limits file. It consumes nothing.

            Limits that have a window for each model, provider or label are told of the \
            values that are named.

            With --call it says whether that call would pass, and of each limit that does not \
            apply to it which condition it misses.

            Exit code: 0 when the daemon answered, or the call would pass; 1 when it cannot know \
            now, or the call would be denied; 2 error.

              llm-rate-limit explain 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11
              llm-rate-limit explain 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11 \
                --call '{"model":"gpt-4o","input_tokens":1200}'
            """)

    @OptionGroup var user: UserArgument

    @Option(
        help: ArgumentHelp(
            "A group of the user's, where LLM_RATE_LIMIT_GROUPS=given; may be repeated.", valueName: "group"),
        transform: { try UserArgument.read($0) })
    var group: [SubjectID] = []

    @Option(help: ArgumentHelp("The model whose windows are told.", valueName: "model"))
    var model: String?

    @Option(help: ArgumentHelp("The provider whose windows are told.", valueName: "provider"))
    var provider: String?

    @Option(
        help: ArgumentHelp("A label whose windows are told; may be repeated.", valueName: "name=value"),
        transform: { try Label($0) })
    var label: [Label] = []

    @Option(
        help: ArgumentHelp(
            "What a call says its quota of a limit with quota_from_call is; may be repeated.", valueName: "limit=amount"
        ),
        transform: { try Label($0) })
    var quota: [Label] = []

    @Option(help: ArgumentHelp("A call, as the body of a check: whether it would pass is told.", valueName: "json"))
    var call: String?

    @Flag(help: "The call is one that reserves.")
    var reserve = false

    @OptionGroup var daemon: DaemonConnection

    /// A label and its value, or a limit and its quota, as the command line has them.
    struct Label {
        var name: String
        var value: String

        init(_ text: String) throws(ValidationError) {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty else { throw ValidationError("accepted is <name>=<value>") }
            (name, value) = (parts[0], parts[1])
        }
    }

    /// What is asked of the daemon.
    var uri: String {
        var query = group.map { "group=\($0.urlText)" }
        if let model { query.append("model=\(queryText(model))") }
        if let provider { query.append("provider=\(queryText(provider))") }
        query += quota.map { "quota.\(queryText($0.name))=\(queryText($0.value))" }
        query += label.map { "label.\(queryText($0.name))=\(queryText($0.value))" }
        return "/v1/users/\(user.id.urlText)/usage" + (query.isEmpty ? "" : "?\(query.joined(separator: "&"))")
    }

    func validate() throws {
        let others = !group.isEmpty || model != nil || provider != nil || !label.isEmpty || !quota.isEmpty
        if call != nil, others {
            throw ValidationError(
                "cannot use --group, --model, --provider, --label or --quota with --call: say them in the call")
        }
        if reserve, call == nil { throw ValidationError("cannot use --reserve without --call") }
        _ = try tried()
    }

    /// The call that is asked about; nil where none is.
    func tried() throws(ValidationError) -> TriedCall? {
        guard let call else { return nil }
        return try TriedCall(call, of: user.id, reserves: reserve)
    }

    func run() async throws {
        if let tried = try tried() {
            let request = DaemonRequest(method: .post, uri: tried.uri, body: tried.body)
            return try await daemon.report(request) { response throws(UnexpectedAnswer) in
                try Self.report(trial: response, user: printable(user.id.text))
            }.deliver()
        }
        let request = DaemonRequest(method: .get, uri: uri)
        try await daemon.report(request) { response throws(UnexpectedAnswer) in
            try Self.report(response, user: printable(user.id.text))
        }.deliver()
    }

    /// Tells the limits, each beginning on a line of its own.
    static func report(_ response: DaemonResponse, user: String) throws(UnexpectedAnswer) -> CommandReport {
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(wrapping: "unknown: \(problem.text)", exitCode: .denied)
        }
        guard response.status == 200, let answer = response.decoded(UsageAnswer.self) else { throw UnexpectedAnswer() }
        let full = answer.limits.filter { $0.isFull && $0.mode == "enforce" }
        let names = full.map(\.name).joined(separator: ", ")
        let head = full.isEmpty ? "\(user) is not limited now" : "\(user) is limited by \(names)"
        return CommandReport(
            output: wrapped(head, indentation: 2) + table(answer.limits.map { ($0.name, $0.line) }))
    }

    /// Tells whether a call would pass: first that, then each limit that it is under, then each other one.
    static func report(trial response: DaemonResponse, user: String) throws(UnexpectedAnswer) -> CommandReport {
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(wrapping: "\(user) would be denied: \(problem.text)", exitCode: .denied)
        }
        guard [200, 429, 503].contains(response.status), let answer = response.decoded(CheckAnswer.self) else {
            throw UnexpectedAnswer()
        }
        let passed = (answer.passedOver ?? []).map { candidate in
            let limit = candidate.limitName.map { " by \($0)" } ?? ""
            return (
                name: "candidate \(candidate.index)",
                text: "\(candidate.name) is passed over\(limit): \(candidate.reason ?? "")"
            )
        }
        let met = (answer.limits ?? []).map { (name: $0.name, text: "\($0.trialText): \($0.line)") }
        let unmet = (answer.notApplied ?? []).map { ($0.limitName, "does not apply: \(printable($0.reason))") }
        return CommandReport(
            output: wrapped("\(user) \(answer.trialText)", indentation: 2) + table(passed) + table(met + unmet),
            exitCode: answer.allowed ? .success : .denied)
    }

    /// Texts about limits, each beginning on a line of its own.
    private static func table(_ rows: [(name: String, text: String)]) -> [String] {
        let width = rows.map(\.name.count).max() ?? 0
        // Names may be as long as a line: what follows one then begins further left.
        let indentation = width <= 24 ? width + 4 : 6
        return rows.flatMap { name, text in
            let start = "  \(name)\(String(repeating: " ", count: width - name.count))  "
            return wrapped(text, after: start, indentation: indentation)
        }
    }
}

extension CheckAnswer {
    /// What would become of a call.
    fileprivate var trialText: String {
        let candidate = candidate.map { ": candidate \($0.index), \($0.name)" } ?? ""
        return decisionText + (allowed ? candidate : "")
    }

    private var decisionText: String {
        if degraded == true {
            let outcome = allowed ? "let it pass" : "deny it"
            return "cannot be decided now (\(reason ?? "Redis cannot decide")): the failure mode would \(outcome)"
        }
        guard !allowed else {
            return shadowDenied == true ? "would pass only because of shadow mode" : "would pass"
        }
        let limit = limitName.map { " by \($0)" } ?? ""
        let start = atCapacity == true ? "would find no slot free\(limit)" : "would be denied\(limit)"
        guard retryAfter == nil else { return "\(start), and pass in \(durationText(seconds: retryAfter ?? 0))" }
        return "\(start): \(message ?? "no wait helps")"
    }
}

extension CandidateAnswer {
    /// Its model and provider, as far as it names them.
    fileprivate var name: String { [model, provider].compactMap { $0.map(printable) }.joined(separator: " of ") }
}

extension UsageAnswer.Limit {
    fileprivate var isFull: Bool { limit.map { used >= $0 } ?? false }

    /// What is said of it in its own unit.
    var text: LimitText {
        let owner = per == "user" ? "" : (groupId.map { " of group \(printable($0))" } ?? " of all users")
        let window = values.map { " with \(printable($0))" } ?? ""
        return LimitText(name: name, unit: LimitUnit(unit), owner: owner + window)
    }

    /// What it says of a call.
    fileprivate var trialText: String {
        guard denied == true else { return "passes" }
        return mode == "shadow" ? "would deny" : "denies"
    }

    /// How much of it is used, until when, and which rule says how much there is.
    fileprivate var line: String {
        let text = text
        let amounts = limit.map { text.text(of: used, outOf: $0) } ?? text.text(of: used)
        let span = period.map(spanText) ?? ""
        let end = used > 0 && resetAfter > 0 ? ", all free in \(durationText(seconds: resetAfter))" : ""
        let soft = softLimit.map { ", soft from \(text.text(of: $0)) on" } ?? ""
        let over = over == true ? "; it is over" : ""
        let mode = mode == "enforce" ? "" : "; \(mode): it denies nobody"
        let grant = grant.map { grant in
            ", raised by a grant of \(text.text(of: grant.amount)) until \(instantText(grant.expiresAt ?? ""))"
        }
        return "\(amounts) used\(text.owner)\(span)\(weighing)\(end); \(ruleText)\(grant ?? "")\(soft)\(mode)\(over)"
    }

    /// What tokens weigh in it, the kinds before the parts.
    private var weighing: String {
        guard let weights, !weights.isEmpty else { return "" }
        let order = TokenKind.allCases.map(\.rawValue) + TokenPart.allCases.map(\.rawValue)
        let told = order.compactMap { name in
            weights[name].map { "\(name) \(shareText(perMille: Int(($0 * 1000).rounded())))" }
        }
        return ", weighed \(told.joined(separator: ", "))"
    }

    private var ruleText: String {
        switch rule {
        case "override": limit == 0 ? "blocked by the user's override" : "the quota is the user's override"
        case "group": "the quota is that of group \(printable(ruleGroupId ?? ""))"
        case "call": "the quota is the one that was named, in place of the default"
        case "default": "the quota is the default: no override, and no group gives one"
        default: "unlimited: no override, no group and no default gives a quota"
        }
    }

    /// Of what it is used: `sliding 3600s` is any hour, `lifetime 3600s` all since it began, and a calendar's period this one.
    private func spanText(_ period: String) -> String {
        let words = period.split(separator: " ")
        guard words.count == 2, let length = Int(words[1].dropLast()) else { return " this \(period)" }
        let duration = durationText(seconds: length)
        return words[0] == "lifetime" ? ", until nothing is used for \(duration)" : " in any \(duration)"
    }
}
