/// What a route takes and answers, as the description of the protocol has it. What every route may answer is in none of
/// them: ``OpenAPIDocument`` adds it.
struct RouteContract: Sendable {
    /// What of the query is read; others are ignored.
    var query: [QueryField] = []
    /// The headers that are read beside those of HTTP.
    var headers: [QueryField] = []
    /// The JSON object that a POST or PUT has; nil where there is none.
    var body: BodySchema?
    var answers: [RouteAnswer]
    /// The first segments below a pattern that ends in `*` which mean something else, each with what it has answered.
    var options: [String: [RouteAnswer]] = [:]
}

/// The schema of a body, by the name under which the document has it once.
struct BodySchema: Sendable {
    let name: String
    let schema: JSONValue
    /// A whole body to begin with; nil where none is of use to everybody.
    let example: JSONValue?

    init(_ name: String, _ schema: JSONValue, example: JSONValue? = nil) {
        self.name = name
        self.schema = schema
        self.example = example
    }

    /// A schema that stands for it.
    var reference: JSONValue { ["$ref": "#/components/schemas/\(name)"] }
}

/// A parameter of a query, or a header of a request.
struct QueryField: Sendable {
    let name: String
    let summary: String
    let schema: JSONValue

    init(_ name: String, _ summary: String, _ schema: JSONValue) {
        self.name = name
        self.summary = summary
        self.schema = schema
    }
}

/// What a route answers with one status.
struct RouteAnswer: Sendable {
    let status: HTTPStatus
    let summary: String
    /// The types of the body, each with its schema; empty where there is no body.
    var content: [(type: String, schema: BodySchema)] = []
    var headers: [AnswerHeader] = []
    /// The routes to which the lease of the answer leads.
    var followers: [CallRoute] = []

    /// An answer without a body.
    static func empty(_ status: HTTPStatus, _ summary: String, _ headers: [AnswerHeader] = []) -> RouteAnswer {
        RouteAnswer(status: status, summary: summary, headers: headers)
    }

    /// An answer with a JSON body.
    static func json(
        _ status: HTTPStatus, _ summary: String, _ schema: BodySchema, _ headers: [AnswerHeader] = []
    ) -> RouteAnswer {
        RouteAnswer(
            status: status, summary: summary, content: [("application/json", schema)], headers: headers)
    }

    /// What the route is for: 200 with a JSON body.
    static func json(_ summary: String, _ schema: BodySchema, _ headers: [AnswerHeader] = []) -> RouteAnswer {
        json(.ok, summary, schema, headers)
    }

    /// An answer with problem details.
    static func problem(_ status: HTTPStatus, _ summary: String, _ headers: [AnswerHeader] = []) -> RouteAnswer {
        RouteAnswer(
            status: status, summary: summary, content: [("application/problem+json", .problem)], headers: headers)
    }
}

/// A header of an answer that the description tells of.
enum AnswerHeader: String, CaseIterable, Sendable {
    case policy = "RateLimit-Policy"
    case state = "RateLimit"
    case olderLimit = "X-RateLimit-Limit"
    case olderRemaining = "X-RateLimit-Remaining"
    case olderReset = "X-RateLimit-Reset"
    case retryAfter = "Retry-After"
    case degraded = "X-Rate-Limit-Degraded"
    case shadow = "X-Rate-Limit-Shadow"
    case message = "X-Rate-Limit-Message"
    case status = "X-Rate-Limit-Status"
    case over = "X-Rate-Limit-Over"

    /// Those that say how a quota stands, as far as the option has them sent.
    static let quota: [AnswerHeader] = [.policy, .state, .olderLimit, .olderRemaining, .olderReset]

    var summary: String {
        switch self {
        case .policy: "The limits that apply and can deny (draft-ietf-httpapi-ratelimit-headers-11)."
        case .state: "How that one stands of which the least share is left, or which denied."
        case .olderLimit: "The quota of the limit of RateLimit, where LLM_RATE_LIMIT_HEADERS has it sent."
        case .olderRemaining: "What is left of it."
        case .olderReset: "In how many seconds all of it is free."
        case .retryAfter: "After how many seconds to ask again."
        case .degraded: "Why Redis did not decide, where it should have."
        case .shadow: "That a call would be denied, were it not for shadow mode, and why."
        case .message: "Why a call may not go on, for people."
        case .over: "The limits that count more than their soft line, which denies nobody."
        case .status: "The status that says why a call may not go on, where that of the answer does not."
        }
    }

    var schema: JSONValue {
        switch self {
        case .policy, .state, .message, .shadow, .over: .string()
        case .degraded: .degradedReason
        case .olderLimit, .olderRemaining, .olderReset: .number
        case .retryAfter: .number(in: 1...Int.max)
        case .status: ["type": "integer", "enum": [403, 429, 503]]
        }
    }
}
