import CoreMetrics
package import NIOCore
package import RateLimitCore
package import RedisClient

/// What the link keeps for each command until its reply.
package enum CheckContext {
    /// A batch of checks: the oldest so many of those that have been sent.
    case batch(CheckEngine.Batch)
    /// A command off the way of a check; nil when no answer came.
    case operation((Reply?) -> Void)
}

/// The way of a check on one event loop: from memory, or to Redis in a batch and back.
///
/// All checks of one turn of the loop go to Redis in one call. The first of them asks for a flush at the end of the
/// turn; nothing is held back for longer, so without load a batch is a single check. Everything here happens on the
/// loop: a check costs no task, continuation, future, lock or actor.
package final class CheckEngine: RedisLinkDelegate {
    package typealias Context = CheckContext

    package struct Batch {
        var count: Int
        var quota: Int
        var sentAt: NIODeadline
        /// Which memory the batch belongs to: a denial that was asked for before a reset must not be remembered.
        var memoryEpoch: Int
        var isInFull: Bool
    }

    /// Bounds and deadlines of the way of a check; they hold from start to end.
    struct Bounds {
        /// How long a decision may take, waiting, sending and answer together.
        var deadline: TimeAmount
        /// Checks that may wait for Redis.
        var queue: Int
        /// Checks in one call: enough to share the call's cost, few enough that Redis works while we still read.
        var batch: Int
    }

    package let eventLoop: any EventLoop
    private let index: Int
    private let link: RedisLink<CheckEngine>
    private let bounds: Bounds
    private let metrics: CheckMetrics
    private let health: RedisHealth
    private let localWindows: LocalWindows

    private var policy: CheckPolicy
    private var script: CheckScript
    private var memory = DenialMemory()
    private var memoryEpoch = 0
    private var tally = CheckMetrics.Tally()
    /// Checks without an answer, oldest first; the last ``unsent`` of them are not sent yet.
    private var pending = CircularBuffer<PendingCheck>(initialCapacity: 256)
    /// When the oldest check of the batch being laid out arrived.
    private var oldestUnsent = NIODeadline.distantPast
    private var unknownScriptReplies = 0
    private var isFlushScheduled = false
    /// Made once, so that asking for the flush of a turn allocates no closure.
    private var flushTask: (@Sendable () -> Void)?
    /// Called when all decisions that had arrived have been told: the moment to write what they caused.
    package var onDelivered: (() -> Void)?

    init(
        index: Int, link: RedisLink<CheckEngine>, keyPrefix: String, policy: CheckPolicy, bounds: Bounds,
        metrics: CheckMetrics, health: RedisHealth, localWindows: LocalWindows
    ) {
        self.index = index
        self.link = link
        self.eventLoop = link.eventLoop
        self.policy = policy
        self.bounds = bounds
        self.metrics = metrics
        self.health = health
        self.localWindows = localWindows
        script = CheckScript(keyPrefix: keyPrefix, limit: policy.limit)
        link.delegate = self
    }

    /// Decides a check. Either the outcome is known at once, or `requester` is told later under `ticket`.
    ///
    /// - Parameter cost: 1 to 1,000,000; 0 only looks.
    package func check(
        _ user: UserID, cost: Int, arrivedAt now: NIODeadline, requester: any CheckRequester, ticket: Int
    ) -> Outcome? {
        if policy.limit.isOff { return counted(Outcome(isAllowed: true, decision: nil, source: .off), cost: cost) }
        if let decision = memory.denial(of: user, cost: cost, quota: policy.limit.quota, now: now) {
            return counted(outcome(decision, source: .memory), cost: cost)
        }
        guard case .available = link.availability else { return withoutRedis(user, cost: cost, reason: awayReason) }
        guard pending.count < bounds.queue else { return withoutRedis(user, cost: cost, reason: .overloaded) }
        if script.count == 0 { oldestUnsent = now }
        script.append(user, cost: cost)
        pending.append(PendingCheck(user: user, cost: cost, ticket: ticket, arrivedAt: now, requester: requester))
        if script.count == bounds.batch {
            send(inFull: false)
            link.flush()
        } else if !isFlushScheduled {
            isFlushScheduled = true
            scheduleFlush()
        }
        return nil
    }

    /// Checks that wait for Redis from which on each connection should add but few: some milliseconds' worth.
    private static let crowd = 512

    /// Whether so many checks wait that those of one connection would delay everybody else's.
    package var isCrowded: Bool { pending.count >= Self.crowd }

    private var awayReason: FailureReason {
        if case .unavailable(let failure) = link.availability { failure.reason } else { .redisUnreachable }
    }

    private func scheduleFlush() {
        if let flushTask { return eventLoop.execute(flushTask) }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let task: @Sendable () -> Void = { bound.value.endOfTurn() }
        flushTask = task
        eventLoop.execute(task)
    }

    private func endOfTurn() {
        isFlushScheduled = false
        if script.count > 0 { send(inFull: false) }
        link.flush()
    }

    /// Sends the batch that has been laid out.
    private func send(inFull: Bool) {
        let batch = Batch(
            count: script.count, quota: policy.limit.quota, sentAt: .now(), memoryEpoch: memoryEpoch,
            isInFull: inFull || script.digest == nil
        )
        metrics.batchSize.record(batch.count)
        script.write(inFull: inFull, to: &link.outbound)
        link.sent(.batch(batch), deadline: oldestUnsent + bounds.deadline)
    }
}

// MARK: - What Redis answers

extension CheckEngine {
    package func received(_ reply: Reply, for context: CheckContext) {
        switch context {
        case .operation(let done): done(reply)
        case .batch(let batch):
            guard case .error = reply.elements.first else { return deliver(reply, to: batch) }
            if !batch.isInFull, let error = reply.errorText, Self.saysNothingRan(error) {
                sendAgainInFull(batch)
            } else {
                fail(batch, .redisError)
            }
        }
    }

