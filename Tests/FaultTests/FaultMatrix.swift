import TestSupport
import Testing

/// Each test is a row of the table in `Faults.md`: it injects a fault into real processes under load, asserts its
/// figures, prints them, and appends them to the file that LLM_RATE_LIMIT_FAULT_TABLE names.
///
/// One after the other: each loads the machine and looks at times.
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

/// The rows of the table, in its order. A fault that is added here must have a test: `scripts/fault-table` misses it.
enum Fault: String, CaseIterable {
    case killed = "Redis killed with -9, away for a while, started again with its AOF"
    case restartedEmpty = "Redis killed with -9, started again empty"
    case stopped = "SIGSTOP, later SIGCONT"
    case loading = "started again, LOADING for a while"
    case scriptFlush = "SCRIPT FLUSH, 20 times"
    case flushAll = "FLUSHALL"
    case maxmemory = "maxmemory reached, noeviction"
    case misconf = "MISCONF: cannot save"
    case readOnly = "READONLY: made a replica"
    case busy = "BUSY: a script that does not end"
    case wrongType = "keys of another type under some users' names (the figures are the others')"
    case passwordChanged = "password changed, connections closed"
    case permissionsRevoked = "ACL revoked while connected"
    case userDeleted = "ACL user deleted while connected"
    case clientKill = "CLIENT KILL, 10 times"
    case clientPause = "CLIENT PAUSE, 700 ms"
    case maxclients = "maxclients reached"
    case cutReply = "replies cut in half"
    case silence = "a reply that never comes on a connection that stays up"
    case garbage = "bytes that are no RESP"
    case strayReplies = "replies to what nobody asked"
    case endlessReply = "a reply that does not end"
    case deaf = "connections accepted and never answered"
    case nameGone = "DNS name that stops resolving, and Redis restarted"
    case nameServerSilent = "name server that does not answer, and Redis restarted"
    case nameMoved = "DNS name that resolves to another address"
    case cutOff = "half of the daemons cut off from Redis"
    case latency5 = "5 ms added, ±3 ms, 1 % lost"
    case latency20 = "20 ms added, ±10 ms, 1 % lost"
    case latency100 = "100 ms added, ±30 ms, 1 % lost"
    case descriptors = "file descriptors of the daemon used up"
    case socketDeleted = "socket file deleted under the daemon"
    case fullDisk = "full disk under the log, Redis away meanwhile"
    case daemonKilled = "daemon killed with -9 and started again"
    case clockForward = "Redis's clock 10 minutes forward"
    case clockBack = "Redis's clock 10 minutes back"
    case daemonClock = "daemon's clock 10 minutes forward and back"

    var index: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}
