import HistoryChecker
import Testing

@Suite("Histories with lost spans")
struct LostSpanTests {
    private let contract = CallContract(windows: [.sliding(microseconds: 1_000_000)], toleranceMicroseconds: 0)

    /// A call in milliseconds.
    private func call(
        _ action: CallOperation.Action, _ start: Int, _ end: Int, id: String? = nil, cost: Int = 1, used: Int? = nil,
        isDenied: Bool = false, _ outcome: CallOperation.Outcome = .done
    ) -> CallOperation {
        let standing = used.map { CallOperation.Standing(quota: 5, used: $0, isDenied: isDenied) }
        return CallOperation(
            action, id: id, terms: [CallOperation.Term(window: 0, cost: cost, standing: standing)],
            startMicroseconds: 1_000 * start, endMicroseconds: 1_000 * end, outcome: outcome)
    }

    private func span(_ start: Int, _ end: Int) -> LostSpan {
        LostSpan(startMicroseconds: 1_000 * start, endMicroseconds: 1_000 * end)
    }

    private func offences(_ calls: [CallOperation], _ spans: [LostSpan]) -> [CallBounds.Offence] {
        HistoryWithLosses(calls, lost: spans).counted.flatMap { counted in
            CallHistoryChecker(contract).offences(of: counted).map(\.offence)
        }
    }

    @Test("What was acknowledged in a lost span may be forgotten; what was acknowledged before it, or after, may not")
    func forgotten() {
        let calls = [call(.check, 0, 10, used: 1), call(.check, 100, 110, used: 1)]
        #expect(offences(calls, [span(5, 20)]) == [])
        #expect(offences(calls, []) == [.miscounted])
        #expect(offences(calls, [span(11, 20)]) == [.miscounted])
        let later = calls + [call(.check, 200, 210, used: 1)]
        #expect(offences(later, [span(5, 20)]) == [.miscounted])
    }

    @Test("A denial told in a lost span has to be possible all the same, and so has a number")
    func toldInSpan() {
        let before = call(.check, 0, 10, used: 1)
        let denied = call(.check, 20, 30, used: 5, isDenied: true, .denied)
        #expect(offences([before, denied], [span(15, 40)]).contains(.under))
        #expect(offences([before, call(.check, 20, 30, used: 3)], [span(15, 40)]) == [.miscounted])
        // What was acknowledged before the span both masters have.
        #expect(offences([before, call(.look, 20, 30, cost: 0, used: 0)], [span(15, 40)]) == [.miscounted])
    }

    @Test("Both masters may tell the same number in a span; outside of one no order has room for it")
    func fork() {
        let calls = [
            call(.check, 0, 10, used: 1), call(.check, 20, 90, used: 2), call(.check, 30, 80, used: 2),
            call(.look, 200, 210, cost: 0, used: 2),
        ]
        let history = HistoryWithLosses(calls, lost: [span(15, 100)])
        #expect(history.hasLosses)
        #expect(offences(calls, [span(15, 100)]) == [])
        guard case .consistent = CallHistoryChecker(contract).verdict(of: history.kept) else {
            Issue.record("one of the two is kept")
            return
        }
        guard case .violation = CallHistoryChecker(contract).verdict(of: calls) else {
            Issue.record("without a loss both are charged")
            return
        }
    }

    @Test("A lease settled in a lost span may be settled again; one settled before it may not")
    func settledTwice() {
        func calls(settledAt first: Int) -> [CallOperation] {
            [
                call(.reserve(microseconds: 900_000), 0, 5, id: "a", used: 1),
                call(.settle, first, first + 5, id: "a"), call(.settle, 200, 210, id: "a"),
            ]
        }
        #expect(offences(calls(settledAt: 20), [span(15, 100)]) == [])
        #expect(offences(calls(settledAt: 20), [span(50, 100)]) == [.endedTwice])
    }

