import CoreMetrics
import DaemonConfiguration
import DecisionTracing
import GRPCServer
import Glibc
import HTTPServer
import Listeners
import Logging
import NIOCore
import NIOPosix
import PrometheusMetrics
import RateLimitCore
import RateLimitService
import ServiceLifecycle
import StructuredLog
import Synchronization
import UnixSignals

/// Serves until SIGTERM or SIGINT.
///
/// - Parameters:
///   - configuration: What is in force at the start; its warnings have not been shown yet.
///   - loader: Reads the configuration again on SIGHUP (`reload(replacing:)`).
func serveDaemon(_ configuration: ResolvedConfiguration, loader: ConfigurationLoader) async throws {
    let settings = configuration.settings
    let output = LogOutput(level: settings.logLevel)
    let format = settings.logFormat
    LoggingSystem.bootstrap { _ in StructuredLogHandler(output: output, format: format) }
    let logger = Logger(label: "llm-rate-limit")
    for warning in configuration.warnings { logger.warning("\(warning)") }

    // Before anybody can see the daemon: untrapped, the signal to reload would end it.
    let hangUps = await UnixSignalsSequence(trapping: [.sighup])
    let stopSignals = await UnixSignalsSequence(trapping: [.sigterm, .sigint])
    let notifier = ServiceNotifier(environment: processEnvironment()) { logger.warning("\($0)") }
    let sockets = try ListeningSockets.open(settings)
    let factory = try PrometheusMetricsFactory(catalogue: MetricCatalogue.all)
    Gauge(label: MetricCatalogue.buildInfo, dimensions: [("version", programVersion)], factory: factory).record(1)

    let group = MultiThreadedEventLoopGroup(numberOfThreads: settings.threads)
    let eventLoops = Array(group.makeIterator())
    let service = try await CheckService.make(
        options: CheckServiceOptions(settings), policy: CheckPolicy(settings), eventLoops: eventLoops,
        metrics: CheckMetrics(factory: factory), logger: logger
    )
    let inForce = ConfigurationInForce(configuration)
    let spans = SpanExport(
        inForce, limitName: service.policy.limit.name, metrics: SpanMetrics(factory: factory), logger: logger)
    var options = RateLimitServer.Options(
        connectionLimit: connectionLimit(settings, logger),
        requestTimeoutMilliseconds: settings.requestTimeoutMilliseconds,
        // Its own user can do anything to the daemon anyway, and its probes run as that.
        allowedUsers: settings.allowedUsers.map { $0.numbers.union([geteuid()]) },
        callers: settings.callers, quotaHeaders: settings.quotaHeaders)
    options.tracing = spans?.tracing
    var optionsOfGRPC = GRPCServer.Options(
        requestTimeoutMilliseconds: settings.requestTimeoutMilliseconds, callers: settings.callers,
        quotaHeaders: settings.quotaHeaders)
    optionsOfGRPC.tracing = spans?.tracing
    let server = try await RateLimitServer.make(
        service: service, group: group, eventLoops: eventLoops,
        pages: ServerPages(
            version: programVersion, configuration: { inForce.page }, metrics: { factory.render() },
            configurationState: { inForce.readings.healthJSON() }
        ),
        options: options,
        factory: factory, logger: logger,
        reports: AdminReports(
            reset: { ResetLog(inForce: inForce, logger: logger).log($0) },
            descriptorReset: { ResetLog(inForce: inForce, logger: logger).log($0) },
            budget: BudgetLog(inForce: inForce, logger: logger).log
        )
    )
    let servers = DaemonServers(
        http: server,
        grpc: try await GRPCServer.make(
            service: service, group: group, eventLoops: eventLoops, connectionCount: server.connectionCount,
            filter: server.filter,
            options: optionsOfGRPC,
            metrics: GRPCMetrics(factory: factory)))
    service.events.setLog { EventLog(inForce: inForce, logger: logger).log($0) }
    let webhooks = EventWebhooks(service.events, eventLoop: eventLoops[0])
    webhooks.apply(settings)
    // A daemon whose Redis is there answers its first check exactly; one whose Redis is away starts all the same.
    await service.start(patience: .milliseconds(Int64(settings.redisTimeoutMilliseconds)))

    let daemon = DaemonService(
        sockets: sockets, servers: servers, service: service, notifier: notifier, logger: logger, inForce: inForce,
        stopSignals: stopSignals
    )
    let reloader = Reloader(
        loader: loader, inForce: inForce, metrics: ReloadMetrics(factory: factory), logger: logger,
        apply: { settings in
            output.level = settings.logLevel
            service.apply(CheckPolicy(settings))
            servers.apply(settings.callers, settings.quotaHeaders)
            webhooks.apply(settings)
        }
    )
    let reload = ReloadService(reloader: reloader, notifier: notifier, hangUps: hangUps)
    let lifecycle = ServiceGroup(
        configuration: .init(
            services: [
                // The others go on while it drains, and end after it.
                .init(service: daemon, successTerminationBehavior: .gracefullyShutdownGroup),
                .init(service: reload),
                .init(service: EventService(events: service.events)),
                .init(service: WatchdogService(notifier: notifier, eventLoops: eventLoops)),
            ] + (spans.map { [.init(service: $0)] } ?? []),
            logger: Logger(label: "lifecycle", factory: { _ in SwiftLogNoOpLogHandler() })
        )
    )
    try await lifecycle.run()
    webhooks.close()
    try await group.shutdownGracefully()
}

