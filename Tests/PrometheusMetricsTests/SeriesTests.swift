import CoreMetrics
import Testing

@testable import PrometheusMetrics

private let catalogue = [
    MetricDescription(name: "c_total", help: "A counter.", kind: .counter),
    MetricDescription(name: "f_total", help: "A fractional counter.", kind: .counter),
    MetricDescription(name: "g", help: "A gauge.", kind: .gauge),
    MetricDescription(name: "h", help: "A histogram.", kind: .histogram(bounds: [1, 10, 100])),
    MetricDescription(name: "t_seconds", help: "Times.", kind: .secondsHistogram(nanosecondBounds: [1_000])),
]

private func lines(_ factory: PrometheusMetricsFactory) -> [String] {
    String(decoding: factory.render(), as: UTF8.self).split(separator: "\n").map(String.init)
}

@Suite("Series")
struct SeriesTests {
    let factory: PrometheusMetricsFactory

    init() throws {
        factory = try PrometheusMetricsFactory(catalogue: catalogue)
    }

    @Test("Additions from many tasks at once are all there at the end")
    func concurrent() async {
        let tasks = 16
        let rounds = 5_000
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<tasks {
                group.addTask { [factory] in
                    let counter = Counter(label: "c_total", dimensions: [("k", "v")], factory: factory)
                    let fractional = FloatingPointCounter(label: "f_total", factory: factory)
                    let gauge = Meter(label: "g", factory: factory)
                    let recorder = Recorder(label: "h", factory: factory)
                    for round in 0..<rounds {
                        counter.increment()
                        fractional.increment(by: 0.5)
                        gauge.increment(by: 2)
                        gauge.decrement()
                        recorder.record(round % 200)
                    }
                }
            }
        }
        let page = lines(factory)
        let all = tasks * rounds
        #expect(page.contains("c_total{k=\"v\"} \(all)"))
        #expect(page.contains("f_total \(all / 2)"))
        #expect(page.contains("g \(all)"))
        #expect(page.contains("h_bucket{le=\"+Inf\"} \(all)"))
        #expect(page.contains("h_bucket{le=\"10\"} \(all / 200 * 11)"))
        #expect(page.contains("h_sum \(all / 200 * (199 * 200 / 2))"))
        #expect(factory.droppedSeries == 0)
    }

    @Test("The bucket of every value is the first whose bound it does not exceed")
    func bucketSearch() {
        let boundLists: [[Int64]] = [
            [1], [.max], [3, 5, 6, 7], [50_000, 100_000, 250_000], Array(1...31), [1, 2, .max - 1, .max],
            (0..<31).map { 1 << Int64($0 * 2) },
        ]
        for bounds in boundLists {
            let near = bounds.flatMap { bound in [bound - 1, bound, bound < .max ? bound + 1 : bound] }
            for value in near + [0, 1, .max, -1, .min] {
                let histogram = HistogramSeries(bounds: bounds)
                histogram.observe(value)
                let slot = bounds.firstIndex { $0 >= value } ?? bounds.count
                #expect(histogram.slotCounts.firstIndex(of: 1) == slot, "\(value) in \(bounds)")
            }
        }
    }

    @Test("Equal labels in another order are one series")
    func sameSeries() {
        Counter(label: "c_total", dimensions: [("a", "1"), ("b", "2")], factory: factory).increment()
        Counter(label: "c_total", dimensions: [("b", "2"), ("a", "1")], factory: factory).increment()
        #expect(lines(factory).contains(#"c_total{a="1",b="2"} 2"#))
    }

    @Test("A series beyond the limit does nothing, and is counted")
    func limit() throws {
        let factory = try PrometheusMetricsFactory(catalogue: catalogue, seriesLimit: 2, droppedSeriesName: "d_total")
        for user in 0..<5 {
            Counter(label: "c_total", dimensions: [("n", "\(user)")], factory: factory).increment()
        }
        // A series that exists is still found.
        Counter(label: "c_total", dimensions: [("n", "0")], factory: factory).increment()
        #expect(factory.droppedSeries == 3)
        let page = lines(factory)
        #expect(page.contains("d_total 3"))
        #expect(page.filter { $0.hasPrefix("c_total{") } == ["c_total{n=\"0\"} 2", "c_total{n=\"1\"} 1"])
    }

    @Test("What the catalogue does not describe, or describes otherwise, is refused and counted")
    func refused() {
        Counter(label: "unknown_total", factory: factory).increment()
        Meter(label: "c_total", factory: factory).set(1)
        Recorder(label: "t_seconds", factory: factory).record(1)
        Timer(label: "h", factory: factory).recordNanoseconds(1)
        _ = Counter(label: "f_total", factory: factory)
        FloatingPointCounter(label: "f_total", factory: factory).increment()
        for labels in [[("__a", "")], [("1a", "")], [("", "")], [("le", "1")], [("a", "1"), ("a", "2")]] {
            Counter(label: "c_total", dimensions: labels, factory: factory).increment()
        }
        let long = String(repeating: "x", count: LabelSet.maximumValueBytes + 1)
        Counter(label: "c_total", dimensions: [("a", long)], factory: factory).increment()
        Counter(label: "process_open_fds", factory: factory).increment()
        #expect(factory.droppedSeries == 12)
    }

    @Test("A counter never falls, but can be reset")
    func monotonic() {
        let counter = Counter(label: "c_total", factory: factory)
        counter.increment(by: 5)
        counter.increment(by: -3)
        let fractional = FloatingPointCounter(label: "f_total", factory: factory)
        fractional.increment(by: -1.0)
        fractional.increment(by: Double.nan)
        #expect(lines(factory).contains("c_total 5"))
        #expect(lines(factory).contains("f_total 0"))
        counter.reset()
        #expect(lines(factory).contains("c_total 0"))
    }

    @Test("A destroyed series leaves the page and makes room for another")
    func destroyed() throws {
        let factory = try PrometheusMetricsFactory(catalogue: catalogue, seriesLimit: 1)
        let counter = Counter(label: "c_total", factory: factory)
        counter.destroy()
        #expect(!lines(factory).contains { $0.hasPrefix("c_total") })
        Meter(label: "g", factory: factory).set(7)
        #expect(lines(factory).contains("g 7"))
        #expect(factory.droppedSeries == 0)
    }

    @Test("A catalogue that cannot be shown is refused with the reason")
    func catalogueErrors() {
        func error(_ descriptions: MetricDescription...) -> MetricCatalogueError? {
            do throws(MetricCatalogueError) {
                _ = try PrometheusMetricsFactory(catalogue: descriptions)
                return nil
            } catch {
                return error
            }
        }
        let good = catalogue[0]
        #expect(error(good) == nil)
        #expect(error(good, good) == .duplicateName("c_total"))
        #expect(error(MetricDescription(name: "a-b", help: "x", kind: .gauge)) == .invalidName("a-b"))
        #expect(error(MetricDescription(name: "a", help: "", kind: .gauge)) == .emptyHelp(name: "a"))
        for bounds: [Int64] in [[], [0, 1], [2, 2], Array(1...32)] {
            let found = error(MetricDescription(name: "a", help: "x", kind: .histogram(bounds: bounds)))
            #expect(found == .invalidBounds(name: "a", bounds: bounds))
        }
        #expect(
            MetricCatalogueError.invalidName("a-b").description
                == "cannot describe metric \"a-b\": a name has letters, digits, '_' and ':' and starts with no digit"
        )
    }
}
