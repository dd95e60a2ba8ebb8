import DecisionTracing
import GRPCServer
import HTTPServer
import Listeners
import PrometheusMetrics
import RateLimitService

/// Every metric the daemon has: what it means, and in which buckets it counts.
enum MetricCatalogue {
    /// 50 µs to 1 s: from an idle machine's answer to far beyond the deadline.
    private static let durations: [Int64] = [
        50_000, 100_000, 200_000, 300_000, 500_000, 750_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000, 5_000_000,
        10_000_000, 20_000_000, 50_000_000, 100_000_000, 250_000_000, 1_000_000_000,
    ]

    static let all: [MetricDescription] = [
        .init(
            name: CheckMetrics.Name.checks,
            help:
                "Checks by decision, and by who decided: redis, memory (a remembered denial), local, failure_mode, off.",
            kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.degraded, help: "Checks that Redis should have decided and did not, by reason.",
            kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.decisionDuration,
            help: "Time from the arrival of a check until Redis's decision is known.",
            kind: .secondsHistogram(nanosecondBounds: durations)
        ),
        .init(
            name: CheckMetrics.Name.redisDuration, help: "Time from sending a batch to Redis until its answer.",
            kind: .secondsHistogram(nanosecondBounds: durations)
        ),
        .init(
            name: CheckMetrics.Name.batchSize, help: "Checks put to Redis in one call.",
            kind: .histogram(bounds: [1, 2, 4, 8, 16, 32, 64])
        ),
        .init(name: CheckMetrics.Name.queueDepth, help: "Checks waiting for Redis.", kind: .gauge),
        .init(
            name: CheckMetrics.Name.breakerOpen, help: "Event loops whose breaker is open: Redis is away for them.",
            kind: .gauge
        ),
        .init(name: CheckMetrics.Name.breakerOpenings, help: "How often a breaker has opened.", kind: .counter),
        .init(
            name: CheckMetrics.Name.enforcing,
            help: "1 while decisions are being made: Redis is there, and takes what decisions need.", kind: .gauge
        ),
        .init(
            name: CheckMetrics.Name.notEnforcingSince,
            help: "Since when no decisions are being made, in Unix seconds; 0 while they are.", kind: .gauge
        ),
        .init(
            name: CheckMetrics.Name.dataLosses,
            help: "How often Redis was found to have forgotten: emptied, or gone back to an older state (rollback).",
            kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.uncounted,
            help: "Calls of which a part could not be counted, such as the spend of a model without a price.",
            kind: .counter
        ),
        .init(name: CheckMetrics.Name.limit, help: "The quota in force; 0 is off.", kind: .gauge),
        .init(name: CheckMetrics.Name.window, help: "The window in force.", kind: .gauge),
        .init(
            name: CheckMetrics.Name.limitDecisions,
            help: "What each limit said of the calls it met, where there are more limits than one.", kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.limitQuota,
            help: "The quota of each limit for all who have none of their own, in its unit; +Inf is unlimited.",
            kind: .gauge
        ),
        .init(
            name: CheckMetrics.Name.limitWindow, help: "The length of each limit's window, where it slides.",
            kind: .gauge
        ),
        .init(
            name: CheckMetrics.Name.limitValuesForgotten,
            help:
                "How often each limit's window for a value was forgotten since its user or group had max_values of them.",
            kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.descriptors,
            help: "What became of the descriptors of Envoy's rate limit service, by the limit that they met.",
            kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.leases,
            help: "What became of leases: given, renewed, settled, released, unknown (lapsed or ended), too_late.",
            kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.refunds,
            help: "What became of refunds of calls: refunded, empty (nothing was left to give back), repeated.",
            kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.ignoredMembers,
            help: "What calls said and was passed over so that the rest of them counts, by member.", kind: .counter
        ),
        .init(
            name: CheckMetrics.Name.events,
            help: "Events about thresholds, by outlet and by what became of them: delivered, refused, lost.",
            kind: .counter
        ),
        .init(name: CheckMetrics.Name.eventsWaiting, help: "Events that wait for an outlet.", kind: .gauge),
        .init(name: GatewayMetricName.connections, help: "Client connections that are open.", kind: .gauge),
        .init(
            name: GatewayMetricName.accepted,
            help: "Client connections that came, by result: accepted, refused at the bound, forbidden to their user.",
            kind: .counter
        ),
        .init(name: GRPCMetrics.Name.connections, help: "Of these, connections of gRPC.", kind: .gauge),
        .init(
            name: GRPCMetrics.Name.ended,
            help:
                "Connections of gRPC that ended, by reason: client, drain, incomplete, unread, flood, protocol_error, tls.",
            kind: .counter
        ),
        .init(
            name: ReloadMetrics.Name.isSuccessful,
            help: "Whether the last reading of the options, and of the limits file, could be put in force: 1 or 0.",
            kind: .gauge
        ),
        .init(
            name: ReloadMetrics.Name.lastSuccess,
            help: "When the options, and the limits file, were last read and put in force, in Unix seconds.",
            kind: .gauge
        ),
        .init(
            name: ReloadMetrics.Name.failures,
            help: "Readings of the options, and of the limits file, that could not be put in force.", kind: .counter
        ),
        .init(
            name: ReloadMetrics.Name.hash,
            help: "What tells each part of the configuration in force from others; replicas should have the same.",
            kind: .gauge
        ),
        .init(
            name: SpanMetrics.Name.spans,
            help:
                "Spans by what became of them: exported, refused, failed, dropped (too many waited), abandoned (nobody did).",
            kind: .counter
        ),
        .init(name: buildInfo, help: "Always 1; the labels say what is running.", kind: .gauge),
    ]

    static let buildInfo = "llm_rate_limit_build_info"
}
