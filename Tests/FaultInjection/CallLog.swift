import HistoryChecker
import Synchronization
import TestSupport

/// A team whose members ask, with the limits of each member and those that they share; and what clients saw of it.
final class CallLog: Sendable {
    private struct Storage {
        var operations: [CallOperation] = []
        var open = 0
    }

    let members = (0..<2).map { _ in newUser() }
    let team = newUser()
    let createdAt = systemMicroseconds()
    private let storage = Mutex(Storage())

    /// The limits under which calls are made, in the order of a member's windows and then of the shared ones.
    static let ownLimits = ["requests", "tokens", "calls"]
    static let sharedLimits = ["team-tokens", "team-calls"]
    static let requests = 80
    static let windowSeconds = 2
    static let file = """
        limits:
          - {name: tokens, per: user, unit: tokens, quota: 300, window: 1s}
          - {name: calls, per: user, unit: concurrency, quota: 8}
          - {name: team-tokens, per: group, unit: tokens, quota: 700, window: 3s}
          - {name: team-calls, per: group, unit: concurrency, quota: 12}
        """
    static let contract: CallContract = {
        let own: [CallContract.Window] = [
            .sliding(microseconds: windowSeconds * 1_000_000), .sliding(microseconds: 1_000_000), .concurrency,
        ]
        return CallContract(windows: own + own + [.sliding(microseconds: 3_000_000), .concurrency])
    }()

    /// The place of a member's window among the contract's.
    static func window(_ limit: String, of member: Int) -> Int? {
        if let place = ownLimits.firstIndex(of: limit) { return ownLimits.count * member + place }
        return sharedLimits.firstIndex(of: limit).map { 2 * ownLimits.count + $0 }
    }

    func began() { storage.withLock { $0.open += 1 } }

    func ended(_ operation: CallOperation) {
        storage.withLock { storage in
            storage.open -= 1
            storage.operations.append(operation)
        }
    }

    /// A member's windows were emptied, or perhaps were.
    func wasReset(_ member: Int, from start: Int, to end: Int, isCertain: Bool) {
        let terms = Self.ownLimits.indices.map {
            CallOperation.Term(window: Self.ownLimits.count * member + $0, cost: 0)
        }
        let reset = CallOperation(
            .reset, terms: terms, startMicroseconds: start, endMicroseconds: end,
            outcome: isCertain ? .done : .unknown)
        storage.withLock { $0.operations.append(reset) }
    }

    /// All operations once no call is under way; nil before.
    var complete: [CallOperation]? { storage.withLock { $0.open == 0 ? $0.operations : nil } }
}

/// Daemons with a file of limits, and the teams that ask them now.
final class CallGroup: LoadedGroup {
    let quota = CallLog.requests
    let places: [DaemonPlace]
    private let recorder: Recorder
    private let current: Mutex<[CallLog]>
    static let teamsAtATime = 2

    init(_ redis: String, _ recorder: Recorder) throws {
        self.recorder = recorder
        let folder = try TemporaryFolder()
        self.folder = folder
        let settings = [
            "WINDOW": "\(CallLog.windowSeconds)", "DENY_CACHE_MS": "0", "KEY_PREFIX": "chaos-calls",
            "REDIS_TIMEOUT_MS": "50", "LOG_FORMAT": "text", "GROUPS": "given",
            "LIMITS_FILE": try folder.write(CallLog.file, to: "limits.yaml"),
        ]
        places = try (0..<2).map { _ in try DaemonPlace(redis, quota: CallLog.requests, settings) }
        current = Mutex((0..<Self.teamsAtATime).map { _ in CallLog() })
    }

    /// Where the file of limits is.
    private let folder: TemporaryFolder

    /// The teams that ask now.
    var teams: [CallLog] { current.withLock { $0 } }

    func replaceUser(_ index: Int) {
        let log = CallLog()
        let old = current.withLock { current in
            let place = index % Self.teamsAtATime
            defer { current[place] = log }
            return current[place]
        }
        recorder.retire(old)
    }

    func retireAll() { for log in teams { recorder.retire(log) } }

    func resetUsers(at place: DaemonPlace) {
        for log in teams {
            let start = systemMicroseconds()
            let answer = try? place.reset(log.members[0])
            log.wasReset(0, from: start, to: systemMicroseconds(), isCertain: answer == 204)
        }
    }

    func clients(at place: DaemonPlace, _ testbed: Testbed, _ statistics: Statistics, seed: UInt64) -> any LoadingClient
    {
        CallClient(testbed: testbed, group: self, place: place, statistics: statistics, seed: seed)
    }
}
