import CoreMetrics
import RateLimitCore
import Synchronization

/// What became of descriptors, by the limit that they met: never a value that a proxy says, unless the configuration
/// asks for it. Event loops count in a ``Tally``, and lock only to report it.
final class DescriptorMetrics: Sendable {
    /// How many limits have series of their own; what further ones say counts as one.
    static let mostPaths = 500
    /// The path of quotas that proxies give with their calls.
    static let overridePath = "override"

    /// What became of a descriptor, as the label has it.
    enum Result: Int, CaseIterable {
        case ok
        /// It passes, and four fifths of the quota are used.
        case near
        case over
        /// It is over, and a shadow or everything is, or it denies only together with others.
        case shadowOver
        /// It was given hits back.
        case refund

        var label: String {
            switch self {
            case .ok: "ok"
            case .near: "near"
            case .over: "over"
            case .shadowOver: "shadow_over"
            case .refund: "refund"
            }
        }
    }

    /// Which limit it is.
    private struct Path: Hashable {
        var domain: String
        var path: String

        /// What those count for that are too many.
        static let others = Path(domain: "other", path: "other")
    }

    private struct State {
        var rules = DescriptorRules.none
        /// For each path those of the results that have been.
        var series: [Path: [Result: Counter]] = [:]
    }

    private let factory: any MetricsFactory
    private let state = Mutex(State())

    /// No series yet but one: each other comes with what it counts first.
    init(factory: any MetricsFactory) {
        self.factory = factory
        let others = Result.allCases.map { ($0, counter($0, of: .others)) }
        state.withLock { $0.series[.others] = Dictionary(uniqueKeysWithValues: others) }
    }

    /// Takes all series off the page where other rules are in force than before.
    func setRules(_ rules: DescriptorRules) {
        state.withLock { state in
            guard state.rules != rules else { return }
            state.rules = rules
            for (path, counters) in state.series where path != .others {
                for counter in counters.values { counter.destroy() }
                state.series[path] = nil
            }
        }
    }

    private func counter(_ result: Result, of path: Path) -> Counter {
        Counter(
            label: CheckMetrics.Name.descriptors,
            dimensions: [("domain", path.domain), ("path", path.path), ("result", result.label)], factory: factory)
    }

    /// Counts of one event loop that have not been reported yet: plain integers.
    struct Tally {
        private static let none = [Int](repeating: 0, count: Result.allCases.count)

        private var counts: [Path: [Int]] = [:]

        /// Counts what the limits say in an answer; nothing where Redis did not say how they stand.
        mutating func count(_ outcome: Outcome, _ call: PlannedDescriptors) {
            guard let standings = outcome.details?.descriptors else { return }
            for (part, standing) in zip(call.parts, standings) {
                guard let limit = part.limit?.definition, limit.quota == nil || standing.remaining != nil else {
                    continue
                }
                let path = Path(domain: limit.domain, path: part.isOverride ? overridePath : limit.path)
                let counted = counts[path] != nil || counts.count < mostPaths ? path : .others
                counts[counted, default: Self.none][Self.result(of: part, standing, limit, outcome).rawValue] += 1
            }
        }

        private static func result(
            of part: PlannedDescriptors.Part, _ standing: DescriptorStanding, _ limit: DescriptorLimit.Definition,
            _ outcome: Outcome
        ) -> Result {
            if case .refund = part.use { return .refund }
            guard let quota = limit.quota?.requestsPerUnit, let remaining = standing.remaining else { return .ok }
            if standing.isOver {
                let isShadow = limit.isShadow || limit.isQuotaMode && outcome.verdict == .allowed
                return isShadow || outcome.isShadowDenied ? .shadowOver : .over
            }
            return (quota - remaining) * 5 >= quota * 4 ? .near : .ok
        }

        /// Hands over what has been counted.
        mutating func report(to metrics: DescriptorMetrics) {
            guard !counts.isEmpty else { return }
            metrics.state.withLock { state in
                for (path, counts) in counts {
                    let isKnown = state.series[path] != nil
                    let path = isKnown || state.series.count < mostPaths ? path : .others
                    var series = state.series[path] ?? [:]
                    for (result, count) in zip(Result.allCases, counts) where count > 0 {
                        let counter = series[result] ?? metrics.counter(result, of: path)
                        counter.increment(by: count)
                        series[result] = counter
                    }
                    state.series[path] = series
                }
            }
            counts = [:]
        }
    }
}
