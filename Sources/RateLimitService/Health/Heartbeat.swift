import NIOCore
import RedisClient

/// Finds out for the whole process whether Redis decides, without waiting for somebody to ask: each server is asked for
/// what decisions need, once a second and each time that it is back. It lives on one event loop.
///
/// Its heartbeats are also those by which data that are lost are found out (``DataLossWatch``); in a cluster nobody reads them.
final class Heartbeat {
    private let eventLoop: any EventLoop
    /// Who sends. Not the engine, which owns this: a weak reference to it would make each check slower.
    private let lanes: ScriptLanes
    private let keyPrefix: String
    private let interval: TimeAmount
    private let watch: DataLossWatch
    private let health: RedisHealth
    /// Whether calls are decided under limits of the file, and not checks.
    var decidesCalls: Bool
    /// The keys for each master of a cluster, by its address; none for the only server.
    private var keys: [String: HeartbeatKeys] = [:]
    /// Slots in which a master would not decide a heartbeat, since they are on their way to another.
    private var avoided: Set<HashSlot> = []
    /// The most slots that are avoided before they are tried again.
    private static let mostAvoided = 256
    private var next: Scheduled<Void>?
    private var isStopped = false

    init(
        _ engine: CheckEngine, keyPrefix: String, interval: TimeAmount, _ watch: DataLossWatch, _ health: RedisHealth
    ) {
        eventLoop = engine.eventLoop
        lanes = engine.lanes
        decidesCalls = engine.hasFileLimits
        self.keyPrefix = keyPrefix
        self.interval = interval
        self.watch = watch
        self.health = health
    }

    /// Begins to send heartbeats.
    func start() {
        guard !isStopped else { return }
        next = eventLoop.assumeIsolated().scheduleTask(in: interval) { [weak self] () -> Void in
            self?.beatEverywhere()
            self?.start()
        }
    }

    func stop() {
        isStopped = true
        next?.cancel()
    }

    private func beatEverywhere() {
        switch lanes {
        case .single(let lane): sendHeartbeat(lane)
        case .cluster(let router):
            keys = keys.filter { entry in router.masters.contains { $0.address.description == entry.key } }
            for node in router.masters { sendHeartbeat(node.lane) }
        }
    }

    /// Asks the server at the end of a lane, where it can be asked.
    func sendHeartbeat(_ lane: ScriptLane) {
        guard !isStopped, case .available = lane.link.availability else { return }
        switch lanes {
        case .single:
            let keys = HeartbeatKeys(prefix: keyPrefix)
            let tries = decidesCalls ? DataLossWatch.Trial.calls : .checks
            let question = HeartbeatQuestion(
                keys: keys, decidesCalls: decidesCalls, call: watch.call(trying: tries, on: keys),
                takeHeartbeat: { [watch] in watch.received($0) })
            lane.sendHeartbeat(question) { [health] in health.heartbeat($0, of: nil) }
        case .cluster(let router):
            guard let name = lane.serverName, router.masters.contains(where: { $0.lane === lane }) else { return }
            sendHeartbeat(lane, name, router)
        }
    }

    private func sendHeartbeat(_ lane: ScriptLane, _ name: String, _ router: ClusterRouter) {
        if avoided.count > Self.mostAvoided { avoided.removeAll() }
        func isHere(_ slot: HashSlot) -> Bool { !avoided.contains(slot) && router.owner(of: slot)?.lane === lane }
        if keys[name]?.are(in: isHere) != true { keys[name] = HeartbeatKeys(prefix: keyPrefix, in: isHere) }
        // A master that has no slot, or none that stays, has nobody to decide about.
        guard let keys = keys[name] else { return health.heartbeat(.decided, of: name) }
        let tries = decidesCalls ? DataLossWatch.Trial.calls : .checks
        let question = HeartbeatQuestion(
            keys: keys, decidesCalls: decidesCalls,
            call: ([keys.latest] + keys.tried, ["0", tries.rawValue]), takeHeartbeat: { _ in })
        lane.sendHeartbeat(question) { [health, weak router, weak self] outcome in
            if case .elsewhere = outcome {
                self?.avoided.formUnion(keys.slots)
                router?.doubtMap()
            }
            health.heartbeat(outcome, of: name)
        }
    }
}
