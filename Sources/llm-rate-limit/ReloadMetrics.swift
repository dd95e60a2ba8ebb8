import CoreMetrics
import DaemonConfiguration

/// How the readings of the configuration went, as metrics: one series for each part.
struct ReloadMetrics: Sendable {
    enum Name {
        static let isSuccessful = "llm_rate_limit_config_last_reload_successful"
        static let lastSuccess = "llm_rate_limit_config_last_reload_success_timestamp_seconds"
        static let failures = "llm_rate_limit_config_reload_failures_total"
        static let hash = "llm_rate_limit_config_hash"
    }

    private struct Series: Sendable {
        let isSuccessful: Gauge
        let lastSuccess: Gauge
        let failures: Counter
        let hash: Gauge

        init(_ part: ConfigurationPart, _ factory: any MetricsFactory) {
            let dimensions = [("part", part.rawValue)]
            isSuccessful = Gauge(label: Name.isSuccessful, dimensions: dimensions, factory: factory)
            lastSuccess = Gauge(label: Name.lastSuccess, dimensions: dimensions, factory: factory)
            failures = Counter(label: Name.failures, dimensions: dimensions, factory: factory)
            hash = Gauge(label: Name.hash, dimensions: dimensions, factory: factory)
        }
    }

    private let series: [ConfigurationPart: Series]

    init(factory: any MetricsFactory) {
        series = Dictionary(uniqueKeysWithValues: ConfigurationPart.allCases.map { ($0, Series($0, factory)) })
    }

    /// Brings the gauges up to date.
    func report(_ configuration: ResolvedConfiguration, _ readings: ReadingRecords) {
        for (part, series) in series {
            series.isSuccessful.record(readings[part].problem == nil ? 1 : 0)
            series.lastSuccess.record(readings[part].lastSuccess)
            series.hash.record(configuration.hash(of: part))
        }
    }

    func countFailure(of part: ConfigurationPart) { series[part]?.failures.increment() }
}
