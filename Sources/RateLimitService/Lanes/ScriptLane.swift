import CoreMetrics
import NIOCore
import RateLimitCore
import RedisClient

/// What Redis replied to a command, an error included, or why there is no reply.
typealias CommandResult = Result<Reply, FailureReason>

/// The way from one event loop to one Redis server and back, whatever is asked. A lane sends what its ``ScriptBatcher``
/// lays out, in the order in which it was laid out, and tells each request Redis's answer or the reason why there is none.
final class ScriptLane: RedisLinkDelegate {
    /// What ends with each command, in the order of sending.
    private enum Sent {
        /// The oldest batch.
        case batch
        /// A command off the hot path.
        case operation(ReplyForm, (CommandResult) -> Void)
    }

    /// What lanes are made with, besides their links.
    struct Options {
        var keyPrefix: String
        var limit: Limit
        /// For how long a lease is remembered that a check finds lapsed.
        var rememberMilliseconds = LeaseTimes().rememberMilliseconds
        /// How long a decision may take, waiting, sending and answer together.
        var deadline: TimeAmount
        /// Requests in one call to Redis.
        var batchLimit: Int
        /// Full batches in one write: few enough that Redis works while we still read.
        var batchesPerWrite = 1
        var metrics: CheckMetrics
        /// Who sends a heartbeat in the handshake; nil in a cluster.
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

    /// The digest under which Redis knows `heartbeat.lua`; nil where a service does not keep scripts, or not yet.
    private(set) var heartbeatDigest: String?
    /// Whether a heartbeat is on its way.
    var isHeartbeatUnderWay = false
    /// When a refusal is worth telling again.
    private var nextRefusalAt = NIODeadline.distantPast

    /// What is asked of `decide.lua`.
    let batcher: ScriptBatcher
    private var sent = CircularBuffer<Sent>(initialCapacity: 64)
    /// Whether the server takes EVALSHA.
    private(set) var evalsha = EvalshaUse()

    /// Makes the lane of a link that is not started yet.
    init(link: RedisLink, options: Options) {
        self.link = link
        metrics = options.metrics
        dataLossWatch = options.dataLossWatch
        deadline = options.deadline
        batchLimit = options.batchLimit
        batchesPerWrite = options.batchesPerWrite
        batcher = ScriptBatcher(
            keyPrefix: options.keyPrefix, limit: options.limit, rememberMilliseconds: options.rememberMilliseconds)
        link.delegate = self
    }

    deinit { link.delegate = nil }

    /// Requests without an answer.
    var pendingCount: Int { batcher.pendingCount }

    /// Takes a request on its way. A batch that is full is sent at once; the others at the next ``flush()``.
    @inline(__always)
    func append(_ request: PendingRequest) {
        layOut(request)
        // Candidates of one call stay together: they may make a batch one of nearly twice as many.
        if batcher.unsentCount >= batchLimit { batchIsFull() }
    }

    /// Sends a request that did not run where it was sent before, in a batch of its own, at the next ``flush()``.
    func append(_ request: PendingRequest, by route: ScriptRoute) {
        sendUnsent()
        layOut(request)
        send(by: route)
    }

    private func layOut(_ request: PendingRequest) {
        guard !batcher.append(request) else { return }
        send()
        let hasRoom = batcher.append(request)
        precondition(hasRoom, "an empty batch has room for any request")
    }

    private func batchIsFull() {
        send()
        unwrittenBatches += 1
        if unwrittenBatches >= batchesPerWrite { flush() }
    }

    /// Sends what has been laid out.
    func flush() {
        sendUnsent()
        unwrittenBatches = 0
        link.flush()
    }

    private func sendUnsent() {
        if batcher.unsentCount > 0 { send() }
    }

    /// Puts the limit of checks in force; those already laid out go under the limit they came under.
    func setLimit(_ limit: Limit, rememberMilliseconds: Int) {
        sendUnsent()
        batcher.setLimit(limit, rememberMilliseconds: rememberMilliseconds)
    }

    /// Sends a command off the hot path.
    func perform(_ command: [String], _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void) {
        perform({ $0.writeRESPCommand(command) }, form, done)
    }

    /// Sends the one command that `write` writes: at the end of the turn, as all that is asked in it.
    func perform(_ write: (inout ByteBuffer) -> Void, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void) {
        layOut(write, form, done)
        if let engine, router == nil { engine.askForFlush() } else { link.flush() }
    }

    /// Lays out the one command that `write` writes; it is sent at the link's next flush. It goes before the batch that is
    /// being laid out, so that what is read of users who are not remembered does not cut it.
    ///
    /// - Parameter form: of the reply. One that has another ends the connection, before `done` is told of it.
    func layOut(_ write: (inout ByteBuffer) -> Void, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void) {
        if case .unavailable(let failure) = link.availability { return done(.failure(failure.reason)) }
        write(&link.outbound)
        sent.append(.operation(form, done))
        link.sent(deadline: .now() + deadline)
    }

