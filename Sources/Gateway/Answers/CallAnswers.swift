import Glibc
import RateLimitCore
import RateLimitService

/// The answers about calls under the limits of the file.
extension Answer {
    /// What became of a call, as its operation has it.
    static func call(_ request: CallRequest, _ outcome: Outcome, isVerbose: Bool) -> Answer {
        let details = outcome.details ?? OutcomeDetails()
        switch request.operation {
        case .look: return outcome.degradedReason.map(unavailable) ?? usage(of: request.user, details)
        case .check, .reserve, .renew, .settle, .release, .usage:
            if let reason = outcome.degradedReason { return unavailable(reason) }
            switch (outcome.verdict, request.operation) {
            case (.unknownLease, _), (.tooLate, .release):
                return .problem(
                    .notFound, "There is no such lease, or not any more: it lapsed, or was settled or released.")
            default: return done(request, outcome.verdict, details, isVerbose: isVerbose)
            }
        }
    }

    private static func done(
        _ request: CallRequest, _ verdict: Outcome.Verdict, _ details: OutcomeDetails, isVerbose: Bool
    ) -> Answer {
        let isNew = verdict == .allowed
        var members =
            switch request.operation {
            case .renew: lease(details)
            case .release: ["\"released\":\(isNew)"]
            default:
                ["\"charged\":\(details.isCharged)"]
                    + (isNew ? [] : [verdict == .tooLate ? "\"too_late\":true" : "\"repeated\":true"])
            }
        // The lease is somebody else's, and so is what it held and came to.
        if let owner = request.operation.lease?.owner, owner != request.user {
            members.append("\"user\":\(jsonText(owner.text))")
        }
        members += uncounted(details) + warnings(details) + ignored(details)
        if isVerbose { members.append(limits(details)) }
        return .json("{\(members.joined(separator: ","))}")
    }

    private static func unavailable(_ reason: FailureReason) -> Answer {
        .problem(
            .serviceUnavailable,
            "Redis cannot be asked: \(reason.rawValue). Nothing is known to have been done; asking again does no harm where "
                + "the request has a lease or a request_id.",
            type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            headers: [("Retry-After", "1")]
        )
    }

    /// What the answer to a check or a reservation tells besides, each member behind a comma.
    static func detailMembers(_ details: OutcomeDetails, isVerbose: Bool) -> [UInt8] {
        var members =
            lease(details) + estimate(details) + uncounted(details) + warnings(details) + ignored(details)
        if isVerbose { members.append(limits(details)) }
        return Array(members.map { ",\($0)" }.joined().utf8)
    }

    private static func lease(_ details: OutcomeDetails) -> [String] {
        guard let lease = details.lease else { return [] }
        return ["\"lease\":\"\(lease.text)\"", "\"expires_in\":\(details.leaseMilliseconds / 1000)"]
    }

    /// What a reservation expects its call to come to, and why.
    private static func estimate(_ details: OutcomeDetails) -> [String] {
        guard let estimate = details.estimate else { return [] }
        var members: [String]
        switch estimate.source {
        case .given: members = ["\"source\":\"given\""]
        case .learnedFromUser: members = ["\"source\":\"learned\",\"learned_from\":\"user\""]
        case .learnedFromModel: members = ["\"source\":\"learned\",\"learned_from\":\"model\""]
        case .none: members = ["\"source\":\"none\""]
        }
        if let tokens = estimate.tokens {
            members += [
                "\"input_tokens\":\(tokens.input)", "\"output_tokens\":\(tokens.output)",
                "\"cache_read_input_tokens\":\(tokens.cacheRead)",
                "\"cache_write_input_tokens\":\(tokens.cacheWrite)",
            ]
        }
        if let cost = estimate.costMicros { members.append("\"cost_micros\":\(cost)") }
        return ["\"estimate\":{\(members.joined(separator: ","))}"]
    }

    /// What of the call no limit could count, and why.
    private static func uncounted(_ details: OutcomeDetails) -> [String] {
        let parts = details.uncounted.map { "{\"unit\":\"\($0.unit.text)\",\"reason\":\"\($0.reason.rawValue)\"}" }
        return parts.isEmpty ? [] : ["\"uncounted\":[\(parts.joined(separator: ","))]"]
    }

