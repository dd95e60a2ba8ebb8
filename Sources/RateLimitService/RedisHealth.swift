import CoreMetrics
import Logging
import NIOCore
import RedisClient
import Synchronization

/// What the whole process knows of Redis, put together from its event loops' links and from what Redis refuses: for
/// probes, and for the one log line at each change of state.
///
/// One server has one link for each event loop, and so has each master of a cluster.
public final class RedisHealth: Sendable {
    /// Redis as the event loops see it.
    public struct State: Hashable, Sendable {
        /// Links that can be used, out of ``links``.
        public var available: Int
        /// Links there are: one for each event loop, in a cluster to each master.
        public var links: Int
        /// Why the last link that failed did, or else why Redis does not decide; nil while it does.
        public var reason: FailureReason?
        /// The reason in the system's or in Redis's words.
        public var detail: String?
        /// Whether decisions are being made: each event loop can ask Redis about each user, and it decides.
        public var isEnforcing: Bool
        /// Since when not, in Unix seconds; nil while they are.
        public var notEnforcingSince: Int?
        /// Whether Redis can be asked and refuses decisions.
        public var isRefusing: Bool
        /// Whether nothing has failed, but not every server has decided its first heartbeat yet.
        var isConnecting: Bool
    }

    /// A server, or a master of a cluster.
    fileprivate struct Server {
        /// Its address where it is one of several; nil for the only one, and for a cluster that is not known yet.
        var name: String?
        var failures: [LinkFailure?]
        /// Whether a heartbeat has been answered: until then nobody knows whether it decides.
        var isProven: Bool
        /// Whether a line has said that it is away.
        var isReported = false
        var awaySince = NIODeadline.now()

        init(name: String?, links: Int, isProven: Bool) {
            self.name = name
            self.isProven = isProven
            failures = .init(repeating: .notConnectedYet, count: links)
        }

        var isAvailable: Bool { failures.allSatisfy { $0 == nil } }
        var isAway: Bool { failures.contains { $0 != nil && $0 != .notConnectedYet } }
        var failure: LinkFailure? {
            failures.last { $0 != nil && $0 != .notConnectedYet } ?? failures.lazy.compactMap(\.self).last
        }
        var awayMilliseconds: Int64 { (NIODeadline.now() - awaySince).nanoseconds / 1_000_000 }
    }

    fileprivate struct Storage {
        var servers: [Server]
        var slotsWithoutMaster = 0
        var enforcement = EnforcementState()
        /// Whether servers have to prove themselves by a heartbeat.
        var awaitsHeartbeats = false
        /// Whether all of Redis has been there once.
        var wasComplete = false
        var state = State(
            available: 0, links: 0, isEnforcing: false, notEnforcingSince: nil, isRefusing: false, isConnecting: true)

        var reachable: String { "\(servers.count { $0.isAvailable }) of \(servers.count) masters" }
    }

    /// What Redis forbids, for the one log line about each.
    let forbidden: ForbiddenCommands
    private let storage: Mutex<Storage>
    private let logger: Logger
    private let metrics: CheckMetrics
    private let eventLoops: Int

    init(eventLoops: Int, logger: Logger, metrics: CheckMetrics) {
        self.eventLoops = eventLoops
        self.logger = logger
        forbidden = ForbiddenCommands(logger: logger)
        self.metrics = metrics
        storage = Mutex(Storage(servers: [Server(name: nil, links: eventLoops, isProven: true)]))
        storage.withLock { update(&$0) }
    }

    /// The state now.
    public var state: State { storage.withLock { $0.state } }

    /// Takes note of one event loop's link. The first link to a server to fail and the last to come back make a line
    /// each.
    ///
    /// - Parameter name: the master's address in a cluster.
    func linkDidChange(_ eventLoop: Int, of name: String? = nil, _ availability: LinkAvailability) {
        storage.withLock { storage in
            guard let index = storage.servers.firstIndex(where: { $0.name == name }) else { return }
            let wasAvailable = storage.servers[index].isAvailable
            let wasOpen = storage.servers[index].failures[eventLoop] != nil
            switch availability {
            case .available: storage.servers[index].failures[eventLoop] = nil
            case .unavailable(let failure):
                storage.servers[index].failures[eventLoop] = failure
                if !wasOpen { metrics.breakerOpenings.increment() }
            }
            update(&storage)
            report(&storage, index, wasAvailable: wasAvailable)
        }
    }

    private func update(_ storage: inout Storage) {
        var state = storage.newState
        state.notEnforcingSince =
            state.isEnforcing ? nil : storage.state.notEnforcingSince ?? unixMilliseconds() / 1_000
        storage.state = state
        metrics.breakerOpen.record(state.links - state.available)
        metrics.enforcing.record(state.isEnforcing ? 1 : 0)
        metrics.notEnforcingSince.record(state.notEnforcingSince ?? 0)
    }
}

