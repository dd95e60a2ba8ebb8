import RateLimitCore
import RateLimitService

/// The contracts of calls.
extension RouteContract {
    static let check = RouteContract(
        query: [
            QueryField("user", "Who calls; then a body is not read.", .subject),
            QueryField("cost", "What the call counts for.", .number(in: Limit.costs)),
        ] + callFields + [verbose],
        headers: [
            QueryField(
                HeaderName.idempotencyKey.description,
                "With it the same check is charged once, however often it is sent; it counts before request_id.",
                .string(lengths: CallerRules.idLengths))
        ],
        body: .call, answers: decisions + unfitBodies)

    static let authorize: RouteContract = {
        let told: [AnswerHeader] = AnswerHeader.quota + [.retryAfter, .over]
        let refusals: [AnswerHeader] = [.message, .status]
        let allowed = RouteAnswer.empty(.ok, "The call may go on.", told + [.degraded, .shadow])
        return RouteContract(
            answers: [
                allowed,
                .json(.tooManyRequests, "The call may not go on.", .decision, told + refusals + [.degraded]),
                .problem(.forbidden, "Nobody can be named who calls.", refusals),
                .problem(
                    .serviceUnavailable, "Redis is away, and the failure mode is closed.",
                    refusals + [.retryAfter, .degraded]),
            ],
            options: [
                DenialForm.forbiddenSegment: [
                    allowed, .empty(.forbidden, "The call may not go on.", told + refusals + [.degraded]),
                ]
            ])
    }()

    static let reserve: RouteContract = {
        var answers = decisions
        answers[0].followers = [.renew, .settle, .release]
        return RouteContract(query: [verbose], body: .call, answers: answers + unfitBodies)
    }()

    static let renew = leased(.json("The lease lives on.", .renewal))
    static let settle = leased(.json("Whether the call was charged now.", .charge, [.over]))
    static let release = leased(.json("Whether the reservation was given back now.", .release))
    static let usage = RouteContract(
        query: [verbose], body: .call,
        answers: [.json("Whether the call was charged now, or given back.", .usageDone, [.over]), unavailable]
            + unfitBodies)

    private static func leased(_ done: RouteAnswer) -> RouteContract {
        RouteContract(
            query: [verbose], body: .leasedCall,
            answers: [done, .problem(.notFound, "There is no such lease, or not any more."), unavailable]
                + unfitBodies)
    }

    private static let decisions: [RouteAnswer] = [
        .json("The call may go on.", .decision, AnswerHeader.quota + [.over]),
        .json(.tooManyRequests, "The call may not go on.", .decision, AnswerHeader.quota + [.retryAfter, .over]),
        RouteAnswer(
            status: .serviceUnavailable,
            summary: "A limit of all calls under way is full, or Redis is away and the failure mode is closed.",
            content: [("application/json", .decision), ("application/problem+json", .problem)],
            headers: [.retryAfter, .over]),
    ]

    private static let verbose = QueryField("verbose", "Whether the answer tells how every limit stands.", .verbose)

    private static let callFields = [
        QueryField("model", "The call's model.", .string()),
        QueryField("provider", "The call's provider.", .string()),
        QueryField("group", "A group of the user's; any number of them.", .array(of: .subject)),
    ]
}

/// The contracts of what is read and reset of users.
extension RouteContract {
    static let userStatus = RouteContract(
        answers: [.json("What the user has used of the limit of checks.", .userStatus), unavailable])

    static let userUsage = RouteContract(
        query: callFields,
        answers: [.json("How each limit stands.", .userUsage, [.over]), unavailable])

    static let reset = RouteContract(
        query: [onlyLimit],
        answers: [
            .empty(.noContent, "It is reset."), .problem(.notFound, "No such limit is in force."),
            unavailable,
        ])

    static let descriptorReset = RouteContract(
        query: [
            QueryField("domain", "The domain.", .string()),
            QueryField("key", "A key of the descriptor, in its order; each is followed by its value.", .string()),
            QueryField("value", "The value of the key before it, which may be empty.", .string()),
        ],
        answers: [
            .empty(.noContent, "It is reset."), .problem(.notFound, "The descriptor meets no limit that counts."),
            unavailable,
        ])

