import CoreMetrics
import NIOCore
import RateLimitCore
import RedisClient

/// A check on its way to Redis and back.
struct PendingCheck {
    var user: UserID
    var cost: Int
    var ticket: Int
    var arrivedAt: NIODeadline
    var requester: any CheckRequester
}

/// What Redis replied to a command, an error included, or why there is no reply.
typealias CommandResult = Result<Reply, FailureReason>

/// Checks in one call to Redis.
struct CheckBatch {
    var count: Int
    /// What all of its checks are decided under, whatever is in force when the answer comes.
    var limit: Limit.Numbers
    var sentAt: NIODeadline
    /// Which memory the batch belongs to: a denial that was asked for before a reset must not be remembered.
    var memoryEpoch: Int
    var isInFull: Bool
    var route = CheckRoute.direct
}

/// The way of checks from one event loop to one Redis server and back: they are laid out in a batch, wait in the order in
/// which they were sent, and go back to the engine with Redis's answer or with the reason why there is none.
final class CheckLane: RedisLinkDelegate {
    /// What ends with each command, in the order of sending.
    private enum Sent {
        /// A batch of checks: the oldest so many of those that wait.
        case batch(CheckBatch)
        /// A batch of calls, likewise.
        case calls(CallBatch)
        /// A command off the way of a check.
        case operation((CommandResult) -> Void)
    }

    /// What lanes are made with, besides their links.
    struct Options {
        var keyPrefix: String
        var limit: Limit
        /// How long a decision may take, waiting, sending and answer together.
        var deadline: TimeAmount
        /// Checks in one call.
        var batchLimit: Int
        /// Full calls in one write: few enough that Redis works while we still read.
        var callsPerWrite = 1
        var metrics: CheckMetrics
        /// Who beats in the handshake; nil in a cluster.
        var dataLossWatch: DataLossWatch?
    }

    let link: RedisLink
    /// Who is told; it owns the lane.
    unowned var engine: CheckEngine?
    /// Who sends checks elsewhere that a node of a cluster did not take; nil where there is one server.
    unowned var router: ClusterRouter?
    /// The server's address where it is one of several; nil for the only one.
    var serverName: String?
    let metrics: CheckMetrics
    private let dataLossWatch: DataLossWatch?
    let deadline: TimeAmount
    let batchLimit: Int
    private let callsPerWrite: Int
    private var unwrittenCalls = 0

    /// The digest under which Redis knows `beat.lua`; nil where a service does not keep scripts, or not yet.
    private(set) var beatDigest: String?
    /// Whether a heartbeat is on its way.
    var isBeating = false
    /// When a refusal is worth telling again.
    private var nextRefusalAt = NIODeadline.distantPast

    private var script: CheckScript
    private var limit: Limit.Numbers
    /// Checks without an answer, oldest first; the last ``CheckScript/count`` of them are not sent yet.
    private var pending = CircularBuffer<PendingCheck>(initialCapacity: 256)
    /// Calls under the limits of the file.
    var calls = CallBatcher()
    private var sent = CircularBuffer<Sent>(initialCapacity: 64)
    /// When the oldest check of the batch being laid out arrived.
    private var oldestUnsent = NIODeadline.distantPast
    private var unknownScriptReplies = 0
    /// Redis's words where it has refused EVALSHA and not yet answered to the whole text.
    private var evalshaRefusal: String?
    /// Until when the whole text is sent at once, because EVALSHA was refused where the whole text was taken. Then it is
    /// tried again: permissions may have come back between the two.
    private(set) var evalshaRestsUntil = NIODeadline.distantPast
    /// How long it rests: each trial costs one batch a second round trip.
    private static let evalshaRest = TimeAmount.seconds(1)
    private var lastUnknownScriptAt = NIODeadline.distantPast

    /// Makes the lane of a link that is not started yet.
    init(link: RedisLink, options: Options) {
        self.link = link
        metrics = options.metrics
        dataLossWatch = options.dataLossWatch
        deadline = options.deadline
        batchLimit = options.batchLimit
        callsPerWrite = options.callsPerWrite
        script = CheckScript(keyPrefix: options.keyPrefix, limit: options.limit)
        limit = options.limit.numbers
        link.delegate = self
    }

    deinit { link.delegate = nil }

    /// The digest under which Redis knows the script of checks.
    var checkDigest: String? { script.digest }

    /// Checks and calls without an answer.
    var pendingCount: Int { pending.count + calls.pending.count }

    /// Lays a check out. A batch that is full is sent at once; the others at the next ``flush()``.
    func append(_ check: PendingCheck) {
        layOut(check)
        if script.count == batchLimit { batchIsFull() }
    }

    private func layOut(_ check: PendingCheck) {
        if script.count == 0 { oldestUnsent = check.arrivedAt }
        script.append(check.user, cost: check.cost)
        pending.append(check)
    }

    private func batchIsFull() {
        send(inFull: false)
        unwrittenCalls += 1
        if unwrittenCalls >= callsPerWrite { flush() }
    }

    /// Sends what has been laid out.
    func flush() {
        if script.count > 0 { send(inFull: false) }
        sendCalls()
        unwrittenCalls = 0
        link.flush()
    }

    /// Sends a check that did not run where it was sent before, in a call of its own, at the next ``flush()``.
    func append(_ check: PendingCheck, by route: CheckRoute) {
        if script.count > 0 { send(inFull: false) }
        layOut(check)
        send(inFull: false, by: route)
    }

    /// Puts a limit in force; checks already laid out go under the limit they came under.
    func setLimit(_ limit: Limit) {
        if script.count > 0 { send(inFull: false) }
        self.limit = limit.numbers
        script.setLimit(limit)
    }

