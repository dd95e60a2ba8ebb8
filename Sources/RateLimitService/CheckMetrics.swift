public import CoreMetrics
import RateLimitCore

/// What the checks report, through swift-metrics: one set for the whole process, made at start so that each series
/// stands at 0 before the first check. Never a user in a label.
public struct CheckMetrics: Sendable {
    /// The name of each metric here, for a backend that declares its metrics up front.
    public enum Name {
        /// Checks by `decision` (allowed, denied, shadow_denied, refused) and `source`.
        public static let checks = "llm_rate_limit_checks_total"
        /// From the arrival of a request until its decision.
        public static let decisionDuration = "llm_rate_limit_decision_duration_seconds"
        /// From sending a batch to Redis until its answer.
        public static let redisDuration = "llm_rate_limit_redis_duration_seconds"
        /// Checks in one call to Redis.
        public static let batchSize = "llm_rate_limit_batch_size_checks"
        /// Checks that Redis did not decide, by `reason`.
        public static let degraded = "llm_rate_limit_degraded_checks_total"
        /// Checks waiting for Redis, all event loops together.
        public static let queueDepth = "llm_rate_limit_queue_depth_checks"
        /// 1 while the breaker is open on an event loop.
        public static let breakerOpen = "llm_rate_limit_breaker_open"
        /// Openings of the breaker.
        public static let breakerOpenings = "llm_rate_limit_breaker_openings_total"
        /// 1 while decisions are being made, as far as anybody knows: Redis is there, and takes what decisions need.
        public static let enforcing = "llm_rate_limit_enforcing"
        /// Since when not, in Unix seconds; 0 while they are.
        public static let notEnforcingSince = "llm_rate_limit_not_enforcing_since_timestamp_seconds"
        /// Findings that Redis has forgotten something, by `kind`: emptied, rollback.
        public static let dataLosses = "llm_rate_limit_redis_data_losses_total"
        /// Calls of which a part could not be counted, by `unit` and `reason`.
        public static let uncounted = "llm_rate_limit_uncounted_calls_total"
        /// The quota in force.
        public static let limit = "llm_rate_limit_limit_requests"
        /// The window in force.
        public static let window = "llm_rate_limit_window_seconds"
        /// What each limit said of the calls it met, by `limit` and `decision` (allowed, warned, over, denied,
        /// shadow_denied);
        /// where there are more limits than one.
        public static let limitDecisions = "llm_rate_limit_limit_decisions_total"
        /// The quota of each `limit` for all who have none of their own.
        public static let limitQuota = "llm_rate_limit_limit_quota"
        /// The length of each `limit`'s sliding window.
        public static let limitWindow = "llm_rate_limit_limit_window_seconds"
        /// Windows for values of each `limit` that were forgotten to make room for others.
        public static let limitValuesForgotten = "llm_rate_limit_limit_values_forgotten_total"
        /// What became of descriptors of Envoy's rate limit service, by `domain`, `path` of the limit and `result` (ok, near,
        /// over, shadow_over, refund).
        public static let descriptors = "llm_rate_limit_descriptors_total"
        /// What became of leases, by `event` (given, renewed, settled, released, unknown, too_late).
        public static let leases = "llm_rate_limit_leases_total"
        /// What became of refunds of calls, by `result` (refunded, empty, repeated).
        public static let refunds = "llm_rate_limit_refunds_total"
        /// What calls said and was passed over, by `member`.
        public static let ignoredMembers = "llm_rate_limit_ignored_members_total"
        /// What became of events about thresholds, by `outlet` (log, stream, webhook) and `result` (delivered, refused, lost).
        public static let events = "llm_rate_limit_events_total"
        /// Events that wait, by `outlet`.
        public static let eventsWaiting = "llm_rate_limit_events_waiting"
    }

    /// What became of a check, as the label says it.
    enum Verdict: String, CaseIterable {
        case allowed
        case denied
        case shadowDenied = "shadow_denied"
        case refused
    }

    private let checks: [Counter]
    private let degraded: [Counter]
    private let ignoredMembers: [Counter]
    let decisionDuration: Timer
    let redisDuration: Timer
    let batchSize: Recorder
    let queueDepth: Gauge
    let breakerOpen: Gauge
    let breakerOpenings: Counter
    let enforcing: Gauge
    let notEnforcingSince: Gauge
    let emptied: Counter
    let rollbacks: Counter
    private let uncounted: [Uncounted: Counter]
    let limit: Gauge
    let window: Gauge
    let limits: LimitMetrics
    let leases: LeaseMetrics
    let refunds: RefundMetrics
    let descriptors: DescriptorMetrics
    let events: EventMetrics

