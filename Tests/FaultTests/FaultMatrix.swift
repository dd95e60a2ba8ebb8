import TestSupport
import Testing

/// Each test is a row of the table in `Faults.md`: it injects a fault into real processes under load, asserts its
/// figures, prints them, and appends them to the file that LLM_RATE_LIMIT_FAULT_TABLE names.
///
/// One after the other: each loads the machine, and prints times.
@Suite("Fault matrix", .serialized)
enum FaultMatrix {
    /// A daemon that has nothing to do: how late it answers is the machine's part.
    static let reference = Result { try Daemon(redis: try RedisServer().url) }

    /// A daemon with the deadline of the contract.
    static func startDaemon(
        _ url: String, _ settings: [String: String] = [:], wrapper: [String] = [], environment: [String: String] = [:]
    ) throws -> Daemon {
        try Daemon(
            redis: url, ["REDIS_TIMEOUT_MS": "50"].merging(settings) { $1 }, environment: environment, wrapper: wrapper
        )
    }

    /// Options of a redis-server that knows after a crash what it has answered before.
    ///
    /// Written before each answer and left to the system: a fsync under way would keep Redis from writing.
    static let keepsCounts = ["--appendonly", "yes", "--appendfsync", "no"]
}
