import Glibc
import RateLimitCore
import RateLimitService

/// What the outcome of a request is told as.
enum AnswerTopic: Hashable {
    /// Whether a call may go on: the answer to a check or a reservation.
    case decision(isVerbose: Bool)
    /// The same, to a gateway that reads the status and the headers.
    case authorization(DenialForm)
    /// What became of a call that was reserved, or made.
    ///
    /// - Parameter owner: whose lease it is, where it is not of the user who is named.
    case done(Deed, owner: SubjectID?, isVerbose: Bool)
    /// How each limit of a user stands.
    case usage(of: SubjectID)
    /// How the limit of checks of a user stands.
    case status(of: SubjectID)

    /// What is done besides deciding.
    enum Deed: Hashable {
        case charged
        case refunded
        case released
        case renewed
    }

    /// The one of a call's route.
    init(_ call: RoutedCall) {
        let request = call.request
        func done(_ deed: Deed) -> AnswerTopic {
            // The lease is somebody else's, and so is what it held and came to.
            let owner = request.operation.lease?.owner
            return .done(deed, owner: owner == request.user ? nil : owner, isVerbose: call.isVerbose)
        }
        switch request.operation {
        case .check, .checkOnce, .reserve: self = .decision(isVerbose: call.isVerbose)
        case .settle, .usage: self = done(.charged)
        case .refund: self = done(.refunded)
        case .release: self = done(.released)
        case .renew: self = done(.renewed)
        case .look: self = .usage(of: request.user)
        }
    }
}

// MARK: - Members

extension ByteWriter {
    /// Writes what was done, as a whole body.
    mutating func write(
        _ deed: AnswerTopic.Deed, _ verdict: Outcome.Verdict, _ details: OutcomeDetails, owner: SubjectID?,
        isVerbose: Bool
    ) {
        let isNew = verdict == .allowed
        write("{")
        switch deed {
        case .renewed: writeLease(details)
        case .released:
            member("released")
            write(boolean: isNew)
        case .charged:
            member("charged")
            write(boolean: details.isCharged)
            if !isNew { write(verdict == .tooLate ? ",\"too_late\":true" : ",\"repeated\":true") }
        case .refunded:
            member("refunded")
            write(boolean: details.isCharged)
            if !isNew { write(",\"repeated\":true") }
        }
        if let owner {
            member("user")
            owner.withText { write(json: $0) }
        }
        writeRemarks(details, warns: deed != .refunded)
        if isVerbose { writeLimits(details) }
        write("}")
    }

    /// Writes how each limit of a user stands, as a whole body.
    mutating func writeUsage(of user: SubjectID, _ details: OutcomeDetails) {
        write("{")
        member("user")
        user.withText { write(json: $0) }
        writeLimits(details)
        writeIgnored(details)
        write("}")
    }

    /// Writes what the answer to a check or a reservation tells besides.
    mutating func writeMembers(of details: OutcomeDetails, isVerbose: Bool) {
        writeLease(details)
        writeEstimate(details)
        writeRemarks(details)
        if isVerbose { writeLimits(details) }
    }

    mutating func write(boolean value: Bool) { write(value ? "true" : "false") }

    private mutating func writeLease(_ details: OutcomeDetails) {
        guard let lease = details.lease else { return }
        member("lease")
        write("\"")
        lease.withText { write($0) }
        write("\"")
        member("expires_in")
        write(decimal: details.leaseMilliseconds / 1000)
    }

    /// Writes what a reservation expects its call to come to, and why.
    private mutating func writeEstimate(_ details: OutcomeDetails) {
        guard let estimate = details.estimate else { return }
        member("estimate")
        switch estimate.source {
        case .given: write("{\"source\":\"given\"")
        case .learnedFromUser: write("{\"source\":\"learned\",\"learned_from\":\"user\"")
        case .learnedFromModel: write("{\"source\":\"learned\",\"learned_from\":\"model\"")
        case .none: write("{\"source\":\"none\"")
        }
        if let tokens = estimate.tokens {
            member("input_tokens")
            write(decimal: tokens.input)
            member("output_tokens")
            write(decimal: tokens.output)
            member("cache_read_input_tokens")
            write(decimal: tokens.cacheRead)
            member("cache_write_input_tokens")
            write(decimal: tokens.cacheWrite)
            if tokens.hasParts { writeParts(of: tokens) }
        }
        if let cost = estimate.costMicros {
            member("cost_micros")
            write(decimal: cost)
        }
        write("}")
    }

    private mutating func writeParts(of tokens: TokenUsage) {
        for part in TokenPart.allCases where tokens.count(of: part) > 0 {
            write(",\"")
            write(text: part.rawValue)
            write("_tokens\":")
            write(decimal: tokens.count(of: part))
        }
    }

    /// Writes what no limit could count, what limits warn of, and what was passed over.
    ///
    /// - Parameter warns: false of what takes no part of a quota.
    private mutating func writeRemarks(_ details: OutcomeDetails, warns: Bool = true) {
        if !details.uncounted.isEmpty { writeUncounted(details) }
        if warns {
            writeWarnings(details)
            writeOver(details)
        }
        writeIgnored(details)
    }

    private mutating func writeUncounted(_ details: OutcomeDetails) {
        member("uncounted")
        for (index, part) in details.uncounted.enumerated() {
            write(index == 0 ? "[{\"unit\":\"" : ",{\"unit\":\"")
            write(text: part.unit.text)
            write("\",\"reason\":\"")
            write(text: part.reason.rawValue)
            write("\"}")
        }
        write("]")
    }

