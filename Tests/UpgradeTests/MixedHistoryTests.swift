import FaultInjection
import TestSupport
import Testing

/// What `scripts/chaos` does with daemons of one release, with daemons of both.
@Suite("Histories of two releases", .serialized, .needsReleases)
struct MixedHistoryTests {
    @Test("Side by side under load, while daemons are exchanged for those of the other release: exact throughout")
    func exact() throws {
        var options = ChaosRun.Options(seconds: 40, seed: 1)
        options.programs = Release.allCases.map(\.program)
        options.faults = [.daemonExchanged]
        options.pausesMilliseconds = 1_500...3_000
        options.userSeconds = 5
        let report = try ChaosRun(options).run()
        print(report.description)
        #expect(report.isClean)
        #expect(report.injected >= 4 && report.operations > 1_000 && report.calls.operations > 500)
        for kind in ["check", "reserve", "renew", "settle", "release", "usage", "look"] {
            #expect(report.calls.kinds[kind, default: 0] > 0, "no \(kind)")
        }
        #expect(report.undecided * 5 <= report.histories)
    }
}
