import CoreMetrics
import Logging
import NIOCore
import RateLimitCore
import RedisClient
import Synchronization

extension CheckPolicy {
    /// For how long at most a window counts that nobody uses.
    var longestWindow: TimeAmount {
        let lengths = limits.definitions.map { $0.window?.longestMilliseconds ?? 0 }
        return .milliseconds(Int64(lengths.reduce(limit.windowMilliseconds, max)))
    }
}

/// What Redis has forgotten.
enum DataLoss: Hashable, Sendable {
    /// Everything: it was restarted without its data, or emptied.
    case emptied
    /// What was written in the last so many milliseconds before: it was restarted from an older state of its data, or a
    /// replica that lagged was made the master.
    case wentBack(milliseconds: Int)
}

/// Finds out that Redis has forgotten something, from a heartbeat that the daemons write into the data, as a value.
///
/// The heartbeat is a time that only grows. Whoever reads one that is older than what it has read before knows that the data
/// have gone back, and by how much, to the second between two heartbeats.
struct DataLossDetector: Sendable {
    /// The latest heartbeat that has been seen, in milliseconds of Redis's clock; 0 for none.
    private(set) var latestBeat = 0

    /// Takes note of what `heartbeat.lua` replied: the heartbeat before, 0 for none, the heartbeat now, and the latest one that had been
    /// seen when it was sent. What counts is that one: replies of several connections come in any order.
    mutating func observe(before: Int, now: Int, seen: Int) -> DataLoss? {
        latestBeat = max(latestBeat, now)
        guard before < seen else { return nil }
        return before == 0 ? .emptied : .wentBack(milliseconds: seen - before)
    }
}

/// Whose windows were reset within the longest window there is, newest last: where Redis goes back, it forgets their
/// resets, and their old windows would come back to life.
struct RecentResets: Sendable {
    /// How many are remembered; more than that, and the oldest are forgotten.
    static let capacity = 1024

    private var resets: [(owner: WindowOwner, at: NIODeadline)] = []

    mutating func append(_ owner: WindowOwner, at now: NIODeadline, window: TimeAmount) {
        resets.removeAll { $0.owner == owner || $0.at + window <= now }
        if resets.count == Self.capacity { resets.removeFirst() }
        resets.append((owner, now))
    }

    func owners(at now: NIODeadline, window: TimeAmount) -> [WindowOwner] {
        resets.filter { $0.at + window > now }.map(\.owner)
    }
}

/// The script of a heartbeat.
enum HeartbeatScript {
    static let text = String(decoding: PackageResources.heartbeat_lua, as: UTF8.self)
}

/// Knows the heartbeats of the whole process, and says what it has found: in a metric, a log line, and by doing resets again.
final class DataLossWatch: Sendable {
    /// Which commands `heartbeat.lua` tries besides.
    enum Trial: String {
        case none
        /// Those that a check may need.
        case checks
        /// Those that a call may need, too.
        case calls
    }

    private struct Storage {
        var detector = DataLossDetector()
        var resets = RecentResets()
        var window: TimeAmount
        var forgetDenials: (@Sendable () -> Void)?
    }

    private let storage: Mutex<Storage>
    private let keyPrefix: String
    private let metrics: CheckMetrics
    private let logger: Logger

    init(keyPrefix: String, window: TimeAmount, metrics: CheckMetrics, logger: Logger) {
        storage = Mutex(Storage(window: window))
        self.keyPrefix = keyPrefix
        self.metrics = metrics
        self.logger = logger
    }

    /// The heartbeat on a new connection; sent whole, so that it needs nothing kept in Redis.
    func command() -> [String] {
        let call = call(trying: .none, on: HeartbeatKeys(prefix: keyPrefix))
        return ["EVAL", HeartbeatScript.text, "\(call.keys.count)"] + call.keys + call.arguments
    }

    /// Keys and arguments of a heartbeat.
    func call(trying trial: Trial, on keys: HeartbeatKeys) -> (keys: [String], arguments: [String]) {
        let now = NIODeadline.now()
        let (latest, owners) = storage.withLock {
            ($0.detector.latestBeat, $0.resets.owners(at: now, window: $0.window))
        }
        let all = ["\(keyPrefix):heartbeat"] + keys.tried + owners.map { $0.key(prefix: keyPrefix) }
        return (all, ["\(latest)", trial.rawValue])
    }

    /// Remembers a reset, from here or from another daemon.
    func wasReset(_ owner: WindowOwner) {
        storage.withLock { $0.resets.append(owner, at: .now(), window: $0.window) }
    }

    /// Has `forgetDenials` called from now on when data are lost; nil for nothing.
    func whenLost(_ forgetDenials: (@Sendable () -> Void)?) { storage.withLock { $0.forgetDenials = forgetDenials } }

    /// Puts a window in force: for as long a reset is remembered.
    func setWindow(_ window: TimeAmount) { storage.withLock { $0.window = window } }

    /// Takes note of the reply of `heartbeat.lua`; anything but a heartbeat says nothing.
    func received(_ reply: Reply) {
        guard reply.elements.count == 5, case .integer(let before) = reply.elements[1],
            case .integer(let now) = reply.elements[2], case .integer(let seen) = reply.elements[3]
        else { return }
        let (found, forgetDenials) = storage.withLock {
            ($0.detector.observe(before: before, now: now, seen: seen), $0.forgetDenials)
        }
        guard let loss = found else { return }
        forgetDenials?()
        switch loss {
        case .emptied:
            metrics.emptied.increment()
            logger.warning("Redis has lost its data: all windows begin anew")
        case .wentBack(let milliseconds):
            metrics.rollbacks.increment()
            logger.warning(
                "Redis has gone back to an older state: what was counted since is lost, and recent resets are done again",
                metadata: ["lost_ms": "\(milliseconds)"]
            )
        }
    }
}
