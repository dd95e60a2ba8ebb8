import Glibc
import HistoryChecker
import Synchronization
import TestSupport

/// What daemons are asked for.
package enum Traffic: String, CaseIterable, Sendable {
    /// Checks under one limit.
    case checks
    /// Checks, reservations and all that follows them, under several limits at once.
    case calls
    /// Both at the same time.
    case mixed
}

/// Daemons that share their limits, and those that ask them now.
protocol LoadedGroup: Sendable {
    /// The quota of checks, which a fault changes for a while.
    var quota: Int { get }
    var places: [DaemonPlace] { get }
    /// Puts somebody new in the place of one, whose history is then complete.
    func replaceUser(_ index: Int)
    func retireAll()
    /// Empties the windows of users that are asked for.
    func resetUsers(at place: DaemonPlace)
    func clients(at place: DaemonPlace, _ testbed: Testbed, _ statistics: Statistics, seed: UInt64) -> any LoadingClient
}

/// Somebody who asks until it is told to end.
protocol LoadingClient: Sendable {
    func run(until flag: Flag) throws
}

/// One Redis, and several groups of daemons on it. The daemons of a group share a limit, and so their users' windows.
package final class Testbed: Sendable {
    /// After how long Redis says BUSY while a script runs.
    static let busyAfterMilliseconds = 100

    let redis: RedisServer
    let groups: [any LoadedGroup]
    let recorder: Recorder
    /// How often all clients were told to hang up.
    let hangUps = Tally()

    package init(_ traffic: Traffic) throws {
        let redis = try RedisServer([
            "--enable-debug-command", "yes", "--lua-time-limit", "\(Self.busyAfterMilliseconds)",
        ])
        let recorder = Recorder()
        self.redis = redis
        self.recorder = recorder
        let checks = try traffic == .calls ? [] : Self.checkGroups(redis, recorder)
        let calls = try traffic == .checks ? [] : [CallGroup(redis.unrestrictedURL, recorder)]
        groups = checks + calls
    }

    private static func checkGroups(_ redis: RedisServer, _ recorder: Recorder) throws -> [any LoadedGroup] {
        try [
            // No denial is remembered: every answer's numbers are the window's at one instant, and are judged whole.
            DaemonGroup("a", quota: 5, windowSeconds: 1, denyCacheMilliseconds: 0, redis.unrestrictedURL, recorder),
            DaemonGroup(
                "b", quota: 40, windowSeconds: 2, denyCacheMilliseconds: 0, largestCost: 4, redis.unrestrictedURL,
                recorder),
            DaemonGroup(
                "c", quota: 20, windowSeconds: 5, denyCacheMilliseconds: 1_000, redis.unrestrictedURL, recorder),
        ]
    }

    var places: [DaemonPlace] { groups.flatMap(\.places) }

    func place(_ target: Int) -> DaemonPlace { places[target % places.count] }

    /// Waits until every daemon gets decisions from Redis, and says after how long the last one did.
    func millisecondsUntilExact() throws -> Double {
        let start = monotonicMilliseconds()
        for place in places {
            let isExact = eventually(within: 20) { (try? place.decides()) ?? false }
            guard isExact else { throw TestFailure("a daemon does not decide again: \(place.log)") }
        }
        return monotonicMilliseconds() - start
    }

    /// Waits until nothing that was asked before this can still be charged, so that what clients do not know is bounded.
    ///
    /// A check that was given up may lie in a socket of a daemon, in one of its links, or in a socket of Redis. Each is
    /// emptied in order: the daemon's by its loop turning several times; a link by a decision that came through it
    /// behind all others; Redis's by its loop turning several times, since each turn reads all that lies there.
    func settle() throws {
        let began = systemMicroseconds()
        for place in places {
            try place.turn(4)
            guard eventually(within: 20, { (try? place.decides()) ?? false }) else {
                throw TestFailure("a daemon does not decide again: \(place.log)")
            }
        }
        let connection = try redis.connect()
        for _ in 0..<16 { try connection.command("PING") }
        recorder.settled(askedBefore: began, by: systemMicroseconds())
    }
}

