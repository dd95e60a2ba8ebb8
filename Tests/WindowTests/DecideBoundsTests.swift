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
    private let book = LeaseBook()

    init() throws {
        server = try RedisServer()
        calls = try DecidedCalls(server.connect())
    }

    private func call(_ operation: DecisionOperation, id: String = "", ttl: Int = 1000, _ terms: [LimitTerm])
        -> DecisionCall
    {
        DecisionCall(
            operation, id: book.id(id, of: operation), lifeMilliseconds: ttl,
            subjects: [SubjectTerms(key: Array(key.utf8), terms: terms)])
    }

    private func slots(_ quota: Int) -> LimitTerm { LimitTerm(id: 99, kind: .concurrency, quota: quota, cost: 1) }

    @Test("A call may meet 2,000 windows of 250 subjects, and each of them may be the one that decides")
    func windows() throws {
        let terms = (1...8).map {
            LimitTerm(id: UInt32($0), kind: .sliding(windowMilliseconds: 60_000), quota: 2, cost: 1)
        }
        func call(_ operation: DecisionOperation, id: String = "", last: LimitTerm) -> DecisionCall {
            let subjects = (0..<250).map { number in
                SubjectTerms(
                    key: Array("\(key):\(number)".utf8), terms: number < 249 ? terms : terms.dropLast() + [last])
            }
            return DecisionCall(operation, id: book.id(id, of: operation), subjects: subjects)
        }
        let admitted = try calls.decide(call(.check, last: terms[7]), clockMicroseconds: start)
        #expect(admitted.verdict == .done && admitted.states.map(\.used) == [Int](repeating: 1, count: 2000))
        let greedy = LimitTerm(id: 8, kind: terms[7].kind, quota: 2, cost: 2)
        let denied = try calls.decide(call(.check, last: greedy), clockMicroseconds: start)
        #expect(denied.verdict == .denied(term: 1999, retryAfterMilliseconds: 60_000))
        #expect(try calls.decide(call(.reserve, id: "7", last: terms[7]), clockMicroseconds: start).verdict == .done)
        let settled = try calls.decide(call(.settle, id: "7", last: terms[7]), clockMicroseconds: start)
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

    /// Reserves a slot each under so many leases, a hundred of which lapse in each millisecond up to `ttl`.
    private func reserve(_ count: Int, of quota: Int, ttl: Int = 1000, _ names: String) throws {
        for (place, start) in stride(from: 0, to: count, by: 100).enumerated() {
            let batch = (start..<min(start + 100, count)).map {
                call(.reserve, id: "\(names)\($0)", ttl: ttl - place, [slots(quota)])
            }
            for answer in try calls.decide(batch, clockMicroseconds: self.start) {
                guard case .decided(let answer) = answer, answer.verdict == .done else {
                    throw TestFailure("\(answer)")
                }
            }
        }
    }

    private func slot(_ quota: Int, cost: Int, at milliseconds: Int, id: String = "9") throws -> CallAnswer {
        let term = LimitTerm(id: 99, kind: .concurrency, quota: quota, cost: cost)
        return try calls.decide(call(.reserve, id: id, [term]), clockMicroseconds: start + milliseconds * 1000)
    }

    private func used(at milliseconds: Int) throws -> Int {
        let answer = try calls.decide(call(.check, [slots(2501)]), clockMicroseconds: start + milliseconds * 1000)
        return answer.states[0].used
    }

    @Test("Of 2,500 leases that lapsed each decision gives back the milliseconds of 1,000 while one is left, else all")
    func manyLeases() throws {
        try reserve(2500, of: 2501, "a")
        try reserve(1, of: 2501, ttl: 5000, "b")
        #expect(try used(at: 975) == 2501)
        #expect(try [used(at: 1000), used(at: 1000), used(at: 1000), used(at: 1000)] == [1601, 701, 1, 1])
        // They may still be settled.
        #expect(try calls.redis.command("ZCARD", "{\(key)}:leases").integer == 2501)
        #expect(try calls.redis.command("HLEN", "{\(key)}:held").integer == 2501)
        #expect(try used(at: 5000) == 0)
        for key in [key, "{\(key)}:leases", "{\(key)}:held"] {
            #expect(try calls.redis.command("PEXPIRETIME", key).integer ?? 0 >= start / 1000 + 3_605_000)
        }
        server.end()
    }

    @Test("Leases that lapse in one millisecond are given back together, however many they are")
    func oneMillisecond() throws {
        for part in 0..<25 { try reserve(100, of: 2501, "a\(part)-") }
        try reserve(1, of: 2501, ttl: 5000, "b")
        #expect(try [used(at: 999), used(at: 1000)] == [2501, 1])
        server.end()
    }

    @Test("A denial gives back whatever has lapsed, so that its wait is that of leases that stand")
    func denialsAmongLapsed() throws {
        try reserve(3500, of: 3501, "a")
        try reserve(1, of: 3501, ttl: 5000, "b")
        let early = try slot(3501, cost: 3000, at: 965)
        #expect(early.verdict == .atCapacity(term: 0, retryAfterMilliseconds: 4035))
        // Whoever waits as told passes; so does who comes when the others have lapsed and one stands.
        let denied = try slot(3501, cost: 3501, at: 1000)
        #expect(denied.verdict == .atCapacity(term: 0, retryAfterMilliseconds: 4000))
        #expect(denied.states[0].used == 1)
        #expect(try slot(3501, cost: 3000, at: 1000).verdict == .done)
        #expect(
            try slot(3501, cost: 501, at: 1000, id: "8").verdict == .atCapacity(term: 0, retryAfterMilliseconds: 1000))
        #expect(try slot(3501, cost: 3501, at: 5000, id: "7").verdict == .done)
        server.end()
    }

    @Test("A denial gives back 10,000 lapsed leases or little more, and then waits for the last that stands")
    func denialAmongTooManyLapsed() throws {
        try reserve(11_500, of: 11_502, "a")
        for ttl in [5000, 9000] { try reserve(1, of: 11_502, ttl: ttl, "b\(ttl)") }
        let denied = try slot(11_502, cost: 10_901, at: 1000)
        #expect(denied.verdict == .atCapacity(term: 0, retryAfterMilliseconds: 8000) && denied.states[0].used == 702)
        #expect(try slot(11_502, cost: 10_901, at: 1000).verdict == .done)
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

    @Test("A bundle of leases alone is one, and goes when nobody may settle them any more")
    func leasesAlone() throws {
        func decide(_ operation: DecisionOperation) throws -> CallVerdict {
            let answer = try calls.decide(call(operation, id: "1", []), clockMicroseconds: start)
            book.note(answer, to: operation, of: "1")
            return answer.verdict
        }
        #expect(try decide(.reserve) == .done)
        #expect(try calls.redis.command("STRLEN", key).integer == 27 + 13 + 7 + 2 + 8)
        #expect(try decide(.reserve) == .repeated)
        #expect(try decide(.settle) == .done)
        #expect(try calls.redis.command("STRLEN", key).integer == 27 + 13)
        #expect(try decide(.settle) == .repeated)
        try calls.expire(clockMicroseconds: start + 3_600_999_000)
        #expect(try calls.redis.command("EXISTS", key).integer == 1)
        try calls.expire(clockMicroseconds: start + 3_601_000_000)
        #expect(try calls.redis.command("EXISTS", key).integer == 0)
        server.end()
    }
}
