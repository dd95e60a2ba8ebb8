import Glibc

/// The rows of the table, in its order. A fault that is added here must have a test: `scripts/fault-table` misses it.
package enum Fault: String, CaseIterable, Sendable {
    case killed = "Redis killed with -9, away for a while, started again with its AOF"
    case restartedEmpty = "Redis killed with -9, started again empty"
    case oldSnapshot = "Redis killed with -9, started again from an old snapshot"
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
    case sentinelKill = "Sentinel: master killed with -9"
    case sentinelStop = "Sentinel: master stopped, later let go on"
    case sentinelFailover = "Sentinel: SENTINEL FAILOVER"
    case sentinelLie = "a Sentinel that lies about the master"
    case clusterKill = "Cluster: master killed with -9"
    case clusterStop = "Cluster: master stopped"
    case clusterFailover = "Cluster: CLUSTER FAILOVER"
    case clusterMigration = "Cluster: slots moved under load"
    case clusterNodeGone = "Cluster: a node gone with its replica (the figures are the other nodes' users)"

    /// Its place in the table.
    package var index: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

/// What one row of the table says.
package struct FaultRecord: Sendable {
    package var fault: Fault
    package var checks: Int
    /// Checks that Redis did not decide.
    package var degraded: Int
    /// The longest answer, the time without a processor subtracted, in milliseconds.
    package var slowestMilliseconds: Double
    /// How late the machine itself was in the same run, at worst, in milliseconds.
    package var noiseMilliseconds: Double
    package var deniedWrongly: Int
    /// Admissions over the limit outside the outage.
    package var overLimit: Int
    /// From the end of the fault until decisions are exact, in milliseconds; behind Sentinels and in a cluster from its
    /// beginning, since the failover is what ends it.
    package var exactAfterMilliseconds: Double
    /// Lines of all daemons from the fault to the end.
    package var logLines: Int

    package init(
        _ fault: Fault, checks: Int, degraded: Int, slowestMilliseconds: Double, noiseMilliseconds: Double,
        deniedWrongly: Int, overLimit: Int, exactAfterMilliseconds: Double, logLines: Int
    ) {
        self.fault = fault
        self.checks = checks
        self.degraded = degraded
        self.slowestMilliseconds = slowestMilliseconds
        self.noiseMilliseconds = noiseMilliseconds
        self.deniedWrongly = deniedWrongly
        self.overLimit = overLimit
        self.exactAfterMilliseconds = exactAfterMilliseconds
        self.logLines = logLines
    }

    /// Prints the row, and appends it, behind its place in the table, to the file that LLM_RATE_LIMIT_FAULT_TABLE names.
    package func record() throws {
        let cells: [String] = [
            fault.rawValue, "\(checks)", "\(degraded)", Self.text(slowestMilliseconds), Self.text(noiseMilliseconds),
            "\(deniedWrongly)", "\(overLimit)", Self.text(exactAfterMilliseconds), "\(logLines)",
        ]
        let row = "| \(cells.joined(separator: " | ")) |"
        print("fault: \(row)")
        guard let path = getenv("LLM_RATE_LIMIT_FAULT_TABLE").map({ String(cString: $0) }) else { return }
        let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        defer { close(file) }
        let bytes = Array("\(fault.index)\t\(row)\n".utf8)
        guard file >= 0, write(file, bytes, bytes.count) == bytes.count else {
            throw TestFailure("cannot write \(path): errno \(errno)")
        }
    }

    private static func text(_ milliseconds: Double) -> String { "\(Int(milliseconds.rounded()))" }
}
