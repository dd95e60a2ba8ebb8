import CoreMetrics
import NIOCore
import RateLimitCore
import RedisClient

/// What Redis replied to a command, an error included, or why there is no reply.
typealias CommandResult = Result<Reply, FailureReason>

/// The way from one event loop to one Redis server and back, whatever is asked. A lane has a ``ScriptBatcher`` for each
/// script, sends what these lay out in the order in which it was laid out, and tells each request Redis's answer or the
/// reason why there is none.
final class ScriptLane: RedisLinkDelegate {
    /// What ends with each command, in the order of sending.
    private enum Sent {
        /// The oldest batch of checks.
        case checks
        /// The oldest batch of calls.
        case calls
        /// A command off the hot path.
        case operation((CommandResult) -> Void)
    }

    /// What lanes are made with, besides their links.
    struct Options {
        var keyPrefix: String
        var limit: Limit
        /// How long a decision may take, waiting, sending and answer together.
        var deadline: TimeAmount
        /// Requests in one call to Redis.
        var batchLimit: Int
        /// Full batches in one write: few enough that Redis works while we still read.
        var batchesPerWrite = 1
        var metrics: CheckMetrics
        /// Who beats in the handshake; nil in a cluster.
        var dataLossWatch: DataLossWatch?
    }

    let link: RedisLink
    /// Who is told; it owns the lane.
    unowned var engine: CheckEngine?
    /// Who sends requests elsewhere that a node of a cluster did not take; nil where there is one server.
    unowned var router: ClusterRouter?
    /// The server's address where it is one of several; nil for the only one.
    var serverName: String?
    let metrics: CheckMetrics
    private let dataLossWatch: DataLossWatch?
    let deadline: TimeAmount
    private let batchLimit: Int
    private let batchesPerWrite: Int
    private var unwrittenBatches = 0

    /// The digest under which Redis knows `beat.lua`; nil where a service does not keep scripts, or not yet.
    private(set) var beatDigest: String?
    /// Whether a heartbeat is on its way.
    var isBeating = false
    /// When a refusal is worth telling again.
    private var nextRefusalAt = NIODeadline.distantPast

    /// Checks of users under the one limit of checks.
    let checks: ScriptBatcher<CheckScript>
    /// Calls under the limits of the file.
    let calls: ScriptBatcher<DecideScript>
    private var sent = CircularBuffer<Sent>(initialCapacity: 64)
    /// Whether the server takes EVALSHA, of any script.
    private(set) var evalsha = EvalshaUse()

    /// Makes the lane of a link that is not started yet.
    init(link: RedisLink, options: Options) {
        self.link = link
        metrics = options.metrics
        dataLossWatch = options.dataLossWatch
        deadline = options.deadline
        batchLimit = options.batchLimit
        batchesPerWrite = options.batchesPerWrite
        checks = ScriptBatcher(CheckScript(keyPrefix: options.keyPrefix, limit: options.limit))
        calls = ScriptBatcher(DecideScript(keyPrefix: options.keyPrefix))
        link.delegate = self
    }

    deinit { link.delegate = nil }

    /// Requests without an answer.
    var pendingCount: Int { checks.pendingCount + calls.pendingCount }

    /// Takes a request on its way. A batch that is full is sent at once; the others at the next ``flush()``.
    @inline(__always)
    func append<Request: PendingRequest>(_ request: Request) {
        let batcher = Request.Codec.batcher(of: self)
        layOut(request, in: batcher)
        if batcher.unsentCount == batchLimit { batchIsFull(batcher) }
    }

    /// Sends a request that did not run where it was sent before, in a batch of its own, at the next ``flush()``.
    func append<Request: PendingRequest>(_ request: Request, by route: ScriptRoute) {
        let batcher = Request.Codec.batcher(of: self)
        sendUnsent(of: batcher)
        layOut(request, in: batcher)
        send(batcher, by: route)
    }

    private func layOut<Codec>(_ request: Codec.Request, in batcher: ScriptBatcher<Codec>) {
        guard !batcher.append(request) else { return }
        send(batcher)
        let hasRoom = batcher.append(request)
        precondition(hasRoom, "an empty batch has room for any request")
    }

    private func batchIsFull<Codec>(_ batcher: ScriptBatcher<Codec>) {
        send(batcher)
        unwrittenBatches += 1
        if unwrittenBatches >= batchesPerWrite { flush() }
    }

