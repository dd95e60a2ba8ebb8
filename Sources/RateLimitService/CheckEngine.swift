import CoreMetrics
package import NIOCore
package import RateLimitCore
import RedisClient

/// The hot path on one event loop: from memory, or through a lane to Redis and back.
///
/// All checks of one turn of the loop go to Redis in one call. The first of them asks for a flush at the end of the
/// turn; nothing is held back for longer, so without load a batch is a single check. Everything here happens on the
/// loop: a check costs no task, continuation, future, lock or actor.
package final class CheckEngine {
    /// Bounds of the hot path; they hold from start to end.
    struct Bounds {
        /// Checks that may wait for Redis.
        var queue: Int
    }

    package let eventLoop: any EventLoop
    private let index: Int
    let bounds: Bounds
    let metrics: CheckMetrics
    private let health: RedisHealth
    let localWindows: LocalWindows
    let refundTimes: RefundTimes
    /// Finds out whether Redis decides, for all event loops; nil on all but one.
    var heartbeat: Heartbeat?

    let lanes: ScriptLanes
    /// What users and groups have been given at run time; set once, before the first check.
    var budgets: BudgetReader?
    /// What calls that gateways have told of came to.
    var estimates = LearnedEstimates()
    let keyPrefix: String
    /// How long the leases that gateways have ended had lasted.
    var durations = LeaseDurations()
    private(set) var policy: CheckPolicy
    /// Finds the plans of calls, under the limits that these meet under ``policy``.
    var planner: CallPlanner
    /// What calls meet under ``policy``.
    var callLimits: LimitsInForce { planner.limits }
    /// Whether there are limits beside the one of checks: each check looks here.
    package private(set) var hasFileLimits: Bool
    private var memory = CheckDenials()
    var callDenials = CallDenials()
    var descriptorPlanner = DescriptorPlanner()
    var descriptorDenials = DescriptorDenials()
    private var known = KnownVersion()
    /// Called when a server can be asked; set on the loop that asks for the version.
    var whenAvailable: (() -> Void)?
    /// Called on the loop for each threshold that a call has crossed; set once, before the first call. It must not wait.
    var whenCrossed: ((ThresholdCrossing) -> Void)?
    /// A denial that was asked for in an earlier epoch is not remembered.
    private(set) var memoryEpoch = 0
    /// Calls that wait for what their caller was given.
    var callsAwaitingBudgets = 0
    var tally = CheckMetrics.Tally()
    var limitTally = LimitMetrics.Tally()
    var descriptorTally = DescriptorMetrics.Tally()
    /// The clock of the windows that decide while Redis is away, in microseconds; in tests it may stand still.
    var localClock = { Int(NIODeadline.now().uptimeNanoseconds / 1000) }
    private var isFlushScheduled = false
    /// Made once, so that asking for the flush of a turn allocates no closure.
    private var flushTask: (@Sendable () -> Void)?
    private var deliveryObservers: [(owner: ObjectIdentifier, observe: () -> Void)] = []

    init(
        index: Int, eventLoop: any EventLoop, lanes: ScriptLanes, keyPrefix: String, policy: CheckPolicy,
        bounds: Bounds, metrics: CheckMetrics, health: RedisHealth, localWindows: LocalWindows, refundTimes: RefundTimes
    ) {
        self.index = index
        self.eventLoop = eventLoop
        self.lanes = lanes
        self.keyPrefix = keyPrefix
        lanes.setLimit(policy.limit, rememberMilliseconds: policy.limits.leases.rememberMilliseconds)
        self.policy = policy
        planner = CallPlanner(limits: policy.limitsOfCalls, isShadow: policy.isShadow)
        hasFileLimits = !policy.limits.isEmpty
        self.bounds = bounds
        self.metrics = metrics
        self.health = health
        self.localWindows = localWindows
        self.refundTimes = refundTimes
        limitTally.setLimits(policy.limits.definitions)
        lanes.setEngine(self)
    }

    deinit { lanes.setEngine(nil) }

    /// Decides a check. Either the outcome is known at once, or `requester` is told later under `ticket`.
    ///
    /// - Parameter cost: 1 to 1,000,000; 0 only looks.
    package func check(
        _ user: SubjectID, cost: Int, arrivedAt now: NIODeadline, requester: any DecisionRequester, ticket: Int
    ) -> Outcome? {
        if policy.limit.isOff {
            return counted(
                Outcome(isAllowed: true, decision: nil, source: .off, under: policy.limit.numbers), cost: cost)
        }
        if let decision = memory.denial(
            of: user, cost: cost, quota: policy.limit.quota, after: refundTimes, now: now)
        {
            return counted(outcome(decision, source: .memory, under: policy.limit.numbers), cost: cost)
        }
        let check = PendingRequest(check: user, cost: cost, ticket: ticket, arrivedAt: now, requester: requester)
        if let reason = lanes.enqueue(check, queueLimit: bounds.queue) {
            return withoutRedis(user, cost: cost, reason: reason)
        }
        askForFlush()
        return nil
    }

    /// Has `observe` called each time that all decisions that had arrived have been told: the moment to write what they
    /// caused.
    package func whenDelivered(_ owner: AnyObject, _ observe: @escaping () -> Void) {
        deliveryObservers.append((ObjectIdentifier(owner), observe))
    }

    /// Has what `owner` gave called no more.
    package func endDelivery(to owner: AnyObject) {
        deliveryObservers.removeAll { $0.owner == ObjectIdentifier(owner) }
    }

    /// Says that all decisions that had arrived have been told.
    func delivered() {
        for observer in deliveryObservers { observer.observe() }
    }

    /// Has what has been laid out sent at the end of this turn.
    func askForFlush() {
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        scheduleFlush()
    }

    /// Checks that wait for Redis from which on each connection should add but few: some milliseconds' worth.
    private static let backlog = 512

    /// Requests without an answer.
    var pendingCount: Int { lanes.pendingCount + callsAwaitingBudgets }

    /// Whether so many checks wait that those of one connection would delay everybody else's.
    package var isBacklogged: Bool { pendingCount >= Self.backlog }

    private func scheduleFlush() {
        if let flushTask { return eventLoop.execute(flushTask) }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let task: @Sendable () -> Void = { bound.value.endOfTurn() }
        flushTask = task
        eventLoop.execute(task)
    }

    private func endOfTurn() {
        isFlushScheduled = false
        lanes.flush()
    }
}