    /// Sends a command off the way of a check.
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
        if script.count > 0 { send(inFull: false) }
        sendCalls()
        write(&link.outbound)
        sent.append(.operation(done))
        link.sent(deadline: .now() + deadline)
    }

    /// Hands the batch that has been laid out to the link.
    private func send(inFull: Bool, by route: CheckRoute = .direct) {
        if route.isAsking {
            link.outbound.writeRESPCommand(["ASKING"])
            sent.append(.operation { _ in })
            link.sent(deadline: oldestUnsent + deadline)
        }
        let now = NIODeadline.now()
        let inFull = inFull || script.digest == nil || now < evalshaRestsUntil
        let batch = CheckBatch(
            count: script.count, limit: limit, sentAt: now, memoryEpoch: engine?.memoryEpoch ?? 0, isInFull: inFull,
            route: route
        )
        metrics.batchSize.record(batch.count)
        script.write(inFull: inFull, to: &link.outbound)
        sent.append(.batch(batch))
        link.sent(deadline: oldestUnsent + deadline)
    }

    /// Notes that a batch of calls has been handed to the link.
    func sentCalls(_ batch: CallBatch, deadline: NIODeadline) {
        sent.append(.calls(batch))
        link.sent(deadline: deadline)
    }
}

// MARK: - What Redis answers

extension CheckLane {
    func received(_ reply: Reply) {
        switch sent.popFirst() {
        case .operation(let done): done(.success(reply))
        case .batch(let batch):
            guard let error = reply.errorText else { return deliver(reply, to: batch) }
            receivedError(error, to: batch)
        case .calls(let batch): received(reply, to: batch)
        case nil: break
        }
    }

    private func receivedError(_ error: String, to batch: CheckBatch) {
        if !batch.isInFull, Self.saysNothingRan(error) {
            if !error.hasPrefix("NOSCRIPT") { evalshaRefusal = error }
            return sendAgainInFull(batch)
        }
        guard let router, let address = link.endpoint?.address, let redirection = Redirection(error, from: address)
        else {
            // The whole text is refused as well, so it is not EVALSHA that the service lacks: permissions were taken
            // away, and may be given back.
            if batch.isInFull {
                unknownScriptReplies = 0
                evalshaRefusal = nil
            }
            fail(batch, .redisError)
            wasRefused(error, on: .checks)
            return
        }
        if redirection == .clusterDown { wasRefused(error, on: .checks) }
        for _ in 0..<batch.count {
            guard let check = pending.popFirst() else { return }
            router.redirect(check, redirection, after: batch.route)
        }
    }

    private func deliver(_ reply: Reply, to batch: CheckBatch) {
        if !batch.isInFull {
            unknownScriptReplies = 0
        } else if let refusal = evalshaRefusal {
            evalshaRefusal = nil
            evalshaRestsUntil = .now() + Self.evalshaRest
            engine?.note(refusal, to: .evalsha)
        }
        let now = NIODeadline.now()
        metrics.redisDuration.recordNanoseconds((now - batch.sentAt).nanoseconds)
        guard let engine else { return }
        var refusal: String?
        for index in 0..<batch.count {
            guard let check = pending.popFirst() else { break }
            switch CheckScript.answer(index, of: batch.count, in: reply, quota: batch.limit.quota) {
            case .decided(let decision): engine.decided(check, decision, in: batch, at: now)
            case .failed(let error) where error.hasPrefix("BUNDLE"): engine.decideInBundle(check)
            case .failed(let error):
                engine.undecided(check, because: .redisError)
                if refusal == nil, RedisRefusal(error).scope != .key { refusal = error }
            case nil:
                engine.undecided(check, because: .redisError)
                refusal = RedisRefusal.malformedReply.words
            }
        }
        if let refusal { wasRefused(refusal, on: .checks) }
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

    /// Whether an error to EVALSHA means that it certainly did not run: the script is not known, or the service does not
    /// have the command, or not for this user. Then, and only then, checks are sent a second time. A permission that a
    /// command inside the script lacks is also called NOPERM, and may come when some of a batch has been charged: so the
    /// text must name EVALSHA itself.
    static func saysNothingRan(_ error: String) -> Bool {
        if error.hasPrefix("NOSCRIPT") { return true }
        guard error.hasPrefix("NOPERM") || error.hasPrefix("ERR unknown command") else { return false }
        return error.lowercased().contains("evalsha")
    }

    /// Sends a batch of which nothing ran once more, with the script's whole text.
    private func sendAgainInFull(_ batch: CheckBatch) {
        // Those already on their way when the script was lost are all answered like this, and say no more than one does.
        if batch.sentAt > lastUnknownScriptAt {
            unknownScriptReplies += 1
            lastUnknownScriptAt = .now()
        }
        // A proxy that never keeps a script would cost two round trips for each batch.
        if unknownScriptReplies > 16 { script.digest = nil }
        if script.count > 0 { send(inFull: false) }
        for _ in 0..<batch.count {
            guard let check = pending.popFirst() else { break }
            layOut(check)
        }
        send(inFull: true, by: batch.route)
        link.flush()
    }

    func lost(because failure: LinkFailure) {
        switch sent.popFirst() {
        case .operation(let done): done(.failure(failure.reason))
        case .batch(let batch): fail(batch, failure.reason)
        case .calls(let batch): fail(batch, failure.reason)
        case nil: break
        }
    }

    private func fail(_ batch: CheckBatch, _ reason: FailureReason) {
        for _ in 0..<batch.count {
            guard let check = pending.popFirst() else { return }
            engine?.undecided(check, because: reason)
        }
    }
}

// MARK: - The link

extension CheckLane {
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
        let digest = reply.elements.first.flatMap { element in
            if case .bulk = element { reply.text(of: element) } else { nil }
        }
        switch step {
        case 0: script.digest = digest
        case 1: calls.script.digest = digest
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
