import HistoryChecker
import RateLimitCore
import TestSupport
import Testing

/// The checker on histories that are made up, so that it is known what it has to say.
@Suite("The history checker")
struct HistoryCheckerTests {
    static let lawful: [(name: String, history: SimulatedHistory)] = [
        ("six clients", SimulatedHistory()),
        ("costs", SimulatedHistory(quota: 40, largestCost: 6)),
        ("much at once", SimulatedHistory(clients: 16, quota: 60, longestPauseMicroseconds: 9_000)),
        ("slow answers", SimulatedHistory(longestLatencyMicroseconds: 60_000, longestPauseMicroseconds: 20_000)),
        ("a longer window", SimulatedHistory(quota: 30, windowMilliseconds: 3_000)),
        ("answers lost", SimulatedHistory(shareUnknown: 10)),
        ("the window emptied", SimulatedHistory(forgettings: 4)),
        ("all of it", SimulatedHistory(quota: 30, largestCost: 3, shareUnknown: 5, forgettings: 3)),
    ]

    @Test("What a correct window did is possible, and the order found gives every answer", arguments: lawful.indices)
    func possible(_ index: Int) throws {
        let history = Self.lawful[index].history
        var undecided = 0
        for seed in 1...40 as ClosedRange<UInt64> {
            let operations = history.make(seed: seed).operations
            switch HistoryChecker(history.contract).verdict(of: operations) {
            case .consistent(let order): try replay(order, operations, history)
            case .violation(let evidence):
                Issue.record("\(Self.lawful[index].name), seed \(seed): \(evidence)")
                return
            case .undecided: undecided += 1
            }
        }
        print("history checker: \(Self.lawful[index].name): 40 histories, \(undecided) undecided")
        #expect(undecided <= 4)
    }

    /// Plays the order against the reference window: it knows nothing of how the order was found.
    private func replay(
        _ order: [(operation: Int, instantMicroseconds: Int)], _ operations: [Operation], _ history: SimulatedHistory
    ) throws {
        var log = SlidingWindowLog()
        var last = Int.min
        let limit = Limit(name: "requests", quota: history.quota, windowMilliseconds: history.windowMilliseconds)
        let generous = Limit(name: "requests", quota: 1_000_000, windowMilliseconds: history.windowMilliseconds)
        for (index, instant) in order {
            let operation = operations[index]
            let tolerance = history.contract.toleranceMicroseconds
            try #require(instant >= last)
            try #require(instant >= operation.startMicroseconds - tolerance)
            try #require(instant <= operation.endMicroseconds + tolerance)
            last = instant
            switch operation.outcome {
            case .forgot: log = SlidingWindowLog()
            case .unknown: _ = log.check(cost: operation.cost, limit: generous, clockMicroseconds: instant)
            case .admitted, .denied, .looked:
                let decision = log.check(cost: operation.cost, limit: limit, clockMicroseconds: instant)
                try #require(decision.outcome(cost: operation.cost) == operation.outcome)
            }
        }
        let placed = Set(order.map(\.operation))
        try #require(operations.indices.allSatisfy { placed.contains($0) || operations[$0].outcome == .unknown })
    }

    @Test(
        "A planted fault is found, and the smallest history that shows it is small",
        arguments: [.admitsOneTooMany, .countsTwice, .windowCutShort, .losesAnAdmission] as [SimulatedHistory.Fault]
    )
    func planted(_ fault: SimulatedHistory.Fault) {
        let history = SimulatedHistory(operationsEach: 120, windowMilliseconds: 2_000, fault: fault)
        var sizes: [Int] = []
        var example: Evidence?
        for seed in 1...20 as ClosedRange<UInt64> {
            let operations = history.make(seed: seed).operations
            guard case .violation(let evidence) = HistoryChecker(history.contract).verdict(of: operations) else {
                Issue.record("\(fault), seed \(seed): not found")
                continue
            }
            sizes.append(evidence.certainCount)
            if evidence.certainCount == sizes.min() { example = evidence }
        }
        let median = sizes.sorted()[sizes.count / 2]
        print("planted: \(fault): found in \(sizes.count) of 20, smallest histories of \(median) operations, such as")
        print(example.map { "\($0)" } ?? "")
        // More than the quota is the most that any of these faults needs to show.
        #expect(median <= history.quota + 2)
    }

