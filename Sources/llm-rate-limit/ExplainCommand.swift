import ArgumentParser

/// `explain`: why a user is or is not limited, limit by limit.
struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say why a user is or is not limited, limit by limit.",
        usage: "llm-rate-limit explain <user> [--group <uuid> ...] [<options>]",
        discussion: """
            Tells each limit that can meet the user, how much of it is used, and which rule \
            gave the quota: the user's override, a group's budget, or the default of the \
            limits file. It consumes nothing.

            Exit code: 0 when the daemon answered, 1 when it cannot know now, 2 error.

              llm-rate-limit explain 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11
            """)

    @OptionGroup var user: UserArgument

    @Option(
        help: ArgumentHelp(
            "A group of the user's, where LLM_RATE_LIMIT_GROUPS=given; may be repeated.", valueName: "uuid"),
        transform: { try UserArgument.canonical($0) })
    var group: [String] = []

    @OptionGroup var daemon: DaemonConnection

    func run() async throws {
        let query = group.map { "group=\($0)" }.joined(separator: "&")
        let uri = "/v1/users/\(user.uuid)/usage" + (query.isEmpty ? "" : "?\(query)")
        let request = DaemonRequest(method: .get, uri: uri)
        try await daemon.report(request) { response throws(UnexpectedAnswer) in
            try Self.report(response, user: user.uuid)
        }.deliver()
    }

    /// Tells the limits, a line each.
    static func report(_ response: DaemonResponse, user: String) throws(UnexpectedAnswer) -> CommandReport {
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(output: ["unknown: \(problem.text)"], exitCode: .denied)
        }
        guard response.status == 200, let answer = response.decoded(UsageAnswer.self) else { throw UnexpectedAnswer() }
        let full = answer.limits.filter { $0.isFull && $0.mode != "shadow" }
        let names = full.map(\.name).joined(separator: ", ")
        let head = full.isEmpty ? "\(user) is not limited now" : "\(user) is limited by \(names)"
        let width = answer.limits.map(\.name.count).max() ?? 0
        let lines = answer.limits.map { limit in
            "  \(limit.name)\(String(repeating: " ", count: width - limit.name.count))  \(limit.line)"
        }
        return CommandReport(output: [head] + lines)
    }
}

/// `GET /v1/users/<uuid>/usage`: the members that are told.
struct UsageAnswer: Decodable {
    struct Limit: Decodable {
        var name: String
        var per: String
        var groupId: String?
        var unit: String
        /// Nil where it is unlimited.
        var limit: Int?
        var used: Int
        var resetAfter: Int
        /// Nil for concurrency.
        var period: String?
        var rule: String
        var ruleGroupId: String?
        var mode: String
        /// What is granted on top of what the rule gives; nil where nothing is.
        var grant: GrantAnswer?
    }

    var limits: [Limit]
}

extension UsageAnswer.Limit {
    fileprivate var isFull: Bool { limit.map { used >= $0 } ?? false }

    /// How much of it is used, until when, and which rule says how much there is.
    fileprivate var line: String {
        let whose = per == "user" ? "" : (groupId.map { " of group \($0)" } ?? " of all users")
        let amounts = limit.map { "\(amount(used, isBare: true)) of \(amount($0)) used" } ?? "\(amount(used)) used"
        let span = period.map { $0.hasPrefix("sliding ") ? " in any \(spanText($0))" : " this \($0)" } ?? ""
        let end = used > 0 && resetAfter > 0 ? ", all free in \(durationText(seconds: resetAfter))" : ""
        let shadow = mode == "shadow" ? "; shadow: it denies nobody" : ""
        let grant = grant.map { ", raised by a grant of \(amount($0.amount)) until \($0.expiresAt ?? "")" } ?? ""
        return "\(amounts)\(whose)\(span)\(end); \(ruleText)\(grant)\(shadow)"
    }

    private var ruleText: String {
        switch rule {
        case "override": limit == 0 ? "blocked by the user's override" : "the quota is the user's override"
        case "group": "the quota is that of group \(ruleGroupId ?? "")"
        case "default": "the quota is the default: no override, and no group gives one"
        default: "unlimited: no override, no group and no default gives a quota"
        }
    }

    /// A number with its unit, unless it is to stand bare; micro-dollars as dollars, to the last digit that counts.
    private func amount(_ number: Int, isBare: Bool = false) -> String {
        guard unit == "spend" else {
            return isBare ? "\(number)" : "\(number) \(unit == "concurrency" ? "calls" : unit)"
        }
        var cents = String(number % 1_000_000 + 1_000_000).dropFirst()
        while cents.count > 2, cents.hasSuffix("0") { cents = cents.dropLast() }
        return "$\(number / 1_000_000).\(cents)"
    }

    private func spanText(_ period: String) -> String {
        durationText(seconds: Int(period.dropFirst("sliding ".count).dropLast()) ?? 0)
    }
}
