import CoreMetrics
import RateLimitCore
import Synchronization

/// What is reported of each limit that is in force beside others: series for those limits and for no more, so that they
/// do not grow in number while files come and go. Event loops count in a ``Tally``, and lock only to report it.
final class LimitMetrics: Sendable {
    /// What a limit says of a call that meets it, as the label has it.
    enum Decision: Int, CaseIterable {
        case allowed
        /// Allowed, in an answer that carries a warning of the limit.
        case warned
        /// Allowed above a soft line.
        case over
        case denied
        /// It would have denied, and is a shadow, or everything is.
        case shadowDenied

        var label: String {
            switch self {
            case .allowed: "allowed"
            case .warned: "warned"
            case .over: "over"
            case .denied: "denied"
            case .shadowDenied: "shadow_denied"
            }
        }
    }

    private struct Series {
        var decisions: [Counter]
        var quota: Gauge
        /// Of a window that slides: the others have no length, or not always the same.
        var window: Gauge?
        /// Of a limit whose windows for values are bounded.
        var valuesForgotten: Counter?
    }

    private let factory: any MetricsFactory
    private let series = Mutex<[LimitName: Series]>([:])

    /// No limits yet.
    init(factory: any MetricsFactory) { self.factory = factory }

    /// Makes the series of limits that are new, and takes those of limits that are gone off the page.
    func setLimits(_ limits: [LimitDefinition]) {
        series.withLock { series in
            for (name, gone) in series where !limits.contains(where: { $0.name == name }) {
                for counter in gone.decisions { counter.destroy() }
                gone.quota.destroy()
                gone.window?.destroy()
                gone.valuesForgotten?.destroy()
                series[name] = nil
            }
            for limit in limits {
                var current = series[limit.name] ?? makeSeries(of: limit.name)
                current.quota.record(limit.quota.map(Double.init) ?? .infinity)
                if case .sliding(let milliseconds) = limit.window {
                    let window = current.window ?? gauge(CheckMetrics.Name.limitWindow, of: limit.name)
                    window.record(milliseconds / 1000)
                    current.window = window
                } else {
                    current.window?.destroy()
                    current.window = nil
                }
                if limit.maximumValues == nil {
                    current.valuesForgotten?.destroy()
                    current.valuesForgotten = nil
                } else if current.valuesForgotten == nil {
                    current.valuesForgotten = Counter(
                        label: CheckMetrics.Name.limitValuesForgotten, dimensions: [("limit", limit.name.text)],
                        factory: factory)
                }
                series[limit.name] = current
            }
        }
    }

    private func makeSeries(of name: LimitName) -> Series {
        let decisions = Decision.allCases.map { decision in
            Counter(
                label: CheckMetrics.Name.limitDecisions,
                dimensions: [("limit", name.text), ("decision", decision.label)], factory: factory)
        }
        return Series(decisions: decisions, quota: gauge(CheckMetrics.Name.limitQuota, of: name))
    }

    private func gauge(_ label: String, of name: LimitName) -> Gauge {
        Gauge(label: label, dimensions: [("limit", name.text)], factory: factory)
    }

    /// Counts of one event loop that have not been reported yet: plain integers.
    struct Tally {
        private static let decisions = Decision.allCases.count

        private var limits: [LimitName] = []
        private var ids: [UInt32] = []
        /// For each limit, one for each of ``Decision``.
        private var counts: [Int] = []
        /// For each limit, how many of its windows for values were forgotten.
        private var forgotten: [Int] = []
        private var boundsValues = false

        /// Counts under these limits from now on; what has not been reported is lost.
        mutating func setLimits(_ limits: [LimitDefinition]) {
            self.limits = limits.map(\.name)
            ids = limits.map(\.id)
            counts = [Int](repeating: 0, count: limits.count * Self.decisions)
            forgotten = [Int](repeating: 0, count: limits.count)
            boundsValues = limits.contains { $0.maximumValues != nil }
        }

        /// Counts what each limit says in an answer; nothing of a limit that has left since it was asked.
        mutating func count(_ outcome: Outcome) {
            guard !ids.isEmpty, let details = outcome.details else { return }
            if let lacking = details.lacking, let place = limits.firstIndex(of: lacking.limit) {
                counts[place * Self.decisions + Decision.denied.rawValue] += 1
            }
            details.forEachTerm { term, state in
                guard let place = place(of: term) else { return }
                let decision: Decision =
                    if state.isShadowDenied || state.isDenied && outcome.isShadowDenied {
                        .shadowDenied
                    } else if state.isDenied {
                        .denied
                    } else if term.isOver(state) {
                        .over
                    } else {
                        term.warningPerMille(state) == nil ? .allowed : .warned
                    }
                counts[place * Self.decisions + decision.rawValue] += 1
            }
        }

        /// Counts the windows for values that a call took the place of, whatever it asked.
        mutating func countForgotten(_ details: OutcomeDetails) {
            guard boundsValues else { return }
            details.forEachTerm { term, state in
                if state.hasDisplaced, let place = place(of: term) { forgotten[place] += 1 }
            }
        }

        /// A limit stands where it stood when the call was planned, unless others have come into force since.
        private func place(of term: CallTerm) -> Int? {
            if term.limitPlace < ids.count, ids[term.limitPlace] == term.limit.id { return term.limitPlace }
            return ids.firstIndex(of: term.limit.id)
        }

        /// Hands over what has been counted.
        mutating func report(to metrics: LimitMetrics) {
            metrics.series.withLock { series in
                for index in counts.indices where counts[index] > 0 {
                    let (place, decision) = index.quotientAndRemainder(dividingBy: Self.decisions)
                    series[limits[place]]?.decisions[decision].increment(by: counts[index])
                    counts[index] = 0
                }
                for place in forgotten.indices where forgotten[place] > 0 {
                    series[limits[place]]?.valuesForgotten?.increment(by: forgotten[place])
                    forgotten[place] = 0
                }
            }
        }
    }
}
