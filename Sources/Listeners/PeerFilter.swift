package import CoreMetrics
package import Logging
import NIOCore
import Synchronization

/// A peer that may not connect.
package struct RejectedPeer: Error, Hashable {
    /// The number of its user; nil where the kernel does not say it.
    package let user: UInt32?
}

/// Who may connect on the Unix sockets: asked once for each connection, never on the hot path.
package final class PeerFilter: Sendable {
    /// Refused peers that may wait for their answer at a time; one more is closed without.
    package static let waitingLimit = 64
    /// How often a refusal is logged at most.
    static let logInterval = TimeAmount.minutes(1)

    private struct Log {
        var nextLine = NIODeadline.uptimeNanoseconds(0)
        var unsaid = 0
    }

    /// Nil where every peer may connect.
    private let allowed: Set<UInt32>?
    private let logger: Logger
    private let forbidden: Counter
    private let lines = Mutex(Log())
    private let waiting = Atomic(0)

    package init(allowed: Set<UInt32>?, logger: Logger, factory: any MetricsFactory) {
        self.allowed = allowed
        self.logger = logger
        forbidden = Counter(
            label: GatewayMetricName.accepted, dimensions: [("result", "forbidden")], factory: factory
        )
    }

    /// Nil where the peer of a connected Unix socket may go on, or else who it is.
    package func rejection(of socket: CInt?) -> RejectedPeer? {
        guard let allowed else { return nil }
        let peer = socket.flatMap { PeerCredentials(fileDescriptor: $0) }
        if let peer, allowed.contains(peer.userIdentifier) { return nil }
        forbidden.increment()
        log(peer)
        return RejectedPeer(user: peer?.userIdentifier)
    }

    private func log(_ peer: PeerCredentials?) {
        let count: Int? = lines.withLock { log in
            log.unsaid += 1
            guard log.nextLine <= .now() else { return nil }
            defer { log = Log(nextLine: .now() + Self.logInterval) }
            return log.unsaid
        }
        guard let count else { return }
        logger.warning(
            "refused a connection: its user is not among LLM_RATE_LIMIT_ALLOWED_UIDS",
            metadata: [
                "uid": "\(peer.map { "\($0.userIdentifier)" } ?? "unknown")",
                "pid": "\(peer.map { "\($0.processIdentifier)" } ?? "unknown")",
                "refused_since_last_line": "\(count)",
            ]
        )
    }

    /// Takes in one more refused peer that waits; false where there are too many.
    package func beginWaiting() -> Bool {
        guard waiting.add(1, ordering: .relaxed).newValue <= Self.waitingLimit else {
            endWaiting()
            return false
        }
        return true
    }

    /// Takes one out that has its answer.
    package func endWaiting() { waiting.subtract(1, ordering: .relaxed) }
}
