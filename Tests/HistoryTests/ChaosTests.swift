import FaultInjection
import TestSupport
import Testing

/// A short run of what `scripts/chaos` does for minutes.
@Suite("Chaos")
struct ChaosTests {
    @Test("Twenty seconds of faults under load: exact throughout")
    func short() throws {
        var options = ChaosRun.Options(seconds: 20, seed: 1)
        options.traffic = .checks
        let report = try ChaosRun(options).run()
        print(report.description)
        #expect(report.isClean)
        #expect(report.injected >= 3 && report.operations > 1_000)
        // What is not decided is not known to be right: it has to stay the exception.
        #expect(report.undecided * 5 <= report.histories)
    }

    @Test(
        "Windows emptied behind the recorder's back are found: the run ends as violated, with the history that shows it"
    )
    func untold() throws {
        var options = ChaosRun.Options(seconds: 4, seed: 1)
        options.faults = [.untoldFlush]
        options.traffic = .checks
        let report = try ChaosRun(options).run()
        print(report.description)
        #expect(!report.isClean && report.admittedOver > 0 && !report.violations.isEmpty)
    }

    @Test("Twenty seconds of faults while calls hold leases under several limits: exact throughout")
    func calls() throws {
        var options = ChaosRun.Options(seconds: 20, seed: 2)
        options.traffic = .calls
        options.userSeconds = 4
        options.faults = Topology.single.faults.filter { Self.shortFaults.contains($0.name) }
        let report = try ChaosRun(options).run()
        print(report.description)
        #expect(report.isClean)
        #expect(report.injected >= 3 && report.calls.operations > 500)
        for kind in ["check", "reserve", "renew", "settle", "release", "usage", "look"] {
            #expect(report.calls.kinds[kind, default: 0] > 0, "no \(kind)")
        }
    }

    private static let shortFaults = [
        "daemon killed -9", "daemon stopped", "Redis stopped", "Redis killed -9", "CLIENT KILL", "clients hang up",
    ]

    @Test("A master killed, another failed over, and slots moved under load: nothing is told that cannot have happened")
    func cluster() throws {
        var options = ChaosRun.Options(seconds: 25, seed: 3, on: .cluster)
        options.userSeconds = 4
        options.faults = options.faults.filter { Self.clusterFaults.contains($0.name) }
        #expect(options.faults.count == Self.clusterFaults.count)
        let report = try ChaosRun(options).run()
        print(report.description)
        #expect(report.isClean)
        #expect(report.injected >= 3 && report.operations > 500 && report.calls.operations > 200)
        // Some were there when a master was, and the others say what no failover can have touched.
        #expect(report.touchedByLosses < report.histories + report.callHistories)
    }

    private static let clusterFaults = [
        "master killed, failover", "CLUSTER FAILOVER", "slots moved", "CLIENT KILL", "node stutters",
    ]

    @Test("What a failover forgets is found where the recorder is not told of it")
    func untoldFailover() throws {
        // Who asks is drawn anew each time: on a busy machine the lost half second may have had nothing of theirs.
        var reports: [ChaosReport] = []
        for seed in 1...4 as ClosedRange<UInt64> where reports.allSatisfy(\.isClean) {
            reports.append(try afterFailovers(.untoldFailover, seed: seed))
        }
        #expect(reports.contains { !$0.isClean && !$0.violations.isEmpty })
        #expect(reports.allSatisfy { $0.touchedByLosses == 0 })
    }

    @Test("What a failover forgets is allowed where the recorder is told of it")
    func toldFailover() throws {
        let report = try afterFailovers(.replicaBehind, seed: 1)
        #expect(report.isClean && report.touchedByLosses > 0)
    }

    private func afterFailovers(_ fault: FaultInjection.Fault, seed: UInt64) throws -> ChaosReport {
        var options = ChaosRun.Options(seconds: 14, seed: seed, on: .cluster)
        // What calendars have counted shows however long the election takes.
        options.traffic = .calls
        options.clientsForEachDaemon = 10
        options.userSeconds = 30
        options.faults = [fault]
        options.pausesMilliseconds = 1_000...1_500
        let report = try ChaosRun(options).run()
        print(report.description)
        return report
    }

    @Test("A cluster's windows emptied behind the recorder's back are found")
    func untoldOfCluster() throws {
        for traffic in [Traffic.checks, .calls] {
            var options = ChaosRun.Options(seconds: 4, seed: 1, on: .cluster)
            options.faults = [.untoldFlush]
            options.traffic = traffic
            let report = try ChaosRun(options).run()
            print(report.description)
            #expect(!report.isClean && !report.violations.isEmpty, "\(traffic)")
        }
    }

    @Test("Leases emptied behind the recorder's back are found")
    func untoldOfCalls() throws {
        var options = ChaosRun.Options(seconds: 4, seed: 1)
        options.faults = [.untoldFlush]
        options.traffic = .calls
        let report = try ChaosRun(options).run()
        print(report.description)
        #expect(!report.isClean && !report.violations.isEmpty)
    }

    @Test("A seed gives the same faults in the same order, and each kind once before one comes again")
    func seeds() {
        func entries(_ seed: UInt64) -> [FaultSchedule.Entry] {
            var schedule = FaultSchedule(seed: seed, kinds: 7, pausesMilliseconds: 10...20)
            return (0..<21).map { _ in schedule.next() }
        }
        #expect(entries(5) == entries(5))
        #expect(entries(5) != entries(6))
        for round in 0..<3 { #expect(Set(entries(5)[(7 * round)..<(7 * round + 7)].map(\.fault)).count == 7) }
    }

    @Test(
        "A soak fails where one daemon's memory or descriptors grow, or answers slow down, and not where the machine does"
    )
    func soakRows() {
        func rows(_ sample: (Int) -> SoakRun.Sample) -> [Bool] {
            SoakRun.rows((0..<400).map(sample)).map(\.isFlat)
        }
        func sample(
            memory: Int = 0, descriptors: Int = 0, latency: Int = 0, reference: Int = 0
        ) -> SoakRun.Sample {
            SoakRun.Sample(
                residentKibibytes: [20_000, 20_000 + memory, 20_000], descriptors: [20, 20, 20 + descriptors],
                medianMicroseconds: 500 + latency, p99Microseconds: 2_000 + latency,
                referenceMicroseconds: 500 + reference
            )
        }
        #expect(rows { _ in sample() } == [true, true, true, true, true])
        #expect(rows { sample(memory: 20 * $0) } == [false, true, true, true, true])
        #expect(rows { sample(descriptors: $0 / 100) } == [true, false, true, true, true])
        #expect(rows { sample(latency: 8 * $0) } == [true, true, false, false, true])
        #expect(rows { sample(latency: 4 * $0, reference: 4 * $0) } == [true, true, true, true, true])
    }
}
