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
        /// Checks under so many limits of a file at once, through a daemon of their own.
        case limits(Int)
        /// Checks of one user without budget under three limits of a file.
        case limitDenials
        /// Checks of many users without budget in turn, through the daemon.
        case deniedUsers
        /// Reservations and their settlements, likewise.
        case reservations
        /// Checks of one user with 100,000 admissions in the window, through a daemon with a limit that allows them.
        case manyAdmissions
        /// Checks of a million users who have all been seen, through the daemon.
        case manyUsers
        /// Calls of Envoy's rate limit service of users with budget, through the daemon.
        case rateLimitService
    }

    let name: String
    let subject: Subject
    let connections: Int
    var depth = 1
    /// For how long it is measured at least, whatever the others are.
    var leastSeconds = 0
    /// How many users it has, where they are not as many as the others have.
    var userCount: Int?

    /// Whether its users have no budget.
    var isOfDenials: Bool { [.denials, .limitDenials, .deniedUsers].contains(subject) }

    /// Who answers; nil where Redis does.
    var server: Server? {
        switch subject {
        case .daemon, .denials, .deniedUsers, .manyUsers: .daemon
        case .rateLimitService: .grpc
        case .direct, .emptyScript: nil
        case .rawEpoll: .floor
        case .limits(let count): .limits(count)
        case .limitDenials: .denying
        case .reservations: .reservations
        case .manyAdmissions: .wide
        }
    }

    static func limits(_ count: Int, _ connections: Int = 64) -> Scenario {
        let name = count == 1 ? "1 limit" : "\(count) limits"
        guard connections == 1 else { return Scenario(name: name, subject: .limits(count), connections: connections) }
        // One client meets few of the others' users twice; these are all known to the daemon after the warm-up.
        return Scenario(name: "\(name), 1 client", subject: .limits(count), connections: 1, userCount: 1_000)
    }

    static func daemon(_ connections: Int) -> Scenario {
        Scenario(name: "daemon, \(connections)", subject: .daemon, connections: connections)
    }

    static func direct(_ connections: Int) -> Scenario {
        Scenario(name: "direct, \(connections)", subject: .direct, connections: connections)
    }

    static func rateLimitService(_ connections: Int, _ streams: Int) -> Scenario {
        Scenario(
            name: "gRPC, \(connections) × \(streams)", subject: .rateLimitService, connections: connections,
            depth: streams)
    }

    static let rawEpoll = Scenario(name: "raw epoll, 64", subject: .rawEpoll, connections: 64)
    static let reservations = Scenario(name: "reserve + settle", subject: .reservations, connections: 64)
    static let limitDenials = Scenario(name: "3 limits, denials", subject: .limitDenials, connections: 64)
    /// Twice as long as a denial is remembered: each is asked for again as often as it is in the long run.
    static let deniedUsers = Scenario(
        name: "50,000 denied", subject: .deniedUsers, connections: 64,
        leastSeconds: 2 * Testbed.denyCacheMilliseconds / 1_000)
    static let denials = Scenario(name: "denials, 64", subject: .denials, connections: 64)
    static let empty = Scenario(name: "empty, 16 × 16", subject: .emptyScript, connections: 16, depth: 16)
    static let pipelined = Scenario(name: "script, 16 × 16", subject: .direct, connections: 16, depth: 16)

    /// In the order of a round: what is compared stands side by side.
    static let all: [Scenario] = [
        .daemon(1), .direct(1), .daemon(16), .direct(16), .daemon(64), .direct(64), .rawEpoll, .denials, .daemon(256),
        .direct(256), .empty, .pipelined,
    ]

    /// By gRPC, connections by calls under way on each, beside checks by HTTP.
    static let ofRateLimitService: [Scenario] = [
        .daemon(1), .rateLimitService(1, 1), .daemon(64), .rateLimitService(1, 64), .rateLimitService(8, 8),
        .rateLimitService(64, 1),
    ]

    /// Under more limits than one, and with much in Redis.
    static let more: [Scenario] = [
        .limits(1), .limits(3), .limits(8), .limits(3, 1), .reservations, .limitDenials, .deniedUsers,
        Scenario(name: "100,000 admissions", subject: .manyAdmissions, connections: 64),
        Scenario(name: "1,000,000 users", subject: .manyUsers, connections: 64),
    ]
}