    /// Sends what has been laid out.
    func flush() {
        sendUnsent(of: checks)
        sendUnsent(of: calls)
        unwrittenBatches = 0
        link.flush()
    }

    private func sendUnsent<Codec>(of batcher: ScriptBatcher<Codec>) {
        if batcher.unsentCount > 0 { send(batcher) }
    }

    /// Puts the limit of checks in force; those already laid out go under the limit they came under.
    func setLimit(_ limit: Limit) {
        sendUnsent(of: checks)
        checks.codec.setLimit(limit)
    }

    /// Sends a command off the hot path.
    func perform(_ command: [String], _ done: @escaping (CommandResult) -> Void) {
        perform({ $0.writeRESPCommand(command) }, done)
    }

    /// Sends the one command that `write` writes.
    func perform(_ write: (inout ByteBuffer) -> Void, _ done: @escaping (CommandResult) -> Void) {
        layOut(write, done)
        link.flush()
    }

    /// Lays out the one command that `write` writes; it is sent at the link's next flush.
    func layOut(_ write: (inout ByteBuffer) -> Void, _ done: @escaping (CommandResult) -> Void) {
        if case .unavailable(let failure) = link.availability { return done(.failure(failure.reason)) }
        sendUnsent(of: checks)
        sendUnsent(of: calls)
        write(&link.outbound)
        sent.append(.operation(done))
        link.sent(deadline: .now() + deadline)
    }

    /// Hands the batch that has been laid out to the link.
    private func send<Codec>(_ batcher: ScriptBatcher<Codec>, inFull: Bool = false, by route: ScriptRoute = .direct) {
        let deadline = batcher.oldestUnsent + deadline
        if route.isAsking {
            link.outbound.writeRESPCommand(["ASKING"])
            sent.append(.operation { _ in })
            link.sent(deadline: deadline)
        }
        let now = NIODeadline.now()
        metrics.batchSize.record(batcher.unsentCount)
        batcher.write(
            inFull: inFull || evalsha.isResting(at: now), at: now, memoryEpoch: engine?.memoryEpoch ?? 0, by: route,
            to: &link.outbound)
        sent.append(Codec.path == .checks ? .checks : .calls)
        link.sent(deadline: deadline)
    }
}

// MARK: - What Redis answers

extension ScriptLane {
    func received(_ reply: Reply) {
        switch sent.popFirst() {
        case .checks: received(reply, by: checks)
        case .calls: received(reply, by: calls)
        case .operation(let done): done(.success(reply))
        case nil: break
        }
    }

    private func received<Codec>(_ reply: Reply, by batcher: ScriptBatcher<Codec>) {
        guard let batch = batcher.takeBatch() else { return }
        if let error = reply.errorText { return received(error, to: batch, of: batcher) }
        let now = NIODeadline.now()
        if !batch.isInFull {
            batcher.scriptWasKnown()
        } else if let refusal = evalsha.textWasTaken(at: now) {
            engine?.note(refusal, to: .evalsha)
        }
        metrics.redisDuration.recordNanoseconds((now - batch.sentAt).nanoseconds)
        deliver(reply, to: batch, of: batcher, at: now)
    }

    private func deliver<Codec>(
        _ reply: Reply, to batch: ScriptBatch<Codec>, of batcher: ScriptBatcher<Codec>, at now: NIODeadline
    ) {
        guard let engine else { return }
        var refusal: String?
        var isOutOfStep = false
        for index in 0..<batch.count {
            guard let request = batcher.takeRequest() else { break }
            switch Codec.answer(index, of: batch, in: reply, to: request) {
            case .decided(let decided): request.decided(decided, in: batch, at: now, by: engine)
            case .failed(let error):
                request.failed(error, by: engine)
                if refusal == nil, RedisRefusal(error).scope != .key { refusal = error }
            case nil:
                request.undecided(because: .redisError, by: engine)
                refusal = RedisRefusal.malformedReply.words
                isOutOfStep = true
            }
        }
        if let refusal { wasRefused(refusal, on: Codec.path) }
        if isOutOfStep { link.leaveOutOfStep() }
    }