    @Test("One number off by one is found in a history of one client")
    func oneNumber() {
        let history = SimulatedHistory(clients: 1, operationsEach: 45, longestPauseMicroseconds: 40_000)
        let (operations, _) = history.make(seed: 3)
        var found = 0
        for index in operations.indices {
            var wrong = operations
            switch operations[index].outcome {
            case .admitted(var answer):
                answer.remaining += index.isMultiple(of: 2) || answer.remaining == 0 ? 1 : -1
                wrong[index].outcome = .admitted(answer)
            case .denied(let answer, let retry):
                wrong[index].outcome = .denied(answer, retryAfterSeconds: (retry ?? 0) + 1)
            case .looked(var answer):
                answer.remaining += answer.remaining == 0 ? 1 : -1
                wrong[index].outcome = .looked(answer)
            case .unknown, .forgot: continue
            }
            if case .violation = HistoryChecker(history.contract).verdict(of: wrong) { found += 1 }
        }
        // Where an admission leaves the window within an operation's interval, one more and one less are both possible.
        print("history checker: one number off: found \(found) of \(operations.count)")
        #expect(found >= operations.count - 3)
    }

    @Test("A denial that was none by its own numbers shows by itself, however many others may have been charged")
    func ownNumbers() {
        let contract = WindowContract(windowMicroseconds: 1_000_000)
        func denied(remaining: Int) -> [Operation] {
            let answer = Operation.Answer(quota: 10, remaining: remaining, resetAfterSeconds: 1)
            let others = (0..<40).map { index in
                Operation(cost: 1, startMicroseconds: index * 500, endMicroseconds: 30_000 + index, outcome: .unknown)
            }
            let denial = Operation(
                cost: 1, startMicroseconds: 15_000, endMicroseconds: 40_000,
                outcome: .denied(answer, retryAfterSeconds: 1))
            return others + [denial]
        }
        guard case .violation(let evidence) = HistoryChecker(contract).verdict(of: denied(remaining: 1)) else {
            Issue.record("not found")
            return
        }
        #expect(evidence.certainCount == 1 && evidence.kinds == [.under])
        #expect(HistoryChecker(contract).offences(of: denied(remaining: 0)).isEmpty)
    }

    @Test("Two concurrent admissions with one number are impossible, though each alone is not")
    func sameNumber() throws {
        let answer = Operation.Answer(quota: 5, remaining: 3, resetAfterSeconds: 1)
        func admitted(_ start: Int, _ end: Int, _ remaining: Int) -> Operation {
            var answer = answer
            answer.remaining = remaining
            return Operation(
                cost: 1, startMicroseconds: start, endMicroseconds: end, outcome: .admitted(answer)
            )
        }
        let contract = WindowContract(windowMicroseconds: 1_000_000, toleranceMicroseconds: 0)
        let first = admitted(0, 100, 4)
        let lawful = [first, admitted(200, 900, 3), admitted(300, 800, 2), admitted(250, 850, 1)]
        guard case .consistent = HistoryChecker(contract).verdict(of: lawful) else {
            Issue.record("the lawful one is refused")
            return
        }
        let double = [first, admitted(200, 900, 3), admitted(300, 800, 3), admitted(250, 850, 2)]
        #expect(HistoryChecker(contract).offences(of: double).isEmpty)
        guard case .violation(let evidence) = HistoryChecker(contract).verdict(of: double) else {
            Issue.record("not found")
            return
        }
        print("concurrent admissions with one number: \(evidence)")
        #expect(evidence.certainCount <= 3)
    }

    @Test("A hundred thousand operations are counted as one user's, and searched as a hundred users'")
    func large() {
        func history(operationsEach: Int) -> SimulatedHistory {
            SimulatedHistory(
                clients: 10, operationsEach: operationsEach, quota: 40, longestLatencyMicroseconds: 1_500,
                longestPauseMicroseconds: 20_000
            )
        }
        let long = history(operationsEach: 10_000)
        let operations = long.make(seed: 1).operations
        var start = monotonicMilliseconds()
        #expect(HistoryChecker(long.contract).offences(of: operations).isEmpty)
        let counted = (monotonicMilliseconds() - start).rounded()

        let short = history(operationsEach: 100)
        let histories = (1...100).map { short.make(seed: $0).operations }
        start = monotonicMilliseconds()
        var undecided = 0
        for history in histories {
            switch HistoryChecker(short.contract).verdict(of: history) {
            case .consistent: break
            case .violation(let evidence): Issue.record("\(evidence)")
            case .undecided: undecided += 1
            }
        }
        let searched = (monotonicMilliseconds() - start).rounded()
        print("history checker: 100,000 operations counted in \(counted) ms, searched in \(searched) ms")
        print("history checker: \(undecided) of \(histories.count) users undecided")
        #expect(undecided <= histories.count / 5)
    }
}
