import NIOCore
import RateLimitCore
import RedisClient

/// The lanes from one event loop to the nodes of a Redis Cluster: each request goes to the master of its slot, and once more
/// where the cluster says that it did not run there.
///
/// A command may carry keys of one slot only. So each request is a batch of its own, and what is formed for each node is
/// one write of all batches of a turn.
final class ClusterRouter {
    /// How often a request is sent before it counts as failed.
    static let maximumAttempts = 5
    /// What is told where a request has been sent that often.
    private static let noAgreement = RedisRefusal("the nodes of the cluster do not agree on who has a slot")
    /// How soon a request is tried again that has to wait for the cluster.
    static let retryInterval = TimeAmount.milliseconds(2)

    let eventLoop: any EventLoop
    private let index: Int
    private let health: RedisHealth
    /// How to log in to a node; the address is replaced.
    private let login: RedisEndpoint
    private var laneOptions: ScriptLane.Options
    let slots: UserSlots
    /// Whose lanes these are; it owns the router.
    weak var engine: CheckEngine?
    /// Called when the map seems to be out of date; not again before the next ``apply(_:)``.
    var mapIsDoubtful: (() -> Void)?
    /// Called when a node became available or unavailable.
    var nodeDidChange: (() -> Void)?

    /// The masters in the order of the map, then nodes that were named since or that are asked for the map.
    private(set) var nodes: [ClusterNode] = []
    private var mapped = 0
    private var owners: [UInt16]
    /// The masters of the map.
    var masters: ArraySlice<ClusterNode> { nodes.prefix(mapped) }
    private(set) var hasMap = false
    private var isMapDoubted = false

    private var unwritten: [ClusterNode] = []
    private var hasSentBetweenTurns = false
    /// Sends what is due, or ends it where the router has stopped.
    private var postponed: [() -> Void] = []
    private var retryTimer: Scheduled<Void>?
    /// At least as many requests as wait for an answer.
    private var waitingAtMost = 0
    private var isStopped = false

    init(
        index: Int, eventLoop: any EventLoop, login: RedisEndpoint, laneOptions: ScriptLane.Options, health: RedisHealth
    ) {
        self.index = index
        self.eventLoop = eventLoop
        self.login = login
        self.laneOptions = laneOptions
        self.health = health
        slots = UserSlots(keyPrefix: laneOptions.keyPrefix)
        owners = [UInt16](repeating: SlotMap.nobody, count: HashSlot.count)
    }

    /// Requests without an answer.
    var pendingCount: Int { nodes.reduce(postponed.count) { $0 + $1.lane.pendingCount } }

    /// Takes a request on its way, or says why it cannot be.
    func enqueue(_ request: PendingRequest, queueLimit: Int) -> FailureReason? {
        if waitingAtMost >= queueLimit {
            waitingAtMost = pendingCount
            guard waitingAtMost < queueLimit else { return .overloaded }
        }
        guard let node = owner(of: request.slot(by: slots)) else { return hasMap ? .redisError : .redisUnreachable }
        if case .unavailable(let failure) = node.lane.link.availability {
            guard node.isConnecting(at: request.arrivedAt, patience: laneOptions.deadline) else {
                return failure.reason
            }
            postpone(
                PostponedRequest(
                    request: request, route: .direct, dueAt: .now() + Self.retryInterval, reason: failure.reason))
        } else {
            willWrite(node)
            node.lane.append(request)
        }
        waitingAtMost += request.width
        return nil
    }

    /// Writes what has been laid out.
    func flush() {
        while let node = unwritten.popLast() {
            node.isUnwritten = false
            node.lane.flush()
        }
    }

    private func willWrite(_ node: ClusterNode) {
        node.isUsed = true
        guard !node.isUnwritten else { return }
        node.isUnwritten = true
        unwritten.append(node)
    }

    /// The master of a slot; nil where it has none.
    func owner(of slot: HashSlot) -> ClusterNode? {
        let owner = owners[slot.number]
        return owner == SlotMap.nobody ? nil : nodes[Int(owner)]
    }

    func setLimit(_ limit: Limit, rememberMilliseconds: Int) {
        laneOptions.limit = limit
        laneOptions.rememberMilliseconds = rememberMilliseconds
        for node in nodes { node.lane.setLimit(limit, rememberMilliseconds: rememberMilliseconds) }
    }

    func stop() {
        isStopped = true
        retryTimer?.cancel()
        for end in postponed { end() }
        postponed = []
        for node in nodes { node.lane.link.stop() }
        mapIsDoubtful = nil
        nodeDidChange = nil
    }
}

// MARK: - Sending again

