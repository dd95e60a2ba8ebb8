import HistoryChecker
import TestSupport
import Testing

@Suite("History checker for calls under several limits")
struct CallCheckerTests {
    struct Setting: Sendable, CustomTestStringConvertible {
        var name: String
        var calls: SimulatedCalls
        var testDescription: String { name }
    }

    static let lawful = [
        Setting(name: "few at a time", calls: SimulatedCalls(clients: 3, callsEach: 30)),
        Setting(name: "many at a time", calls: SimulatedCalls(callsEach: 25, longestLatencyMicroseconds: 20_000)),
        Setting(name: "answers lost", calls: SimulatedCalls(callsEach: 25, shareUnknown: 8)),
        Setting(name: "emptied", calls: SimulatedCalls(callsEach: 25, flushes: 2)),
        Setting(name: "emptied, answers lost", calls: SimulatedCalls(shareUnknown: 5, flushes: 1)),
        Setting(name: "long", calls: SimulatedCalls(clients: 8, callsEach: 150)),
    ]

    @Test("A right history is never called wrong, and most small ones get an order", arguments: lawful)
    func right(_ setting: Setting) throws {
        var orders = 0
        for seed in 1...25 as ClosedRange<UInt64> {
            let operations = setting.calls.make(seed: seed)
            let contract = setting.calls.world.contract
            switch CallHistoryChecker(contract).verdict(of: operations) {
            case .consistent(let order):
                orders += 1
                try replay(order, operations, setting.calls.world)
            case .violation(let evidence): Issue.record("\(setting.name), seed \(seed): \(evidence)")
            case .undecided: break
            }
        }
        print("calls: \(setting.name): \(orders) of 25 have an order")
    }

    /// Plays an order against the model: it knows nothing of how the order was found.
    private func replay(
        _ order: [(operation: Int, instantMicroseconds: Int)], _ operations: [CallOperation], _ world: CallWorld
    ) throws {
        let placed = Set(order.map(\.operation))
        try #require(operations.indices.allSatisfy { placed.contains($0) || operations[$0].outcome == .unknown })
        var last = Int.min
        let tolerance = world.contract.toleranceMicroseconds
        for (index, instant) in order {
            let operation = operations[index]
            try #require(instant >= last)
            try #require(instant >= operation.startMicroseconds - tolerance)
            try #require(instant <= operation.endMicroseconds + tolerance)
            last = instant
        }
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
        #expect(smallest?.certainCount ?? .max <= calls.world.requests + 2)
    }
}