/// What a run measures.
enum Suite {
    /// Checks, calls and what they are compared with.
    case checks
    /// Envoy's rate limit service, beside checks by HTTP.
    case rateLimitService

    var scenarios: [Scenario] {
        switch self {
        case .checks: Scenario.all + Scenario.more
        case .rateLimitService: Scenario.ofRateLimitService
        }
    }

    /// The daemons that it needs.
    var servers: [Server] {
        switch self {
        case .checks: [.daemon, .limits(1), .limits(3), .limits(8), .denying, .reservations, .wide]
        case .rateLimitService: [.daemon, .grpc]
        }
    }
}

/// The programs that are measured.
enum Server: Hashable {
    case daemon
    case floor
    /// A daemon with so many limits in a file.
    case limits(Int)
    /// A daemon with three limits in a file, of which one lets few checks pass.
    case denying
    /// A daemon with limits of tokens and of concurrency.
    case reservations
    /// A daemon with a limit so high that nobody is denied.
    case wide
    /// A daemon that is spoken to by gRPC, with one limit of envoyproxy/ratelimit's configuration.
    case grpc
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

/// Memory of a process at one instant, in KiB.
struct MemoryReading {
    /// All that is resident, pages of the program included.
    let resident: Int
    /// What the process has allocated of it.
    let anonymous: Int

    init(of process: Int32) {
        resident = residentKibibytes(of: process) ?? 0
        anonymous = anonymousKibibytes(of: process) ?? 0
    }
}

/// Memory of the daemon before, in the middle of, and after a long load.
struct MemoryCourse {
    let before: MemoryReading
    let middle: MemoryReading
    let after: MemoryReading
    let checks: Int
    let deniedPercent: Int
}

/// What pairs of reserve and settle leave in Redis beside what they charge.
struct PairMemory {
    let pairs: Int
    let bytesPerThousandPairs: Int
    /// Keys for a thousand users.
    let keysPerThousandUsers: Int
}

/// Runs the measurements one by one, each on an empty Redis.
struct Bench {
    let testbed: Testbed
    let servers: [Server: Served]
    let users: Users
    let seconds: Int

    func measure(_ scenario: Scenario) throws -> Sample {
        try testbed.session.command("FLUSHALL")
        let served = scenario.server.flatMap { servers[$0] }
        let traffic = try traffic(scenario, served)
        var watched = [WatchedProcess(name: "redis", id: testbed.redis.id)]
        if let served { watched.append(WatchedProcess(name: "own", id: served.process.id)) }
        let load = try Load(
            target: served?.socket ?? testbed.redisSocket, traffic: traffic, connections: scenario.connections,
            pipelineDepth: scenario.depth, length: .seconds(max(seconds, scenario.leastSeconds)), watched: watched)
        try testbed.session.command("CONFIG", "RESETSTAT")
        var resident = 0
        let report = try load.run { _ in
            if let served { resident = max(resident, residentKibibytes(of: served.process.id) ?? 0) }
        }
        return Sample(report, calls: try testbed.session.scriptCalls(), resident: resident)
    }

    /// What the body of a call says beside user and cost.
    private static let call = #","model":"gpt-4o","input_tokens":900,"output_tokens":100"#

