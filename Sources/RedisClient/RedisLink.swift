public import NIOCore
import NIOPosix
import NIOSSL
import TLSContexts

/// One connection to Redis that an event loop keeps for itself, with its handshake, deadlines and reconnects.
///
/// The way of a command: the user lays it out in ``outbound``, calls ``sent(deadline:)``, and ``flush()`` once for
/// all commands of an event-loop turn. The link is its own breaker. The first answer that misses its deadline makes it
/// unavailable; it is available again when everything that was asked has been answered and a PING comes back in time,
/// or on a new connection. One timer watches all deadlines: it stands at the oldest and
/// moves on when it fires.
///
/// Not thread-safe: everything happens on ``eventLoop``.
public final class RedisLink {
    /// The loop on which the link lives.
    public let eventLoop: any EventLoop
    /// Where the next commands are laid out.
    public var outbound = ByteBuffer()
    /// Whether commands can be sent now.
    public private(set) var availability = LinkAvailability.unavailable(.unreachable("not connected yet"))
    /// Who is told; set before ``start()``, and set to nil by its `deinit` where it goes before the link does. It is not
    /// weak, because an object with weak references is retained and released more slowly.
    public unowned var delegate: (any RedisLinkDelegate)?

    /// Where to connect to; nil while nobody knows.
    public private(set) var endpoint: RedisEndpoint? {
        didSet { lookup = Self.lookup(of: endpoint, on: eventLoop) }
    }
    private var lookup: NameLookup?
    private let options: LinkOptions
    private var machine = LinkStateMachine()
    private var handler: RedisChannelHandler?
    private var backoff = Backoff()
    private var setupCount = 0
    private var isStarted = false
    private var isStopped = false
    /// The end of the latest attempt to connect: an earlier one that succeeds or fails later is of no account.
    private var latest: RedisChannelHandler?
    private var reconnection: Scheduled<Void>?
    /// Whether the next handshake refuses a replica.
    private var refusesReplica: Bool
    private var timer: (deadline: NIODeadline, task: Scheduled<Void>)?
    private var isProbing = false
    private var lastHeard = NIODeadline.now()
    private var availableSince = NIODeadline.now()

    /// How often an idle link asks whether Redis is still there.
    private let heartbeatInterval = TimeAmount.seconds(1)
    /// How long a connection on which nothing arrives is kept once an answer is overdue.
    private let silenceLimit = TimeAmount.seconds(1)

    /// Makes a link that is not connected yet.
    ///
    /// - Parameter endpoint: nil where ``move(to:)`` will tell.
    public init(endpoint: RedisEndpoint?, options: LinkOptions, eventLoop: any EventLoop) {
        self.endpoint = endpoint
        self.options = options
        self.eventLoop = eventLoop
        refusesReplica = options.requiresMaster
        lookup = Self.lookup(of: endpoint, on: eventLoop)
    }

    private static func lookup(of endpoint: RedisEndpoint?, on eventLoop: any EventLoop) -> NameLookup? {
        guard case .tcp(let host, let port)? = endpoint?.address else { return nil }
        return NameLookup(host: host, port: port, eventLoop: eventLoop)
    }

    /// Connects, and from then on reconnects by itself.
    public func start() {
        isStarted = true
        connect()
        scheduleTick()
    }

    /// Closes for good; commands in flight are lost.
    public func stop() {
        isStopped = true
        handler?.close()
    }

    /// Connects to another server from now on; the connection to the former one is closed, and its commands are lost.
    public func move(to endpoint: RedisEndpoint) {
        guard endpoint != self.endpoint else { return }
        self.endpoint = endpoint
        backoff.reset()
        if handler != nil { close(because: .unreachable("Redis has moved to \(endpoint.address)")) }
        if isStarted { connect() }
    }

    /// Says why nobody knows yet where to connect to.
    public func cannotFindServer(because failure: LinkFailure) {
        if endpoint == nil { becomeUnavailable(failure) }
    }

    /// Leaves a server that has said it is a replica. The name is resolved anew, and until a server says by ROLE that it
    /// is a master, none is used.
    public func leaveReplica(saying text: String) {
        refusesReplica = true
        close(because: .replica(text))
    }

    /// Leaves a connection on which a reply came that is none to what was asked: each one behind it might be another
    /// command's than it would be taken for.
    public func leaveOutOfStep() {
        close(because: .unreachable("Redis sent a reply that is none to what was asked"))
    }