    private func deliver(_ reply: Reply, to batch: Batch) {
        if !batch.isInFull { unknownScriptReplies = 0 }
        let now = NIODeadline.now()
        metrics.redisDuration.recordNanoseconds((now - batch.sentAt).nanoseconds)
        for index in 0..<batch.count {
            guard let check = pending.popFirst() else { return }
            guard
                case .decided(let decision)? = CheckScript.answer(
                    index, of: batch.count, in: reply, quota: batch.quota
                )
            else {
                tell(check, withoutRedis(check.user, cost: check.cost, reason: .redisError))
                continue
            }
            if !decision.isAllowed, batch.memoryEpoch == memoryEpoch {
                memory.remember(
                    check.user, cost: check.cost, decision: decision, sentAt: batch.sentAt, receivedAt: now,
                    cacheMilliseconds: policy.denyCacheMilliseconds
                )
            }
            metrics.decisionDuration.recordNanoseconds((now - check.arrivedAt).nanoseconds)
            tell(check, counted(outcome(decision, source: .redis), cost: check.cost))
        }
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
    private func sendAgainInFull(_ batch: Batch) {
        unknownScriptReplies += 1
        // A proxy that never keeps a script would cost two round trips for each batch.
        if unknownScriptReplies > 16 { script.digest = nil }
        if script.count > 0 { send(inFull: false) }
        for _ in 0..<batch.count {
            guard let check = pending.popFirst() else { break }
            if script.count == 0 { oldestUnsent = check.arrivedAt }
            script.append(check.user, cost: check.cost)
            pending.append(check)
        }
        send(inFull: true)
        link.flush()
    }

    package func lost(_ context: CheckContext, because failure: LinkFailure) {
        switch context {
        case .operation(let done): done(nil)
        case .batch(let batch): fail(batch, failure.reason)
        }
    }

    private func fail(_ batch: Batch, _ reason: FailureReason) {
        for _ in 0..<batch.count {
            guard let check = pending.popFirst() else { return }
            tell(check, withoutRedis(check.user, cost: check.cost, reason: reason))
        }
    }

    private func tell(_ check: PendingCheck, _ outcome: Outcome) {
        check.requester.decided(outcome, ticket: check.ticket)
    }
}

// MARK: - Without Redis

extension CheckEngine {
    /// The failure mode's answer.
    private func withoutRedis(_ user: UserID, cost: Int, reason: FailureReason) -> Outcome {
        switch policy.failureMode {
        case .open, .closed:
            // Shadow mode always allows, whatever else is set.
            let isAllowed = policy.failureMode == .open || policy.isShadow
            let outcome = Outcome(isAllowed: isAllowed, decision: nil, source: .failureMode, degradedReason: reason)
            return counted(outcome, cost: cost)
        case .local:
            let decision = localWindows.check(
                user, cost: cost, limit: policy.limit.share(ofReplicas: policy.replicas),
                clockMicroseconds: Int(NIODeadline.now().uptimeNanoseconds / 1000)
            )
            return counted(outcome(decision, source: .local, degradedReason: reason), cost: cost)
        }
    }

    private func outcome(
        _ decision: Decision, source: DecisionSource, degradedReason: FailureReason? = nil
    ) -> Outcome {
        Outcome(
            isAllowed: decision.isAllowed || policy.isShadow, decision: decision, source: source,
            degradedReason: degradedReason
        )
    }

    /// Counts a decision; a look is none.
    private func counted(_ outcome: Outcome, cost: Int) -> Outcome {
        if cost > 0 { tally.count(outcome) }
        return outcome
    }
}

// MARK: - The link, the memory and operations

extension CheckEngine {
    package func linkDidChange(_ availability: LinkAvailability) {
        health.linkDidChange(index, availability)
    }

    package func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool {
        // SCRIPT LOAD answers with the digest. A service that forbids it gets the whole text each time.
        script.digest = reply.elements.first.flatMap { element in
            if case .bulk = element { reply.text(of: element) } else { nil }
        }
        return true
    }

    package func pushed(_ reply: Reply) {}

    package func repliesDelivered() {
        onDelivered?()
    }

    func start() { link.start() }

    func stop() {
        link.stop()
        flushTask = nil
        onDelivered = nil
    }

    /// Puts a policy in force from the next check on.
    func apply(_ policy: CheckPolicy) {
        if policy.limit != self.policy.limit || policy.denyCacheMilliseconds != self.policy.denyCacheMilliseconds {
            forgetDenials(of: nil)
        }
        // Checks already laid out go under the limit they came under.
        if script.count > 0 { send(inFull: false) }
        self.policy = policy
        script.setLimit(policy.limit)
    }

    /// Forgets the denials of one user, or of all; those now on their way from Redis are not remembered either.
    func forgetDenials(of user: UserID?) {
        memoryEpoch += 1
        if let user { memory.forget(user) } else { memory.forgetAll() }
    }

    /// Sends a command off the way of a check; `done` gets nil where no answer came.
    func perform(_ command: [String], _ done: @escaping (Reply?) -> Void) {
        guard case .available = link.availability else { return done(nil) }
        if script.count > 0 { send(inFull: false) }
        link.outbound.writeRESPCommand(command)
        link.sent(.operation(done), deadline: .now() + bounds.deadline)
        link.flush()
    }

    /// Hands what has been counted to the metrics, and says how many checks wait for Redis.
    func reportMetrics() -> Int {
        tally.report(to: metrics)
        return pending.count
    }
}
