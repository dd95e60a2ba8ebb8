import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// What `decide.lua` does at its bounds: many limits, many leases, the largest sums, the smallest bundle.
@Suite("The decision at its bounds")
struct DecideBoundsTests {
    private let start = WindowPropertyTests.start
    private let server: RedisServer
    private let calls: DecidedCalls
    private let key = "llm-rate:group:team"

    init() throws {
        server = try RedisServer()
        calls = try DecidedCalls(server.connect())
    }

    private func call(_ operation: DecisionOperation, id: [UInt8] = [], ttl: Int = 1000, _ terms: [LimitTerm])
        -> DecisionCall
    {
        DecisionCall(
            operation, id: id, timeToLiveMilliseconds: ttl,
            subjects: [SubjectTerms(key: Array(key.utf8), terms: terms)])
    }

    private func slots(_ quota: Int) -> LimitTerm { LimitTerm(id: 99, kind: .concurrency, quota: quota, cost: 1) }

    @Test("A call may meet 2,000 windows of 250 subjects, and each of them may be the one that decides")
    func windows() throws {
        let terms = (1...8).map {
            LimitTerm(id: UInt32($0), kind: .sliding(windowMilliseconds: 60_000), quota: 2, cost: 1)
        }
        func call(_ operation: DecisionOperation, id: [UInt8] = [], last: LimitTerm) -> DecisionCall {
            let subjects = (0..<250).map { number in
                SubjectTerms(
                    key: Array("\(key):\(number)".utf8), terms: number < 249 ? terms : terms.dropLast() + [last])
            }
            return DecisionCall(operation, id: id, subjects: subjects)
        }
        let admitted = try calls.decide(call(.check, last: terms[7]), clockMicroseconds: start)
        #expect(admitted.verdict == .done && admitted.states.map(\.used) == [Int](repeating: 1, count: 2000))
        let greedy = LimitTerm(id: 8, kind: terms[7].kind, quota: 2, cost: 2)
        let denied = try calls.decide(call(.check, last: greedy), clockMicroseconds: start)
        #expect(denied.verdict == .denied(term: 1999, retryAfterMilliseconds: 60_000))
        #expect(try calls.decide(call(.reserve, id: [7], last: terms[7]), clockMicroseconds: start).verdict == .done)
        let settled = try calls.decide(call(.settle, id: [7], last: terms[7]), clockMicroseconds: start)
        #expect(settled.states.allSatisfy { $0.isCharged && $0.used == 2 })
        server.end()
    }

    @Test("A subject may have 255 limits; one that has as many takes no further one, and says so")
    func limits() throws {
        let terms = (1...255).map {
            LimitTerm(id: UInt32($0), kind: .sliding(windowMilliseconds: 60_000), quota: 200, cost: 1)
        }
        for count in 1...130 {
            let answer = try calls.decide(call(.check, terms), clockMicroseconds: start + count)
            try #require(answer.verdict == .done && answer.states.allSatisfy { $0.used == count })
        }
        let further = LimitTerm(id: 256, kind: .sliding(windowMilliseconds: 1000), quota: 1, cost: 1)
        let answers = try calls.decide(
            [call(.check, [terms[0], further]), call(.check, [terms[0]])], clockMicroseconds: start + 200)
        guard case .failed(let text) = answers[0], case .decided(let answer) = answers[1] else {
            Issue.record("\(answers)")
            return
        }
        #expect(text == "ERR too many limits under one key")
        #expect(answer.states.map(\.used) == [131])
        server.end()
    }

    /// Reserves a slot each under so many leases, which lapse at once.
    private func reserve(_ count: Int, of quota: Int, ttl: Int = 1000, from first: Int = 0) throws {
        for start in stride(from: first, to: first + count, by: 500) {
            let numbers = start..<min(start + 500, first + count)
            let ids: [[UInt8]] = numbers.map { [1, UInt8($0 / 256), UInt8($0 % 256)] }
            let batch = ids.map { call(.reserve, id: $0, ttl: ttl, [slots(quota)]) }
            for answer in try calls.decide(batch, clockMicroseconds: self.start) {
                guard case .decided(let answer) = answer, answer.verdict == .done else {
                    throw TestFailure("\(answer)")
                }
            }
        }
    }

    private func slot(_ quota: Int, cost: Int, at milliseconds: Int, id: UInt8 = 9) throws -> CallAnswer {
        let term = LimitTerm(id: 99, kind: .concurrency, quota: quota, cost: cost)
        return try calls.decide(call(.reserve, id: [id], [term]), clockMicroseconds: start + milliseconds * 1000)
    }

    private func used(at milliseconds: Int) throws -> Int {
        let answer = try calls.decide(call(.check, [slots(2501)]), clockMicroseconds: start + milliseconds * 1000)
        return answer.states[0].used
    }

    @Test("Of 2,500 leases that lapse at once each decision gives back 1,000 while one is left, else all")
    func manyLeases() throws {
        try reserve(2500, of: 2501)
        try reserve(1, of: 2501, ttl: 5000, from: 2500)
        #expect(try used(at: 999) == 2501)
        #expect(try [used(at: 1000), used(at: 1000), used(at: 1000), used(at: 1000)] == [1501, 501, 1, 1])
        #expect(try calls.redis.command("ZCARD", "{\(key)}:leases").integer == 1)
        #expect(try calls.redis.command("HLEN", "{\(key)}:held").integer == 1)
        try reserve(1200, of: 2501)
        #expect(try used(at: 5000) == 0)
        #expect(try calls.redis.command("EXISTS", "{\(key)}:leases", "{\(key)}:held").integer == 0)
        server.end()
    }