    /// Hands the batch that has been laid out to the link.
    private func send(withSource: Bool = false, by route: ScriptRoute = .direct) {
        let deadline = batcher.oldestUnsent + deadline
        if route.isAsking {
            link.outbound.writeRESPCommand(["ASKING"])
            sent.append(.operation(.status) { _ in })
            link.sent(deadline: deadline)
        }
        let now = NIODeadline.now()
        metrics.batchSize.record(batcher.unsentCount)
        batcher.write(
            withSource: withSource || evalsha.isResting(at: now), at: now, memoryEpoch: engine?.memoryEpoch ?? 0,
            by: route,
            to: &link.outbound)
        sent.append(.batch)
        link.sent(deadline: deadline)
    }
}

// MARK: - What Redis answers

extension ScriptLane {
    func received(_ reply: Reply) {
        switch sent.popFirst() {
        case .batch: receivedBatch(reply)
        case .operation(let form, let done):
            if !form.fits(reply) { link.leaveOutOfStep() }
            done(.success(reply))
        case nil: break
        }
    }

    private func receivedBatch(_ reply: Reply) {
        guard let batch = batcher.dequeueBatch() else { return }
        if let error = reply.errorText { return received(error, to: batch) }
        let now = NIODeadline.now()
        if !batch.carriesSource {
            batcher.scriptWasKnown()
        } else if let refusal = evalsha.textWasTaken(at: now) {
            engine?.note(refusal, to: .evalsha)
        }
        metrics.redisDuration.recordNanoseconds((now - batch.sentAt).nanoseconds)
        deliver(reply, to: batch, at: now)
    }

    private func deliver(_ reply: Reply, to batch: ScriptBatch, at now: NIODeadline) {
        guard let engine else { return }
        var refusal: (error: String, path: EnforcementState.Path)?
        var isOutOfStep = false
        var place = 0
        for _ in 0..<batch.count {
            let request = batcher.dequeueRequest()
            let fate: PendingRequest.Fate
            if batch.width > batch.count, let candidates = request.candidates {
                fate = candidates.received(reply, from: place, of: request, in: batch, at: now, by: engine)
                place += candidates.asked.count
            } else {
                let answer = DecisionAnswer(place, of: batch.width, in: reply)
                fate = request.received(answer, in: batch, at: now, by: engine)
                place += 1
            }
            switch fate {
            case .decided: continue
            case .failed(let error):
                if refusal == nil, RedisRefusal(error).scope != .key { refusal = (error, request.path) }
            case .malformed:
                refusal = (RedisRefusal.malformedReply.words, request.path)
                isOutOfStep = true
            }
        }
        // Behind the last of them, since the link may be left.
        if let refusal { wasRefused(refusal.error, on: refusal.path) }
        if isOutOfStep { link.leaveOutOfStep() }
    }

    private func received(_ error: String, to batch: ScriptBatch) {
        // Of these, and of these only, nothing ran.
        if !batch.carriesSource, EvalshaUse.saysNothingRan(error) {
            if !EvalshaUse.isUnknownScript(error) { evalsha.wasRefused(error) }
            return sendAgainWithSource(batch)
        }
        guard let router, let address = link.endpoint?.address, let redirection = Redirection(error, from: address)
        else {
            if batch.carriesSource {
                batcher.scriptWasKnown()
                evalsha.textWasRefused()
            }
            if let path = fail(batch, because: .redisError) { wasRefused(error, on: path) }
            return
        }
        for index in 0..<batch.count {
            let request = batcher.dequeueRequest()
            if redirection == .clusterDown, index == 0 { wasRefused(error, on: request.path) }
            router.redirect(request, redirection, after: batch.route)
        }
    }

    /// Sends a batch of which nothing ran once more, with the script's whole text, which Redis then knows.
    private func sendAgainWithSource(_ batch: ScriptBatch) {
        batcher.scriptWasUnknown(in: batch, at: .now())
        sendUnsent()
        for _ in 0..<batch.count {
            let request = batcher.dequeueRequest()
            // They were in one batch before, and so they fit into one.
            layOut(request)
        }
        send(withSource: true, by: batch.route)
        link.flush()
    }

    func lost(because failure: LinkFailure) {
        switch sent.popFirst() {
        case .batch:
            if let batch = batcher.dequeueBatch() { _ = fail(batch, because: failure.reason) }
        case .operation(_, let done): done(.failure(failure.reason))
        case nil: break
        }
    }

    /// Tells the requests of a batch that Redis did not decide them; what the first was to be decided on.
    private func fail(_ batch: ScriptBatch, because reason: FailureReason) -> EnforcementState.Path? {
        var path: EnforcementState.Path?
        guard let engine else { return nil }
        for _ in 0..<batch.count {
            let request = batcher.dequeueRequest()
            path = path ?? request.path
            request.undecided(because: reason, by: engine)
        }
        return path
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
        guard availability == .available else { return }
        engine?.heartbeat?.sendHeartbeat(self)
        engine?.whenAvailable?()
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
        case 0: batcher.digest = digest
        default: heartbeatDigest = digest
        }
        return true
    }

    func pushed(_ reply: Reply) {}

    func repliesDelivered() {
        router?.repliesDelivered()
        engine?.delivered()
    }
}
