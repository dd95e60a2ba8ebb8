import RateLimitCore
import RateLimitService

/// What the readers of bodies accept, for the description; a member that is null is as left out.
extension BodySchema {
    /// A call, as ``CallBody`` reads it.
    static let call = BodySchema(
        "Call", callObject(required: ["user"]), example: ["user": "ada@example.org", "cost": 1, "model": "gpt-4o"])

    /// A call that was reserved, or is: the lease tells its user.
    static let leasedCall = BodySchema("LeasedCall", callObject(required: ["lease"]))

    private static let candidate: JSONValue = .object(
        required: [], ["model": JSONValue.string().orNull, "provider": JSONValue.string().orNull])

    private static func callObject(required: [String]) -> JSONValue {
        let tokens = JSONValue.number(in: TokenUsage.counts).orNull
        return .object(
            required: required,
            [
                "user": .subject,
                "cost": JSONValue.number(in: Limit.costs).orNull
                    .described("What the call counts for in limits of requests; 1 where it is left out."),
                "model": JSONValue.string().orNull, "provider": JSONValue.string().orNull,
                "labels": JSONValue.map(of: JSONValue.string().orNull).orNull
                    .described("Those that no limit names are passed over."),
                "groups": JSONValue.array(of: .subject).orNull
                    .described(
                        "Where LLM_RATE_LIMIT_GROUPS is given: the first \(CallAttributes.maximumGroups) count."),
                "quotas": JSONValue.map(of: JSONValue.number(in: LimitDefinition.quotas).orNull).orNull
                    .described("By the names of limits with quota_from_call: what the caller's plan gives of them."),
                "input_tokens": tokens, "output_tokens": tokens, "cache_read_input_tokens": tokens,
                "cache_write_input_tokens": tokens,
                "reasoning_tokens": tokens.described("Of the output."),
                "audio_input_tokens": tokens.described("Of the input."),
                "image_input_tokens": tokens.described("Of the input."),
                "audio_output_tokens": tokens.described("Of the output."),
                "image_output_tokens": tokens.described("Of the output."),
                "usage": ["type": ["object", "null"], "description": "As OpenAI, Anthropic or Gemini return it."],
                "cost_micros": JSONValue.number(in: ModelPrice.spends).orNull.described("In millionths of a dollar."),
                "ttl": JSONValue.number(in: CallBody.timesToLive).orNull
                    .described("How long the lease lives, in seconds."),
                "lease": required.contains("lease") ? .string() : JSONValue.string().orNull,
                "request_id": JSONValue.string(lengths: CallBody.idLengths).orNull
                    .described("With it the same check or usage is charged once, however often it is sent."),
                "refund": JSONValue.flag.orNull
                    .described("Of usage: whether it is taken back in place of being charged."),
                "candidates": JSONValue.array(of: candidate).orNull
                    .described(
                        "Of a check or reserve, in place of model and provider: 1 to "
                            + "\(CallCandidate.largestCount), of which the first that its limits admit is taken."),
                "dry_run": JSONValue.flag.orNull
                    .described("A check or reserve with it is answered, limit by limit, and charges nothing."),
            ])
    }

    /// A user's budget, as ``BudgetBody`` reads it.
    static let userBudgetBody = BodySchema(
        "UserBudgetBody", budgetObject(["group_id": JSONValue.subject.orNull]), example: budgetExample)

    /// A group's budget.
    static let groupBudgetBody = BodySchema("GroupBudgetBody", budgetObject([:]), example: budgetExample)

    private static let budgetExample: JSONValue = ["limits": ["tokens": 100_000]]

    private static func budgetObject(_ first: JSONValue) -> JSONValue {
        guard case .object(let others) = budgetProperties else { preconditionFailure("properties are an object") }
        return .object(first.adding(others)).adding([.init(name: "additionalProperties", value: false)])
    }

    private static let budgetProperties: JSONValue = [
        "spend_limit_micros": JSONValue.number(in: BudgetBounds.amounts).orNull.described("In millionths of a dollar."),
        "limits": JSONValue.map(of: JSONValue.number(in: BudgetBounds.amounts).orNull).orNull
            .described("Quotas by the names of limits."),
        "units": JSONValue.map(of: ["anyOf": [.unit, ["type": "null"]]]).orNull
            .described("The units of those quotas, as an answer has them."),
        "without_effect": JSONValue.array(of: .string()).orNull
            .described("What whoever sends it knows to have no effect here."),
        "grants": ["description": "Not read, so that an answer can be sent back."],
        "created_at": ["description": "Not read."], "updated_at": ["description": "Not read."],
    ]

    /// A grant, as ``GrantBody`` reads it.
    static let grantBody = BodySchema(
        "GrantBody",
        JSONValue.object(
            required: ["limit", "amount"],
            [
                "limit": .limitName,
                "amount": .number(in: GrantOrder.amounts),
                "request_id": JSONValue.string(lengths: GrantOrder.idLengths).orNull
                    .described("With it the same grant is made once, however often it is sent."),
            ]
        ).adding([.init(name: "additionalProperties", value: false)]),
        example: ["limit": "tokens", "amount": 1_000])
}