    @Test("A master that loses its writes may have ended a lease that the other one ends again, and told so meanwhile")
    func endedByBoth() {
        func calls(_ told: Int) -> [CallOperation] {
            [
                call(.reserve(microseconds: 900_000), 0, 5, id: "a", cost: 3, used: 3),
                call(.settle, 20, 25, id: "a", cost: 1, used: 1), call(.look, 30, 35, cost: 0, used: told),
                call(.settle, 200, 210, id: "a", cost: 2, used: 2),
            ]
        }
        #expect(offences(calls(1), [span(15, 100)]) == [])
        // Not ended there, it held all it had.
        #expect(offences(calls(3), [span(15, 100)]) == [])
        #expect(offences(calls(4), [span(15, 100)]) == [.miscounted])
        // Held, or charged by what ended it: one of them.
        #expect(offences(calls(0), [span(15, 100)]) == [.miscounted])
    }

    @Test("Usage that was charged in a lost span counts in what was told there, though it is charged again later")
    func chargedByBoth() {
        func calls(_ told: Int) -> [CallOperation] {
            [
                call(.check, 0, 10, used: 1), call(.usage, 20, 25, id: "u", used: 2),
                call(.check, 30, 35, used: told, isDenied: true, .denied), call(.usage, 300, 310, id: "u", used: 2),
            ]
        }
        #expect(!offences(calls(2), [span(15, 100)]).contains(.miscounted))
        #expect(offences(calls(3), [span(15, 100)]).contains(.miscounted))
    }

    @Test("A former master that goes on once more need not have what was decided since it fell out")
    func goesOn() {
        let calls = [
            call(.check, 0, 10, used: 1), call(.check, 200, 210, used: 2), call(.look, 400, 410, cost: 0, used: 1),
            call(.look, 600, 610, cost: 0, used: 2),
        ]
        func spans(fork: Int?) -> [LostSpan] {
            let goesOn = LostSpan(
                startMicroseconds: 390_000, endMicroseconds: 500_000, forkMicroseconds: fork.map { 1_000 * $0 })
            return [span(20, 100), goesOn]
        }
        #expect(offences(calls, spans(fork: 20)) == [])
        #expect(offences(calls, spans(fork: nil)) == [.miscounted])
        // What was acknowledged before the fork both have.
        #expect(offences(calls, spans(fork: 5)) == [])
        let before = [call(.check, 0, 3, used: 1), call(.look, 400, 410, cost: 0, used: 0)]
        #expect(offences(before, spans(fork: 5)) == [.miscounted])
    }

    @Test("Of a user's checks the same holds, and a denial that is remembered may be of a span")
    func checks() {
        func answer(_ remaining: Int) -> Operation.Answer {
            Operation.Answer(quota: 2, remaining: remaining, resetAfterSeconds: 1)
        }
        func check(_ start: Int, _ outcome: Operation.Outcome) -> Operation {
            Operation(
                cost: 1, startMicroseconds: 1_000 * start, endMicroseconds: 1_000 * (start + 5), outcome: outcome)
        }
        func offences(
            _ checks: [Operation], _ spans: [LostSpan], memoryMilliseconds: Int = 0
        ) -> [IntervalBounds.Offence] {
            let contract = WindowContract(
                windowMicroseconds: 1_000_000, denialMemoryMicroseconds: 1_000 * memoryMilliseconds,
                toleranceMicroseconds: 0)
            let history = HistoryWithLosses(checks, lost: spans, under: contract)
            return history.counted.flatMap { HistoryChecker(contract).offences(of: $0).map(\.offence) }
        }
        let admitted = [
            check(0, .admitted(answer(1))), check(20, .admitted(answer(0))), check(100, .admitted(answer(0))),
        ]
        #expect(offences(admitted, [span(15, 50)]) == [])
        #expect(offences(admitted, [span(50, 60)]).contains(.over))
        let denied = [check(0, .admitted(answer(1))), check(100, .denied(answer(0), retryAfterSeconds: 1))]
        #expect(offences(denied, [span(15, 50)]).contains(.under))
    }
}