extension ClusterRouter {
    /// Sends a request again that a node did not take.
    func redirect(_ request: PendingRequest, _ redirection: Redirection, after route: ScriptRoute) {
        guard let engine else { return }
        var next = PostponedRequest(
            request: request, route: ScriptRoute(attempts: route.attempts + 1),
            dueAt: .now() + Self.delay(route.attempts), reason: .redisTimeout)
        switch redirection {
        case .moved(let slot, let address):
            correct(slot, to: address)
            doubtMap()
        case .ask(let address):
            next.importer = address
            next.route.isAsking = true
        case .tryAgain: next.dueAt = .now() + max(Self.retryInterval, Self.delay(route.attempts))
        case .clusterDown:
            doubtMap()
            return request.undecided(because: .redisError, by: engine)
        }
        guard next.route.attempts < Self.maximumAttempts else {
            engine.wasRefused(Self.noAgreement, by: nil, on: request.path)
            return request.undecided(because: .redisError, by: engine)
        }
        send(next)
    }

    /// None for the first two, which follow a plain change; then longer and longer, since two nodes that each name the
    /// other need time to agree.
    private static func delay(_ attempts: UInt8) -> TimeAmount {
        attempts < 2 ? .zero : retryInterval * (1 << Int(attempts - 2))
    }

    private func send(_ postponed: PostponedRequest) {
        guard let engine else { return }
        let now = NIODeadline.now()
        let request = postponed.request
        guard !isStopped else { return request.undecided(because: .redisUnreachable, by: engine) }
        guard now < request.arrivedAt + laneOptions.deadline else {
            return request.undecided(because: postponed.reason, by: engine)
        }
        guard postponed.dueAt <= now else { return postpone(postponed) }
        guard let node = postponed.importer.map({ connect(to: $0) }) ?? owner(of: request.slot(by: slots)) else {
            return request.undecided(because: .redisError, by: engine)
        }
        switch node.lane.link.availability {
        case .available:
            willWrite(node)
            hasSentBetweenTurns = true
            node.lane.append(request, by: postponed.route)
        case .unavailable(let failure):
            guard node.isConnecting(at: now, patience: laneOptions.deadline) else {
                return request.undecided(because: failure.reason, by: engine)
            }
            var later = postponed
            later.dueAt = now + Self.retryInterval
            later.reason = failure.reason
            postpone(later)
        }
    }

    /// Takes a request on its way that replies have caused; it is written when they are delivered.
    func enqueueBetweenTurns(_ request: PendingRequest) -> FailureReason? {
        hasSentBetweenTurns = true
        return enqueue(request, queueLimit: .max)
    }

    /// Writes what replies have caused to be sent; what else has been laid out waits for the end of the turn.
    func repliesDelivered() {
        guard hasSentBetweenTurns else { return }
        hasSentBetweenTurns = false
        flush()
    }

    private func postpone(_ request: PostponedRequest) {
        postponed.append { [unowned self] in send(request) }
        guard retryTimer == nil else { return }
        retryTimer = eventLoop.assumeIsolated().scheduleTask(in: Self.retryInterval) { [weak self] in self?.retry() }
    }

    private func retry() {
        retryTimer = nil
        let due = postponed
        postponed = []
        for send in due { send() }
        flush()
        engine?.delivered()
    }

    /// Sends a command off the hot path to the node of a user's key, or to any.
    func perform(
        _ command: [String], for user: SubjectID?, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void
    ) {
        perform(command, at: user.map { slots.slot(of: $0) }, form, done)
    }

    /// Sends a command off the hot path to the node of a slot, or to any.
    func perform(
        _ command: [String], at slot: HashSlot?, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void
    ) {
        let node = slot.map { owner(of: $0) } ?? nodes.first(where: \.isAvailable)
        guard let node else { return done(.failure(hasMap ? .redisError : .redisUnreachable)) }
        perform(command, at: node, attempts: 0, form, done)
    }

    private func perform(
        _ command: [String], at node: ClusterNode, isAsking: Bool = false, attempts: Int, _ form: ReplyForm,
        _ done: @escaping (CommandResult) -> Void
    ) {
        if isAsking { node.lane.perform(["ASKING"], .status) { _ in } }
        node.lane.perform(command, form) { [weak self] result in
            guard let self, attempts < Self.maximumAttempts, let error = try? result.get().errorText,
                let redirection = Redirection(error, from: node.address)
            else { return done(result) }
            switch redirection {
            case .moved(let slot, let address):
                correct(slot, to: address)
                doubtMap()
                performWhenConnected(command, at: connect(to: address), isAsking: false, attempts + 1, form, done)
            case .ask(let address):
                performWhenConnected(command, at: connect(to: address), isAsking: true, attempts + 1, form, done)
            case .tryAgain, .clusterDown: done(result)
            }
        }
    }

