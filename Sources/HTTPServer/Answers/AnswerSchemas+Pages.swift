import RateLimitCore
import RateLimitService

/// The bodies of pages and of the admin socket's answers, for the description.
extension BodySchema {
    static let alive = BodySchema("Alive", .object(required: ["status"], ["status": .string(of: ["alive"])]))

    static let ready = BodySchema(
        "Ready",
        .object(required: ["status", "degraded"], ["status": .string(of: ["ready"]), "degraded": .flag]))

    static let version = BodySchema(
        "Version", .object(required: ["name", "version"], ["name": .string(), "version": .string()]))

    static let health = BodySchema(
        "Health",
        .object(
            required: [
                "status", "redis", "enforcing", "not_enforcing_since", "configuration", "version", "uptime_seconds",
                "pid",
            ],
            [
                "status": .string(of: ["ok", "degraded", "draining"]),
                "redis": .object(
                    required: ["state", "links", "available_links", "reason", "detail"],
                    [
                        "state": .string(of: ["available", "refusing", "away"]), "links": .number,
                        "available_links": .number, "reason": ["anyOf": [.degradedReason, ["type": "null"]]],
                        "detail": JSONValue.string().orNull,
                    ]),
                "enforcing": .flag, "not_enforcing_since": unixSeconds.orNull,
                "configuration": .object(
                    required: ["state", "problems"],
                    [
                        "state": .string(of: ["current", "stale"]),
                        "problems": .array(
                            of: .object(
                                required: ["part", "since", "problem"],
                                ["part": part, "since": unixSeconds, "problem": .string()])),
                    ]),
                "version": .string(), "uptime_seconds": .number, "pid": .number,
            ]))

    private static let unixSeconds = JSONValue.number.described("In Unix seconds.")
    private static let part = JSONValue.string(of: ["options", "limits", "descriptors"])

    static let configuration = BodySchema(
        "Configuration",
        .object(
            required: ["options", "readings"],
            [
                "options": .array(
                    of: .object(
                        required: [
                            "name", "flag", "value", "default", "source", "description", "accepted", "reloadable",
                        ],
                        [
                            "name": .string(), "flag": .string(), "value": .string(), "default": .string(),
                            "source": .string(), "description": .string(), "accepted": .string(),
                            "reloadable": .flag,
                        ])),
                "readings": .array(
                    of: .object(
                        required: ["part", "last_success", "failures", "failing_since", "problem"],
                        [
                            "part": part, "last_success": unixSeconds, "failures": .number,
                            "failing_since": unixSeconds.orNull, "problem": JSONValue.string().orNull,
                        ])),
            ]))

    static let metrics = BodySchema("Metrics", JSONValue.string().described("Prometheus's text format 0.0.4."))

    static let openAPI = BodySchema(
        "OpenAPI",
        .object(
            required: ["openapi", "info", "paths"],
            [
                "openapi": .string(), "info": ["type": "object"], "servers": ["type": "array"],
                "tags": ["type": "array"], "paths": ["type": "object"], "components": ["type": "object"],
            ]))
}

/// Budgets.
extension BodySchema {
    static let userBudget = BodySchema("UserBudget", budget(["group_id"], ["group_id": JSONValue.subject.orNull]))

    static let groupBudget = BodySchema("GroupBudget", budget([], [:]))

    private static func budget(_ required: [String], _ first: JSONValue) -> JSONValue {
        let others: [JSONValue.Member] = [
            .init(name: "spend_limit_micros", value: JSONValue.number.orNull),
            .init(name: "limits", value: .map(of: .number)), .init(name: "units", value: .map(of: .unit)),
            .init(name: "created_at", value: .instant), .init(name: "updated_at", value: .instant),
            .init(
                name: "grants",
                value: .array(
                    of: .object(
                        required: ["limit", "amount", "expires_at"],
                        [
                            "limit": .limitName, "amount": .number, "expires_at": .instant, "unit": .unit,
                        ]))),
            .init(name: "without_effect", value: .array(of: .string())),
        ]
        return .object(
            required: required + ["spend_limit_micros", "limits", "created_at", "updated_at"], first.adding(others))
    }

    static let granted = BodySchema(
        "Granted",
        .object(
            required: ["limit", "amount", "expires_at", "granted"],
            [
                "limit": .limitName, "amount": .number, "expires_at": JSONValue.instant.orNull, "granted": .flag,
            ]))

    static let membership = BodySchema(
        "Membership",
        .object(
            required: ["group_id", "user_id", "created_at", "updated_at"],
            ["group_id": .subject, "user_id": .subject, "created_at": .instant, "updated_at": .instant]))

    static let audit: BodySchema = {
        let value: JSONValue = [
            "anyOf": [userBudget.reference, groupBudget.reference, membership.reference, ["type": "null"]]
        ]
        return BodySchema(
            "Audit",
            .object(
                required: ["entries", "next_cursor"],
                [
                    "entries": .array(
                        of: .object(
                            required: [
                                "id", "at", "operation", "user_id", "group_id", "by_uid", "by_pid", "before", "after",
                                "removed_budget",
                            ],
                            [
                                "id": .string(), "at": .instant, "operation": .string(),
                                "user_id": JSONValue.subject.orNull, "group_id": JSONValue.subject.orNull,
                                "by_uid": JSONValue.number.orNull, "by_pid": JSONValue.number.orNull,
                                "before": value, "after": value, "removed_budget": value,
                            ])),
                    "next_cursor": JSONValue.string().orNull,
                ]))
    }()
}

/// Events.
extension BodySchema {
    static let events = BodySchema(
        "Events",
        .object(
            required: ["events", "next_cursor", "more", "trimmed"],
            [
                "events": .array(
                    of: .object(
                        required: ["cursor"] + told.required,
                        .object([.init(name: "cursor", value: .string())] + told.members))),
                "next_cursor": .string(), "more": .flag, "trimmed": .flag,
            ]))

    /// What is told of an event wherever it is told.
    private static let told: (required: [String], members: [JSONValue.Member]) = (
        ["id", "at", "limit_name", "unit", "mode", "per", "threshold", "amount", "used"],
        [
            .init(name: "id", value: .string(lengths: 32...32)), .init(name: "at", value: .instant),
            .init(name: "limit_name", value: .limitName), .init(name: "unit", value: .unit),
            .init(name: "mode", value: .string(of: LimitMode.allCases.map(\.rawValue))),
            .init(name: "per", value: .string(of: LimitScope.allCases.map(\.rawValue))),
            .init(name: "user_id", value: .subject), .init(name: "group_id", value: .subject),
            .init(name: "values", value: .string()),
            .init(name: "threshold", value: .string(of: LimitThreshold.names)),
            .init(name: "share", value: ["type": "number", "exclusiveMinimum": 0, "maximum": 1]),
            .init(name: "amount", value: .number), .init(name: "quota", value: .number),
            .init(name: "used", value: .number), .init(name: "window_seconds", value: .number),
            .init(name: "period_start", value: .instant),
            .init(name: "period_end", value: .instant),
        ]
    )
}