    /// Makes every series in `factory`.
    public init(factory: any MetricsFactory) {
        checks = DecisionSource.allCases.flatMap { source in
            Verdict.allCases.map { verdict in
                Counter(
                    label: Name.checks, dimensions: [("decision", verdict.rawValue), ("source", source.rawValue)],
                    factory: factory
                )
            }
        }
        degraded = FailureReason.allCases.map {
            Counter(label: Name.degraded, dimensions: [("reason", $0.rawValue)], factory: factory)
        }
        ignoredMembers = IgnoredMember.Name.allCases.map {
            Counter(label: Name.ignoredMembers, dimensions: [("member", $0.rawValue)], factory: factory)
        }
        decisionDuration = Timer(label: Name.decisionDuration, dimensions: [], factory: factory)
        redisDuration = Timer(label: Name.redisDuration, dimensions: [], factory: factory)
        batchSize = Recorder(label: Name.batchSize, dimensions: [], aggregate: true, factory: factory)
        queueDepth = Gauge(label: Name.queueDepth, dimensions: [], factory: factory)
        breakerOpen = Gauge(label: Name.breakerOpen, dimensions: [], factory: factory)
        breakerOpenings = Counter(label: Name.breakerOpenings, dimensions: [], factory: factory)
        enforcing = Gauge(label: Name.enforcing, dimensions: [], factory: factory)
        notEnforcingSince = Gauge(label: Name.notEnforcingSince, dimensions: [], factory: factory)
        emptied = Counter(label: Name.dataLosses, dimensions: [("kind", "emptied")], factory: factory)
        rollbacks = Counter(label: Name.dataLosses, dimensions: [("kind", "rollback")], factory: factory)
        let unpriced = Uncounted.Reason.allCases.map { Uncounted(.spend, because: $0) }
        uncounted = Dictionary(
            uniqueKeysWithValues: unpriced.map { part in
                let dimensions = [("unit", part.unit.text), ("reason", part.reason.rawValue)]
                return (part, Counter(label: Name.uncounted, dimensions: dimensions, factory: factory))
            })
        limit = Gauge(label: Name.limit, dimensions: [], factory: factory)
        window = Gauge(label: Name.window, dimensions: [], factory: factory)
        limits = LimitMetrics(factory: factory)
        leases = LeaseMetrics(factory: factory)
        refunds = RefundMetrics(factory: factory)
        descriptors = DescriptorMetrics(factory: factory)
        events = EventMetrics(factory: factory)
    }

    /// Counts calls of which this part could not be counted; nil for a part that always can.
    func uncounted(_ part: Uncounted) -> Counter? { uncounted[part] }

    /// Counts of one event loop that have not been reported yet: plain integers, so that a check costs no atomic.
    struct Tally {
        private var checks = [Int](repeating: 0, count: DecisionSource.allCases.count * Verdict.allCases.count)
        private var degraded = [Int](repeating: 0, count: FailureReason.allCases.count)
        private var ignoredMembers: [IgnoredMember.Name: Int] = [:]

        mutating func count(_ outcome: Outcome) {
            let verdict: Verdict =
                switch outcome.verdict {
                case .allowed, .repeated, .tooLate: outcome.isShadowDenied ? .shadowDenied : .allowed
                case .denied, .deniedForGood, .atCapacity, .unknownModel, .missingValue:
                    outcome.isShadowDenied ? .shadowDenied : .denied
                case .refused, .unknownLease: .refused
                }
            count(verdict, outcome.source, outcome.degradedReason)
        }

        mutating func count(_ ignored: [IgnoredMember]) {
            for member in ignored { ignoredMembers[member.name, default: 0] += 1 }
        }

        private mutating func count(_ verdict: Verdict, _ decider: DecisionSource, _ degradedReason: FailureReason?) {
            let verdict: Int =
                switch verdict {
                case .allowed: 0
                case .denied: 1
                case .shadowDenied: 2
                case .refused: 3
                }
            let source: Int =
                switch decider {
                case .redis: 0
                case .memory: 1
                case .local: 2
                case .failureMode: 3
                case .off: 4
                }
            checks[source * 4 + verdict] += 1
            guard let reason = degradedReason else { return }
            let index: Int =
                switch reason {
                case .redisUnreachable: 0
                case .redisTimeout: 1
                case .redisError: 2
                case .overloaded: 3
                }
            degraded[index] += 1
        }

        mutating func report(to metrics: CheckMetrics) {
            for index in checks.indices where checks[index] > 0 {
                metrics.checks[index].increment(by: checks[index])
                checks[index] = 0
            }
            for index in degraded.indices where degraded[index] > 0 {
                metrics.degraded[index].increment(by: degraded[index])
                degraded[index] = 0
            }
            for (index, name) in IgnoredMember.Name.allCases.enumerated() {
                if let count = ignoredMembers[name] { metrics.ignoredMembers[index].increment(by: count) }
            }
            ignoredMembers.removeAll()
        }
    }
}
