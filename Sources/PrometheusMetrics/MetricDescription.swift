/// What one metric is, told before any series of it exists, so that the page carries HELP and TYPE for all of them.
public struct MetricDescription: Sendable, Equatable {
    /// What a metric measures and how it is stored.
    public enum Kind: Sendable, Equatable {
        /// A sum that only grows. Made by `Counter` and `FloatingPointCounter`; the name ends in `_total`.
        case counter
        /// A value that goes up and down, a `Double`. Made by `Gauge` and `Meter`.
        case gauge
        /// Whole numbers sorted into buckets, such as a batch size. Made by `Recorder`.
        ///
        /// `bounds` are the inclusive upper ends: 1 to ``HistogramLimits/bounds`` of them, positive and ascending.
        /// The bucket for everything above (`+Inf`) is added by itself.
        case histogram(bounds: [Int64])
        /// Durations sorted into buckets. Made by `Timer`, which records nanoseconds; shown in seconds.
        ///
        /// `nanosecondBounds` obey the same rules as `bounds` of ``histogram(bounds:)``.
        case secondsHistogram(nanosecondBounds: [Int64])
    }

    /// The full Prometheus name, `[a-zA-Z_:][a-zA-Z0-9_:]*`, without any suffix that the kind adds (`_bucket`).
    public let name: String
    /// One sentence for the reader of the page; not empty.
    public let help: String
    /// What it measures and how it is stored.
    public let kind: Kind

    /// Describes a metric; ``PrometheusMetricsFactory`` checks the values when it takes the catalogue.
    public init(name: String, help: String, kind: Kind) {
        self.name = name
        self.help = help
        self.kind = kind
    }
}

/// The fixed bounds of a histogram's storage.
public enum HistogramLimits {
    /// The most upper bounds one histogram can have, `+Inf` not counted.
    public static let bounds = 31
}

extension MetricDescription.Kind {
    /// The word after `# TYPE name`.
    var typeName: String {
        switch self {
        case .counter: "counter"
        case .gauge: "gauge"
        case .histogram, .secondsHistogram: "histogram"
        }
    }

    /// The inclusive upper bounds, in nanoseconds for durations; empty for what is no histogram.
    var bounds: [Int64]? {
        switch self {
        case .counter, .gauge: nil
        case .histogram(let bounds), .secondsHistogram(let bounds): bounds
        }
    }
}
