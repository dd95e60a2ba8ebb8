package import CoreMetrics

/// What became of spans, as a metric: each that was begun is in one series in the end.
package struct SpanMetrics: Sendable {
    /// The names of its series.
    package enum Name {
        package static let spans = "llm_rate_limit_spans_total"
    }

    /// What became of a span.
    package enum Result: String, CaseIterable, Sendable {
        /// The collector has taken it.
        case exported
        /// The collector will not have it.
        case refused
        /// It was sent again and again, or the daemon ended meanwhile.
        case failed
        /// Too many waited.
        case dropped
        /// The client left before it was answered.
        case abandoned
    }

    private let counters: [Counter]

    /// Makes the series, so that they stand at 0 before the first span.
    package init(factory: any MetricsFactory) {
        counters = Result.allCases.map {
            Counter(label: Name.spans, dimensions: [("result", $0.rawValue)], factory: factory)
        }
    }

    /// Counts spans.
    package func count(_ result: Result, _ count: Int = 1) {
        guard count > 0, let place = Result.allCases.firstIndex(of: result) else { return }
        counters[place].increment(by: count)
    }
}
