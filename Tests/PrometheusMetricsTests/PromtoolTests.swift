import CoreMetrics
import Glibc
import PrometheusMetrics
import Testing

/// The path of promtool: `PROMTOOL`, or where `scripts/setup-monitoring` puts it.
private func promtoolPath() -> String {
    if let path = getenv("PROMTOOL") { return String(cString: path) }
    let components = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    return components.dropLast(3).joined(separator: "/") + "/.build/monitoring/promtool"
}

/// Runs `promtool check metrics` on `page`; gives its exit status and all it said.
private func check(_ page: [UInt8], promtool: String) throws -> (status: Int32, output: String) {
    var template = Array("/tmp/promtool-page-XXXXXX".utf8CString)
    let file = mkstemp(&template)
    try #require(file >= 0)
    defer { close(file) }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(path) }
    try #require(write(file, page, page.count) == page.count)
    let stream = try #require(popen("'\(promtool)' check metrics <'\(path)' 2>&1", "r"))
    var output: [UInt8] = []
    var byte = fgetc(stream)
    while byte != EOF, output.count < 65_536 {
        output.append(UInt8(byte))
        byte = fgetc(stream)
    }
    return (pclose(stream), String(decoding: output, as: UTF8.self))
}

@Suite("promtool")
struct PromtoolTests {
    @Test("promtool check metrics finds nothing to say about a page with every kind of metric")
    func clean() throws {
        let promtool = promtoolPath()
        guard access(promtool, X_OK) == 0 else {
            Issue.record("cannot check the page: no promtool at \(promtool); run scripts/test, which fetches it")
            return
        }
        let factory = try PrometheusMetricsFactory(catalogue: [
            MetricDescription(name: "x_checks_total", help: "Checks \\ \"all\"\nof them.", kind: .counter),
            MetricDescription(name: "x_spent_total", help: "Spent.", kind: .counter),
            MetricDescription(name: "x_depth", help: "Depth.", kind: .gauge),
            MetricDescription(name: "x_batch_size", help: "Batch sizes.", kind: .histogram(bounds: [1, 2, 4, 8])),
            MetricDescription(
                name: "x_latency_seconds",
                help: "Latency.",
                kind: .secondsHistogram(nanosecondBounds: [50_000, 1_000_000, 1_000_000_000])
            ),
            MetricDescription(name: "x_unused_total", help: "Described and never made.", kind: .counter),
        ])
        Counter(label: "x_checks_total", dimensions: [("decision", "a\\\"b\nc")], factory: factory).increment()
        _ = Counter(label: "x_checks_total", dimensions: [("decision", "denied")], factory: factory)
        FloatingPointCounter(label: "x_spent_total", factory: factory).increment(by: 1e20)
        Meter(label: "x_depth", factory: factory).set(-0.5)
        Recorder(label: "x_batch_size", factory: factory).record(3)
        Timer(label: "x_latency_seconds", dimensions: [("source", "redis")], factory: factory).recordMicroseconds(70)

        let page = factory.render()
        let result = try check(page, promtool: promtool)
        #expect(result.status == 0 && result.output == "", "\(result.output)\n\(String(decoding: page, as: UTF8.self))")

        // The check itself must be able to fail.
        let broken = try check(page + Array("x_checks_total{ 1\n".utf8), promtool: promtool)
        #expect(broken.status != 0)
    }
}
