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

    @Test("tells the thresholds that each of its slots crosses, of a check those that it crosses where it is settled")
    func crossings() {
        func subject(_ key: UInt8) -> SubjectTerms {
            let terms = (1...2).map {
                LimitTerm(id: $0, kind: .sliding(windowMilliseconds: 1_000), quota: 9, cost: 2, thresholds: [1])
            }
            return SubjectTerms(key: [key], terms: terms)
        }
        func crossing(_ term: Int) -> TermCrossing {
            TermCrossing(term: term, thresholds: 0...0, used: 2, unixMilliseconds: 7)
        }
        for operation in [DecisionOperation.check, .usage] {
            var random = SystemRandomNumberGenerator()
            var (told, later): ([TermCrossing], [TermCrossing]) = ([], [])
            CallAcrossSlots(
                DecisionCall(operation, subjects: [subject(0), subject(1)]),
                send: { part, done in
                    let states = Array(repeating: state(false), count: 2)
                    var answer = CallAnswer(verdict: .done, states: states)
                    if part.operation != .reserve, part.subjects[0].key == [1] { answer.crossings = [crossing(1)] }
                    done(.success(answer))
                },
                whenCrossed: { later += $0 },
                done: { if case .success(let answer) = $0 { told = answer.crossings } }, using: &random
            ).begin()
            #expect(told == (operation == .usage ? [crossing(3)] : []))
            #expect(later == (operation == .check ? [crossing(3)] : []))
        }
    }

    /// What a check with an id comes to whose slots answer so, and the user's slot when it is asked for the id; and the
    /// operations that follow.
    private func checkedOnce(
        _ answers: [CallAnswer], id: Result<CallAnswer, FailureReason>
    ) -> (result: Result<CallAnswer, FailureReason>?, then: [DecisionOperation]) {
        let subjects = answers.indices.map { index in
            let term = LimitTerm(id: 1, kind: .sliding(windowMilliseconds: 1_000), quota: 9, cost: 2)
            return SubjectTerms(key: [UInt8(index)], terms: [term])
        }
        var random = SystemRandomNumberGenerator()
        var waiting = answers[...]
        var then: [DecisionOperation] = []
        var result: Result<CallAnswer, FailureReason>?
        let digest = UsageDigest(ofCheck: [1])
        CallAcrossSlots(
            DecisionCall(.check, id: .check(digest), rememberMilliseconds: 7_000, subjects: subjects),
            send: { part, done in
                if part.operation == .reserve, let answer = waiting.popFirst() { return done(.success(answer)) }
                then.append(part.operation)
                guard part.termCount == 0 else { return }
                #expect(part.id == (part.operation == .check ? .check(digest) : .usage(digest)))
                #expect(part.subjects.map(\.key) == [[0]] && part.rememberMilliseconds == 7_000)
                done(id)
            },
            done: { result = $0 }, using: &random
        ).begin()
        return (result, then)
    }

    @Test("settles a check with an id once the user's slot has noted it, and releases one that was admitted before")
    func checksOnce() throws {
        let instants = LeaseInstants(givenAtMilliseconds: 1, lapsesAtMilliseconds: 2)
        let used = LimitState(used: 5, resetAfterMilliseconds: 1)
        let admitted = CallAnswer(verdict: .done, states: [used], leaseInstants: instants)
        let denied = CallAnswer(
            verdict: .denied(term: 0, retryAfterMilliseconds: 900), states: [state(true)], leastWaitMilliseconds: 900)
        let unknown = Result<CallAnswer, FailureReason>.success(CallAnswer(verdict: .done, states: []))
        let known = Result<CallAnswer, FailureReason>.success(CallAnswer(verdict: .repeated, states: []))

        let first = checkedOnce([admitted, admitted], id: unknown)
        #expect(try first.result?.get().verdict == .done && first.then == [.usage, .settle, .settle])
        let again = checkedOnce([admitted, admitted], id: known)
        #expect(again.then == [.usage, .release, .release])
        #expect(try again.result?.get().verdict == .repeated && again.result?.get().states.map(\.used) == [3, 3])

        let no = checkedOnce([admitted, denied], id: unknown)
        #expect(try no.result?.get().verdict == .denied(term: 1, retryAfterMilliseconds: 900))
        #expect(no.then == [.check, .release])
        let yes = checkedOnce([admitted, denied], id: known)
        #expect(yes.then == [.check, .release])
        let states = try #require(try yes.result?.get().states)
        #expect(states.map(\.used) == [3, 1] && !states.contains { $0.isDenied })

        // An id that may be noted must not pass for free.
        let lost = checkedOnce([admitted, admitted], id: .failure(.redisTimeout))
        #expect(lost.result == .failure(.redisTimeout) && lost.then == [.usage, .settle, .settle])
        #expect(checkedOnce([admitted, denied], id: .failure(.redisTimeout)).then == [.check, .release])
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