// MARK: - What a lane brings back

extension CheckEngine {
    /// Tells the decision that Redis took on a check, and remembers a denial.
    func decided(
        _ check: PendingRequest, _ decided: DecidedCheck, in batch: ScriptBatch, at now: NIODeadline
    ) {
        var decision = decided.decision
        if !decision.isAllowed, batch.memoryEpoch == memoryEpoch {
            memory.remember(
                check.user, cost: check.cost, decision: decision, certainMilliseconds: decided.certainMilliseconds,
                sentAt: batch.sentAt, receivedAt: now, cacheMilliseconds: policy.denyCacheMilliseconds
            )
        }
        if case .denied(let most) = decision.verdict, decided.certainMilliseconds < most {
            decision.verdict = .denied(retryAfterMilliseconds: toldWait(most, decided, check.user))
        }
        metrics.decisionDuration.recordNanoseconds((now - check.arrivedAt).nanoseconds)
        tell(check, counted(outcome(decision, source: .redis, under: batch.limit), cost: check.cost))
    }

    /// Answers a check that Redis did not decide.
    func undecided(_ check: PendingRequest, because reason: FailureReason) {
        tell(check, withoutRedis(check.user, cost: check.cost, reason: reason))
    }

    func tell(_ request: PendingRequest, _ outcome: Outcome) {
        request.requester?.deliver(outcome, ticket: request.ticket)
    }
}

// MARK: - Without Redis

extension CheckEngine {
    /// The failure mode's answer.
    private func withoutRedis(_ user: SubjectID, cost: Int, reason: FailureReason) -> Outcome {
        switch policy.failureMode {
        case .open, .closed:
            // Shadow mode always allows, whatever else is set.
            let isAllowed = policy.failureMode == .open || policy.isShadow
            let outcome = Outcome(
                isAllowed: isAllowed, decision: nil, source: .failureMode, degradedReason: reason,
                under: policy.limit.numbers)
            return counted(outcome, cost: cost)
        case .local:
            let decision = localWindows.check(
                user, cost: cost, limit: policy.limit.share(ofReplicas: policy.replicas),
                clockMicroseconds: localClock()
            )
            let outcome = outcome(decision, source: .local, degradedReason: reason, under: policy.limit.numbers)
            return counted(outcome, cost: cost)
        }
    }