extension RedisHealth.Storage {
    /// The state that follows from all that is known, but for since when.
    fileprivate var newState: RedisHealth.State {
        let links = servers.reduce(0) { $0 + $1.failures.count }
        let failed = servers.reduce(0) { $0 + $1.failures.count { $0 != nil } }
        let worst = servers.last(where: \.isAway) ?? servers.last { !$0.isAvailable }
        let isProven = servers.allSatisfy(\.isProven)
        var state = RedisHealth.State(
            available: links - failed, links: links, reason: worst?.failure?.reason, detail: worst?.failure?.detail,
            isEnforcing: failed == 0 && slotsWithoutMaster == 0 && isProven && enforcement.isEnforcing,
            isRefusing: failed == 0 && !enforcement.isEnforcing,
            isConnecting: (failed > 0 || !isProven) && !servers.contains(where: \.isAway) && enforcement.isEnforcing
        )
        if let worst {
            if let name = worst.name, let detail = state.detail {
                state.detail = "\(reachable) reachable; \(name): \(detail)"
            }
        } else if let refusal = enforcement.refusal {
            state.reason = .redisError
            state.detail = refusal.server.map { "\($0): \(refusal.words)" } ?? refusal.words
        } else if slotsWithoutMaster > 0 {
            state.reason = .redisError
            state.detail = "\(slotsWithoutMaster) slots of the cluster have no master"
        } else if !isProven {
            state.detail = "no heartbeat has been answered yet"
        }
        return state
    }
}

// MARK: - Refusals and heartbeats

extension RedisHealth {
    /// From now on a server counts as deciding only when it has answered a heartbeat.
    func awaitHeartbeats() {
        storage.withLock { storage in
            storage.awaitsHeartbeats = true
            for index in storage.servers.indices { storage.servers[index].isProven = false }
            update(&storage)
        }
    }

    /// Takes note of an error with which Redis did not decide.
    ///
    /// - Parameter name: the master's address in a cluster.
    func wasRefused(
        _ refusal: RedisRefusal, by name: String?, on path: EnforcementState.Path, isHeartbeat: Bool = false
    ) {
        storage.withLock { storage in
            let server = refusal.scope == .cluster ? nil : name
            // One that is no master any more is asked by nobody.
            guard server == nil || storage.servers.contains(where: { $0.name == server }) else { return }
            let transition = storage.enforcement.refused(
                by: server, refusal.words, on: path, isHeartbeat: isHeartbeat, at: .now())
            update(&storage)
            if let transition { report(transition) }
        }
    }

    /// Takes note of what became of a heartbeat.
    ///
    /// - Parameter name: the master's address in a cluster.
    func heartbeat(_ outcome: HeartbeatOutcome, of name: String?) {
        switch outcome {
        case .unanswered, .elsewhere: return
        case .refused(let refusal, let path): wasRefused(refusal, by: name, on: path, isHeartbeat: true)
        case .decided: break
        }
        storage.withLock { storage in
            guard let index = storage.servers.firstIndex(where: { $0.name == name }) else { return }
            storage.servers[index].isProven = true
            var transitions: [EnforcementState.Transition?] = []
            if case .decided = outcome {
                transitions.append(storage.enforcement.decidedHeartbeat(by: name, at: .now()))
                // A node that decides says that the cluster does.
                if name != nil { transitions.append(storage.enforcement.decidedHeartbeat(by: nil, at: .now())) }
            }
            update(&storage)
            for transition in transitions.compactMap(\.self) { report(transition) }
        }
    }

    private func report(_ transition: EnforcementState.Transition) {
        var metadata: Logger.Metadata = [:]
        switch transition {
        case .begun(let server, let path, let words):
            metadata = [
                "reason": "\(FailureReason.redisError.rawValue)", "detail": "\(words)", "path": "\(path.rawValue)",
            ]
            if let server { metadata["node"] = "\(server)" }
            logger.warning(
                server == nil
                    ? "Redis refuses to decide: the failure mode answers until it decides again"
                    : "Redis node refuses to decide: the failure mode answers its users until it decides again",
                metadata: metadata)
        case .over(let server, let milliseconds, let isGone):
            metadata["refused_ms"] = "\(milliseconds)"
            if let server { metadata["node"] = "\(server)" }
            logger.notice(
                isGone
                    ? "Redis node that refused to decide is no master any more"
                    : server == nil
                        ? "Redis decides again: decisions are exact again"
                        : "Redis node decides again: decisions on its users are exact again",
                metadata: metadata)
        }
    }
}

