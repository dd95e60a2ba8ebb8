public import CoreMetrics
import Synchronization

/// A swift-metrics backend that shows its series as a Prometheus text page.
///
/// Metrics are named in a catalogue beforehand; a series of a described metric stands on the page, at 0, from the
/// moment it is made, and making it again gives the same storage. A label that is not in the catalogue, a type that
/// does not fit the description, invalid labels, or a series beyond the limit get a handler that does nothing, and
/// the dropped-series counter says how often that happened.
///
/// Recording takes no lock: a counter costs one relaxed atomic add, a histogram two.
public final class PrometheusMetricsFactory: Sendable {
    /// The `Content-Type` of the page.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"
    /// The most series unless the initialiser is told otherwise.
    public static let defaultSeriesLimit = 4_000

    private let table: Mutex<SeriesTable>
    private let dropped: CounterSeries

    /// Takes the catalogue; the order in it does not matter.
    ///
    /// - Parameters:
    ///   - catalogue: Every metric that can be made, the process metrics and the dropped-series counter apart.
    ///   - seriesLimit: The most series in all (label sets counted apart), at least 1; those of the process do not
    ///     count.
    ///   - droppedSeriesName: The name of the counter of series that were refused.
    /// - Throws: ``MetricCatalogueError`` where a name, help text or list of bounds cannot be shown.
    public init(
        catalogue: [MetricDescription],
        seriesLimit: Int = PrometheusMetricsFactory.defaultSeriesLimit,
        droppedSeriesName: String = "llm_rate_limit_metric_series_dropped_total"
    ) throws(MetricCatalogueError) {
        let droppedDescription = MetricDescription(
            name: droppedSeriesName,
            help: "Metric series refused: not described, of another type, or beyond the limit of series.",
            kind: .counter
        )
        let all = catalogue + [droppedDescription] + ProcessReading.allCases.map(\.description)
        var names: Set<String> = []
        for description in all {
            try description.validate()
            guard names.insert(description.name).inserted else { throw .duplicateName(description.name) }
        }

        let dropped = CounterSeries()
        let fixedSeries = 1 + ProcessReading.allCases.count
        var table = SeriesTable(descriptions: all, limit: max(seriesLimit, 1) + fixedSeries)
        // These cannot be refused: their names were put in above, and the limit leaves room for them.
        _ = try? table.series(name: droppedSeriesName, dimensions: []) { _ in .counter(dropped) }
        for reading in ProcessReading.allCases {
            _ = try? table.series(name: reading.description.name, dimensions: []) { _ in .process(reading) }
        }
        self.table = Mutex(table)
        self.dropped = dropped
    }

    /// The number of requests for a series that were refused so far.
    public var droppedSeries: UInt64 { dropped.value }

    /// The whole page, sorted by name and then by labels.
    public func render() -> [UInt8] {
        var page: [UInt8] = []
        render(into: &page)
        return page
    }

    /// Appends the whole page to `page`, whose storage is reused.
    ///
    /// Its size is bounded by the limits on series and labels. Series made meanwhile are on the next page.
    public func render(into page: inout [UInt8]) {
        let families = table.withLock { $0.families }
        var text = ExpositionText(appendingTo: exchange(&page, with: []))
        for family in families { text.append(family) }
        page = text.bytes
    }

    /// The series, or nil (and counted as dropped) where it cannot be had or is not what `match` looks for.
    private func series<Handler>(
        _ name: String,
        _ dimensions: [(String, String)],
        make: (MetricDescription.Kind) -> Series?,
        match: (Series) -> Handler?
    ) -> Handler? {
        let found = table.withLock { try? $0.series(name: name, dimensions: dimensions, make: make) }
        if let found, let handler = match(found) { return handler }
        dropped.increment(by: 1)
        return nil
    }

    private func remove(_ handler: AnyObject) {
        guard handler !== dropped else { return }
        table.withLock { $0.remove(handler) }
    }

    private func makeGauge(_ label: String, _ dimensions: [(String, String)]) -> GaugeSeries? {
        series(label, dimensions) { kind in
            kind == .gauge ? .gauge(GaugeSeries()) : nil
        } match: { series in
            if case .gauge(let gauge) = series { gauge } else { nil }
        }
    }
}

extension PrometheusMetricsFactory: MetricsFactory {
    /// A counter; the catalogue must describe `label` as one.
    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions) { kind in
            kind == .counter ? .counter(CounterSeries()) : nil
        } match: { series -> CounterSeries? in
            if case .counter(let counter) = series { counter } else { nil }
        } ?? NOOPMetricsHandler.instance
    }

    /// A fractional counter; the catalogue must describe `label` as a counter.
    public func makeFloatingPointCounter(
        label: String,
        dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions) { kind in
            kind == .counter ? .floatingCounter(FloatingCounterSeries()) : nil
        } match: { series -> FloatingCounterSeries? in
            if case .floatingCounter(let counter) = series { counter } else { nil }
        } ?? NOOPMetricsHandler.instance
    }

    /// A gauge; the catalogue must describe `label` as one.
    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        makeGauge(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    /// A histogram of whole numbers where `aggregate` is set (`Recorder`), else a gauge (`Gauge`).
    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard aggregate else { return makeGauge(label, dimensions) ?? NOOPMetricsHandler.instance }
        return series(label, dimensions) { kind in
            if case .histogram(let bounds) = kind { .histogram(HistogramSeries(bounds: bounds)) } else { nil }
        } match: { series -> HistogramSeries? in
            if case .histogram(let histogram) = series { histogram } else { nil }
        } ?? NOOPMetricsHandler.instance
    }

    /// A histogram of durations; the catalogue must describe `label` as one.
    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, dimensions) { kind in
            if case .secondsHistogram(let bounds) = kind { .histogram(HistogramSeries(bounds: bounds)) } else { nil }
        } match: { series -> HistogramSeries? in
            if case .histogram(let histogram) = series { histogram } else { nil }
        } ?? NOOPMetricsHandler.instance
    }

    /// Takes the series off the page; what is recorded to its handler afterwards is lost.
    public func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
    /// Takes the series off the page; what is recorded to its handler afterwards is lost.
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { remove(handler) }
    /// Takes the series off the page; what is recorded to its handler afterwards is lost.
    public func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
    /// Takes the series off the page; what is recorded to its handler afterwards is lost.
    public func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
    /// Takes the series off the page; what is recorded to its handler afterwards is lost.
    public func destroyTimer(_ handler: any TimerHandler) { remove(handler) }
}
