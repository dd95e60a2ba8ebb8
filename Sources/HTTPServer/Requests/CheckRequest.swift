import RateLimitCore

/// What a client asks at `/v1/check`, whichever way it wrote it.
struct CheckRequest: Hashable {
    var user: SubjectID
    var cost: Int
}

/// What is wrong with a request. Each case says in its text what is wrong and what would be accepted.
enum RequestError: Error, Hashable {
    case malformedHTTP(String)
    case malformedQuery(String)
    case missingHost
    case malformedJSON(String)
    case missingUser
    case invalidUser
    case invalidCost
    case invalidGroup
    case invalidBudget(String)
    case invalidGrant(String)
    case invalidCall(String)
    case invalidID(CallerProblem)
    case noOtherLimits
    case unknownPath
    case methodNotAllowed(allowed: String)
    case adminOnly
    case peerNotAllowed(user: UInt32?)
    case timedOut
    case lengthRequired
    case bodyTooLarge
    case unsupportedMediaType
    case headTooLarge
}

extension RequestError {
    /// The status a problem of this kind is answered with.
    var status: HTTPStatus {
        switch self {
        case .malformedHTTP, .malformedQuery, .missingHost, .malformedJSON: .badRequest
        case .missingUser, .invalidUser, .invalidCost, .invalidGroup, .invalidBudget, .invalidGrant, .invalidCall,
            .invalidID:
            .badRequest
        case .adminOnly, .peerNotAllowed: .forbidden
        case .unknownPath, .noOtherLimits: .notFound
        case .methodNotAllowed: .methodNotAllowed
        case .timedOut: .requestTimeout
        case .lengthRequired: .lengthRequired
        case .bodyTooLarge: .contentTooLarge
        case .unsupportedMediaType: .unsupportedMediaType
        case .headTooLarge: .headerFieldsTooLarge
        }
    }

    /// What is wrong and what is accepted, in one sentence or two.
    var detail: String {
        switch self {
        case .malformedHTTP(let reason): "The request is no HTTP/1.1: \(reason)."
        case .malformedQuery(let reason): "The query cannot be used: \(reason)."
        case .missingHost: "An HTTP/1.1 request needs exactly one Host header; any value is accepted."
        case .malformedJSON(let reason):
            "The body is not the JSON object that is accepted, {\"user\":\"<text>\",\"cost\":1}: \(reason)."
        case .missingUser:
            "No user is named. Accepted are a JSON body {\"user\":\"<text>\",\"cost\":1} sent with POST, or any method on "
                + "/v1/check?user=<text>&cost=1."
        case .invalidUser: "The user is not \(SubjectID.accepted)."
        case .invalidCost: "The cost is not a whole number from 1 to 1,000,000."
        case .invalidGroup: "The group is not \(SubjectID.accepted)."
        case .invalidBudget(let reason):
            "The body is not the budget that is accepted, {\"group_id\":\"<text>\",\"spend_limit_micros\":50000000,"
                + "\"limits\":{\"<name>\":1000}}, each of them optional and group_id for users alone: \(reason)."
        case .invalidGrant(let reason):
            "The grant is not one that is accepted, {\"limit\":\"<name>\",\"amount\":1000,\"request_id\":\"…\"} with the "
                + "last of them optional: \(reason)."
        case .invalidCall(let reason): "The call cannot be used: \(reason)."
        case .invalidID(let problem): problem.description
        case .noOtherLimits:
            "Grants are for limits beside that of checks, and there are none: LLM_RATE_LIMIT_LIMITS_FILE, "
                + "LLM_RATE_LIMIT_PER_SECOND and LLM_RATE_LIMIT_MAX_CONCURRENCY set them."
        case .unknownPath:
            "There is nothing at this path. Served are \(RouteTable.served.summary)."
        case .methodNotAllowed(let allowed): "The method is not one that this path takes: \(allowed)."
        case .adminOnly: "This is answered on the admin socket alone."
        case .peerNotAllowed(let user):
            "Connections of \(user.map { "user \($0)" } ?? "an unknown user") are not allowed here; "
                + "LLM_RATE_LIMIT_ALLOWED_UIDS names the users whose are."
        case .timedOut: "The request did not arrive in time."
        case .lengthRequired: "A body needs a Content-Length header, or has to come in chunks."
        case .bodyTooLarge: "The body is above \(RequestBounds.bodyBytes) bytes."
        case .unsupportedMediaType: "The body's type is not the one accepted: send Content-Type: application/json."
        case .headTooLarge: "The request line and headers are above \(RequestBounds.headBytes) bytes."
        }
    }
}

/// Bounds on what one request may take of memory.
enum RequestBounds {
    /// The request line and all headers.
    static let headBytes = 16_384
    /// The body.
    static let bodyBytes = 65_536
    /// A body that is dropped: of a call that a gateway hands on whole.
    static let droppedBodyBytes = 8_388_608
    /// Requests of one connection that may wait for their answer; beyond it the connection is not read.
    static let pipelined = 256
    /// The same while many checks wait for Redis: who sends one after the other is not to wait behind who sends hundreds.
    static let pipelinedWhenBacklogged = 8
    /// Answers of one connection that have not been sent; beyond it as well.
    static let unsentBytes = 65_536
}
