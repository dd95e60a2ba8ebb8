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

/// `GET /v1/events`.
struct EventsAnswer: Decodable {
    struct Event: Decodable {
        var at: String
        var limitName: String
        var unit: String
        var mode: String
        var userId: String?
        var groupId: String?
        var values: String?
        /// Which one was crossed: warning, quota or soft_quota.
        var threshold: String
        /// The share of the quota where it is one.
        var share: Double?
        var quota: Int?
        var used: Int
        var windowSeconds: Int?
        var periodEnd: String?
    }

    var events: [Event]
    var nextCursor: String
    /// Whether there are more by now.
    var more: Bool
    /// Whether some between the cursor and the first of these have gone.
    var trimmed: Bool
}