    private static let onlyLimit = QueryField("limit", "The one limit that is meant.", .limitName)
}

/// The contracts of the pages.
extension RouteContract {
    static let configuration = RouteContract(answers: [.json("The options and readings.", .configuration)])
    static let version = RouteContract(answers: [.json("The version.", .version)])
    static let alive = RouteContract(answers: [.json("The process turns.", .alive)])
    static let health = RouteContract(answers: [.json("How the daemon and its Redis are.", .health)])
    static let openAPI = RouteContract(answers: [.json("This document.", .openAPI)])

    static let ready = RouteContract(
        query: [QueryField("require", "What has to be there as well.", .string(of: ["redis"]))],
        answers: [
            .json("The daemon serves.", .ready),
            .problem(.serviceUnavailable, "The daemon stops, or Redis does not decide.", [.retryAfter]),
        ])

    static let metrics = RouteContract(
        answers: [
            RouteAnswer(
                status: .ok, summary: "The metrics.", content: [("text/plain; version=0.0.4; charset=utf-8", .metrics)])
        ])
}

/// The contracts of budgets.
extension RouteContract {
    static let userBudget = read("The budget.", .userBudget, absent: "The user has none.")
    static let groupBudget = read("The budget.", .groupBudget, absent: "The group has none.")
    static let member = read("The membership.", .membership, absent: "There is none.")

    static let userBudgetPut = put(.userBudgetBody, "The budget, as it is kept.", .userBudget)
    static let groupBudgetPut = put(.groupBudgetBody, "The budget, as it is kept.", .groupBudget)
    static let memberPut = put(nil, "The membership.", .membership)

    static let delete = RouteContract(
        answers: [.empty(.noContent, "It is taken away, or was not there."), unavailable])

    static let grantsDelete = RouteContract(
        query: [onlyLimit],
        answers: [.empty(.noContent, "They are taken back."), unavailable])

    static let grant = RouteContract(
        body: .grantBody,
        answers: [
            .json("What is granted by now.", .granted),
            .problem(.notFound, "There is no limit that a grant could add to."), unavailable,
        ] + unfitBodies)

    static let audit = RouteContract(
        query: [
            QueryField("limit", "How many entries to list.", .number(in: AuditPage.sizes)),
            QueryField("cursor", "The next_cursor of an earlier answer.", .string()),
        ],
        answers: [.json("The changes, the newest first.", .audit), unavailable])

    static let events = RouteContract(
        query: [
            QueryField("limit", "How many events to list.", .number(in: EventStream.pageSizes)),
            QueryField("cursor", "The next_cursor of an earlier answer, or the cursor of an event.", .string()),
        ],
        answers: [.json("The events behind the cursor, the oldest first.", .events), unavailable])

    private static func read(_ summary: String, _ schema: BodySchema, absent: String) -> RouteContract {
        RouteContract(
            answers: [.json(summary, schema), .problem(.notFound, absent), unavailable])
    }

    private static func put(_ body: BodySchema?, _ summary: String, _ schema: BodySchema) -> RouteContract {
        RouteContract(
            body: body,
            answers: [.json(summary, schema), unavailable] + (body == nil ? [] : unfitBodies))
    }
}

/// The problems that many routes have in common.
extension RouteContract {
    fileprivate static let unfitBodies: [RouteAnswer] = [
        .problem(.lengthRequired, "A body needs a length, or has to come in chunks."),
        .problem(.unsupportedMediaType, "The body says that it is something else than JSON."),
    ]

    fileprivate static let unavailable = RouteAnswer.problem(
        .serviceUnavailable, "Redis is away, and the answer cannot do without it.", [.retryAfter])

    /// What any request may be answered, whatever its route.
    static let anywhere: [RouteAnswer] = [
        .problem(.badRequest, "The request is no HTTP/1.1, or cannot be used; the detail says what is accepted."),
        .problem(.forbidden, "Whoever asks may not, or not on this socket."),
        .problem(.requestTimeout, "The request did not arrive in time."),
        .problem(.contentTooLarge, "The body is too long."),
        .problem(.headerFieldsTooLarge, "The request line and the headers are too long."),
    ]
}
