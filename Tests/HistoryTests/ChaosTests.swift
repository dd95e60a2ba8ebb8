import FaultInjection
import TestSupport
import Testing

/// A short run of what `scripts/chaos` does for minutes.
@Suite("Chaos")
struct ChaosTests {
    @Test("Twenty seconds of faults under load: exact throughout")
    func short() throws {
        let report = try ChaosRun(ChaosRun.Options(seconds: 20, seed: 1)).run()
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
        let report = try ChaosRun(options).run()
        print(report.description)
        #expect(!report.isClean && report.admittedOver > 0 && !report.violations.isEmpty)
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
}