    private func received<Codec>(_ error: String, to batch: ScriptBatch<Codec>, of batcher: ScriptBatcher<Codec>) {
        // Of these, and of these only, nothing ran.
        if !batch.isInFull, EvalshaUse.saysNothingRan(error) {
            if !EvalshaUse.isUnknownScript(error) { evalsha.wasRefused(error) }
            return sendAgainInFull(batch, of: batcher)
        }
        guard let router, let address = link.endpoint?.address, let redirection = Redirection(error, from: address)
        else {
            if batch.isInFull {
                batcher.scriptWasKnown()
                evalsha.textWasRefused()
            }
            fail(batch, of: batcher, because: .redisError)
            wasRefused(error, on: Codec.path)
            return
        }
        if redirection == .clusterDown { wasRefused(error, on: Codec.path) }
        for _ in 0..<batch.count {
            guard let request = batcher.takeRequest() else { return }
            router.redirect(request, redirection, after: batch.route)
        }
    }

    /// Sends a batch of which nothing ran once more, with the script's whole text, which Redis then knows.
    private func sendAgainInFull<Codec>(_ batch: ScriptBatch<Codec>, of batcher: ScriptBatcher<Codec>) {
        batcher.scriptWasUnknown(in: batch, at: .now())
        sendUnsent(of: batcher)
        for _ in 0..<batch.count {
            guard let request = batcher.takeRequest() else { break }
            // They were in one batch before, and so they fit into one.
            layOut(request, in: batcher)
        }
        send(batcher, inFull: true, by: batch.route)
        link.flush()
    }

    func lost(because failure: LinkFailure) {
        switch sent.popFirst() {
        case .checks: lost(checks, because: failure)
        case .calls: lost(calls, because: failure)
        case .operation(let done): done(.failure(failure.reason))
        case nil: break
        }
    }

    private func lost<Codec>(_ batcher: ScriptBatcher<Codec>, because failure: LinkFailure) {
        guard let batch = batcher.takeBatch() else { return }
        fail(batch, of: batcher, because: failure.reason)
    }

    private func fail<Codec>(
        _ batch: ScriptBatch<Codec>, of batcher: ScriptBatcher<Codec>, because reason: FailureReason
    ) {
        guard let engine else { return }
        for _ in 0..<batch.count {
            guard let request = batcher.takeRequest() else { return }
            request.undecided(because: reason, by: engine)
        }
    }

    /// Takes note of an error with which Redis did not decide. A replica is left at once, which is told as Redis being
    /// away; other refusals are told now and then while they last, so that they cost those who are refused little.
    func wasRefused(_ error: String, on path: EnforcementState.Path) {
        if router == nil, Self.isOfReplica(error) { return link.leaveReplica(saying: error) }
        let now = NIODeadline.now()
        guard now >= nextRefusalAt else { return }
        let refusal = RedisRefusal(error)
        guard refusal.scope == .server || refusal.scope == .cluster else { return }
        nextRefusalAt = now + .milliseconds(250)
        engine?.wasRefused(refusal, by: serverName, on: path)
    }

    /// Whether an error comes from a replica that does not take writes, or has no data to read: it was the master, or a
    /// name has come to stand for it. Nothing was charged there. (A script's error has words of its own before it in
    /// Redis 6.)
    static func isOfReplica(_ error: String) -> Bool {
        error.contains("READONLY You can't write") || error.hasPrefix("MASTERDOWN ")
    }
}

// MARK: - The link

extension ScriptLane {
    func linkDidChange(_ availability: LinkAvailability) {
        if let router { router.laneDidChange(self) } else { engine?.linkDidChange(availability) }
        if availability == .available { engine?.heartbeat?.beat(self) }
    }

    func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool {
        guard step < LinkOptions.scripts.count else {
            dataLossWatch?.received(reply)
            return true
        }
        // SCRIPT LOAD answers with the digest. A service that forbids it gets the whole text each time.
        if let refusal = reply.errorText { engine?.note(refusal, to: .scriptLoad) }
        let digest: String?
        switch reply.elements.first {
        case .bulk(let range): digest = reply.text(of: .bulk(range))
        case .error: digest = nil
        default: return false
        }
        switch step {
        case 0:
            checks.codec.digest = digest
            calls.codec.digest = digest
        default: beatDigest = digest
        }
        return true
    }

    func pushed(_ reply: Reply) {}

    func repliesDelivered() {
        router?.repliesDelivered()
        engine?.onDelivered?()
    }
}