    private mutating func writeWarnings(_ details: OutcomeDetails) {
        var hasOne = false
        for place in 0..<details.limitCount {
            let (term, state) = details.told(place)
            guard let share = term.warningPerMille(state) else { continue }
            if !hasOne { member("warnings") }
            write(hasOne ? ",{\"limit_name\":\"" : "[{\"limit_name\":\"")
            hasOne = true
            write(text: term.limit.name.text)
            write("\",\"share\":")
            if share == 1000 {
                write("1}")
            } else {
                write(share < 10 ? "0.00" : share < 100 ? "0.0" : "0.")
                write(decimal: share)
                write("}")
            }
        }
        if hasOne { write("]") }
    }

    /// Writes which limits count more than their soft line.
    private mutating func writeOver(_ details: OutcomeDetails) {
        let names = details.overLimits
        guard !names.isEmpty else { return }
        member("over")
        for (index, name) in names.enumerated() {
            write(index == 0 ? "[\"" : ",\"")
            write(text: name.text)
            write("\"")
        }
        write("]")
    }

    /// Writes what the call said and was passed over, and why.
    private mutating func writeIgnored(_ details: OutcomeDetails) {
        guard !details.ignored.isEmpty else { return }
        member("ignored")
        for (index, ignored) in details.ignored.enumerated() {
            write(index == 0 ? "[{\"member\":\"" : ",{\"member\":\"")
            write(text: ignored.name.rawValue)
            write("\",\"reason\":")
            write(json: ignored.reason)
            write("}")
        }
        write("]")
    }

    private mutating func writeLimits(_ details: OutcomeDetails) {
        member("limits")
        write("[")
        for (index, standing) in details.standings.enumerated() {
            if index > 0 { write(",") }
            write(text: "{\(Answer.members(of: standing).joined(separator: ","))}")
        }
        write("]")
    }
}

// MARK: - Whole answers

extension Answer {
    /// That a lease is not known.
    static let unknownLease = problem(
        .notFound, "There is no such lease, or not any more: it lapsed, or was settled or released.")

    /// That nothing was done, as far as is known.
    static func unavailable(_ reason: FailureReason) -> Answer {
        .problem(
            .serviceUnavailable,
            "Redis cannot be asked: \(reason.rawValue). Nothing is known to have been done; asking again does no harm where "
                + "the request has a lease or a request_id.",
            type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            headers: [("Retry-After", "1")]
        )
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

    /// How one limit stands.
    fileprivate static func members(of standing: LimitStanding) -> [String] {
        var rule = "\"rule\":\"\(standing.quota.rule.text)\""
        if case .group(let group) = standing.quota.rule { rule += ",\"rule_group_id\":\(jsonText(group.text))" }
        if let grant = standing.quota.grant { rule += ",\"grant\":{\(members(of: grant))}" }
        var subject = "\"per\":\"\(standing.limit.scope.rawValue)\""
        if case .group(let group) = standing.subject { subject += ",\"group_id\":\(jsonText(group.text))" }
        if let values = standing.values { subject += ",\"values\":\"\(values.text)\"" }
        var over = standing.limit.softQuota.map { ["\"soft_limit\":\($0)"] } ?? []
        if standing.term.isOver(standing.state) { over.append("\"over\":true") }
        let weights = standing.limit.weights.map { ",\"weights\":{\($0.members)}" } ?? ""
        let (period, start, end) = standing.periodTexts(at: time(nil))
        return [
            "\"name\":\"\(standing.limit.name)\"", subject, "\"unit\":\"\(standing.limit.unit.text)\"\(weights)",
            "\"is_limited\":\(standing.quota.amount != nil)", "\"period\":\(period)",
            "\"limit\":\(standing.quota.amount.map(String.init) ?? "null")",
            "\"used\":\(standing.state.used)",
            "\"remaining\":\(standing.remaining.map(String.init) ?? "null")",
            "\"reset_after\":\(wholeSeconds(standing.state.resetAfterMilliseconds))",
            "\"period_start\":\(start)", "\"period_end\":\(end)", rule,
            "\"mode\":\"\(standing.limit.mode.rawValue)\"",
            "\"denied\":\(standing.state.isDenied || standing.state.isShadowDenied && standing.limit.isShadow)",
        ] + over
    }
}

extension TokenWeights {
    /// The weights that are not the usual ones, as members of JSON.
    fileprivate var members: String {
        told.map { "\"\($0.name)\":\(shareText(perMille: $0.perMille))" }.joined(separator: ",")
    }
}

extension QuotaRule {
    fileprivate var text: String {
        switch self {
        case .override: "override"
        case .group: "group"
        case .call: "call"
        case .default: "default"
        case .unlimited: "unlimited"
        }
    }
}

extension LimitStanding {
    /// What the period is called, and when it began and ends, as JSON; a sliding window ends now. When a lifetime began is not
    /// kept, and it ends where nothing is charged until then.
    fileprivate func periodTexts(at now: Int) -> (period: String, start: String, end: String) {
        func instant(_ seconds: Int) -> String { "\"\(rfc3339(milliseconds: seconds * 1000))\"" }
        switch limit.window {
        case nil: return ("null", "null", "null")
        case .sliding(let milliseconds):
            return ("\"sliding \(milliseconds / 1000)s\"", instant(now - milliseconds / 1000), instant(now))
        case .lifetime(let idleMilliseconds):
            let left = wholeSeconds(state.resetAfterMilliseconds)
            return ("\"lifetime \(idleMilliseconds / 1000)s\"", "null", left > 0 ? instant(now + left) : "null")
        case .calendar(let kind, _, let starts):
            let name = "\"\(kind.rawValue)\(starts == .first ? "" : " from \(starts.text)")\""
            guard let period else { return (name, "null", "null") }
            return (name, instant(period.start), instant(period.nextStart))
        }
    }
}
