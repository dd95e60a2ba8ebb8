import HistoryChecker
import Synchronization
import TestSupport

/// A user, a team, a tenant or all: whose windows have a history of their own, and what clients saw of it.
final class SubjectLog: Sendable {
    private struct Storage {
        var operations: [CallOperation] = []
        var open = 0
    }

    let kind: CallLimits.Kind
    /// The name by which calls ask for it.
    let name: String
    /// Where its windows are in a cluster.
    let slot: Int
    let createdAt = systemMicroseconds()
    private let storage = Mutex(Storage())

    /// - Parameter prefix: the daemons' prefix of keys.
    init(_ kind: CallLimits.Kind, name: String = newUser(), prefix: String) {
        self.kind = kind
        self.name = name
        slot = HashSlots.slot(of: kind.key(of: name, prefix: prefix))
    }

    func began() { storage.withLock { $0.open += 1 } }

    func ended(_ operations: [CallOperation]) {
        storage.withLock { storage in
            storage.open -= 1
            storage.operations += operations
        }
    }

    /// Its windows were emptied, or perhaps were.
    func wasReset(from start: Int, to end: Int, isCertain: Bool) {
        let terms = CallLimits.names(kind).indices.map { CallOperation.Term(window: $0, cost: 0) }
        let reset = CallOperation(
            .reset, terms: terms, startMicroseconds: start, endMicroseconds: end,
            outcome: isCertain ? .done : .unknown)
        storage.withLock { $0.operations.append(reset) }
    }

    /// All operations once no call is under way; nil before.
    var complete: [CallOperation]? { storage.withLock { $0.open == 0 ? $0.operations : nil } }
}

extension CallLimits.Kind {
    /// Where the windows of somebody are.
    package func key(of name: String, prefix: String) -> String {
        switch self {
        case .user: "\(prefix):\(name)"
        case .team: "\(prefix):group:\(name)"
        case .tenant: "\(prefix):by:label:tenant=\(name)"
        case .all: "\(prefix):global"
        }
    }
}

/// A team, its members, and a user who is in none and asks under limits of its own alone.
final class Team: Sendable {
    static let members = 2
    /// The members, and behind them the one who is none.
    let users: [SubjectLog]
    let group: SubjectLog

    init(prefix: String) {
        users = (0...Self.members).map { _ in SubjectLog(.user, prefix: prefix) }
        group = SubjectLog(.team, prefix: prefix)
    }

    var logs: [SubjectLog] { users + [group] }
}

/// Daemons with a file of limits, and the teams that ask them now.
final class CallGroup: LoadedGroup {
    /// Who asks now.
    struct Current {
        var teams: [Team]
        /// The model that is named, with the history of all who name it.
        var model = 0
        var all: SubjectLog
        var tenants: [SubjectLog]

        var logs: [SubjectLog] { teams.flatMap(\.logs) + tenants + [all] }
    }

    let quota = CallLimits.requests
    let keyPrefix = "chaos-calls"
    let places: [DaemonPlace]
    /// Whether a call that falls under limits of several subjects is decided in several slots.
    let splitsCalls: Bool
    private let recorder: Recorder
    private let current: Mutex<Current>
    static let teamsAtATime = 2
    private static let tenantsAtATime = 2
    /// For how long a model is named at least, and a tenant.
    private static let modelMicroseconds = 4_000_000

    init(_ store: any Store, _ programs: [String], _ recorder: Recorder) throws {
        self.recorder = recorder
        splitsCalls = store.hasSlots
        let folder = try TemporaryFolder()
        self.folder = folder
        let settings = [
            "WINDOW": "\(CallLimits.windowSeconds)", "DENY_CACHE_MS": "0", "KEY_PREFIX": keyPrefix,
            "REDIS_TIMEOUT_MS": "\(Testbed.deadlineMilliseconds)", "LOG_FORMAT": "text", "GROUPS": "given",
            "LIMITS_FILE": try folder.write(CallLimits.file(), to: "limits.yaml"),
        ]
        places = try (0..<2).map {
            try DaemonPlace(store.url, quota: CallLimits.requests, settings, programs: programs, first: $0)
        }
        let prefix = keyPrefix
        current = Mutex(
            Current(
                teams: (0..<Self.teamsAtATime).map { _ in Team(prefix: prefix) },
                all: SubjectLog(.all, prefix: prefix), tenants: Self.newTenants(prefix)))
    }

    /// Where the file of limits is.
    private let folder: TemporaryFolder

    private static func newTenants(_ prefix: String) -> [SubjectLog] {
        (0..<tenantsAtATime).map { _ in SubjectLog(.tenant, prefix: prefix) }
    }

    var now: Current { current.withLock { $0 } }

    var slots: [Int] { now.logs.map(\.slot) }

    func replaceUser(_ index: Int) {
        let team = Team(prefix: keyPrefix)
        let all = SubjectLog(.all, prefix: keyPrefix)
        let tenants = Self.newTenants(keyPrefix)
        let old = current.withLock { current in
            let place = index % Self.teamsAtATime
            var old = current.teams[place].logs
            current.teams[place] = team
            if all.createdAt - current.all.createdAt > Self.modelMicroseconds {
                old += [current.all] + current.tenants
                current.all = all
                current.tenants = tenants
                current.model += 1
            }
            return old
        }
        for log in old { recorder.retire(log) }
    }

    func retireAll() { for log in now.logs { recorder.retire(log) } }

    func resetUsers(at place: DaemonPlace) {
        for team in now.teams {
            let start = systemMicroseconds()
            let answer = try? place.reset(team.users[0].name)
            team.users[0].wasReset(from: start, to: systemMicroseconds(), isCertain: answer == 204)
        }
    }

    func clients(at place: DaemonPlace, _ testbed: Testbed, _ statistics: Statistics, seed: UInt64) -> any LoadingClient
    {
        CallClient(testbed: testbed, group: self, place: place, statistics: statistics, seed: seed)
    }
}