    /// What is sent; where it needs something to be in Redis, that is put there.
    private func traffic(_ scenario: Scenario, _ served: Served?) throws -> Traffic {
        let subject = scenario.subject
        let users = try scenario.userCount.map { try Users(count: $0) } ?? users
        let mix = try CheckMix(users: users, deniedSharePercent: subject == .denials ? 100 : 0)
        switch subject {
        case .daemon, .rawEpoll, .limits(1), .limits(8): return .httpChecks(mix)
        case .limits: return .httpChecks(try CheckMix(users: users, members: Self.call))
        case .limitDenials:
            let denied = try CheckMix(users: users, members: Self.call, deniedSharePercent: 100)
            if let served { try DaemonSession(to: served.socket).exhaustDeniedUser(of: denied) }
            return .httpChecks(denied)
        case .deniedUsers:
            let denied = try Users(count: 50_000, order: .roundRobin)
            try send(denied.count, try CheckMix(users: denied, cost: Testbed.limit), to: served)
            return .httpChecks(try CheckMix(users: denied))
        case .rateLimitService: return .rateLimitService(mix)
        case .direct: return .scriptChecks(mix, script: testbed.checkScript)
        case .emptyScript: return .script(sha: testbed.emptyScript)
        case .denials:
            if let served { try DaemonSession(to: served.socket).exhaustDeniedUser(of: mix) }
            return .httpChecks(mix)
        case .reservations:
            let length = try served.flatMap { try DaemonSession(to: $0.socket).leaseLength(users) }
            return .httpReservations(mix, leaseLength: length ?? 0)
        case .manyAdmissions:
            let one = try CheckMix(users: Users(count: 1))
            try send(100_000, one, to: served)
            return .httpChecks(one)
        case .manyUsers:
            let count = Users.maximumCount
            try send(count, try CheckMix(users: Users(count: count, order: .roundRobin)), to: served)
            return .httpChecks(try CheckMix(users: Users(count: count)))
        }
    }

    private func send(_ checks: Int, _ mix: CheckMix, to served: Served?) throws {
        guard let served else { return }
        let load = try Load(
            target: served.socket, traffic: .httpChecks(mix), connections: 256, warmUpMilliseconds: 0,
            length: .checks(checks))
        _ = try load.run()
    }

    /// Compares what pairs of 100 users leave in Redis with what checks of the same cost do.
    func pairMemory(of served: Served) throws -> PairMemory {
        let users = try Users(count: 100, order: .roundRobin)
        func left(by traffic: Traffic) throws -> (checks: Int, bytes: Int, keys: Int) {
            try testbed.session.command("FLUSHALL")
            let before = try testbed.session.dataBytes()
            let load = try Load(
                target: served.socket, traffic: traffic, connections: 16, warmUpMilliseconds: 0,
                length: .checks(10_000))
            let checks = try load.run().tally.count
            return (checks, try testbed.session.dataBytes() - before, try testbed.session.keyCount())
        }
        let length = try DaemonSession(to: served.socket).leaseLength(users) ?? 0
        let pairs = try left(by: .httpReservations(try CheckMix(users: users), leaseLength: length))
        let checks = try left(by: .httpChecks(try CheckMix(users: users, members: #","input_tokens":800"#)))
        return PairMemory(
            pairs: pairs.checks, bytesPerThousandPairs: max(0, pairs.bytes - checks.bytes) * 1_000 / pairs.checks,
            keysPerThousandUsers: max(0, pairs.keys - checks.keys) * 1_000 / users.count)
    }

    /// Sends so many checks, most of them denied in the end, and watches the daemon's memory.
    func memory(over checks: Int, of served: Served) throws -> MemoryCourse {
        try testbed.session.command("FLUSHALL")
        let mix = try CheckMix(users: users)
        let half = LoadLength.checks(max(1, checks / 2))
        let load = try Load(
            target: served.socket, traffic: .httpChecks(mix), connections: 64, warmUpMilliseconds: 0, length: half)
        let id = served.process.id
        let before = MemoryReading(of: id)
        let first = try load.run().tally
        let middle = MemoryReading(of: id)
        let second = try load.run().tally
        let count = first.count + second.count
        return MemoryCourse(
            before: before, middle: middle, after: MemoryReading(of: id), checks: count,
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
