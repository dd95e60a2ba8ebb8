import Glibc
import RateLimitCore
import RateLimitService

/// The answers about calls under the limits of the file.
extension Answer {
    /// What became of a call, as its operation has it.
    static func call(_ request: CallRequest, _ outcome: CallOutcome, isVerbose: Bool) -> Answer {
        switch request.operation {
        case .check, .reserve: return decision(outcome, isVerbose: isVerbose)
        case .look: return outcome.degradedReason.map(unavailable) ?? usage(of: request.user, outcome)
        case .renew, .settle, .release, .usage:
            if let reason = outcome.degradedReason { return unavailable(reason) }
            switch outcome.verdict {
            case .unknownLease:
                return .problem(
                    .notFound, "There is no such lease, or not any more: it lapsed, or was settled or released.")
            default: return done(request, outcome, isVerbose: isVerbose)
            }
        }
    }

    private static func done(_ request: CallRequest, _ outcome: CallOutcome, isVerbose: Bool) -> Answer {
        let isNew = outcome.verdict == .allowed
        var members =
            switch request.operation {
            case .renew: lease(outcome)
            case .release: ["\"released\":\(isNew)"]
            default: ["\"charged\":\(outcome.isCharged)"] + (isNew ? [] : ["\"repeated\":true"])
            }
        // The lease is somebody else's, and so is what it held and came to.
        if let owner = request.operation.lease?.owner, owner != request.user {
            members.append("\"user\":\(jsonText(owner.text))")
        }
        members += uncounted(outcome) + warnings(outcome) + ignored(outcome)
        if isVerbose { members.append(limits(outcome)) }
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

    /// Whether a call may go on.
    static func decision(_ outcome: CallOutcome, isVerbose: Bool) -> Answer {
        if outcome.verdict == .refused { return .closed(reason: outcome.degradedReason?.rawValue ?? "") }
        let foremost = outcome.foremost.map { outcome.standings[$0] }
        var retryAfter: Int? = 0
        var isAtCapacity = false
        switch outcome.verdict {
        case .denied(let milliseconds): retryAfter = max(1, wholeSeconds(milliseconds))
        case .atCapacity(let milliseconds):
            retryAfter = max(1, wholeSeconds(milliseconds))
            isAtCapacity = true
        case .deniedForGood, .unknownModel: retryAfter = nil
        case .allowed, .refused, .unknownLease, .repeated: break
        }
        let isAllowed = outcome.verdict == .allowed || outcome.verdict == .repeated
        var members = ["\"allowed\":\(isAllowed)"]
        if isAtCapacity { members.append("\"at_capacity\":true") }
        members += [
            "\"limit_name\":\(foremost.map { "\"\($0.limit.name)\"" } ?? "null")",
            "\"limit\":\(foremost?.quota.amount.map(String.init) ?? "null")",
            "\"remaining\":\(foremost?.remaining.map(String.init) ?? "null")",
            "\"retry_after\":\(retryAfter.map(String.init) ?? "null")",
        ]
        // Where leases hold what is asked for the wait is a forecast, and this is certain.
        if let most = outcome.retryAfterAtMostMilliseconds, let retryAfter, wholeSeconds(most) > retryAfter {
            members.append("\"retry_after_at_most\":\(wholeSeconds(most))")
        }
        members += [
            "\"reset_after\":\(foremost.map { "\(wholeSeconds($0.state.resetAfterMilliseconds))" } ?? "null")"
        ]
        if let reason = outcome.degradedReason {
            members.append("\"degraded\":true,\"reason\":\"\(reason.rawValue)\"")
        } else {
            members.append("\"degraded\":false")
        }
        if outcome.isShadowDenied { members.append("\"shadow_denied\":true") }
        members += lease(outcome) + estimate(outcome) + uncounted(outcome) + warnings(outcome) + ignored(outcome)
        if isVerbose { members.append(limits(outcome)) }
        if !isAllowed { members.append("\"message\":\(jsonText(message(outcome, foremost, retryAfter)))") }
        var answer = Answer.json(
            "{\(members.joined(separator: ","))}",
            status: isAllowed ? .ok : (isAtCapacity ? .serviceUnavailable : .tooManyRequests))
        let wait = isAllowed ? nil : retryAfter
        answer.headers = RateLimitFields.headers(of: outcome, isDenied: !isAllowed, wait: wait)
        if let wait { answer.headers.append(("Retry-After", "\(wait)")) }
        return answer
    }

    private static func message(_ outcome: CallOutcome, _ foremost: LimitStanding?, _ retryAfter: Int?) -> String {
        if outcome.verdict == .unknownModel { return "The model has no price, and calls of unknown models are denied." }
        guard let retryAfter else {
            let quota = foremost.map { $0.limit.unit.text(of: $0.quota.amount ?? 0) } ?? "0"
            return "The cost is above the quota of \(quota) of \(foremost?.limit.name.text ?? "limit")."
        }
        return "Try again in \(waitText(seconds: retryAfter))."
    }

    private static func lease(_ outcome: CallOutcome) -> [String] {
        guard let lease = outcome.lease else { return [] }
        return ["\"lease\":\"\(lease.text)\"", "\"expires_in\":\(outcome.leaseMilliseconds / 1000)"]
    }

    /// What a reservation expects its call to come to, and why.
    private static func estimate(_ outcome: CallOutcome) -> [String] {
        guard let estimate = outcome.estimate else { return [] }
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
    private static func uncounted(_ outcome: CallOutcome) -> [String] {
        let parts = outcome.uncounted.map { "{\"unit\":\"\($0.unit.text)\",\"reason\":\"\($0.reason.rawValue)\"}" }
        return parts.isEmpty ? [] : ["\"uncounted\":[\(parts.joined(separator: ","))]"]
    }

    private static func warnings(_ outcome: CallOutcome) -> [String] {
        let warnings = outcome.standings.compactMap { standing in
            standing.warningPerMille.map { share in
                let text = share == 1000 ? "1" : "0.\(String(1000 + share).dropFirst())"
                return "{\"limit_name\":\"\(standing.limit.name)\",\"share\":\(text)}"
            }
        }
        return warnings.isEmpty ? [] : ["\"warnings\":[\(warnings.joined(separator: ","))]"]
    }

    /// What the call said and was passed over, and why.
    private static func ignored(_ outcome: CallOutcome) -> [String] {
        let members = outcome.ignored.map { "{\"member\":\"\($0.name.rawValue)\",\"reason\":\(jsonText($0.reason))}" }
        return members.isEmpty ? [] : ["\"ignored\":[\(members.joined(separator: ","))]"]
    }

    private static func limits(_ outcome: CallOutcome) -> String {
        "\"limits\":[\(outcome.standings.map { "{\(members(of: $0).joined(separator: ","))}" }.joined(separator: ","))]"
    }

    /// How much a user has used of the limit of checks.
    static func status(of user: UserID, _ outcome: CallOutcome) -> Answer {
        if let reason = outcome.degradedReason { return unavailable(reason) }
        guard let standing = outcome.standings.first(where: { $0.limit.name == .requests }),
            let quota = standing.quota.amount
        else {
            return .statusWithoutLimit(of: user)
        }
        return .status(
            of: user,
            Decision(
                verdict: .allowed, quota: quota, used: standing.state.used,
                resetAfterMilliseconds: standing.state.resetAfterMilliseconds))
    }

    /// How much of each limit a user has used.
    private static func usage(of user: UserID, _ outcome: CallOutcome) -> Answer {
        .json("{\"user\":\(jsonText(user.text)),\(([limits(outcome)] + ignored(outcome)).joined(separator: ","))}")
    }

    /// How one limit stands.
    private static func members(of standing: LimitStanding) -> [String] {
        var rule = "\"rule\":\"\(standing.quota.rule.text)\""
        if case .group(let group) = standing.quota.rule { rule += ",\"rule_group_id\":\(jsonText(group.text))" }
        if let grant = standing.quota.grant { rule += ",\"grant\":{\(members(of: grant))}" }
        var subject = "\"per\":\"\(standing.limit.scope.rawValue)\""
        if case .group(let group) = standing.subject { subject += ",\"group_id\":\(jsonText(group.text))" }
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
