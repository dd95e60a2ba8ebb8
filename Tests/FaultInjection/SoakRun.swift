import Foundation
import TestSupport

/// Watches the daemons of a chaos run: resident memory, open descriptors, and how long answers take.
///
/// The first quarter's median is compared with the last's. A median of a quarter is not moved by single faults, which
/// fall into all quarters alike. Latency is held against a daemon of the run's own that has nothing to do with Redis and
/// is asked for `/livez` meanwhile: what the machine's other work adds, it adds to both.
package struct SoakRun {
    /// How the daemons stood in one second.
    package struct Sample: Sendable {
        /// Of each daemon.
        package var residentKibibytes: [Int]
        package var descriptors: [Int]
        package var medianMicroseconds: Int?
        package var p99Microseconds: Int?
        package var referenceMicroseconds: Int?

        package init(
            residentKibibytes: [Int], descriptors: [Int], medianMicroseconds: Int?, p99Microseconds: Int?,
            referenceMicroseconds: Int?
        ) {
            self.residentKibibytes = residentKibibytes
            self.descriptors = descriptors
            self.medianMicroseconds = medianMicroseconds
            self.p99Microseconds = p99Microseconds
            self.referenceMicroseconds = referenceMicroseconds
        }
    }

    /// The bounds on growth. Memory may grow by a tenth, and by 2 MiB for what a young process has not touched yet.
    private static let residentGrowth = (percent: 10, kibibytes: 2_048)
    private static let latencyGrowth = (percent: 50, microseconds: 300)

    let seconds: Double
    let seed: UInt64

    package init(seconds: Double, seed: UInt64) {
        self.seconds = seconds
        self.seed = seed
    }

    package func run(reporting report: (String) -> Void = { _ in }) throws -> SoakReport {
        var options = ChaosRun.Options(seconds: seconds, seed: seed)
        options.faults = Fault.daemonsLive
        options.traffic = .checks
        options.pausesMilliseconds = 2_000...12_000
        let run = try ChaosRun(options)
        let otherRedis = try RedisServer()
        let reference = try Daemon(redis: otherRedis.url)
        let flag = Flag()
        let sampler = Background { try Self.sample(run, reference, until: flag) }
        let outcome = Result {
            try run.run { progress in
                report(
                    "\(Int(progress.secondsPassed)) of \(Int(seconds)) s  \(progress.faultsInjected) faults  "
                        + "\(progress.operationsChecked) checked"
                )
            }
        }
        flag.set()
        let samples = try sampler.value()
        return SoakReport(rows: Self.rows(samples), samples: samples.count, chaos: try outcome.get())
    }

    private static func sample(_ run: ChaosRun, _ reference: Daemon, until flag: Flag) throws -> [Sample] {
        let connection = try reference.connect()
        let ids = run.testbed.groups.flatMap(\.places).map(\.processID)
        var samples: [Sample] = []
        while !flag.isSet {
            var answers: [Int] = []
            for _ in 0..<20 {
                let start = systemMicroseconds()
                _ = try connection.request("GET", "/livez")
                answers.append(systemMicroseconds() - start)
                pause(milliseconds: 50)
            }
            let latencies = run.statistics.takeLatencies()
            samples.append(
                Sample(
                    residentKibibytes: ids.map { residentKibibytes(of: $0) },
                    descriptors: ids.map { openDescriptors(of: $0) },
                    medianMicroseconds: quantile(latencies, 0.5), p99Microseconds: quantile(latencies, 0.99),
                    referenceMicroseconds: quantile(answers, 0.5)
                )
            )
        }
        return samples
    }

    private static func residentKibibytes(of id: pid_t) -> Int {
        let line = readFile("/proc/\(id)/status").split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }

    private static func openDescriptors(of id: pid_t) -> Int {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(id)/fd")) ?? []).count
    }

    private static func quantile(_ values: [Int], _ share: Double) -> Int? {
        guard !values.isEmpty else { return nil }
        return values.sorted()[min(values.count - 1, Int(Double(values.count) * share))]
    }

    /// The first quarter beside the last. Of memory and descriptors the daemon is told that grew most.
    package static func rows(_ samples: [Sample]) -> [SoakReport.Row] {
        let quarter = max(1, samples.count / 4)
        func medians(_ value: (Sample) -> Int?) -> (first: Int, last: Int) {
            (
                quantile(samples.prefix(quarter).compactMap(value), 0.5) ?? 0,
                quantile(samples.suffix(quarter).compactMap(value), 0.5) ?? 0
            )
        }
        func worst(_ values: (Sample) -> [Int]) -> (first: Int, last: Int) {
            let daemons = samples.first.map { values($0).indices } ?? 0..<0
            let all = daemons.map { daemon in medians { values($0)[daemon] } }
            return all.max { $0.last - $0.first < $1.last - $1.first } ?? (0, 0)
        }
        let resident = worst(\.residentKibibytes)
        let descriptors = worst(\.descriptors)
        let median = medians(\.medianMicroseconds)
        let p99 = medians(\.p99Microseconds)
        let reference = medians(\.referenceMicroseconds)
        // What the machine's other work has added meanwhile, in percent of what there was.
        let noise = max(100, reference.last * 100 / max(1, reference.first))
        func latencyBound(_ first: Int) -> Int {
            (first * (100 + latencyGrowth.percent) / 100 + latencyGrowth.microseconds) * noise / 100
        }
        let residentBound = resident.first * (100 + residentGrowth.percent) / 100 + residentGrowth.kibibytes
        return [
            .init(name: "resident memory, KiB", first: resident.first, last: resident.last, bound: residentBound),
            .init(
                name: "open descriptors", first: descriptors.first, last: descriptors.last, bound: descriptors.first + 1
            ),
            .init(
                name: "answer, median, µs", first: median.first, last: median.last, bound: latencyBound(median.first)),
            .init(name: "answer, p99, µs", first: p99.first, last: p99.last, bound: latencyBound(p99.first)),
            .init(name: "/livez of an idle daemon, µs", first: reference.first, last: reference.last, bound: nil),
        ]
    }
}

/// What a soak found.
package struct SoakReport: Sendable {
    package struct Row: Sendable {
        package var name: String
        package var first: Int
        package var last: Int
        /// The most the last quarter may have; nil where it is only told.
        package var bound: Int?
        package var isFlat: Bool { bound.map { last <= $0 } ?? true }
    }

    package let rows: [Row]
    package let samples: Int
    package let chaos: ChaosReport

    package var isFlat: Bool { rows.allSatisfy(\.isFlat) && chaos.isClean }

    package var description: String {
        var lines = [
            Self.row("median of a quarter", "first", "last", "at most", ""), String(repeating: "-", count: 80),
        ]
        for row in rows {
            let verdict = row.bound == nil ? "" : row.isFlat ? "flat" : "GREW"
            lines.append(Self.row(row.name, "\(row.first)", "\(row.last)", row.bound.map { "\($0)" } ?? "", verdict))
        }
        lines.append(String(repeating: "-", count: 80))
        lines.append("\(samples) samples, one a second, of each daemon; the faults meanwhile:")
        lines.append(chaos.description)
        lines.append(isFlat ? "soak: flat" : "soak: NOT FLAT")
        return lines.joined(separator: "\n")
    }

    private static func row(_ name: String, _ cells: String...) -> String {
        var row = name + String(repeating: " ", count: max(0, 32 - name.count))
        for cell in cells { row += String(repeating: " ", count: max(0, 11 - cell.count)) + cell }
        while row.last == " " { row.removeLast() }
        return row
    }
}
