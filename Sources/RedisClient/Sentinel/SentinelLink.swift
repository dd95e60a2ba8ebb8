import NIOCore

/// What a Sentinel's connections bring. Called on the event loop.
protocol SentinelLinkDelegate: AnyObject {
    func sentinelAnswered(_ link: SentinelLink, _ answer: SentinelAnswer, peers: [SentinelPeer])
    func sentinelLost(_ link: SentinelLink, because failure: LinkFailure)
}

/// One Sentinel: a connection to ask it on, and one on which it says by itself that it has switched to another master
/// (a connection that subscribes cannot ask).
///
/// What it says by itself is not believed, only taken as a reason to ask: a message can be lost, or be another's.
final class SentinelLink {
    let endpoint: RedisEndpoint
    /// The Sentinel's own name for itself, once it has told it.
    fileprivate(set) var id: String?
    fileprivate weak var delegate: (any SentinelLinkDelegate)?
    private let asking: RedisLink
    private let listening: RedisLink
    private let questions: SentinelQuestions
    private let listener: SwitchListener

    init(endpoint: RedisEndpoint, masterName: String, eventLoop: any EventLoop, delegate: any SentinelLinkDelegate) {
        self.endpoint = endpoint
        self.delegate = delegate
        let options = LinkOptions(setup: [["SENTINEL", "MYID"]], probeTimeout: SentinelQuestions.deadline)
        asking = RedisLink(endpoint: endpoint, options: options, eventLoop: eventLoop)
        let subscription = LinkOptions(
            setup: [["SUBSCRIBE", "+switch-master"]], isSubscriber: true, probeTimeout: SentinelQuestions.deadline
        )
        listening = RedisLink(endpoint: endpoint, options: subscription, eventLoop: eventLoop)
        questions = SentinelQuestions(link: asking, masterName: masterName)
        listener = SwitchListener()
        asking.delegate = questions
        listening.delegate = listener
        questions.sentinel = self
        listener.sentinel = self
    }

    deinit {
        asking.delegate = nil
        listening.delegate = nil
    }

    func start() {
        asking.start()
        listening.start()
    }

    func stop() {
        delegate = nil
        asking.stop()
        listening.stop()
    }

    /// Asks who the master is, soon.
    func ask() { questions.ask() }
}

/// Puts the questions to one Sentinel: three commands together, again and again.
private final class SentinelQuestions: RedisLinkDelegate {
    /// How long an answer may take before the Sentinel counts as away.
    static let deadline = TimeAmount.milliseconds(500)
    /// The least time from one asking to the next, whoever gives reasons to ask.
    private static let interval = TimeAmount.milliseconds(20)

    weak var sentinel: SentinelLink?
    private let link: RedisLink
    private let masterName: String
    private var lastAsked = NIODeadline.distantPast
    private var isAskScheduled = false
    /// Replies of the present asking that have not come.
    private var awaited = 0
    private var peers: [SentinelPeer] = []
    private var address: RedisEndpoint.Address??
    private var failure: LinkFailure?

    init(link: RedisLink, masterName: String) {
        self.link = link
        self.masterName = masterName
    }

    func ask() {
        guard link.availability == .available else { return }
        let now = NIODeadline.now()
        guard awaited == 0, now - lastAsked >= Self.interval else { return askLater() }
        lastAsked = now
        peers = []
        address = nil
        failure = nil
        for question in ["SENTINELS", "GET-MASTER-ADDR-BY-NAME", "MASTER"] {
            link.outbound.writeRESPCommand(["SENTINEL", question, masterName])
            awaited += 1
            link.sent(deadline: now + Self.deadline)
        }
        link.flush()
    }

    private func askLater() {
        guard !isAskScheduled else { return }
        isAskScheduled = true
        link.eventLoop.assumeIsolated().scheduleTask(in: Self.interval) { [weak self] in
            self?.isAskScheduled = false
            self?.ask()
        }
    }

    func linkDidChange(_ availability: LinkAvailability) {
        switch availability {
        case .available: ask()
        case .unavailable(let failure):
            if let sentinel { sentinel.delegate?.sentinelLost(sentinel, because: failure) }
        }
    }

    func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool {
        // Without it the Sentinel is known by its address.
        sentinel?.id = SentinelReplies.id(reply)
        return true
    }

    func received(_ reply: Reply) {
        if let error = reply.errorText, awaited == 2 { failure = .refused(error) }
        switch awaited {
        case 3: peers = SentinelReplies.peers(reply)
        case 2: address = SentinelReplies.masterAddress(reply)
        default: break
        }
        ended(configEpoch: awaited == 1 ? SentinelReplies.configEpoch(reply) : 0)
    }

    func lost(because failure: LinkFailure) {
        self.failure = failure
        ended(configEpoch: 0)
    }

    private func ended(configEpoch: Int) {
        awaited -= 1
        guard awaited == 0, let sentinel else { return }
        if let failure {
            sentinel.delegate?.sentinelLost(sentinel, because: failure)
        } else if let address {
            let answer = address.map { SentinelAnswer.names($0, configEpoch: configEpoch) } ?? .unknownName
            sentinel.delegate?.sentinelAnswered(sentinel, answer, peers: peers)
        } else {
            let failure = LinkFailure.refused("a Sentinel's answer is not of the form that is expected")
            sentinel.delegate?.sentinelLost(sentinel, because: failure)
        }
    }

    func pushed(_ reply: Reply) {}

    func repliesDelivered() {}
}

/// Hears that a Sentinel has switched to another master.
private final class SwitchListener: RedisLinkDelegate {
    weak var sentinel: SentinelLink?

    /// A message may have been missed until now.
    func linkDidChange(_ availability: LinkAvailability) { if availability == .available { sentinel?.ask() } }

    /// Where SUBSCRIBE is forbidden, asking every now and then has to do.
    func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool { true }

    func received(_ reply: Reply) {}

    func lost(because failure: LinkFailure) {}

    func pushed(_ reply: Reply) { sentinel?.ask() }

    func repliesDelivered() {}
}
