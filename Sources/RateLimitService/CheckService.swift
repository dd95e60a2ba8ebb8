import CoreMetrics
public import Logging
public import NIOCore
import RateLimitCore
public import RedisClient
import Synchronization

/// What the checks need to know at start, besides the ``CheckPolicy``.
public struct CheckServiceOptions: Sendable {
    /// Where Redis is.
    public var redis: RedisTopology
    /// What a user's key begins with.
    public var keyPrefix: String
    /// How long a decision may take, waiting, sending and answer together, in milliseconds.
    public var deadlineMilliseconds: Int
    /// How many checks may wait for Redis on each event loop.
    public var queueLimit: Int
    /// How many checks go to Redis in one call at most.
    public var batchLimit: Int
    /// How often it is found out whether Redis decides, besides each time that it is back.
    var heartbeatInterval = TimeAmount.seconds(1)

    /// Makes the options.
    public init(
        redis: RedisTopology, keyPrefix: String = "llm-rate", deadlineMilliseconds: Int = 50, queueLimit: Int = 8192,
        batchLimit: Int = 16
    ) {
        self.redis = redis
        self.keyPrefix = keyPrefix
        self.deadlineMilliseconds = deadlineMilliseconds
        self.queueLimit = queueLimit
        self.batchLimit = batchLimit
    }
}

/// Why Redis gave no answer that can be used.
public enum OperationError: Error, Hashable, Sendable {
    /// It did not answer, or answered with an error.
    case redis(FailureReason)
}

/// Decides checks on every event loop of a group, for whatever speaks a protocol.
public final class CheckService: Sendable {
    /// The state of Redis, for probes.
    public let health: RedisHealth
    /// What is kept of budgets.
    public let budgets: BudgetService
    /// What is told of thresholds.
    public let events: ThresholdEvents
    let engines: [NIOLoopBound<CheckEngine>]
    let listener: NIOLoopBound<InvalidationListener>
    /// Says where the servers are, in a cluster or behind Sentinels; nil where the URL does.
    private let watcher: NIOLoopBound<any TopologyWatcher>?
    private let options: CheckServiceOptions
    private let metrics: CheckMetrics
    let localWindows: LocalWindows
    let dataLossWatch: DataLossWatch
    private let notices: LimitNotices
    private let policyStorage: Mutex<CheckPolicy>

    /// Makes an engine on each of `eventLoops`; nothing is connected before ``start(patience:)``.
    public static func make(
        options: CheckServiceOptions, policy: CheckPolicy, eventLoops: [any EventLoop], metrics: CheckMetrics,
        logger: Logger
    ) async throws -> CheckService {
        let health = RedisHealth(eventLoops: eventLoops.count, logger: logger, metrics: metrics)
        let localWindows = LocalWindows()
        let refundTimes = RefundTimes()
        let watch = DataLossWatch(
            keyPrefix: options.keyPrefix, window: policy.longestWindow, metrics: metrics, logger: logger
        )
        let deadline = TimeAmount.milliseconds(Int64(options.deadlineMilliseconds))
        let lanes = ScriptLane.Options(
            keyPrefix: options.keyPrefix, limit: policy.limit, deadline: deadline, batchLimit: options.batchLimit,
            metrics: metrics, dataLossWatch: watch
        )
        var engines: [NIOLoopBound<CheckEngine>] = []
        for (index, eventLoop) in eventLoops.enumerated() {
            engines.append(
                try await eventLoop.submit {
                    let engine = CheckEngine(
                        index: index, eventLoop: eventLoop,
                        lanes: .make(options.redis, lanes, health, index: index, on: eventLoop),
                        keyPrefix: options.keyPrefix, policy: policy,
                        bounds: CheckEngine.Bounds(queue: options.queueLimit), metrics: metrics, health: health,
                        localWindows: localWindows, refundTimes: refundTimes
                    )
                    if index == 0 {
                        engine.heartbeat = Heartbeat(
                            engine, keyPrefix: options.keyPrefix, interval: options.heartbeatInterval, watch, health
                        )
                    }
                    return NIOLoopBound(engine, eventLoop: eventLoop)
                }.get()
            )
        }
        let isCluster = if case .cluster = options.redis { true } else { false }
        let notices = LimitNotices(policy.limits.set, logger: logger)
        let budgets = try await BudgetService.make(
            keyPrefix: options.keyPrefix, isCluster: isCluster, engines, notices
        )
        // The first heartbeat behind it shows the loss to one daemon alone, which tells the others.
        watch.whenLost { [engines] in
            for engine in engines { engine.execute { $0.forgetDenials(of: nil) } }
            engines[0].execute { budgets.announce(.denials(.everyone), on: $0) { _ in } }
        }
        let listener = try await makeListener(options, engines, watch, budgets, health)
        let watcher = try await makeWatcher(options.redis, engines, listener, health, logger)
        let events = ThresholdEvents(
            stream: EventStream(keyPrefix: options.keyPrefix, engines), metrics: metrics.events, logger: logger,
            eventLoop: engines[0].eventLoop)
        for engine in engines {
            engine.execute { $0.whenCrossed = { events.tell(ThresholdEvent($0)) } }
        }
        return CheckService(
            options, policy, engines, listener, watcher, budgets, events, health, metrics, localWindows, watch, notices)
    }

