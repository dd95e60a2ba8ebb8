import CoreMetrics
import Logging
import NIOCore
import RedisClient
import Synchronization

/// What the whole process knows of Redis, put together from its event loops' links: for probes, and for the one log
/// line at each change of state.
public final class RedisHealth: Sendable {
    /// Redis as the event loops see it.
    public struct State: Hashable, Sendable {
        /// Links that can be used, out of ``links``.
        public var available: Int
        /// Links there are: one for each event loop.
        public var links: Int
        /// Why the last link that failed did; nil while all are available.
        public var reason: FailureReason?
        /// The reason in the system's words.
        public var detail: String?
        /// Whether each event loop can ask Redis.
        public var isAvailable: Bool { available == links }
    }

    private struct Storage {
        var failures: [LinkFailure?]
        var isReported = false
        var awaySince = NIODeadline.now()
        var state: State
    }

    /// What Redis forbids, for the one log line about each.
    let forbidden: ForbiddenCommands
    private let storage: Mutex<Storage>
    private let logger: Logger
    private let metrics: CheckMetrics

    init(links: Int, logger: Logger, metrics: CheckMetrics) {
        let failure = LinkFailure.unreachable("not connected yet")
        let state = State(available: 0, links: links, reason: failure.reason, detail: failure.detail)
        storage = Mutex(Storage(failures: .init(repeating: failure, count: links), state: state))
        self.logger = logger
        forbidden = ForbiddenCommands(logger: logger)
        self.metrics = metrics
        metrics.breakerOpen.record(links)
    }

    /// The state now.
    public var state: State { storage.withLock { $0.state } }

    /// Takes note of one link. The first link to fail and the last to come back make a line each.
    func linkDidChange(_ index: Int, _ availability: LinkAvailability) {
        storage.withLock { storage in
            let wasAvailable = storage.state.isAvailable
            let wasOpen = storage.failures[index] != nil
            switch availability {
            case .available: storage.failures[index] = nil
            case .unavailable(let failure):
                storage.failures[index] = failure
                if !wasOpen { metrics.breakerOpenings.increment() }
            }
            let failed = storage.failures.compactMap(\.self)
            storage.state.available = storage.state.links - failed.count
            storage.state.reason = failed.last?.reason
            storage.state.detail = failed.last?.detail
            metrics.breakerOpen.record(failed.count)
            report(&storage, wasAvailable: wasAvailable)
        }
    }

    private func report(_ storage: inout Storage, wasAvailable: Bool) {
        let state = storage.state
        if state.isAvailable {
            let isFirst = !storage.isReported
            storage.isReported = false
            let away = (NIODeadline.now() - storage.awaySince).nanoseconds / 1_000_000
            logger.notice(
                isFirst && !wasAvailable ? "connected to Redis" : "Redis is back: decisions are exact again",
                metadata: ["away_ms": "\(away)"]
            )
        } else if !storage.isReported, wasAvailable || state.detail != LinkFailure.notConnectedYet {
            storage.isReported = true
            storage.awaySince = .now()
            logger.warning(
                "Redis is away: the failure mode answers until it is back",
                metadata: ["reason": "\(state.reason?.rawValue ?? "")", "detail": "\(state.detail ?? "")"]
            )
        }
    }
}

extension LinkFailure {
    static var notConnectedYet: String { "not connected yet" }

    /// The reason an answer carries.
    var reason: FailureReason {
        switch self {
        case .unreachable: .redisUnreachable
        case .timedOut: .redisTimeout
        case .refused, .replica: .redisError
        }
    }

    /// The reason in the system's words.
    var detail: String {
        switch self {
        case .unreachable(let text), .refused(let text), .replica(let text): text
        case .timedOut: "no answer in time"
        }
    }
}
