import DaemonConfiguration
import DecisionTracing
import HTTPPosts
import Logging
import NIOCore
import NIOPosix
import RateLimitCore
import ServiceLifecycle

/// Sends spans from the start until everybody is answered; there is none where the configuration names no collector.
struct SpanExport: Service {
    let tracing: Tracing
    private let exporter: SpanExporter
    /// A thread of its own: making and sending a batch takes longer than many decisions.
    private let group: MultiThreadedEventLoopGroup

    /// - Parameter limitName: what the limit of checks is called.
    init?(
        _ inForce: ConfigurationInForce, limitName: String, metrics: SpanMetrics, logger: Logger
    ) {
        let settings = inForce.value.settings.tracing
        guard let url = settings.spansURL else { return nil }
        tracing = Tracing(
            sampler: settings.sampler, queue: SpanQueue(), metrics: metrics)
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var post = PostOptions(userAgent: "llm-rate-limit/\(programVersion)", headers: settings.headers)
        post.tls = settings.tls
        let description = SpanDescription(
            resource: settings.resourceAttributes(version: programVersion), version: programVersion,
            limitName: limitName,
            user: { inForce.value.settings.logUsers.attribute(of: $0) })
        exporter = SpanExporter(
            tracing,
            SpanExporter.Options(
                url: url, post: post, limit: .milliseconds(Int64(settings.timeoutMilliseconds)),
                description: description),
            eventLoop: group.next(), logger: logger)
        logger.notice("tracing", metadata: ["endpoint": "\(url)", "sampler": "\(settings.samplerText)"])
    }

    func run() async throws {
        await withGracefulShutdownHandler {
            await exporter.run()
        } onGracefulShutdown: {
            exporter.beginEnd()
        }
        try await group.shutdownGracefully()
    }
}

extension TracingSettings {
    /// What tells this daemon from others. An attribute of `OTEL_RESOURCE_ATTRIBUTES` stands before what is known here, and
    /// `OTEL_SERVICE_NAME` before both.
    fileprivate func resourceAttributes(version: String) -> [(name: String, value: String)] {
        var values = ["service.name": "llm-rate-limit", "service.version": version]
        for pair in resource.pairs { values[pair.name] = pair.value }
        if let serviceName { values["service.name"] = serviceName }
        return values.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
}

extension UserLogging {
    /// How a span names a user, as a log line does.
    fileprivate func attribute(of user: SubjectID) -> (name: String, value: String)? {
        text(of: user).map { (name: self == .hash ? "user.hash" : "user.id", value: $0) }
    }
}
