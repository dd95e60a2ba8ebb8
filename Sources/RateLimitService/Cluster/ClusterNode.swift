import NIOCore
import RedisClient

/// A node of a cluster as one event loop uses it.
final class ClusterNode {
    let endpoint: RedisEndpoint
    let lane: ScriptLane
    private let madeAt = NIODeadline.now()
    /// Whether checks have been laid out since the last write.
    var isUnwritten = false
    /// Whether checks have been sent here since the last map.
    var isUsed = true

    init(endpoint: RedisEndpoint, lane: ScriptLane) {
        self.endpoint = endpoint
        self.lane = lane
    }

    var address: RedisEndpoint.Address { endpoint.address }

    var isAvailable: Bool { lane.link.availability == .available }

    /// Whether the first connection is being made: then a check may wait for it, since it takes some milliseconds where
    /// a planned change names a new node.
    func isConnecting(at now: NIODeadline, patience: TimeAmount) -> Bool {
        lane.link.availability == .unavailable(.notConnectedYet) && now < madeAt + patience
    }
}

/// A request that certainly did not run where it was sent, or that waits for its node's first connection.
struct PostponedRequest {
    var request: PendingRequest
    var route: ScriptRoute
    /// The node to be asked instead of the slot's own.
    var importer: RedisEndpoint.Address?
    var dueAt: NIODeadline
    /// Why there is no answer, where it has waited until its deadline.
    var reason: FailureReason
}
