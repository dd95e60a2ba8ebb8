public import NIOCore

/// What a ``SentinelWatcher`` tells.
public enum SentinelEvent: Sendable, Equatable {
    /// This server is the master: connect to it from now on. With the one that was followed before.
    case master(RedisEndpoint, formerly: RedisEndpoint.Address?)
    /// The server that is followed has said that it is no master any more: leave it.
    case demoted(String)
    /// The Sentinels answer, and none watches a master of the name.
    case unknownName(String)
    /// No Sentinel answers; why the last one did not.
    case noAnswer(LinkFailure)
    /// Sentinels answer again.
    case answering
    /// A Sentinel goes on naming another server than the one that is followed and is a master.
    case dissent(sentinel: RedisEndpoint.Address, master: RedisEndpoint.Address)
}

/// Finds the master by asking all Sentinels, and goes on asking: at once when one says that it has switched or when the
/// master is lost, then with growing pauses up to a second; and every ten seconds while all is well.
///
/// ``MasterElection`` says which answer counts. Whoever is told of a master still has to ask the server itself for its
/// role (``LinkOptions/requiresMaster``).
///
/// Not thread-safe: everything happens on one event loop.
public final class SentinelWatcher {
    /// How often everybody is asked while there is no reason to.
    private static let restInterval = TimeAmount.seconds(10)
    /// How often the master is asked for its role.
    private static let lookInterval = TimeAmount.seconds(1)
    /// How long answers are waited for that could make a majority.
    private static let patience = TimeAmount.milliseconds(500)

    private let group: SentinelGroup
    private let eventLoop: any EventLoop
    private let tell: (SentinelEvent) -> Void
    private var election: MasterElection
    private var links: [SentinelLink] = []
    private var sentry: MasterMonitor?
    private var backoff = Backoff(initial: .milliseconds(50), cap: .seconds(1))
    private var lastAskedAll = NIODeadline.distantPast
    private var tick: Scheduled<Void>?
    private var isDecisionScheduled = false
    private var isStopped = false
    /// Why the last Sentinel that failed did.
    private var lastFailure = LinkFailure.unreachable("not connected yet")
    /// What of the two has been told and not been taken back.
    private var complaint: MasterElection.Verdict?

    /// A watcher that asks nobody yet.
    public init(group: SentinelGroup, eventLoop: any EventLoop, tell: @escaping (SentinelEvent) -> Void) {
        self.group = group
        self.eventLoop = eventLoop
        self.tell = tell
        election = MasterElection(seeds: group.sentinels.map(\.address))
    }

    /// Connects to the Sentinels.
    public func start() {
        let sentry = MasterMonitor(eventLoop: eventLoop, delegate: self)
        self.sentry = sentry
        sentry.start()
        for sentinel in election.sentinels { connect(to: sentinel.address) }
        nextTick()
    }

    /// Closes all connections for good.
    public func stop() {
        isStopped = true
        tick?.cancel()
        for link in links { link.stop() }
        sentry?.stop()
    }

    private func connect(to address: RedisEndpoint.Address) {
        // All Sentinels take the same login: an address that another one told has none of its own.
        var endpoint = group.sentinels.first { $0.address == address } ?? group.sentinels[0]
        endpoint.address = address
        let link = SentinelLink(
            endpoint: endpoint, masterName: group.masterName, eventLoop: eventLoop, delegate: self
        )
        links.append(link)
        link.start()
    }
}

// MARK: - Asking

extension SentinelWatcher {
    private func askAll() {
        lastAskedAll = .now()
        for link in links { link.ask() }
    }

    private func nextTick() {
        tick?.cancel()
        guard !isStopped else { return }
        var random = SystemRandomNumberGenerator()
        let spread = Int64.random(in: 0...250, using: &random)
        let pause =
            election.isMasterThere
            ? Self.lookInterval - .milliseconds(spread) : backoff.next(using: &random)
        tick = eventLoop.assumeIsolated().scheduleTask(in: pause) { [weak self] () -> Void in self?.ticked() }
    }

    private func ticked() {
        let now = NIODeadline.now()
        if election.isMasterThere { sentry?.look() }
        if !election.isMasterThere || election.hasDissent || now - lastAskedAll >= Self.restInterval { askAll() }
        for dissenter in election.newDissenters(at: now) {
            tell(.dissent(sentinel: dissenter.sentinel, master: dissenter.master))
        }
        nextTick()
    }
}

// MARK: - Deciding

extension SentinelWatcher {
    private func decide(isPatienceOver: Bool = false) {
        let verdict = election.verdict(isPatienceOver: isPatienceOver)
        switch verdict {
        case .follow(let address):
            let former = election.followed
            election.follow(address)
            var endpoint = group.master
            endpoint.address = address
            sentry?.move(to: endpoint)
            backoff.reset()
            tell(.master(endpoint, formerly: former))
            nextTick()
        case .undecided: decideLater()
        case .stay, .unknownName, .noAnswer: break
        }
        complain(verdict)
    }

    private func complain(_ verdict: MasterElection.Verdict) {
        switch verdict {
        case .undecided: break
        case .follow, .stay:
            if complaint != nil { tell(.answering) }
            complaint = nil
        case .unknownName, .noAnswer:
            guard complaint != verdict else { return }
            complaint = verdict
            tell(verdict == .unknownName ? .unknownName(group.masterName) : .noAnswer(lastFailure))
        }
    }

    private func decideLater() {
        guard !isDecisionScheduled else { return }
        isDecisionScheduled = true
        eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { [weak self] in
            guard let self, !isStopped else { return }
            isDecisionScheduled = false
            decide(isPatienceOver: true)
        }
    }
}

// MARK: - What the connections bring

extension SentinelWatcher: SentinelLinkDelegate, MasterSentryDelegate {
    func sentinelAnswered(_ link: SentinelLink, _ answer: SentinelAnswer, peers: [SentinelPeer]) {
        if let id = link.id { election.identified(link.endpoint.address, as: id) }
        election.answered(link.endpoint.address, answer, peers: peers)
        let revision = election.reviseSentinels()
        for link in links where revision.removed.contains(link.endpoint.address) { link.stop() }
        links.removeAll { revision.removed.contains($0.endpoint.address) }
        for address in revision.added { connect(to: address) }
        decide()
    }

    func sentinelLost(_ link: SentinelLink, because failure: LinkFailure) {
        lastFailure = failure
        election.lost(link.endpoint.address)
        decide()
    }

    func masterDidChange(_ availability: LinkAvailability) {
        let wasThere = election.isMasterThere
        switch availability {
        case .available:
            election.masterCame()
            nextTick()
        case .unavailable(let failure):
            if case .replica = failure {
                election.masterLeft(asReplica: true)
                decide()
            } else {
                election.masterLeft(asReplica: false)
            }
            guard wasThere else { return }
            // A master that comes and goes is no reason to ask more often.
            if NIODeadline.now() - lastAskedAll > .seconds(5) { backoff.reset() }
            askAll()
            nextTick()
        }
    }

    func masterWasDemoted(_ text: String) { tell(.demoted(text)) }
}
