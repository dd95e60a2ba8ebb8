public import NIOCore

/// Why a command got no answer, or why none can be asked.
public enum LinkFailure: Error, Hashable, Sendable {
    /// No connection: refused, reset, closed, or no such host.
    case unreachable(String)
    /// Connected, but no answer in time.
    case timedOut
    /// Redis answers, but refuses the handshake: a wrong password, a missing database, still loading.
    case refused(String)
    /// Redis answers, but is a replica, where a master is needed.
    case replica(String)
}

/// Whether commands can be sent now.
public enum LinkAvailability: Hashable, Sendable {
    /// The handshake is done and Redis answers in time.
    case available
    /// Redis is known to be away: do not wait for it.
    case unavailable(LinkFailure)
}

/// Who uses a link. Every call is made on the link's event loop.
///
/// Commands end in the order in which they were sent, each with one call of ``received(_:)`` or ``lost(because:)``: what
/// belongs to a command stands in a queue of the user's own.
public protocol RedisLinkDelegate: AnyObject {
    /// The link became available or unavailable, or the reason changed.
    func linkDidChange(_ availability: LinkAvailability)
    /// The reply to setup command `step`; false refuses the connection.
    func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool
    /// The reply to the oldest command that has not ended.
    func received(_ reply: Reply)
    /// No reply will be delivered for the oldest command that has not ended. It may have run, or may still: never send
    /// it again.
    func lost(because failure: LinkFailure)
    /// A message on a subscribed channel.
    func pushed(_ reply: Reply)
    /// All replies that had arrived are delivered: the moment to flush what they caused.
    func repliesDelivered()
}

/// What a link does besides the user's commands.
public struct LinkOptions: Sendable {
    /// Gives the commands that are sent on a new connection, after AUTH and SELECT.
    public var setup: @Sendable () -> [[String]]
    /// Whether the setup subscribes, so that messages arrive unasked.
    public var isSubscriber: Bool
    /// Whether a server that says it is no master is refused, by ROLE, on every new connection.
    public var requiresMaster: Bool
    /// How long an answer to a PING of the link's own may take before Redis counts as away.
    public var probeTimeout: TimeAmount
    /// How long connecting, and then the handshake, may take.
    public var connectTimeout: TimeAmount

    /// Makes the options.
    public init(
        setup: @autoclosure @escaping @Sendable () -> [[String]] = [], isSubscriber: Bool = false,
        requiresMaster: Bool = false,
        probeTimeout: TimeAmount = .milliseconds(50), connectTimeout: TimeAmount = .milliseconds(500)
    ) {
        self.setup = setup
        self.isSubscriber = isSubscriber
        self.requiresMaster = requiresMaster
        self.probeTimeout = probeTimeout
        self.connectTimeout = connectTimeout
    }
}