    private func outcome(
        _ decision: Decision, source: DecisionSource, degradedReason: FailureReason? = nil,
        under limit: Limit.Numbers
    ) -> Outcome {
        Outcome(
            isAllowed: decision.isAllowed || policy.isShadow, decision: decision, source: source,
            degradedReason: degradedReason, under: limit
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
    func linkDidChange(_ availability: LinkAvailability) { health.linkDidChange(index, availability) }

    func note(_ refusal: String, to command: ForbiddenCommand) { health.forbidden.note(refusal, to: command) }

    /// Takes note of an error with which a server did not decide.
    func wasRefused(_ refusal: RedisRefusal, by server: String?, on path: EnforcementState.Path) {
        health.wasRefused(refusal, by: server, on: path)
    }

    func start() {
        lanes.start()
        heartbeat?.start()
    }

    func stop() {
        heartbeat?.stop()
        lanes.stop()
        flushTask = nil
        deliveryObservers = []
        whenAvailable = nil
        whenCrossed = nil
    }

    /// Puts a policy in force from the next check on.
    func apply(_ policy: CheckPolicy) {
        if policy.limit != self.policy.limit || policy.denyCacheMilliseconds != self.policy.denyCacheMilliseconds {
            forgetDenials(of: nil)
        }
        if policy.limits != self.policy.limits { forgetCallDenials() }
        if policy.descriptors != self.policy.descriptors { forgetDescriptorDenials() }
        limitTally.report(to: metrics.limits)
        limitTally.setLimits(policy.limits.definitions)
        lanes.setLimit(policy.limit, rememberMilliseconds: policy.limits.leases.rememberMilliseconds)
        self.policy = policy
        planner = CallPlanner(limits: policy.limitsOfCalls, isShadow: policy.isShadow)
        hasFileLimits = !policy.limits.isEmpty
        heartbeat?.decidesCalls = hasFileLimits
    }

    /// Forgets the denials of one user, or of all; those now on their way from Redis are not remembered either.
    func forgetDenials(of user: SubjectID?) {
        memoryEpoch += 1
        if let user {
            memory.forget(user)
            callDenials.forget(user)
        } else {
            memory.forgetAll()
            callDenials.forgetAll()
            descriptorDenials.forgetAll()
        }
    }

    /// Takes the version that Redis had at `sentAt` or later: where it is the one known here, all denials that are
    /// remembered held then.
    func polled(_ version: String, sentAt: NIODeadline) {
        if !known.polled(version, sentAt: sentAt) { forgetDenials(of: nil) }
        memory.believedUntil = known.believedUntil
        callDenials.believedUntil = known.believedUntil
        descriptorDenials.believedUntil = known.believedUntil
    }

    /// Takes the message about a change.
    func heard(_ notice: ChangeNotice) {
        let isNext = known.heard(from: notice.versionBefore, to: notice.version)
        forgetDenials(of: isNext ? notice.change.user : nil)
    }

    private func forgetCallDenials() {
        memoryEpoch += 1
        callDenials.forgetAll()
    }

    private func forgetDescriptorDenials() {
        memoryEpoch += 1
        descriptorDenials.forgetAll()
    }

    /// Sends a command off the hot path, about a user or about none.
    func perform(
        _ command: [String], for user: SubjectID? = nil, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void
    ) {
        lanes.perform(command, for: user, form, done)
    }

    /// Sends a command off the hot path to the server that has a key.
    func perform(
        _ command: [String], forKey key: String, _ form: ReplyForm, _ done: @escaping (CommandResult) -> Void
    ) {
        lanes.perform(command, forKey: key, form, done)
    }

    /// Hands what has been counted to the metrics, and says how many checks wait for Redis.
    func reportMetrics() -> Int {
        tally.report(to: metrics)
        limitTally.report(to: metrics.limits)
        descriptorTally.report(to: metrics.descriptors)
        return pendingCount
    }
}
