import NIOCore
import RateLimitCore
import RedisClient

/// The lanes of one event loop, as the topology has them.
enum ScriptLanes {
    /// To one server.
    case single(ScriptLane)
    /// To each master of a cluster.
    case cluster(ClusterRouter)

    /// The lanes that a topology asks for, on one event loop.
    static func make(
        _ topology: RedisTopology, _ options: ScriptLane.Options, _ health: RedisHealth, index: Int,
        on eventLoop: any EventLoop
    ) -> ScriptLanes {
        switch topology {
        case .single, .sentinel:
            let link = CheckService.makeLink(topology, .checks(options), eventLoop)
            return .single(ScriptLane(link: link, options: options))
        case .cluster:
            // A call carries keys of one slot only, so what is a batch elsewhere is a write here.
            var options = options
            options.batchesPerWrite = options.batchLimit
            options.batchLimit = 1
            options.dataLossWatch = nil
            return .cluster(
                ClusterRouter(
                    index: index, eventLoop: eventLoop, login: topology.server, laneOptions: options, health: health
                )
            )
        }
    }

    /// The link to the one server.
    var link: RedisLink? {
        if case .single(let lane) = self { lane.link } else { nil }
    }

    /// The router of a cluster.
    var router: ClusterRouter? {
        if case .cluster(let router) = self { router } else { nil }
    }

    /// Takes a request on its way, or says why it cannot be.
    @inline(__always)
    func enqueue(_ request: PendingRequest, queueLimit: Int) -> FailureReason? {
        switch self {
        case .single(let lane):
            if case .unavailable(let failure) = lane.link.availability { return failure.reason }
            guard lane.pendingCount < queueLimit else { return .overloaded }
            lane.append(request)
            return nil
        case .cluster(let router): return router.enqueue(request, queueLimit: queueLimit)
        }
    }

    /// Sends what has been laid out.
    func flush() {
        switch self {
        case .single(let lane): lane.flush()
        case .cluster(let router): router.flush()
        }
    }

    /// Puts a limit in force.
    func setLimit(_ limit: Limit, rememberMilliseconds: Int) {
        switch self {
        case .single(let lane): lane.setLimit(limit, rememberMilliseconds: rememberMilliseconds)
        case .cluster(let router): router.setLimit(limit, rememberMilliseconds: rememberMilliseconds)
        }
    }

    /// Sends a command off the hot path to the server that has the user's key, or to any.
    func perform(
        _ command: [String], for user: SubjectID?, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void
    ) {
        switch self {
        case .single(let lane): lane.perform(command, form, done)
        case .cluster(let router): router.perform(command, for: user, form, done)
        }
    }

    /// The lane to the server that has a key; nil where none does.
    func lane(forKey key: String) -> ScriptLane? {
        switch self {
        case .single(let lane): lane
        case .cluster(let router): router.owner(of: HashSlot(key: key.utf8))?.lane
        }
    }

    /// Sends a command off the hot path to the server that has a key.
    func perform(
        _ command: [String], forKey key: String, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void
    ) {
        switch self {
        case .single(let lane): lane.perform(command, form, done)
        case .cluster(let router): router.perform(command, at: HashSlot(key: key.utf8), form, done)
        }
    }

    /// Requests without an answer.
    var pendingCount: Int {
        switch self {
        case .single(let lane): lane.pendingCount
        case .cluster(let router): router.pendingCount
        }
    }

    func setEngine(_ engine: CheckEngine?) {
        switch self {
        case .single(let lane): lane.engine = engine
        case .cluster(let router): router.engine = engine
        }
    }

    /// Connects to the one server; a cluster's nodes are connected to as they become known.
    func start() {
        if case .single(let lane) = self { lane.link.start() }
    }

    func stop() {
        switch self {
        case .single(let lane): lane.link.stop()
        case .cluster(let router): router.stop()
        }
    }
}

extension LinkOptions {
    /// The scripts that Redis is told at the start of each connection.
    static let scripts = [DecisionScript.text, HeartbeatScript.text]

    /// Those of a link that carries checks.
    static func checks(_ options: ScriptLane.Options) -> LinkOptions {
        let watch = options.dataLossWatch
        return LinkOptions(
            setup: scripts.map { ["SCRIPT", "LOAD", $0] } + (watch.map { [$0.command()] } ?? []),
            probeTimeout: options.deadline
        )
    }
}
