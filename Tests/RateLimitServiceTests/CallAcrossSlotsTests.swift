import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("A call over several slots")
struct CallAcrossSlotsTests {
    private func state(_ isDenied: Bool) -> LimitState {
        LimitState(used: 1, resetAfterMilliseconds: 1, isDenied: isDenied)
    }

    /// What a reserve comes to whose slots answer so.
    private func merged(_ answers: [CallAnswer]) -> CallAnswer? {
        let subjects = answers.indices.map { index in
            SubjectTerms(
                key: [UInt8(index)], terms: [LimitTerm(id: 1, kind: .concurrency, quota: 1, cost: 1)])
        }
        var random = SystemRandomNumberGenerator()
        var waiting = answers[...]
        var result: CallAnswer?
        let call = CallAcrossSlots(
            DecisionCall(.reserve, id: .lease(LeaseMark(id: 1)), subjects: subjects),
            send: { part, done in
                if part.operation == .reserve, let answer = waiting.popFirst() { done(.success(answer)) }
            },
            done: { if case .success(let answer) = $0 { result = answer } }, using: &random)
        call.begin()
        return result
    }

    @Test("waits for the longest of its slots, and at least for what has been charged in any of them")
    func waits() {
        let charged = CallAnswer(
            verdict: .denied(term: 0, retryAfterMilliseconds: 9_000), states: [state(true)],
            leastWaitMilliseconds: 9_000)
        let full = CallAnswer(verdict: .atCapacity(term: 0, retryAfterMilliseconds: 400), states: [state(true)])
        let done = CallAnswer(verdict: .done, states: [state(false)])
        let forGood = CallAnswer(verdict: .deniedForGood(term: 0), states: [state(true)])
        func expect(_ answers: [CallAnswer], _ verdict: CallVerdict, least: Int) {
            let answer = merged(answers)
            #expect(answer?.verdict == verdict && answer?.leastWaitMilliseconds == least)
            #expect(answer?.states.count == answers.count)
        }
        expect([charged, full], .atCapacity(term: 1, retryAfterMilliseconds: 9_000), least: 9_000)
        expect([full, done, charged], .atCapacity(term: 0, retryAfterMilliseconds: 9_000), least: 9_000)
        expect([done, charged], .denied(term: 1, retryAfterMilliseconds: 9_000), least: 9_000)
        expect([charged, forGood], .deniedForGood(term: 1), least: 0)
        expect([done, done], .done, least: 0)
    }

    @Test("gives a lease as old as the latest of its parts, which says how much older the first is, and lapses with it")
    func instants() {
        func done(_ given: Int, _ lapses: Int) -> CallAnswer {
            let instants = LeaseInstants(givenAtMilliseconds: given, lapsesAtMilliseconds: lapses)
            return CallAnswer(verdict: .done, states: [state(false)], leaseInstants: instants)
        }
        let latest = LeaseInstants(givenAtMilliseconds: 9, lapsesAtMilliseconds: 30, spreadMilliseconds: 2)
        #expect(merged([done(7, 30), done(9, 20)])?.leaseInstants == latest)
        let full = CallAnswer(verdict: .atCapacity(term: 0, retryAfterMilliseconds: 400), states: [state(true)])
        #expect(merged([done(7, 30), full])?.leaseInstants == nil)
    }

    @Test("asks each slot once for all that it has, and puts the answers together in the call's order")
    func sharedSlots() throws {
        func subject(_ key: String, _ ids: UInt32...) -> SubjectTerms {
            let terms = ids.map { LimitTerm(id: $0, kind: .concurrency, quota: 9, cost: 1) }
            return SubjectTerms(key: Array(key.utf8), terms: terms)
        }
        let subjects = [
            subject("p:user:a", 1), subject("p:group:g", 2, 3), subject("{p:user:a}:by:model=m", 4, 5),
            subject("{p:group:g}:by:model=m"), subject("p:by:model=m", 6),
        ]
        var random = SystemRandomNumberGenerator()
        var parts: [[String]] = []
        var result: CallAnswer?
        let call = CallAcrossSlots(
            DecisionCall(.usage, subjects: subjects),
            send: { part, done in
                parts.append(part.subjects.map { String(decoding: $0.key, as: UTF8.self) })
                let states = part.subjects.flatMap(\.terms).map {
                    LimitState(used: Int($0.id), resetAfterMilliseconds: 0)
                }
                let isOfGroup = part.subjects.count == 2 && part.subjects[1].terms.isEmpty
                done(.success(CallAnswer(verdict: isOfGroup ? .deniedForGood(term: 1) : .done, states: states)))
            },
            done: { if case .success(let answer) = $0 { result = answer } }, using: &random)
        call.begin()
        #expect(
            parts == [
                ["p:user:a", "{p:user:a}:by:model=m"], ["p:group:g", "{p:group:g}:by:model=m"], ["p:by:model=m"],
            ])
        let answer = try #require(result)
        #expect(answer.states.map(\.used) == [1, 2, 3, 4, 5, 6])
        #expect(answer.verdict == .deniedForGood(term: 2))
    }
}
