import CoreMetrics
import Logging
import NIOCore
import RedisClient
import Synchronization

/// What the whole process knows of Redis, put together from its event loops' links: for probes, and for the one log
/// line at each change of state.
///
/// One server has one link for each event loop, and so has each master of a cluster.
public final class RedisHealth: Sendable {
    /// Redis as the event loops see it.
    public struct State: Hashable, Sendable {
        /// Links that can be used, out of ``links``.
        public var available: Int
        /// Links there are: one for each event loop, in a cluster to each master.
        public var links: Int
        /// Why the last link that failed did; nil while all are available.
        public var reason: FailureReason?
        /// The reason in the system's words.
        public var detail: String?
        /// Whether each event loop can ask Redis about each user.
        public var isAvailable: Bool
        /// Whether nothing has failed, but not every link has been connected yet.
        var isConnecting: Bool
    }

    /// A server, or a master of a cluster.
    private struct Server {
        /// Its address where it is one of several; nil for the only one, and for a cluster that is not known yet.
        var name: String?
        var failures: [LinkFailure?]
        /// Whether a line has said that it is away.
        var isReported = false
        var awaySince = NIODeadline.now()

        init(name: String?, links: Int) {
            self.name = name
            failures = .init(repeating: .notConnectedYet, count: links)
        }

        var isAvailable: Bool { failures.allSatisfy { $0 == nil } }
        var isAway: Bool { failures.contains { $0 != nil && $0 != .notConnectedYet } }
        var failure: LinkFailure? {
            failures.last { $0 != nil && $0 != .notConnectedYet } ?? failures.lazy.compactMap(\.self).last
        }
        var awayMilliseconds: Int64 { (NIODeadline.now() - awaySince).nanoseconds / 1_000_000 }
    }

    private struct Storage {
        var servers: [Server]
        var slotsWithoutMaster = 0
        /// Whether all of Redis has been there once.
        var wasComplete = false
        var state: State

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
        let server = Server(name: nil, links: eventLoops)
        storage = Mutex(Storage(servers: [server], state: Self.state([server], slotsWithoutMaster: 0)))
        metrics.breakerOpen.record(eventLoops)
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
        storage.state = Self.state(storage.servers, slotsWithoutMaster: storage.slotsWithoutMaster)
        metrics.breakerOpen.record(storage.state.links - storage.state.available)
    }

    private static func state(_ servers: [Server], slotsWithoutMaster: Int) -> State {
        let links = servers.reduce(0) { $0 + $1.failures.count }
        let failed = servers.reduce(0) { $0 + $1.failures.count { $0 != nil } }
        let worst = servers.last(where: \.isAway) ?? servers.last { !$0.isAvailable }
        var state = State(
            available: links - failed, links: links, reason: worst?.failure?.reason, detail: worst?.failure?.detail,
            isAvailable: failed == 0 && slotsWithoutMaster == 0,
            isConnecting: failed > 0 && !servers.contains(where: \.isAway)
        )
        if let worst, let name = worst.name, let detail = state.detail {
            state.detail =
                "\(servers.count { $0.isAvailable }) of \(servers.count) masters reachable; \(name): \(detail)"
        } else if slotsWithoutMaster > 0 {
            state.reason = .redisError
            state.detail = "\(slotsWithoutMaster) slots of the cluster have no master"
        }
        return state
    }
}

// MARK: - Clusters

extension RedisHealth {
    /// Takes note of a cluster's masters. A line tells what has changed since the map before.
    func mapDidChange(masters: [String], slotsWithoutMaster: Int) {
        storage.withLock { storage in
            let former = storage.servers
            storage.servers = masters.map { name in
                former.first { $0.name == name } ?? Server(name: name, links: eventLoops)
            }
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
        if storage.state.isAvailable { storage.wasComplete = true }
        if let name = server.name {
            metadata["reachable"] = "\(storage.reachable)"
            guard !isFirst else {
                // The masters of a map connect nearly at once: one line for all of them.
                if storage.wasComplete { logger.notice("connected to Redis", metadata: metadata) }
                return
            }
            metadata["node"] = "\(name)"
            logger.notice(
                server.isReported
                    ? "Redis node is back: decisions on its users are exact again"
                    : "connected to Redis node",
                metadata: metadata
            )
        } else {
            logger.notice(
                server.isReported ? "Redis is back: decisions are exact again" : "connected to Redis",
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