    /// How many commands have been sent and not been answered, those given up included.
    public var commandsInFlight: Int { machine.count }

    /// Notes that one command has been laid out in ``outbound``. Where the connection has gone since the link was last
    /// seen available, the command is lost at once.
    public func sent(deadline: NIODeadline) {
        guard handler != nil else {
            outbound.clear()
            delegate?.lost(because: .unreachable("the connection was lost before the command was sent"))
            delegate?.repliesDelivered()
            return
        }
        machine.sent(.command, deadline: deadline)
        setTimer()
    }

    /// Writes what has been laid out.
    public func flush() {
        guard outbound.readableBytes > 0, let handler else { return }
        handler.write(outbound)
        // Where the kernel took all of it the buffer is ours again, and no memory is allocated.
        outbound.clear()
    }
}

// MARK: - Connecting

extension RedisLink {
    private func connect() {
        guard !isStopped, let endpoint else { return }
        reconnection?.cancel()
        let handler = RedisChannelHandler(link: self, endpoint: endpoint)
        latest = handler
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(options.connectTimeout)
            .channelInitializer { [loopBound = NIOLoopBound(handler, eventLoop: eventLoop)] channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls = endpoint.tls {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(
                                context: tls.context(), serverHostname: tlsServerName(endpoint.nameToVerify))
                        )
                    }
                    try channel.pipeline.syncOperations.addHandler(loopBound.value)
                }
            }
        let connecting =
            switch endpoint.address {
            case .unix(let path): bootstrap.connect(unixDomainSocketPath: path)
            case .tcp(let host, let port):
                bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1).resolver(lookup?.answer())
                    .connect(host: host, port: port)
            }
        connecting.assumeIsolated().whenFailure { [weak self, weak handler] error in
            guard let self, latest === handler else { return }
            becomeUnavailable(.unreachable(connectionFailure(error, nameToVerify: endpoint.nameToVerify)))
            reconnect()
        }
    }

    private func reconnect() {
        guard !isStopped else { return }
        var random = SystemRandomNumberGenerator()
        let task = eventLoop.assumeIsolated().scheduleTask(in: backoff.next(using: &random)) {
            [weak self] () -> Void in self?.connect()
        }
        reconnection = task
    }

    func connected(_ handler: RedisChannelHandler) {
        guard !isStopped, latest === handler else { return handler.close() }
        let endpoint = handler.endpoint
        self.handler = handler
        lastHeard = .now()
        isProbing = false
        outbound.clear()
        var commands: [[String]] = []
        if let password = endpoint.password {
            commands.append(["AUTH"] + (endpoint.currentUser.map { [$0] } ?? []) + [password.reveal()])
        }
        if endpoint.database != 0 { commands.append(["SELECT", String(endpoint.database)]) }
        if refusesReplica { commands.append(["ROLE"]) }
        let own = commands.count
        let setup = options.setup()
        setupCount = setup.count
        commands += setup + [["PING"]]
        let deadline = NIODeadline.now() + options.connectTimeout
        for (index, command) in commands.enumerated() {
            outbound.writeRESPCommand(command)
            machine.sent(.setup(index - own), deadline: deadline)
        }
        setTimer()
        flush()
    }

    /// Steps below 0 are the link's own, AUTH, SELECT and ROLE; the one after the user's is the closing PING.
    private func receivedSetup(_ reply: Reply, step: Int) {
        let isUsers = (0..<setupCount).contains(step)
        // So a server that cannot save answers PING. It refuses writes alone: whoever asks hears that.
        if step == setupCount, reply.errorText?.hasPrefix("MISCONF ") == true { return becomeAvailable() }
        if step == -1, refusesReplica { return receivedRole(reply) }
        if isUsers ? delegate?.acceptsSetupReply(reply, step: step) == false : reply.errorText != nil {
            let text = reply.errorText ?? "setup command \(step) was not answered as expected"
            return close(because: .refused(endpoint?.password?.hidden(in: text) ?? text))
        }
        guard step == setupCount else { return }
        if reply.isPong { becomeAvailable() } else { leaveOutOfStep() }
    }

    private func receivedRole(_ reply: Reply) {
        let server = endpoint.map { "\($0.address)" } ?? "Redis"
        if let error = reply.errorText {
            // A user who may not ask for the role is believed where nobody demands it.
            guard !options.requiresMaster else {
                return close(because: .refused("\(server) does not tell its role: \(error)"))
            }
        } else if !reply.isRoleOfMaster {
            return close(because: .replica("\(server) is no master"))
        }
        refusesReplica = options.requiresMaster
    }

    func closed(_ handler: RedisChannelHandler, because failure: LinkFailure) {
        guard self.handler === handler else { return }
        self.handler = nil
        becomeUnavailable(failure)
        while let purpose = machine.drain() {
            if case .command = purpose { delegate?.lost(because: failure) }
        }
        delegate?.repliesDelivered()
        reconnect()
    }

    private func close(because failure: LinkFailure) {
        guard let handler else { return }
        closed(handler, because: failure)
        handler.close()
    }
}

