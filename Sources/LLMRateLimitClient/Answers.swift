import FoundationEssentials

/// `POST /v1/check` and `/v1/reserve`: the members that are read.
package struct CheckAnswer: Decodable {
    package var allowed: Bool
    /// Nil where none applies.
    package var limitName: String?
    package var limit: Int?
    package var remaining: Int?
    package var retryAfter: Int?
    package var retryAfterAtMost: Int?
    package var resetAfter: Int?
    package var degraded: Bool?
    package var reason: String?
    package var message: String?
    package var atCapacity: Bool?
    package var shadowDenied: Bool?
    /// Nil where there is none.
    package var over: [String]?
    var lease: String?
    var expiresIn: Int?
    var estimate: EstimateAnswer?
    /// Every limit that applies, in a verbose answer of a daemon with a limits file.
    package var limits: [UsageAnswer.Limit]?
    /// Of several candidates the one that it is about.
    package var candidate: CandidateAnswer?
    /// The others that were asked about, in a verbose answer.
    package var passedOver: [CandidateAnswer]?
    /// Whether it only says what would be decided.
    package var dryRun: Bool?
    /// Of a dry run every limit that does not apply, and why.
    package var notApplied: [UnmetAnswer]?
}

/// One of a call's candidates.
package struct CandidateAnswer: Decodable {
    package var index: Int
    package var model: String?
    package var provider: String?
    /// Why it was passed over; nil of the one that the answer is about.
    package var reason: String?
    /// The limit that denied it; nil where none did.
    package var limitName: String?
}

/// A limit that does not apply to a call.
package struct UnmetAnswer: Decodable {
    package var limitName: String
    package var reason: String
}

/// What a reservation holds.
struct EstimateAnswer: Decodable {
    var inputTokens: Int?
    var outputTokens: Int?
    var cacheReadInputTokens: Int?
    var cacheWriteInputTokens: Int?
    var reasoningTokens: Int?
    var audioInputTokens: Int?
    var imageInputTokens: Int?
    var audioOutputTokens: Int?
    var imageOutputTokens: Int?
    var costMicros: Int?
}

/// `POST /v1/settle` and `/v1/usage`.
struct ChargeAnswer: Decodable {
    var charged: Bool
    var repeated: Bool?
    var tooLate: Bool?
}

/// `POST /v1/usage` with `refund`.
struct RefundAnswer: Decodable {
    var refunded: Bool
    var repeated: Bool?
}

/// `POST /v1/release`.
struct ReleaseAnswer: Decodable {
    var released: Bool
}

/// `POST /v1/renew`.
struct RenewalAnswer: Decodable {
    var lease: String
    var expiresIn: Int
}

/// `GET /v1/users/<user>`.
package struct StatusAnswer: Decodable {
    /// Nil, as the two after it, while the limit is off.
    package var limit: Int?
    package var used: Int?
    package var remaining: Int?
    package var resetAfter: Int
}

/// `GET /v1/users/<user>/usage`: the members that are read.
package struct UsageAnswer: Decodable {
    package struct Limit: Decodable {
        package var name: String
        package var per: String
        package var groupId: String?
        /// By which values the window is; nil for one that is by none.
        package var values: String?
        package var unit: String
        /// What tokens weigh, by kind and part, where it is not one; nil where each counts as one.
        package var weights: [String: Double]?
        /// Nil where it is unlimited.
        package var limit: Int?
        package var used: Int
        /// Nil where it is unlimited.
        package var remaining: Int?
        package var resetAfter: Int
        /// Nil for concurrency.
        package var period: String?
        package var rule: String
        package var ruleGroupId: String?
        package var mode: String
        /// From where on up the limit is over, below ``limit``; nil where there is no such line.
        package var softLimit: Int?
        /// Nil where it is not.
        package var over: Bool?
        /// Whether it denies the call, or would; nil of daemons that do not say it.
        package var denied: Bool?
        /// What is granted on top of what the rule gives; nil where nothing is.
        package var grant: GrantAnswer?
    }

    package var limits: [Limit]
}

/// `POST /v1/users/<user>/grants`, and a grant in another answer.
package struct GrantAnswer: Decodable {
    package var amount: Int
    /// Nil where none is in force.
    package var expiresAt: String?
    /// Nil but in the answer to a grant.
    package var granted: Bool?
}

/// An RFC 9457 problem document.
package struct ProblemAnswer: Decodable {
    package var title: String
    package var detail: String?

    package var text: String { detail ?? title }
}