    private static func warnings(_ details: OutcomeDetails) -> [String] {
        let warnings = details.standings.compactMap { standing in
            standing.warningPerMille.map { share in
                let text = share == 1000 ? "1" : "0.\(String(1000 + share).dropFirst())"
                return "{\"limit_name\":\"\(standing.limit.name)\",\"share\":\(text)}"
            }
        }
        return warnings.isEmpty ? [] : ["\"warnings\":[\(warnings.joined(separator: ","))]"]
    }

    /// What the call said and was passed over, and why.
    private static func ignored(_ details: OutcomeDetails) -> [String] {
        let members = details.ignored.map { "{\"member\":\"\($0.name.rawValue)\",\"reason\":\(jsonText($0.reason))}" }
        return members.isEmpty ? [] : ["\"ignored\":[\(members.joined(separator: ","))]"]
    }

    private static func limits(_ details: OutcomeDetails) -> String {
        "\"limits\":[\(details.standings.map { "{\(members(of: $0).joined(separator: ","))}" }.joined(separator: ","))]"
    }

    /// How much a user has used of the limit of checks.
    static func status(of user: SubjectID, _ outcome: Outcome) -> Answer {
        if let reason = outcome.degradedReason { return unavailable(reason) }
        let requests = outcome.details?.standings.first { $0.limit.name == .requests }
        let state = outcome.details == nil ? outcome.binding : requests?.bindingState
        guard let state else {
            return .json(
                "{\"user\":\(jsonText(user.text)),\"limit\":null,\"used\":null,\"remaining\":null,\"reset_after\":0}")
        }
        return .json(
            "{\"user\":\(jsonText(user.text)),\"limit\":\(state.quota),\"used\":\(state.used),"
                + "\"remaining\":\(state.remaining),\"reset_after\":\(wholeSeconds(state.resetAfterMilliseconds))}"
        )
    }

    /// How much of each limit a user has used.
    private static func usage(of user: SubjectID, _ details: OutcomeDetails) -> Answer {
        .json("{\"user\":\(jsonText(user.text)),\(([limits(details)] + ignored(details)).joined(separator: ","))}")
    }

    /// How one limit stands.
    private static func members(of standing: LimitStanding) -> [String] {
        var rule = "\"rule\":\"\(standing.quota.rule.text)\""
        if case .group(let group) = standing.quota.rule { rule += ",\"rule_group_id\":\(jsonText(group.text))" }
        if let grant = standing.quota.grant { rule += ",\"grant\":{\(members(of: grant))}" }
        var subject = "\"per\":\"\(standing.limit.scope.rawValue)\""
        if case .group(let group) = standing.subject { subject += ",\"group_id\":\(jsonText(group.text))" }
        if let values = standing.values { subject += ",\"values\":\"\(values.text)\"" }
        let (period, start, end) = standing.periodTexts(at: time(nil))
        return [
            "\"name\":\"\(standing.limit.name)\"", subject, "\"unit\":\"\(standing.limit.unit.text)\"",
            "\"is_limited\":\(standing.quota.amount != nil)", "\"period\":\(period)",
            "\"limit\":\(standing.quota.amount.map(String.init) ?? "null")",
            "\"used\":\(standing.state.used)",
            "\"remaining\":\(standing.remaining.map(String.init) ?? "null")",
            "\"reset_after\":\(wholeSeconds(standing.state.resetAfterMilliseconds))",
            "\"period_start\":\(start)", "\"period_end\":\(end)", rule,
            "\"mode\":\"\(standing.limit.isShadow ? "shadow" : "enforce")\"",
            "\"denied\":\(standing.state.isDenied || standing.state.isShadowDenied && standing.limit.isShadow)",
        ]
    }
}

extension QuotaRule {
    fileprivate var text: String {
        switch self {
        case .override: "override"
        case .group: "group"
        case .default: "default"
        case .unlimited: "unlimited"
        }
    }
}

extension LimitStanding {
    /// What the period is called, and when it began and ends, as JSON; a sliding window ends now.
    fileprivate func periodTexts(at now: Int) -> (period: String, start: String, end: String) {
        func instant(_ seconds: Int) -> String { "\"\(rfc3339(milliseconds: seconds * 1000))\"" }
        switch limit.window {
        case nil: return ("null", "null", "null")
        case .sliding(let milliseconds):
            return ("\"sliding \(milliseconds / 1000)s\"", instant(now - milliseconds / 1000), instant(now))
        case .calendar(let kind, _):
            guard let period else { return ("\"\(kind.rawValue)\"", "null", "null") }
            return ("\"\(kind.rawValue)\"", instant(period.start), instant(period.nextStart))
        }
    }
}