    private static func makeListener(
        _ options: CheckServiceOptions, _ engines: [NIOLoopBound<CheckEngine>], _ watch: DataLossWatch,
        _ budgets: BudgetService, _ health: RedisHealth
    ) async throws -> NIOLoopBound<InvalidationListener> {
        let eventLoop = engines[0].eventLoop
        let channel = InvalidationListener.channel(keyPrefix: options.keyPrefix)
        let subscription = LinkOptions(setup: [["SUBSCRIBE", channel]], isSubscriber: true, probeTimeout: .seconds(1))
        return try await eventLoop.submit {
            let link = makeLink(options.redis, subscription, eventLoop)
            let listener = InvalidationListener(
                link: link, forbidden: health.forbidden,
                forgetAll: { for engine in engines { engine.execute { $0.forgetDenials(of: nil) } } },
                heard: { notice in
                    if case .denials(.reset(let owner)) = notice.change { watch.wasReset(owner) }
                    budgets.heard(notice)
                }
            )
            return NIOLoopBound(listener, eventLoop: eventLoop)
        }.get()
    }

    private init(
        _ options: CheckServiceOptions, _ policy: CheckPolicy, _ engines: [NIOLoopBound<CheckEngine>],
        _ listener: NIOLoopBound<InvalidationListener>, _ watcher: NIOLoopBound<any TopologyWatcher>?,
        _ budgets: BudgetService, _ events: ThresholdEvents, _ health: RedisHealth, _ metrics: CheckMetrics,
        _ localWindows: LocalWindows, _ dataLossWatch: DataLossWatch, _ notices: LimitNotices
    ) {
        self.notices = notices
        self.budgets = budgets
        self.events = events
        self.dataLossWatch = dataLossWatch
        self.options = options
        self.engines = engines
        self.listener = listener
        self.watcher = watcher
        self.health = health
        self.metrics = metrics
        self.localWindows = localWindows
        policyStorage = Mutex(policy)
        report(policy)
    }
}

// MARK: - From start to end

extension CheckService {
    /// Connects to Redis, and returns once every event loop can ask it or `patience` has passed: a daemon whose Redis
    /// is there answers its first check exactly, and one whose Redis is away starts all the same.
    public func start(patience: TimeAmount) async {
        health.awaitHeartbeats()
        if policy.remembersDenialsForLong { budgets.beginPolling() }
        for engine in engines { engine.execute { $0.start() } }
        listener.execute { $0.start() }
        watcher?.execute { $0.start() }
        let end = NIODeadline.now() + patience
        while health.state.isConnecting, NIODeadline.now() < end {
            try? await Task.sleep(for: .milliseconds(1))
        }
    }

    /// Closes the connections to Redis.
    public func stop() async {
        budgets.stop()
        dataLossWatch.whenLost(nil)
        watcher?.execute { $0.stop() }
        listener.execute { $0.stop() }
        for engine in engines { engine.execute { $0.stop() } }
    }

    /// The engine of one of the event loops given at the start.
    ///
    /// - Precondition: called on that loop.
    package func engine(on eventLoop: any EventLoop) -> CheckEngine {
        guard let engine = engines.first(where: { $0.eventLoop === eventLoop }) else {
            preconditionFailure("the event loop is none of this service's")
        }
        return engine.value
    }
}

// MARK: - What changes while it runs

extension CheckService {
    /// The policy in force.
    public var policy: CheckPolicy { policyStorage.withLock { $0 } }

    /// Puts a policy in force from the next check on, here and, where it changes the limit, in the denials that other
    /// replicas remember.
    public func apply(_ policy: CheckPolicy) {
        let isLimitChanged = policyStorage.withLock { current in
            defer { current = policy }
            return current.limit != policy.limit
        }
        report(policy)
        for engine in engines { engine.execute { $0.apply(policy) } }
        if policy.remembersDenialsForLong { budgets.beginPolling() }
        guard isLimitChanged else { return }
        engines[0].execute { [budgets] in budgets.announce(.denials(.everyone), on: $0) { _ in } }
    }

    /// Brings the metrics up to date.
    public func reportMetrics(on eventLoop: any EventLoop) -> EventLoopFuture<Void> {
        let metrics = metrics
        let depths = engines.map { engine in engine.eventLoop.submit { engine.value.reportMetrics() } }
        return EventLoopFuture.whenAllSucceed(depths, on: eventLoop).map { metrics.queueDepth.record($0.reduce(0, +)) }
    }

    private func report(_ policy: CheckPolicy) {
        metrics.limit.record(policy.limit.quota)
        metrics.limits.setLimits(policy.limits.definitions)
        metrics.descriptors.setRules(policy.descriptors)
        dataLossWatch.setWindow(policy.longestWindow)
        notices.setLimits(policy.limits.set)
        metrics.window.record(policy.limit.windowMilliseconds / 1000)
    }
}

extension NIOLoopBound {
    /// Runs `body` with the value on its event loop.
    func execute(_ body: @escaping @Sendable (Value) -> Void) {
        if eventLoop.inEventLoop { return body(value) }
        eventLoop.execute { body(value) }
    }
}
