import LoadGenerator

/// One line of the table: who is asked, and by how many.
struct Scenario: Hashable {
    enum Subject: Hashable {
        /// Checks of users with budget, through the daemon.
        case daemon
        /// The same script called straight in Redis, one EVALSHA a check.
        case direct
        /// A script that does nothing.
        case emptyScript
        /// Checks through the raw epoll program.
        case rawEpoll
        /// Checks of one user without budget, through the daemon.
        case denials
    }

    let name: String
    let subject: Subject
    let connections: Int
    var depth = 1

    var needsDaemon: Bool { subject == .daemon || subject == .denials }

    static func daemon(_ connections: Int) -> Scenario {
        Scenario(name: "daemon, \(connections)", subject: .daemon, connections: connections)
    }

    static func direct(_ connections: Int) -> Scenario {
        Scenario(name: "direct, \(connections)", subject: .direct, connections: connections)
    }

    static let rawEpoll = Scenario(name: "raw epoll, 64", subject: .rawEpoll, connections: 64)
    static let denials = Scenario(name: "denials, 64", subject: .denials, connections: 64)
    static let empty = Scenario(name: "empty, 16 × 16", subject: .emptyScript, connections: 16, depth: 16)
    static let pipelined = Scenario(name: "script, 16 × 16", subject: .direct, connections: 16, depth: 16)

    /// In the order of a round: what is compared stands side by side.
    static let all: [Scenario] = [
        .daemon(1), .direct(1), .daemon(16), .direct(16), .daemon(64), .direct(64), .rawEpoll, .denials, .daemon(256),
        .direct(256), .empty, .pipelined,
    ]
}

/// One measurement. Times are in nanoseconds, processor time is that of one check.
struct Sample {
    let checksPerSecond: Int
    let p50: Int
    let p99: Int
    let p999: Int
    /// Of the daemon or of the raw epoll program; nil where Redis is asked directly.
    let ownProcessor: Int?
    let redisProcessor: Int?
    /// Calls of a script in Redis for a million checks.
    let callsPerMillion: Int
    /// Denied, of a million.
    let deniedPerMillion: Int
    /// Answers that are neither 200 from Redis nor 429.
    let failed: Int
    /// The most memory seen during the load, in KiB.
    let residentKibibytes: Int
}

/// Memory of the daemon before, in the middle of, and after a long load, in KiB.
struct MemoryCourse {
    let before: Int
    let middle: Int
    let after: Int
    let checks: Int
    let deniedPercent: Int
}

/// Runs the measurements one by one, each on an empty Redis.
struct Bench {
    let testbed: Testbed
    let daemon: Served?
    let floor: Served
    let users: Users
    let seconds: Int

    func measure(_ scenario: Scenario) throws -> Sample {
        try testbed.session.command("FLUSHALL")
        let deniedShare = scenario.subject == .denials ? 100 : 0
        let mix = try CheckMix(users: users, deniedSharePercent: deniedShare)
        let served = scenario.needsDaemon ? daemon : scenario.subject == .rawEpoll ? floor : nil
        if scenario.subject == .denials, let served {
            try DaemonSession(to: served.socket).exhaustDeniedUser(of: mix)
        }
        let traffic: Traffic =
            switch scenario.subject {
            case .daemon, .denials, .rawEpoll: .httpChecks(mix)
            case .direct: .scriptChecks(mix, script: testbed.checkScript)
            case .emptyScript: .script(sha: testbed.emptyScript)
            }
        var watched = [WatchedProcess(name: "redis", id: testbed.redis.id)]
        if let served { watched.append(WatchedProcess(name: "own", id: served.process.id)) }
        let load = try Load(
            target: served?.socket ?? testbed.redisSocket, traffic: traffic, connections: scenario.connections,
            pipelineDepth: scenario.depth, length: .seconds(seconds), watched: watched)
        try testbed.session.command("CONFIG", "RESETSTAT")
        var resident = 0
        let report = try load.run { _ in
            if let served { resident = max(resident, residentKibibytes(of: served.process.id) ?? 0) }
        }
        return Sample(report, calls: try testbed.session.scriptCalls(), resident: resident)
    }

    /// Sends so many checks, most of them denied in the end, and watches the daemon's memory.
    func memory(over checks: Int, of served: Served) throws -> MemoryCourse {
        try testbed.session.command("FLUSHALL")
        let mix = try CheckMix(users: users)
        let half = LoadLength.checks(max(1, checks / 2))
        let load = try Load(
            target: served.socket, traffic: .httpChecks(mix), connections: 64, warmUpMilliseconds: 0, length: half)
        let id = served.process.id
        let before = residentKibibytes(of: id) ?? 0
        let first = try load.run().tally
        let middle = residentKibibytes(of: id) ?? 0
        let second = try load.run().tally
        let count = first.count + second.count
        return MemoryCourse(
            before: before, middle: middle, after: residentKibibytes(of: id) ?? 0, checks: count,
            deniedPercent: (first.denied + second.denied) * 100 / count)
    }
}

extension Sample {
    init(_ report: LoadReport, calls: Int, resident: Int) {
        checksPerSecond = report.checksPerSecond
        p50 = Int(report.latency.p50)
        p99 = Int(report.latency.p99)
        p999 = Int(report.latency.p999)
        ownProcessor = report.nanosecondsPerCheck(of: "own")
        redisProcessor = report.nanosecondsPerCheck(of: "redis")
        callsPerMillion = calls * 1_000_000 / max(report.answersWithWarmUp, 1)
        deniedPerMillion = report.tally.denied * 1_000_000 / max(report.tally.count, 1)
        failed = report.tally.degraded + report.tally.other + report.lostConnections
        residentKibibytes = resident
    }
}
