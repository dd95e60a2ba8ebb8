import NIOCore

/// What is heard of the server that is followed. Called on the event loop.
protocol MasterSentryDelegate: AnyObject {
    /// It answers, as a master; or why it does not.
    func masterDidChange(_ availability: LinkAvailability)
    /// It has said, on a connection on which it had been the master, that it is none any more.
    func masterWasDemoted(_ text: String)
}

/// A connection to the server that is followed, on which nothing is asked but its role.
///
/// It tells a master that is away from one that is there, also while no check is asked, and sees a demotion after which
/// connections stay open.
final class MasterMonitor: RedisLinkDelegate {
    /// How long an answer may take before the server counts as away.
    private static let deadline = TimeAmount.milliseconds(500)

    private let link: RedisLink
    private weak var delegate: (any MasterSentryDelegate)?

    init(eventLoop: any EventLoop, delegate: any MasterSentryDelegate) {
        let options = LinkOptions(requiresMaster: true, probeTimeout: Self.deadline)
        link = RedisLink(endpoint: nil, options: options, eventLoop: eventLoop)
        self.delegate = delegate
        link.delegate = self
    }

    deinit { link.delegate = nil }

    func start() { link.start() }

    func stop() {
        delegate = nil
        link.stop()
    }

    func move(to endpoint: RedisEndpoint) { link.move(to: endpoint) }

    /// Asks for the role.
    func look() {
        // One at a time is enough, and bounds what waits.
        guard link.availability == .available, link.commandsInFlight == 0 else { return }
        link.outbound.writeRESPCommand(["ROLE"])
        link.sent(deadline: .now() + Self.deadline)
        link.flush()
    }

    func linkDidChange(_ availability: LinkAvailability) { delegate?.masterDidChange(availability) }

    func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool { true }

    func received(_ reply: Reply) {
        // An error (BUSY, LOADING) says nothing of the role.
        guard reply.errorText == nil, !reply.isRoleOfMaster, let endpoint = link.endpoint else { return }
        let text = "\(endpoint.address) is no master any more"
        delegate?.masterWasDemoted(text)
        link.leaveReplica(saying: text)
    }

    func lost(because failure: LinkFailure) {}

    func pushed(_ reply: Reply) {}

    func repliesDelivered() {}
}
