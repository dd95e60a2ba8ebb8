import HistoryChecker
import TestSupport
import Testing

@Suite("History checker for calls under several limits")
struct CallCheckerTests {
    struct Setting: Sendable, CustomTestStringConvertible {
        var name: String
        var calls: SimulatedCalls
        /// Whether there is enough of them that each limit denies.
        var isCrowded = true
        var testDescription: String { name }
    }

    static let lawful = [
        Setting(name: "few at a time", calls: SimulatedCalls(clients: 3, callsEach: 30)),
        Setting(name: "many at a time", calls: SimulatedCalls(callsEach: 25, longestLatencyMicroseconds: 20_000)),
        Setting(name: "answers lost", calls: SimulatedCalls(callsEach: 25, shareUnknown: 8)),
        Setting(name: "emptied", calls: SimulatedCalls(callsEach: 25, flushes: 2)),
        Setting(name: "emptied, answers lost", calls: SimulatedCalls(shareUnknown: 5, flushes: 1)),
        Setting(
            name: "stalls, in which many leases lapse",
            calls: SimulatedCalls(
                world: ScriptCalls().world, clients: 3, callsEach: 40, longestPauseMicroseconds: 25_000,
                stallsEachMicroseconds: 150_000), isCrowded: false),
        Setting(name: "long", calls: SimulatedCalls(clients: 8, callsEach: 150)),
    ]

    @Test("A right history is never called wrong, and most small ones get an order", arguments: lawful)
    func right(_ setting: Setting) throws {
        var orders = 0
        var denying: Set<Int> = []
        for seed in 1...25 as ClosedRange<UInt64> {
            let operations = setting.calls.make(seed: seed)
            let contract = setting.calls.world.contract
            let denied = operations.flatMap(\.terms).filter { $0.standing?.isDenied == true }
            denying.formUnion(denied.map { CallWorld.limit(of: $0.window) })
            switch CallHistoryChecker(contract).verdict(of: operations) {
            case .consistent(let order):
                orders += 1
                var replay = CallReplay(contract)
                try replay.play(order, operations)
            case .violation(let evidence): Issue.record("\(setting.name), seed \(seed): \(evidence)")
            case .undecided: break
            }
        }
        print("calls: \(setting.name): \(orders) of 25 have an order")
        // Those for each value with the others.
        #expect(!setting.isCrowded || denying == Set(setting.calls.world.contract.windows.indices.map(CallWorld.limit)))
        if setting.calls.clients * setting.calls.callsEach < CallHistoryChecker.longestSearched {
            #expect(orders >= 20)
        }
    }

    @Test("Two concurrent admissions with one number are impossible, though each alone is not")
    func sameNumber() throws {
        let contract = CallContract(windows: [.sliding(microseconds: 1_000_000)], toleranceMicroseconds: 0)
        func reserve(_ id: String, _ start: Int, _ end: Int, used: Int) -> CallOperation {
            let standing = CallOperation.Standing(quota: 5, used: used)
            return CallOperation(
                .reserve(microseconds: 500_000), id: id,
                terms: [CallOperation.Term(window: 0, cost: 1, standing: standing)], startMicroseconds: start,
                endMicroseconds: end, outcome: .done)
        }
        let first = reserve("a", 0, 100, used: 1)
        let checker = CallHistoryChecker(contract)
        let lawful = [first, reserve("b", 200, 900, used: 2), reserve("c", 300, 800, used: 3)]
        guard case .consistent = checker.verdict(of: lawful) else {
            Issue.record("the lawful one is refused")
            return
        }
        let double = [first, reserve("b", 200, 900, used: 2), reserve("c", 300, 800, used: 2)]
        #expect(checker.offences(of: double).isEmpty)
        guard case .violation(let evidence) = checker.verdict(of: double) else {
            Issue.record("not found")
            return
        }
        print("concurrent reservations with one number: \(evidence)")
        #expect(evidence.certainCount <= 3)
    }

    @Test(
        "A planted fault is found, and shown in few calls", arguments: CallModel.Fault.allCases.filter { $0 != .none })
    func planted(_ fault: CallModel.Fault) {
        var calls = SimulatedCalls(callsEach: 60)
        calls.fault = fault
        let checker = CallHistoryChecker(calls.world.contract)
        var found = 0
        var smallest: CallEvidence?
        for seed in 1...15 as ClosedRange<UInt64> {
            let operations = calls.make(seed: seed)
            guard !checker.offences(of: operations).isEmpty else { continue }
            found += 1
            // To make each of them small takes long.
            guard found <= 4, case .violation(let evidence) = checker.verdict(of: operations) else { continue }
            if evidence.certainCount < smallest?.certainCount ?? .max { smallest = evidence }
        }
        print("planted: \(fault): found in \(found) of 15, \(smallest.map { "\($0)" } ?? "")")
        #expect(found >= 12)
        // A quota's worth of calls, and of each the reservation and the settlement.
        #expect(smallest?.certainCount ?? .max <= calls.world.sharedTokens / 2)
    }
}