// MARK: - Replies, deadlines and the breaker

extension RedisLink {
    func received(_ reply: Reply) {
        if options.isSubscriber, isMessage(reply) {
            delegate?.pushed(reply)
            return
        }
        switch machine.received() {
        case .deliver:
            delegate?.received(reply)
            // Behind an answer that came too late, the last one may have come in time: then it has to ask for the PING.
            if machine.count == 0 { probeLater() }
        case .setup(let step): receivedSetup(reply, step: step)
        case .probe:
            isProbing = false
            // An error to a PING (LOADING, BUSY, NOAUTH) means that Redis is there and would refuse a check as well:
            // each check then hears the error itself, which costs no wait.
            if reply.isPong || reply.errorText != nil { becomeAvailable() } else { leaveOutOfStep() }
        case .discard(let isLast):
            if isLast { probeLater() }
        case .unmatched: close(because: .unreachable("Redis sent a reply that nothing had asked for"))
        }
    }

    private func isMessage(_ reply: Reply) -> Bool {
        guard reply.elements.count > 1, case .bulk(let range) = reply.elements[1] else { return false }
        return reply.bytes[range].elementsEqual("message".utf8)
    }

    func readCompleted() {
        lastHeard = .now()
        delegate?.repliesDelivered()
    }

    private func setTimer() {
        guard let deadline = machine.nextDeadline else { return }
        if let timer {
            // One that stands later is left from the handshake, whose patience is longer than a command's.
            guard deadline < timer.deadline else { return }
            timer.task.cancel()
        }
        let task = eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [weak self] () -> Void in
            self?.timerFired()
        }
        timer = (deadline, task)
    }

    private func timerFired() {
        timer = nil
        let now = NIODeadline.now()
        var isLate = false
        var isSetup = false
        while let purpose = machine.expire(now: now) {
            isLate = true
            switch purpose {
            case .command: delegate?.lost(because: .timedOut)
            case .setup: isSetup = true
            case .probe: isProbing = false
            case .abandoned: break
            }
        }
        if isSetup {
            close(because: handler?.isEncrypting == true ? .unreachable(noHandshakeInTime) : .timedOut)
        } else if isLate {
            becomeUnavailable(.timedOut)
            delegate?.repliesDelivered()
        }
        setTimer()
    }

    private func scheduleTick() {
        guard !isStopped else { return }
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(250)) { [weak self] in
            self?.tick()
            self?.scheduleTick()
        }
    }

    private func tick() {
        guard handler != nil else { return }
        let now = NIODeadline.now()
        if availability == .available {
            if now - availableSince > .seconds(5) { backoff.reset() }
            if machine.count == 0, now - lastHeard > heartbeatInterval { probe() }
        } else if machine.hasAbandoned, now - lastHeard > silenceLimit {
            close(because: .timedOut)
        }
    }

    private func probeLater() {
        if case .available = availability { return }
        guard !isProbing else { return }
        isProbing = true
        var random = SystemRandomNumberGenerator()
        eventLoop.assumeIsolated().scheduleTask(in: backoff.next(using: &random)) { [weak self, weak handler] in
            guard let self, let handler, self.handler === handler else { return }
            self.probe()
        }
    }

    private func probe() {
        isProbing = true
        outbound.writeRESPCommand(["PING"])
        machine.sent(.probe, deadline: .now() + options.probeTimeout)
        setTimer()
        flush()
    }

    private func becomeAvailable() {
        guard availability != .available, !machine.hasAbandoned else { return }
        availability = .available
        availableSince = .now()
        delegate?.linkDidChange(.available)
    }

    private func becomeUnavailable(_ failure: LinkFailure) {
        guard !isStopped, availability != .unavailable(failure) else { return }
        availability = .unavailable(failure)
        delegate?.linkDidChange(availability)
    }
}
