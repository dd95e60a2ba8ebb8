import NIOCore
import RedisClient

/// Keeps the map of a cluster: asks one of the nodes that the first event loop is connected to, at most once a second,
/// when something was not where the map has it, and now and then in any case.
///
/// It also keeps the subscription on a node that is there: a cluster passes messages on to each of its nodes.
final class ClusterWatcher {
    /// What limits the watcher, and what it does by itself.
    private enum Pace {
        static let leastInterval = TimeAmount.seconds(1)
        static let mostInterval = TimeAmount.seconds(15)
        static let tick = TimeAmount.milliseconds(50)
        static let answerTimeout = TimeAmount.seconds(1)
        static let subscriptionPatience = TimeAmount.seconds(1)
    }

    private let eventLoop: any EventLoop
    private let seeds: [RedisEndpoint]
    private let router: ClusterRouter
    private let subscription: RedisLink
    private let health: RedisHealth
    /// Puts a map in force on every event loop.
    private let publish: (SlotMap) -> Void

    private var isStopped = false
    private var isWanted = true
    /// The request on its way, by its number; later answers to earlier ones are left out.
    private var request = 0
    private var isAsking = false
    private var askedAt = NIODeadline.distantPast
    private var earliest = NIODeadline.distantPast
    private var backoff = Backoff(initial: .milliseconds(50), cap: .seconds(1))
    private var lastAsked = 0
    private var usesShards = false
    private var subscriptionMovedAt = NIODeadline.distantPast

    /// - Parameters:
    ///   - router: that of `eventLoop`.
    ///   - subscription: a link of that event loop that has no endpoint yet.
    init(
        seeds: [RedisEndpoint], router: ClusterRouter, subscription: RedisLink, health: RedisHealth,
        publish: @escaping (SlotMap) -> Void
    ) {
        eventLoop = router.eventLoop
        self.seeds = seeds
        self.router = router
        self.subscription = subscription
        self.health = health
        self.publish = publish
    }

    func start() {
        router.nodeDidChange = { [weak self] in self?.refresh() }
        connectToSeeds()
        tick()
    }

    func stop() { isStopped = true }

    /// Asks for a new map as soon as it may be.
    func mapIsDoubtful() {
        isWanted = true
        refresh()
    }

    private func tick() {
        guard !isStopped else { return }
        if NIODeadline.now() - askedAt > Pace.mostInterval { isWanted = true }
        refresh()
        keepSubscription()
        eventLoop.assumeIsolated().scheduleTask(in: Pace.tick) { [weak self] in self?.tick() }
    }

    private func connectToSeeds() {
        for seed in seeds { router.connect(to: seed.address) }
    }
}

// MARK: - The map

extension ClusterWatcher {
    private func refresh() {
        let now = NIODeadline.now()
        guard isWanted, !isStopped, now >= earliest, !isAsking || now - askedAt > Pace.answerTimeout else { return }
        guard let node = nextNode() else { return findNode() }
        request += 1
        isAsking = true
        askedAt = now
        earliest = now + Pace.leastInterval
        node.lane.perform(["CLUSTER", usesShards ? "SHARDS" : "SLOTS"], .array) { [weak self, request] result in
            guard let self, self.request == request else { return }
            isAsking = false
            received(try? result.get(), from: node)
        }
    }

    /// Another node than the last time, where there is one: what is out of date may be one node's own view.
    private func nextNode() -> ClusterNode? {
        let nodes = router.nodes
        for step in 1...max(nodes.count, 1) where !nodes.isEmpty {
            let index = (lastAsked + step) % nodes.count
            guard nodes[index].isAvailable else { continue }
            lastAsked = index
            return nodes[index]
        }
        return nil
    }

    /// Goes back to the seeds while no node can be asked.
    private func findNode() {
        connectToSeeds()
        guard !router.hasMap else { return }
        let failures = router.nodes.compactMap { node in
            if case .unavailable(let failure) = node.lane.link.availability { failure } else { nil }
        }
        if let failure = failures.first, !failures.contains(.notConnectedYet) { health.mapIsMissing(because: failure) }
    }

    private func received(_ reply: Reply?, from node: ClusterNode) {
        guard !isStopped else { return }
        guard let reply else { return failed(nil) }
        do throws(SlotMapFault) {
            let map =
                usesShards
                ? try SlotMap(shards: reply, from: node.address, usesTLS: node.endpoint.tls != nil)
                : try SlotMap(slots: reply, from: node.address)
            backoff.reset()
            health.mapDidChange(
                masters: map.masters.map(\.description), slotsWithoutMaster: map.slotsWithoutMaster
            )
            publish(map)
            isWanted = map.slotsWithoutMaster > 0 || !router.masters.allSatisfy(\.isAvailable)
        } catch {
            if case .refused = error {
                usesShards.toggle()
                // One of the two may be missing, or forbidden: the other is tried at once.
                if usesShards {
                    earliest = .now()
                    return refresh()
                }
            }
            failed(error)
        }
    }

    private func failed(_ fault: SlotMapFault?) {
        var random = SystemRandomNumberGenerator()
        earliest = .now() + backoff.next(using: &random)
        guard let fault, !router.hasMap else { return }
        health.mapIsMissing(because: .refused(fault.text))
    }
}

extension SlotMapFault {
    /// What a log line says of it.
    var text: String {
        switch self {
        case .refused(let error): error
        case .malformed: "the answer to CLUSTER SLOTS is none"
        case .empty: "the node belongs to no cluster that has slots"
        case .tooManyMasters: "the cluster has more than \(SlotMap.maximumMasters) masters"
        }
    }
}

// MARK: - The subscription

extension ClusterWatcher {
    private func keepSubscription() {
        let now = NIODeadline.now()
        let nodes = router.masters.filter(\.isAvailable)
        guard !nodes.isEmpty, now - subscriptionMovedAt > Pace.subscriptionPatience else { return }
        let current = nodes.firstIndex { $0.endpoint == subscription.endpoint }
        if current != nil, subscription.availability == .available { return }
        subscriptionMovedAt = now
        // Drawn at first, so that the daemons of a cluster do not all hang on one node.
        let next = current.map { ($0 + 1) % nodes.count } ?? Int.random(in: 0..<nodes.count)
        subscription.move(to: nodes[next].endpoint)
    }
}
