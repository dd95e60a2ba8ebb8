import FoundationEssentials

/// `POST /v1/check`: the members that are told.
struct CheckAnswer: Decodable {
    var allowed: Bool
    /// Nil where none applies.
    var limitName: String?
    var limit: Int?
    var remaining: Int?
    var retryAfter: Int?
    var resetAfter: Int?
    var degraded: Bool?
    var reason: String?
    var message: String?
    var shadowDenied: Bool?
    /// Every limit that applies, in a verbose answer of a daemon with a limits file.
    var limits: [UsageAnswer.Limit]?
}

/// `GET /v1/users/<user>`.
struct StatusAnswer: Decodable {
    /// Nil, as the two after it, while the limit is off.
    var limit: Int?
    var used: Int?
    var remaining: Int?
    var resetAfter: Int
}

/// `POST /v1/users/<user>/grants`, and a grant in another answer.
struct GrantAnswer: Decodable {
    var amount: Int
    /// Nil where none is in force.
    var expiresAt: String?
    /// Nil but in the answer to a grant.
    var granted: Bool?
}

/// `GET /healthz`: the members that are told.
struct HealthAnswer: Decodable {
    struct Redis: Decodable {
        /// Why it does not decide; nil while it does.
        var detail: String?
    }

    struct Configuration: Decodable {
        struct Problem: Decodable {
            /// What could not be put in force: options or limits.
            var part: String
            /// Why.
            var problem: String
        }

        var problems: [Problem]
    }

    var status: String
    var redis: Redis?
    /// Whether what was read last is in force.
    var configuration: Configuration?
    var version: String?
}

/// An RFC 9457 problem document.
struct ProblemAnswer: Decodable {
    var title: String
    var detail: String?

    var text: String { detail ?? title }
}

extension DaemonResponse {
    /// The body read as JSON, or nil where it is something else.
    func decoded<Answer: Decodable>(_ type: Answer.Type) -> Answer? {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try? decoder.decode(type, from: Data(body.utf8))
    }
}
