import CoreMetrics
import Testing

@testable import PrometheusMetrics

/// The page without the metrics of the process, whose values differ from run to run.
private func page(_ factory: PrometheusMetricsFactory) -> String {
    let lines = String(decoding: factory.render(), as: UTF8.self).split(separator: "\n")
    let own = lines.filter { !$0.contains("process_") && !$0.contains("_dropped_total") }
    return own.map { "\($0)\n" }.joined()
}

private func factory(_ catalogue: MetricDescription...) throws -> PrometheusMetricsFactory {
    try PrometheusMetricsFactory(catalogue: catalogue)
}

@Suite("The exposition text")
struct ExpositionTests {
    @Test("The page is sorted by name and then by labels, whatever the order of making")
    func sorted() throws {
        let factory = try factory(
            MetricDescription(name: "z_info", help: "Last.", kind: .gauge),
            MetricDescription(name: "checks_total", help: "Checks.", kind: .counter),
            MetricDescription(name: "spent_total", help: "Spent.", kind: .counter)
        )
        Meter(label: "z_info", dimensions: [("version", "1.0"), ("arch", "x86")], factory: factory).set(1)
        Counter(label: "checks_total", dimensions: [("decision", "denied")], factory: factory).increment(by: 3)
        _ = Counter(label: "checks_total", dimensions: [("decision", "allowed")], factory: factory)
        FloatingPointCounter(label: "spent_total", factory: factory).increment(by: 0.5)
        #expect(
            page(factory) == """
                # HELP checks_total Checks.
                # TYPE checks_total counter
                checks_total{decision="allowed"} 0
                checks_total{decision="denied"} 3
                # HELP spent_total Spent.
                # TYPE spent_total counter
                spent_total 0.5
                # HELP z_info Last.
                # TYPE z_info gauge
                z_info{arch="x86",version="1.0"} 1

                """
        )
    }

    @Test("A described metric has HELP and TYPE before any series of it exists")
    func described() throws {
        let factory = try factory(MetricDescription(name: "a", help: "Not yet.", kind: .histogram(bounds: [1])))
        #expect(page(factory) == "# HELP a Not yet.\n# TYPE a histogram\n")
    }

    @Test("Buckets accumulate, a bound counts into its own bucket, and +Inf is the count")
    func buckets() throws {
        let factory = try factory(
            MetricDescription(name: "batch", help: "Checks in a batch.", kind: .histogram(bounds: [1, 8, 64]))
        )
        let recorder = Recorder(label: "batch", factory: factory)
        for size in [0, 1, 2, 8, 9, 64, 65, 1_000] { recorder.record(size) }
        recorder.record(7.6)
        recorder.record(Double.nan)
        #expect(
            page(factory) == """
                # HELP batch Checks in a batch.
                # TYPE batch histogram
                batch_bucket{le="1"} 2
                batch_bucket{le="8"} 5
                batch_bucket{le="64"} 7
                batch_bucket{le="+Inf"} 9
                batch_sum 1157
                batch_count 9

                """
        )
    }

    @Test("Durations are shown in seconds, to the nanosecond")
    func seconds() throws {
        let bounds: [Int64] = [250_000, 1_000_000, 2_500_000_000]
        let factory = try factory(
            MetricDescription(name: "wait_seconds", help: "Wait.", kind: .secondsHistogram(nanosecondBounds: bounds))
        )
        let timer = Timer(label: "wait_seconds", dimensions: [("source", "redis")], factory: factory)
        for _ in 0..<10 { timer.recordNanoseconds(100_000_001) }
        timer.recordMicroseconds(250)
        timer.recordNanoseconds(-5)
        #expect(
            page(factory) == """
                # HELP wait_seconds Wait.
                # TYPE wait_seconds histogram
                wait_seconds_bucket{source="redis",le="0.00025"} 2
                wait_seconds_bucket{source="redis",le="0.001"} 2
                wait_seconds_bucket{source="redis",le="2.5"} 12
                wait_seconds_bucket{source="redis",le="+Inf"} 12
                wait_seconds_sum{source="redis"} 1.00025001
                wait_seconds_count{source="redis"} 12

                """
        )
    }

    @Test("Label values escape quotes, backslashes and line feeds; help keeps its quotes")
    func escaping() throws {
        let factory = try factory(MetricDescription(name: "a", help: "A \"q\" \\ and\nmore é", kind: .gauge))
        Gauge(label: "a", dimensions: [("path", "C:\\x\n\"y\" é")], factory: factory).record(2.25)
        #expect(
            page(factory) == #"""
                # HELP a A "q" \\ and\nmore é
                # TYPE a gauge
                a{path="C:\\x\n\"y\" é"} 2.25

                """#
        )
    }

    @Test(
        "Numbers are spelled as Prometheus reads them",
        arguments: [
            (0.0, "0"), (-3.0, "-3"), (0.1, "0.1"), (1e300, "1e+300"), (.infinity, "+Inf"), (-.infinity, "-Inf"),
            (.nan, "NaN"),
        ]
    )
    func numbers(value: Double, expected: String) {
        #expect(text(of: value) == expected)
    }

    @Test(
        "Nanoseconds become seconds without a rounding",
        arguments: [
            (0, "0"), (1, "0.000000001"), (1_500_000, "0.0015"), (3_600_000_000_000, "3600"),
            (9_223_372_036_854_775_807, "9223372036.854775807"), (-1_500_000_000, "-1.5"),
        ]
    )
    func nanoseconds(value: Int64, expected: String) {
        #expect(secondsText(nanoseconds: value) == expected)
    }
}