    /// A node that has just been named needs some milliseconds for its first connection.
    private func performWhenConnected(
        _ command: [String], at node: ClusterNode?, isAsking: Bool, _ attempts: Int, _ form: ReplyForm,
        _ done: @escaping (CommandResult) -> Void
    ) {
        guard let node, !isStopped else { return done(.failure(.redisUnreachable)) }
        guard node.isConnecting(at: .now(), patience: laneOptions.deadline) else {
            return perform(command, at: node, isAsking: isAsking, attempts: attempts, form, done)
        }
        eventLoop.assumeIsolated().scheduleTask(in: Self.retryInterval) { [self] in
            performWhenConnected(command, at: node, isAsking: isAsking, attempts, form, done)
        }
    }
}

// MARK: - The map

extension ClusterRouter {
    /// Puts a map in force: connects to masters that are new, and lets go of nodes that are neither in it nor in use.
    func apply(_ map: SlotMap) {
        guard !isStopped else { return }
        let former = nodes
        nodes = map.masters.map { address in former.first { $0.address == address } ?? makeNode(address) }
        mapped = nodes.count
        for node in former where !nodes.contains(where: { $0 === node }) {
            if node.isUsed, nodes.count < SlotMap.maximumMasters { nodes.append(node) } else { retire(node) }
        }
        for node in nodes { node.isUsed = false }
        owners = map.owners
        hasMap = true
        isMapDoubted = false
        for node in masters { report(node) }
        // One that has just become a master has to prove itself.
        for node in masters { engine?.heartbeat?.sendHeartbeat(node.lane) }
    }

    /// Says that the map seems to be out of date.
    func doubtMap() {
        guard !isMapDoubted else { return }
        isMapDoubted = true
        mapIsDoubtful?()
    }

    /// The node at an address, connected to from now on; nil above the bound.
    @discardableResult
    func connect(to address: RedisEndpoint.Address) -> ClusterNode? {
        if let node = nodes.first(where: { $0.address == address }) { return node }
        guard nodes.count < SlotMap.maximumMasters, !isStopped else { return nil }
        let node = makeNode(address)
        nodes.append(node)
        return node
    }

    private func correct(_ slot: HashSlot, to address: RedisEndpoint.Address) {
        guard connect(to: address) != nil, let index = nodes.firstIndex(where: { $0.address == address }) else {
            return
        }
        owners[slot.number] = UInt16(index)
    }

    private func makeNode(_ address: RedisEndpoint.Address) -> ClusterNode {
        var endpoint = login
        endpoint.address = address
        let link = RedisLink(endpoint: endpoint, options: .checks(laneOptions), eventLoop: eventLoop)
        let lane = ScriptLane(link: link, options: laneOptions)
        lane.engine = engine
        lane.router = self
        lane.serverName = address.description
        link.start()
        return ClusterNode(endpoint: endpoint, lane: lane)
    }

    /// Closes a node's connection when what was sent there has been answered or is past its deadline.
    private func retire(_ node: ClusterNode) {
        // The lane tells the engine and the router, and owns neither.
        let engine = engine
        eventLoop.assumeIsolated().scheduleTask(in: laneOptions.deadline * 2) { [self] in
            withExtendedLifetime((self, engine)) { node.lane.link.stop() }
        }
    }

    func laneDidChange(_ lane: ScriptLane) {
        guard !isStopped, let position = nodes.firstIndex(where: { $0.lane === lane }) else { return }
        if position < mapped, hasMap { report(nodes[position]) }
        if !nodes[position].isAvailable, hasMap { doubtMap() }
        nodeDidChange?()
    }

    private func report(_ node: ClusterNode) {
        health.linkDidChange(index, of: node.address.description, node.lane.link.availability)
    }
}

/// Tells the slot of a key without laying the key out.
struct UserSlots {
    private let prefix: CRC16

    init(keyPrefix: String) {
        var checksum = CRC16()
        checksum.update(Array("\(keyPrefix):".utf8))
        prefix = checksum
    }

    func slot(of user: SubjectID) -> HashSlot { user.withKeyName(of: .user) { slot(ofName: $0) } }

    func slot(of owner: WindowOwner) -> HashSlot {
        switch owner {
        case .user(let user): slot(of: user)
        case .group(let group): group.withKeyName(of: .group) { slot(ofName: $0) }
        case .global: Array("global".utf8).withUnsafeBytes { slot(ofName: $0) }
        }
    }

    func slot(of subject: PlanSubject, _ caller: PlanCaller) -> HashSlot {
        let owner = caller.owner(subject)
        // What is somebody's is in the slot of their other windows.
        guard owner == .global, let values = caller.values(subject) else { return slot(of: owner) }
        return Array("by:\(values.text)".utf8).withUnsafeBytes { slot(ofName: $0) }
    }

    func slot(of key: DescriptorKey) -> HashSlot {
        var text = key.text
        return text.withUTF8 { slot(ofName: UnsafeRawBufferPointer($0)) }
    }

    private func slot(ofName name: UnsafeRawBufferPointer) -> HashSlot {
        var checksum = prefix
        checksum.update(name)
        return HashSlot(checksum)
    }
}
