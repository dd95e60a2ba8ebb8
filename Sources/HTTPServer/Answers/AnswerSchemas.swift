import RateLimitCore
import RateLimitService

/// The bodies of answers, for the description.
extension BodySchema {
    static let problem = BodySchema(
        "Problem",
        .object(
            required: ["title", "status", "detail"],
            [
                "type": ["type": "string", "format": "uri"], "title": .string(), "status": .number(in: 400...599),
                "detail": JSONValue.string().described("What is wrong, and what is accepted."),
            ]))

    /// The answer to a check or a reservation.
    static let decision = BodySchema(
        "Decision",
        .object(
            required: [
                "allowed", "limit_name", "limit", "remaining", "retry_after", "reset_after", "degraded",
            ],
            [
                "allowed": .flag, "at_capacity": .flag, "limit_name": JSONValue.limitName.orNull,
                "limit": JSONValue.number.orNull, "remaining": JSONValue.number.orNull,
                "retry_after": JSONValue.number.orNull
                    .described("In seconds; 0 where the call may go on, null where no wait helps."),
                "retry_after_at_most": .number,
                "reset_after": JSONValue.number.orNull.described("In how many seconds all of the quota is free."),
                "degraded": JSONValue.flag.described("Whether Redis should have decided and did not."),
                "reason": .degradedReason, "shadow_denied": .flag,
                "repeated": JSONValue.flag
                    .described("Whether a check of the same user and id was admitted before; this one is not charged."),
                "lease": .string(), "expires_in": .number, "estimate": estimate, "uncounted": uncounted,
                "warnings": warnings, "over": over, "ignored": ignored, "limits": .array(of: standing.reference),
                "candidate": candidate, "passed_over": passedOver, "not_applied": notApplied,
                "dry_run": JSONValue.flag.described("Nothing was charged or held."),
                "message": JSONValue.string().described("Why the call may not go on, for people."),
            ]))

    /// What became of a call that was made.
    static let charge = BodySchema(
        "Charge", done(["charged"], ["charged": .flag, "too_late": .flag, "repeated": .flag]))

    /// What became of a usage: charged, or where it is a refund refunded.
    static let usageDone = BodySchema(
        "UsageDone", done([], ["charged": .flag, "refunded": .flag, "repeated": .flag]))

    /// What became of a reservation that was given back.
    static let release = BodySchema("Release", done(["released"], ["released": .flag]))

    /// A lease that was prolonged.
    static let renewal = BodySchema(
        "Renewal", done(["lease", "expires_in"], ["lease": .string(), "expires_in": .number]))

    private static func done(_ required: [String], _ first: JSONValue) -> JSONValue {
        .object(
            required: required,
            first.adding([
                .init(
                    name: "user",
                    value: JSONValue.subject.described("Whose lease it is, where another user was named.")),
                .init(name: "uncounted", value: uncounted), .init(name: "warnings", value: warnings),
                .init(name: "over", value: over),
                .init(name: "ignored", value: ignored),
                .init(name: "limits", value: .array(of: standing.reference)),
            ]))
    }

    private static let estimate: JSONValue = .object(
        required: ["source"],
        [
            "source": .string(of: ["given", "learned", "none"]), "learned_from": .string(of: ["user", "model"]),
            "input_tokens": .number, "output_tokens": .number, "cache_read_input_tokens": .number,
            "cache_write_input_tokens": .number, "reasoning_tokens": .number, "audio_input_tokens": .number,
            "image_input_tokens": .number, "audio_output_tokens": .number, "image_output_tokens": .number,
            "cost_micros": .number,
        ])

    private static let uncounted: JSONValue = .array(
        of: .object(
            required: ["unit", "reason"],
            ["unit": .unit, "reason": .string(of: Uncounted.Reason.allCases.map(\.rawValue))]))

    private static let warnings: JSONValue = .array(
        of: .object(
            required: ["limit_name", "share"],
            ["limit_name": .limitName, "share": ["type": "number", "minimum": 0, "maximum": 1]]))

    private static let over: JSONValue = JSONValue.array(of: .limitName)
        .described("The limits that count more than their soft line, which denies nobody.")

    private static let ignored: JSONValue = .array(
        of: .object(
            required: ["member", "reason"],
            ["member": .string(of: IgnoredMember.Name.allCases.map(\.rawValue)), "reason": .string()]))

    private static let candidateProperties: JSONValue = [
        "index": JSONValue.number.described("Its place among the call's candidates, from 0."),
        "model": .string(), "provider": .string(),
    ]

    private static let candidate: JSONValue = .object(required: ["index"], candidateProperties)

    private static let passedOver: JSONValue = .array(
        of: .object(
            required: ["index", "limit_name", "retry_after", "reason"],
            candidateProperties.adding([
                .init(name: "limit_name", value: JSONValue.limitName.orNull),
                .init(name: "at_capacity", value: .flag), .init(name: "retry_after", value: JSONValue.number.orNull),
                .init(name: "reason", value: .string()),
            ])))

    private static let notApplied: JSONValue = .array(
        of: .object(
            required: ["limit_name", "missed", "reason"],
            [
                "limit_name": .limitName,
                "missed": JSONValue.string().described("model, provider, label:<name>, group or operation."),
                "reason": .string(),
            ]))

    /// How one limit stands.
    static let standing = BodySchema(
        "Standing",
        .object(
            required: [
                "name", "per", "unit", "is_limited", "period", "limit", "used", "remaining", "reset_after",
                "period_start", "period_end", "rule", "mode", "denied",
            ],
            [
                "name": .limitName, "per": .string(of: LimitScope.allCases.map(\.rawValue)), "group_id": .subject,
                "values": .string(), "unit": .unit,
                "weights": JSONValue.map(of: ["type": "number", "minimum": 0])
                    .described("What a token counts for, by kind and part; 1 where it is left out."),
                "is_limited": .flag, "period": JSONValue.string().orNull,
                "limit": JSONValue.number.orNull, "used": .number, "remaining": JSONValue.number.orNull,
                "reset_after": .number, "period_start": JSONValue.instant.orNull,
                "period_end": JSONValue.instant.orNull,
                "rule": .string(of: ["override", "group", "call", "default", "unlimited"]), "rule_group_id": .subject,
                "grant": .object(required: ["amount", "expires_at"], grantProperties),
                "mode": .string(of: LimitMode.allCases.map(\.rawValue)), "denied": .flag, "soft_limit": .number,
                "over": .flag,
            ]))

    static let grantProperties: JSONValue = ["amount": .number, "expires_at": .instant, "unit": .unit]

    static let userStatus = BodySchema(
        "UserStatus",
        .object(
            required: ["user", "limit", "used", "remaining", "reset_after"],
            [
                "user": .subject, "limit": JSONValue.number.orNull, "used": JSONValue.number.orNull,
                "remaining": JSONValue.number.orNull, "reset_after": .number,
            ]))

    static let userUsage = BodySchema(
        "UserUsage",
        .object(
            required: ["user", "limits"],
            ["user": .subject, "limits": .array(of: standing.reference), "ignored": ignored]))
}