extension DaemonResponse {
    /// The body read as JSON, or nil where it is something else.
    package func decoded<Answer: Decodable>(_ type: Answer.Type) -> Answer? {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try? decoder.decode(type, from: Data(body.utf8))
    }

    /// The body of an answer with status 200.
    func answer<Answer: Decodable>(_ type: Answer.Type) throws(RateLimitClientError) -> Answer {
        guard status == 200, let answer = decoded(type) else { throw error }
        return answer
    }

    /// What an answer says that is none to the question.
    private var error: RateLimitClientError {
        let problem = decoded(ProblemAnswer.self)
        return switch status {
        case 400..<500: .refused(status: status, detail: problem?.text ?? body)
        case 503: .unavailable(detail: problem?.text ?? body)
        default: .unexpectedAnswer(status: status)
        }
    }

    /// A decision, whatever it is; 503 is capacity, or the failure mode `closed`, which nobody may pass by.
    func decision() throws(RateLimitClientError) -> CheckAnswer {
        if [200, 429, 503].contains(status), let answer = decoded(CheckAnswer.self) { return answer }
        throw error
    }
}

extension Decision {
    /// - Throws: where it is none.
    init(_ response: DaemonResponse, user: String) throws(RateLimitClientError) {
        do throws(RateLimitClientError) {
            self.init(try response.decision(), user: user)
            headers = response.headers
        } catch {
            // The failure mode is closed: nobody decided, and the call must not go on.
            guard case .unavailable(let detail) = error else { throw error }
            self.init(
                isAllowed: false, retryAfterSeconds: 1, degradation: .redis(reason: "closed"), message: detail,
                headers: response.headers)
        }
    }

    private init(_ answer: CheckAnswer, user: String) {
        self.init(
            isAllowed: answer.allowed, limitName: answer.limitName, limit: answer.limit, remaining: answer.remaining,
            retryAfterSeconds: answer.allowed ? nil : answer.retryAfter,
            retryAfterAtMostSeconds: answer.retryAfterAtMost, resetAfterSeconds: answer.resetAfter,
            degradation: answer.degraded == true ? .redis(reason: answer.reason ?? "") : nil, message: answer.message,
            isAtCapacity: answer.atCapacity ?? false, isShadowDenied: answer.shadowDenied ?? false,
            overLimits: answer.over ?? [],
            candidate: answer.candidate?.index, isDryRun: answer.dryRun ?? false)
        lease = answer.lease.map { token in
            Lease(
                token: token, user: user, expiresInSeconds: answer.expiresIn ?? 0,
                estimate: answer.estimate.map { Usage($0) } ?? Usage())
        }
    }
}

extension Usage {
    init(_ answer: EstimateAnswer) {
        self.init(
            inputTokens: answer.inputTokens, outputTokens: answer.outputTokens,
            cacheReadInputTokens: answer.cacheReadInputTokens, cacheWriteInputTokens: answer.cacheWriteInputTokens,
            costMicros: answer.costMicros)
        reasoningTokens = answer.reasoningTokens
        audioInputTokens = answer.audioInputTokens
        imageInputTokens = answer.imageInputTokens
        audioOutputTokens = answer.audioOutputTokens
        imageOutputTokens = answer.imageOutputTokens
    }
}

extension Settlement {
    init(_ response: DaemonResponse) throws(RateLimitClientError) {
        let answer = try response.answer(ChargeAnswer.self)
        self.init(
            isCharged: answer.charged, isRepeated: answer.repeated ?? false, isTooLate: answer.tooLate ?? false)
    }
}

extension Refund {
    init(_ response: DaemonResponse) throws(RateLimitClientError) {
        let answer = try response.answer(RefundAnswer.self)
        self.init(isRefunded: answer.refunded, isRepeated: answer.repeated ?? false)
    }
}

extension UserStatus {
    init(_ answer: StatusAnswer, user: String) {
        self.init(
            user: user, limit: answer.limit, used: answer.used, remaining: answer.remaining,
            resetAfterSeconds: answer.resetAfter)
    }
}

extension LimitStanding {
    init(_ answer: UsageAnswer.Limit) {
        self.init(
            name: answer.name, unit: answer.unit, group: answer.groupId, limit: answer.limit, used: answer.used,
            remaining: answer.remaining, resetAfterSeconds: answer.resetAfter)
    }
}
