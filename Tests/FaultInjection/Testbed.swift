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
    var keyPrefix: String { get }
    var places: [DaemonPlace] { get }
    /// The slots of the windows that are asked for now.
    var slots: [Int] { get }
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

/// What keeps the windows, and several groups of daemons on it. The daemons of a group share a limit, and so their users'
/// windows.
package final class Testbed: Sendable {
    /// After how long Redis says BUSY while a script runs.
    static let busyAfterMilliseconds = 100
    /// How long a daemon waits for a decision.
    static let deadlineMilliseconds = 50

    let store: any Store
    let groups: [any LoadedGroup]
    let recorder: Recorder
    /// How often all clients were told to hang up.
    let hangUps = Tally()

    /// - Parameter programs: what the daemons of each group run, one after the other.
    package init(_ traffic: Traffic, on topology: Topology, programs: [String] = [Daemon.program]) throws {
        let recorder = Recorder()
        let store: any Store =
            switch topology {
            case .single: try SingleStore()
            case .cluster: try ClusterStore(recorder)
            }
        self.store = store
        self.recorder = recorder
        let checks = try traffic == .calls ? [] : Self.checkGroups(store.url, programs, recorder)
        let calls = try traffic == .checks ? [] : [CallGroup(store, programs, recorder)]
        groups = checks + calls
        // Daemons that have just started do not know a cluster's masters yet.
        try settleEventually()
    }

    private static func checkGroups(
        _ redis: String, _ programs: [String], _ recorder: Recorder
    ) throws -> [any LoadedGroup] {
        try [
            // No denial is remembered: every answer's numbers are the window's at one instant, and are judged whole.
            DaemonGroup("a", quota: 5, windowSeconds: 1, denyCacheMilliseconds: 0, redis, programs, recorder),
            DaemonGroup(
                "b", quota: 40, windowSeconds: 2, denyCacheMilliseconds: 0, largestCost: 4, redis, programs, recorder),
            DaemonGroup("c", quota: 20, windowSeconds: 5, denyCacheMilliseconds: 1_000, redis, programs, recorder),
        ]
    }

    /// The only Redis, for the faults of one.
    var redis: RedisServer {
        guard let store = store as? SingleStore else { preconditionFailure("a fault of one Redis, without one") }
        return store.redis
    }

    /// The cluster, for the faults of one.
    var cluster: ClusterStore {
        guard let store = store as? ClusterStore else { preconditionFailure("a fault of a cluster, without one") }
        return store
    }

    var places: [DaemonPlace] { groups.flatMap(\.places) }

    func place(_ target: Int) -> DaemonPlace { places[target % places.count] }

    /// Waits until every daemon gets decisions from each master, and says after how long the last one did.
    func millisecondsUntilExact() throws -> Double {
        let start = monotonicMilliseconds()
        try waitUntilExact(turns: 0)
        return monotonicMilliseconds() - start
    }

    private func waitUntilExact(turns: Int) throws {
        for group in groups {
            for place in group.places {
                if turns > 0 { try place.turn(turns) }
                for user in try store.probes(prefix: group.keyPrefix) {
                    guard eventually(within: 30, { (try? place.decides(user)) ?? false }) else {
                        throw TestFailure("a daemon does not decide again: \(place.log)")
                    }
                }
            }
        }
    }

    /// Waits until nothing that was asked before this can still be charged, so that what clients do not know is bounded.
    ///
    /// A check that was given up may lie in a socket of a daemon, in one of its links, or in a socket of Redis. Each is
    /// emptied in order: the daemon's by its loop turning several times; each link by a decision that came through it
    /// behind all others; Redis's by its loop turning several times, since each turn reads all that lies there.
    func settle() throws {
        let began = systemMicroseconds()
        // In a cluster what did not run is sent again, until its deadline.
        if store.hasSlots { pause(milliseconds: 2 * Self.deadlineMilliseconds) }
        try waitUntilExact(turns: 4)
        for server in store.servers {
            let connection = try server.connect()
            for _ in 0..<16 { try connection.command("PING") }
        }
        let end = systemMicroseconds()
        // A history ends with a settlement behind it: by then what it may have lost is known.
        try store.secure(recorder)
        recorder.settled(askedBefore: began, by: end)
    }

    /// The same where a cluster may be electing a master of its own accord: it is tried again.
    func settleEventually() throws {
        let end = monotonicMilliseconds() + 60_000
        while true {
            do { return try settle() } catch  where monotonicMilliseconds() < end { pause(milliseconds: 50) }
        }
    }
}