// MARK: - Clusters

extension RedisHealth {
    /// Takes note of a cluster's masters. A line tells what has changed since the map before.
    func mapDidChange(masters: [String], slotsWithoutMaster: Int) {
        storage.withLock { storage in
            let former = storage.servers
            storage.servers = masters.map { name in
                former.first { $0.name == name }
                    ?? Server(name: name, links: eventLoops, isProven: !storage.awaitsHeartbeats)
            }
            for transition in storage.enforcement.keep(masters, at: .now()) { report(transition) }
            let wereWithout = storage.slotsWithoutMaster
            storage.slotsWithoutMaster = slotsWithoutMaster
            update(&storage)
            if let unknown = former.first, unknown.name == nil {
                for index in storage.servers.indices { storage.servers[index].awaySince = unknown.awaySince }
                if unknown.isReported { reportMap("found the cluster's masters", ["masters": "\(masters.count)"]) }
            } else {
                let added = masters.filter { name in !former.contains { $0.name == name } }
                let removed = former.compactMap(\.name).filter { !masters.contains($0) }
                guard !added.isEmpty || !removed.isEmpty else { return reportSlots(storage, since: wereWithout) }
                reportMap(
                    "the cluster's masters have changed",
                    [
                        "added": "\(added.joined(separator: " "))", "removed": "\(removed.joined(separator: " "))",
                        "reachable": "\(storage.reachable)",
                    ]
                )
            }
            reportSlots(storage, since: wereWithout)
        }
    }

    /// Takes note that no node tells the cluster's map.
    func mapIsMissing(because failure: LinkFailure) {
        for eventLoop in 0..<eventLoops { linkDidChange(eventLoop, .unavailable(failure)) }
    }

    private func reportMap(_ message: Logger.Message, _ metadata: Logger.Metadata) {
        logger.notice(message, metadata: metadata)
    }

    private func reportSlots(_ storage: Storage, since wereWithout: Int) {
        let are = storage.slotsWithoutMaster
        if are > 0, wereWithout == 0 {
            logger.warning(
                "slots of the cluster have no master: the failure mode answers their users",
                metadata: ["slots": "\(are)"]
            )
        } else if are == 0, wereWithout > 0 {
            logger.notice("all slots of the cluster have a master again")
        }
    }
}

// MARK: - Log lines

extension RedisHealth {
    private func report(_ storage: inout Storage, _ index: Int, wasAvailable: Bool) {
        let server = storage.servers[index]
        if server.isAvailable {
            guard !wasAvailable else { return }
            storage.servers[index].isReported = false
            reportBack(server, &storage)
        } else if !server.isReported, wasAvailable || server.isAway {
            storage.servers[index].isReported = true
            storage.servers[index].awaySince = .now()
            let failure = server.failure ?? .notConnectedYet
            var metadata: Logger.Metadata = ["reason": "\(failure.reason.rawValue)", "detail": "\(failure.detail)"]
            guard let name = server.name else {
                logger.warning("Redis is away: the failure mode answers until it is back", metadata: metadata)
                return
            }
            metadata["node"] = "\(name)"
            metadata["reachable"] = "\(storage.reachable)"
            logger.warning(
                "Redis node is away: the failure mode answers its users until it is back", metadata: metadata)
        }
    }

    private func reportBack(_ server: Server, _ storage: inout Storage) {
        var metadata: Logger.Metadata = ["away_ms": "\(server.awayMilliseconds)"]
        let isFirst = !storage.wasComplete && !server.isReported
        if storage.servers.allSatisfy(\.isAvailable), storage.slotsWithoutMaster == 0 { storage.wasComplete = true }
        if let name = server.name {
            metadata["reachable"] = "\(storage.reachable)"
            guard !isFirst else {
                // The masters of a map connect nearly at once: one line for all of them.
                if storage.wasComplete { logger.notice("connected to Redis", metadata: metadata) }
                return
            }
            metadata["node"] = "\(name)"
            let isExact = !storage.enforcement.isRefusing(name)
            logger.notice(
                server.isReported
                    ? "Redis node is back\(isExact ? ": decisions on its users are exact again" : "")"
                    : "connected to Redis node",
                metadata: metadata
            )
        } else {
            let isExact = !storage.enforcement.isRefusing(nil)
            logger.notice(
                server.isReported
                    ? "Redis is back\(isExact ? ": decisions are exact again" : "")" : "connected to Redis",
                metadata: metadata
            )
        }
    }
}

extension LinkFailure {
    /// How a link begins.
    static let notConnectedYet = LinkFailure.unreachable("not connected yet")

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