/// The connections that are served at a time: as configured, or fewer where descriptors would run out before. Those
/// that are left are for Redis, the sockets and the event loops.
private func connectionLimit(_ settings: Settings, _ logger: Logger) -> Int {
    let room = DescriptorLimit.makeRoom(connections: settings.maxConnections, others: 64 + 4 * settings.threads)
    if room < settings.maxConnections {
        logger.warning(
            """
            LLM_RATE_LIMIT_MAX_CONNECTIONS=\(settings.maxConnections) is lowered to \(room): no more files may be open; \
            raise LimitNOFILE= of the service or ulimit -Hn
            """
        )
    }
    return room
}

/// The configuration in force, which a reload replaces, and how the last readings went.
final class ConfigurationInForce: Sendable {
    /// The configuration with its page, which costs too much to be made for whoever asks without end.
    private struct Storage {
        var value: ResolvedConfiguration
        var readings: ReadingRecords
        var page: [UInt8]

        init(_ value: ResolvedConfiguration, _ readings: ReadingRecords) {
            self.value = value
            self.readings = readings
            page = Array(value.json(readings: readings).utf8)
        }
    }

    private let storage: Mutex<Storage>

    init(_ configuration: ResolvedConfiguration) {
        storage = Mutex(Storage(configuration, ReadingRecords(startedAt: time(nil))))
    }

    var value: ResolvedConfiguration { storage.withLock { $0.value } }

    var readings: ReadingRecords { storage.withLock { $0.readings } }

    /// Has another configuration in force; what is asked for meanwhile is of the one or the other.
    func replace(_ value: ResolvedConfiguration, readings: ReadingRecords) {
        let storage = Storage(value, readings)
        self.storage.withLock { $0 = storage }
    }

    /// The body of `/v1/config`.
    var page: [UInt8] { storage.withLock { $0.page } }
}

extension CheckServiceOptions {
    init(_ settings: Settings) {
        self.init(
            redis: settings.redis, keyPrefix: settings.keyPrefix,
            deadlineMilliseconds: settings.redisTimeoutMilliseconds, queueLimit: settings.maxQueue
        )
    }
}

extension CheckPolicy {
    init(_ settings: Settings) {
        self.init(
            limit: Limit(
                name: "requests", quota: settings.requests, windowMilliseconds: settings.windowSeconds * 1000
            ),
            // It was tried when the configuration was read.
            limits: (try? settings.limits()) ?? .none,
            descriptors: settings.descriptors, isShadow: settings.isShadow,
            failureMode: settings.failureMode,
            replicas: settings.replicas, denyCacheMilliseconds: settings.denyCacheMilliseconds
        )
    }
}
