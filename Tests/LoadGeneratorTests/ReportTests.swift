import Glibc
import Testing

@testable import LoadGenerator

@Suite struct ReportTests {
    @Test("Percentiles of 1 to 100,000 are right to 0.4 %, and the longest is exact")
    func percentiles() {
        var histogram = LatencyHistogram()
        for value in (1...100_000).reversed() { histogram.record(nanoseconds: UInt64(value)) }
        for permyriad in [1, 100, 5_000, 9_000, 9_900, 9_990, 10_000] {
            let exact = UInt64(permyriad * 10)
            let found = histogram.nanoseconds(atPermyriad: permyriad)
            #expect(found >= exact && found - exact <= exact / 256, "\(permyriad): \(found)")
        }
        #expect(histogram.maximumNanoseconds == 100_000 && histogram.count == 100_000)
    }

    @Test("Small values are exact, and nothing recorded is 0")
    func small() {
        var histogram = LatencyHistogram()
        #expect(histogram.nanoseconds(atPermyriad: 9_990) == 0)
        for value in [0, 1, 255, 256, 511] { histogram.record(nanoseconds: UInt64(value)) }
        #expect(
            [2_000, 4_000, 6_000, 8_000, 10_000].map { histogram.nanoseconds(atPermyriad: $0) } == [
                0, 1, 255, 256, 511,
            ])
    }

    @Test("Every power of two and its neighbours stay within their step, up to 68 seconds and beyond")
    func edges() {
        for exponent in 1..<40 {
            for value in [(1 << exponent) - 1, 1 << exponent, (1 << exponent) + 1] as [UInt64] {
                var histogram = LatencyHistogram()
                histogram.record(nanoseconds: value)
                histogram.record(nanoseconds: .max)
                let found = histogram.nanoseconds(atPermyriad: 5_000)
                let counted = min(value, 1 << 36)
                #expect(found >= counted && found - counted <= counted / 256, "\(value): \(found)")
            }
        }
    }

    @Test("Numbers are cut, never rounded up, and thousands are apart")
    func numbers() {
        #expect(decimalText(1_234_567, unit: 1_000, places: 1) == "1234.5")
        #expect(decimalText(999, unit: 1_000, places: 2) == "0.99")
        #expect(decimalText(5, unit: 1_000, places: 3) == "0.005")
        #expect(decimalText(1_999, unit: 1_000, places: 0) == "1")
        #expect([0, 999, 1_000, 1_002_003, -1_234].map(groupedText) == ["0", "999", "1,000", "1,002,003", "-1,234"])
    }

    @Test("The report as text fits 80 columns")
    func text() {
        let lines = report().text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.allSatisfy { $0.count <= 80 })
        #expect(lines.contains("checks         1,000,000   100,000 a second"))
        #expect(lines.contains("  daemon            4.20"))
    }

    @Test("The report as JSON is one line with every number")
    func json() {
        let expected = #"""
            {"target":"/run/\"x\\\u0001.sock","connections":64,"pipeline":1,"seconds":10.000,"checks":1000000,\#
            "checks_per_second":100000,"answers":{"allowed":999990,"denied":7,"degraded":2,"other":1},\#
            "lost_connections":3,"latency":{"p50_us":0.100,"p90_us":0.100,"p99_us":0.100,"p999_us":0.100,\#
            "max_us":0.100},"cpu":{"daemon_us_per_check":4.200}}
            """#
        #expect(report().json == expected)
    }

    @Test("This process has used processor time and memory; one that is not there has none")
    func processes() throws {
        let before = try #require(processorNanoseconds(of: getpid()))
        var numbers = SplitMix(state: 1)
        let deadline = monotonicNanoseconds() + 30_000_000
        while monotonicNanoseconds() < deadline { _ = numbers.next() }
        #expect(try #require(processorNanoseconds(of: getpid())) > before)
        #expect(try #require(residentKibibytes(of: getpid())) > 1_000)
        let anonymous = try #require(anonymousKibibytes(of: getpid()))
        #expect(anonymous > 1_000 && anonymous < residentKibibytes(of: getpid()) ?? 0)
        #expect(processorNanoseconds(of: -1) == nil && residentKibibytes(of: -1) == nil)
        #expect(anonymousKibibytes(of: -1) == nil)
    }

    private func report() -> LoadReport {
        var tally = LoadReport.Tally()
        tally.allowed = 999_990
        tally.denied = 7
        tally.degraded = 2
        tally.other = 1
        var histogram = LatencyHistogram()
        histogram.record(nanoseconds: 100)
        return LoadReport(
            target: "/run/\"x\\\u{1}.sock", connections: 64, pipelineDepth: 1, elapsedNanoseconds: 10_000_000_000,
            tally: tally, lostConnections: 3, answersWithWarmUp: 1_100_000, latency: .init(histogram),
            processors: [.init(name: "daemon", nanoseconds: 4_200_000_000)])
    }
}