/// Daemons that share a limit, and the users that ask them now.
final class DaemonGroup: LoadedGroup {
    let quota: Int
    let contract: WindowContract
    let largestCost: Int
    let places: [DaemonPlace]
    private let recorder: Recorder
    private let current: Mutex<[UserLog]>
    static let usersAtATime = 3

    init(
        _ name: String, quota: Int, windowSeconds: Int, denyCacheMilliseconds: Int, largestCost: Int = 1,
        _ redis: String, _ recorder: Recorder
    ) throws {
        self.quota = quota
        self.largestCost = largestCost
        self.recorder = recorder
        let contract = WindowContract(
            windowMicroseconds: windowSeconds * 1_000_000, denialMemoryMicroseconds: denyCacheMilliseconds * 1_000
        )
        self.contract = contract
        let settings = [
            "WINDOW": "\(windowSeconds)", "DENY_CACHE_MS": "\(denyCacheMilliseconds)", "KEY_PREFIX": "chaos-\(name)",
            "REDIS_TIMEOUT_MS": "50", "LOG_FORMAT": "text",
        ]
        places = try (0..<2).map { _ in try DaemonPlace(redis, quota: quota, settings) }
        current = Mutex((0..<Self.usersAtATime).map { _ in recorder.newLog(contract) })
    }

    /// The users that are asked for now.
    var users: [UserLog] { current.withLock { $0 } }

    /// Puts a new user in the place of one, whose history is then complete.
    func replaceUser(_ index: Int) {
        let index = index % Self.usersAtATime
        let log = recorder.newLog(contract)
        let old = current.withLock { current in
            defer { current[index] = log }
            return current[index]
        }
        recorder.retire(old)
    }

    func retireAll() { for log in users { recorder.retire(log) } }

    func resetUsers(at place: DaemonPlace) {
        for log in users {
            let start = systemMicroseconds()
            let answer = try? place.reset(log.user)
            log.forgot(from: start, to: systemMicroseconds(), isCertain: answer == 204)
        }
    }

    func clients(at place: DaemonPlace, _ testbed: Testbed, _ statistics: Statistics, seed: UInt64) -> any LoadingClient
    {
        Client(testbed: testbed, group: self, place: place, statistics: statistics, seed: seed)
    }
}

/// Where a daemon runs, and runs again after it was killed: its sockets stay where they are.
package final class DaemonPlace: Sendable {
    private let folder: TemporaryFolder
    private let redis: String
    private let settings: [String: String]
    private let daemon = Mutex<Daemon?>(nil)

    init(_ redis: String, quota: Int, _ settings: [String: String]) throws {
        folder = try TemporaryFolder()
        self.redis = redis
        var settings = settings
        settings["ENV_FILE"] = try folder.write("LLM_RATE_LIMIT_REQUESTS=\(quota)\n", to: "limit.env")
        self.settings = settings
        try start()
    }

    func start() throws {
        let started = try Daemon(redis: redis, settings, folder: folder)
        daemon.withLock { $0 = started }
    }

    func kill() { daemon.withLock { $0 }?.process.end() }

    func send(_ signal: CInt) { daemon.withLock { $0 }?.process.send(signal) }

    var processID: pid_t { daemon.withLock { $0 }?.process.id ?? 0 }

    var log: String { daemon.withLock { $0 }?.process.errors ?? "" }

    func connect() throws -> HTTPConnection { try HTTPConnection(.unix(folder.file("check")), timeoutSeconds: 10) }

    /// Whether Redis decides a check of a user that nobody else has.
    func decides() throws -> Bool {
        let answer = try connect().check(newUser())
        return answer.status == 200 && !answer.isDegraded
    }

    /// Has the event loop turn so many times.
    func turn(_ count: Int) throws {
        let connection = try connect()
        for _ in 0..<count { _ = try connection.request("GET", "/livez") }
    }

    func reload(quota: Int) throws {
        try folder.write("LLM_RATE_LIMIT_REQUESTS=\(quota)\n", to: "limit.env")
        try daemon.withLock { $0 }?.reload()
    }

    func reset(_ user: String) throws -> Int {
        try HTTPConnection(.unix(folder.file("admin")), timeoutSeconds: 10).request("DELETE", "/v1/users/\(user)")
            .status
    }
}