/// Daemons that share a limit, and the users that ask them now.
final class DaemonGroup: LoadedGroup {
    let quota: Int
    let contract: WindowContract
    let largestCost: Int
    let keyPrefix: String
    let places: [DaemonPlace]
    private let recorder: Recorder
    private let current: Mutex<[UserLog]>
    static let usersAtATime = 3

    init(
        _ name: String, quota: Int, windowSeconds: Int, denyCacheMilliseconds: Int, largestCost: Int = 1,
        _ redis: String, _ programs: [String], _ recorder: Recorder
    ) throws {
        self.quota = quota
        self.largestCost = largestCost
        self.recorder = recorder
        let contract = WindowContract(
            windowMicroseconds: windowSeconds * 1_000_000, denialMemoryMicroseconds: denyCacheMilliseconds * 1_000
        )
        self.contract = contract
        let keyPrefix = "chaos-\(name)"
        self.keyPrefix = keyPrefix
        let settings = [
            "WINDOW": "\(windowSeconds)", "DENY_CACHE_MS": "\(denyCacheMilliseconds)", "KEY_PREFIX": keyPrefix,
            "REDIS_TIMEOUT_MS": "\(Testbed.deadlineMilliseconds)", "LOG_FORMAT": "text",
        ]
        places = try (0..<2).map { try DaemonPlace(redis, quota: quota, settings, programs: programs, first: $0) }
        current = Mutex((0..<Self.usersAtATime).map { _ in UserLog(contract, prefix: keyPrefix) })
    }

    /// The users that are asked for now.
    var users: [UserLog] { current.withLock { $0 } }

    var slots: [Int] { users.map(\.slot) }

    /// Puts a new user in the place of one, whose history is then complete.
    func replaceUser(_ index: Int) {
        let index = index % Self.usersAtATime
        let log = UserLog(contract, prefix: keyPrefix)
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
    private let programs: [String]
    /// Which of the programs runs here.
    private let program: Mutex<Int>

    init(_ redis: String, quota: Int, _ settings: [String: String], programs: [String], first: Int) throws {
        self.programs = programs
        program = Mutex(first % programs.count)
        folder = try TemporaryFolder()
        self.redis = redis
        var settings = settings
        settings["ENV_FILE"] = try folder.write("LLM_RATE_LIMIT_REQUESTS=\(quota)\n", to: "limit.env")
        self.settings = settings
        try start()
    }

    func start() throws {
        let program = programs[program.withLock { $0 }]
        let started = try Daemon(redis: redis, settings, folder: folder, program: program)
        daemon.withLock { $0 = started }
    }

    /// Ends it as a service manager does, and starts the next program in its place.
    func exchange() throws {
        let code = try daemon.withLock { $0 }?.terminate()
        guard code == 0 else { throw TestFailure("a daemon ended with \(code ?? -1): \(log)") }
        program.withLock { $0 = ($0 + 1) % programs.count }
        try start()
    }

    func kill() { daemon.withLock { $0 }?.process.end() }

    func send(_ signal: CInt) { daemon.withLock { $0 }?.process.send(signal) }

    var processID: pid_t { daemon.withLock { $0 }?.process.id ?? 0 }

    var log: String { daemon.withLock { $0 }?.process.errors ?? "" }

    func connect() throws -> HTTPConnection { try HTTPConnection(.unix(folder.file("check")), timeoutSeconds: 10) }

    /// Whether Redis decides a check of a user that nobody else has.
    func decides(_ user: String) throws -> Bool {
        let answer = try connect().check(user)
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
