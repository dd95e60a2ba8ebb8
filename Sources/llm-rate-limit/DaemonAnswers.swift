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