    @Test("A denial gives back whatever has lapsed, so that its wait is that of leases that stand")
    func denialsAmongLapsed() throws {
        try reserve(3500, of: 3501)
        try reserve(1, of: 3501, ttl: 5000, from: 3500)
        let early = try slot(3501, cost: 3000, at: 999)
        #expect(early.verdict == .atCapacity(term: 0, retryAfterMilliseconds: 4001))
        // Whoever waits as told passes; so does who comes when the others have lapsed and one stands.
        let denied = try slot(3501, cost: 3501, at: 1000)
        #expect(denied.verdict == .atCapacity(term: 0, retryAfterMilliseconds: 4000))
        #expect(denied.states[0].used == 1)
        try reserve(3500, of: 3501)
        #expect(try slot(3501, cost: 3000, at: 1000).verdict == .done)
        #expect(
            try slot(3501, cost: 501, at: 1000, id: 8).verdict == .atCapacity(term: 0, retryAfterMilliseconds: 1000))
        #expect(try slot(3501, cost: 3501, at: 5000, id: 7).verdict == .done)
        server.end()
    }

    @Test("A denial gives back 10,000 lapsed leases at most, and then waits for the last that stands")
    func denialAmongTooManyLapsed() throws {
        try reserve(11_500, of: 11_502)
        for (number, ttl) in [5000, 9000].enumerated() { try reserve(1, of: 11_502, ttl: ttl, from: 11_500 + number) }
        let denied = try slot(11_502, cost: 10_001, at: 1000)
        #expect(denied.verdict == .atCapacity(term: 0, retryAfterMilliseconds: 8000) && denied.states[0].used == 1502)
        #expect(try slot(11_502, cost: 10_001, at: 1000).verdict == .done)
        server.end()
    }

    @Test("A window counts no more than fits in it, whatever usage says")
    func largestSum() throws {
        let most = LimitTerm.amounts.upperBound
        for kind in [LimitKind.sliding(windowMilliseconds: 60_000), .calendar(boundaries)] {
            let term = LimitTerm(id: 1, kind: kind, quota: most, cost: most)
            var used = 0
            for _ in 0..<3 {
                let batch = (0..<100).map { _ in call(.usage, [term]) }
                guard case .decided(let last)? = try calls.decide(batch, clockMicroseconds: start).last else { break }
                used = last.states[0].used
            }
            #expect(used == 1 << 48 - 1)
            #expect(try calls.decide(call(.check, [term]), clockMicroseconds: start).states[0].isDenied)
            _ = try calls.decide(call(.reset, []), clockMicroseconds: start)
        }
        server.end()
    }

    @Test("What a longer window counts does not expire with the shorter one, also where it has outgrown the bundle")
    func longerWindow() throws {
        func term(_ quota: Int, window: Int) -> LimitTerm {
            LimitTerm(id: 1, kind: .sliding(windowMilliseconds: window), quota: quota, cost: 1)
        }
        func expires(_ key: String) throws -> Int { try calls.redis.command("PEXPIRETIME", key).integer ?? 0 }
        for _ in 0..<300 {
            let answer = try calls.decide(call(.check, [term(300, window: 1000)]), clockMicroseconds: start)
            try #require(answer.verdict == .done)
        }
        let long = "{\(key)}:w:00000001"
        #expect(try expires(key) == start / 1000 + 1000 && expires(long) == start / 1000 + 1000)
        let denied = try calls.decide(call(.check, [term(300, window: 30_000)]), clockMicroseconds: start)
        #expect(denied.verdict == .denied(term: 0, retryAfterMilliseconds: 30_000))
        #expect(try expires(key) == start / 1000 + 30_000 && expires(long) == start / 1000 + 30_000)
        server.end()
    }

    private var boundaries: CalendarBoundaries {
        let second = start / 1_000_000
        return CalendarBoundaries(
            previousStart: second - 100, start: second - 10, nextStart: second + 10, afterNextStart: second + 100)
    }

    @Test("A bundle of leases alone is one, for decide.lua and for check.lua")
    func leasesAlone() throws {
        #expect(try calls.decide(call(.reserve, id: [1], []), clockMicroseconds: start).verdict == .done)
        #expect(try calls.redis.command("STRLEN", key).integer == 14)
        let reply = try calls.redis.command("EVAL", CheckScript.text, "1", key, "5000", "60000", "1")
        #expect(reply.elements.first?.text?.hasPrefix("BUNDLE ") == true)
        #expect(try calls.decide(call(.reserve, id: [1], []), clockMicroseconds: start).verdict == .repeated)
        #expect(try calls.decide(call(.settle, id: [1], []), clockMicroseconds: start).verdict == .done)
        // It goes with the time of the last lease.
        #expect(try calls.decide(call(.check, []), clockMicroseconds: start + 1_000_000).verdict == .done)
        #expect(try calls.redis.command("EXISTS", key).integer == 0)
        server.end()
    }
}
