import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// What `decide.lua` gives back, on a real Redis under a clock that the test sets. `DecidePropertyTests` has refunds among
/// all else.
@Suite("A refund in a window")
struct RefundTests {
    private let start = WindowPropertyTests.start
    private let server: RedisServer
    private let calls: DecidedCalls
    private let key = "llm-rate:user"
    private let book = LeaseBook()

    init() throws {
        server = try RedisServer()
        calls = try DecidedCalls(server.connect())
    }

    private func sliding(_ cost: Int, quota: Int = 100, window: Int = 1000, isShadow: Bool = false) -> LimitTerm {
        LimitTerm(id: 7, kind: .sliding(windowMilliseconds: window), isShadow: isShadow, quota: quota, cost: cost)
    }

    private func decide(
        _ operation: DecisionOperation, id: String = "", _ terms: [LimitTerm], at microseconds: Int
    ) throws -> CallAnswer {
        let call = DecisionCall(
            operation, id: book.id(id, of: operation), subjects: [SubjectTerms(key: Array(key.utf8), terms: terms)])
        let answer = try calls.decide(call, clockMicroseconds: start + microseconds)
        book.note(answer, to: operation, of: id)
        return answer
    }

    private func used(_ term: LimitTerm, at microseconds: Int) throws -> Int {
        let look = LimitTerm(id: term.id, kind: term.kind, quota: term.quota, cost: 0)
        return try decide(.check, [look], at: microseconds).states[0].used
    }

    private func dump() throws -> String { "\(try calls.redis.command("GET", key))" }

    @Test("takes from the newest charge on, and of one that it does not need in full a part")
    func newestFirst() throws {
        for (at, cost) in [(0, 5), (100_000, 20), (200_000, 30)] {
            _ = try decide(.usage, [sliding(cost)], at: at)
        }
        let refunded = try decide(.refund, [sliding(40)], at: 300_000)
        #expect(refunded.verdict == .done && refunded.states[0].used == 15 && refunded.states[0].isCharged)
        // 5 of 0 ms and 10 of 100 ms are left, and each leaves when it would have.
        let wait = try decide(.check, [sliding(100)], at: 300_000).verdict
        #expect(wait == .denied(term: 0, retryAfterMilliseconds: 800))
        #expect(try used(sliding(0), at: 999_999) == 15)
        #expect(try used(sliding(0), at: 1_000_000) == 10)
        #expect(try used(sliding(0), at: 1_100_000) == 0)
        server.end()
    }

    @Test("never goes below nothing, takes nothing that has left, and nothing at all where nothing is known")
    func neverBelowNothing() throws {
        #expect(try decide(.refund, [sliding(5)], at: 0).states == [LimitState(used: 0, resetAfterMilliseconds: 0)])
        #expect(try calls.keys().isEmpty)
        _ = try decide(.usage, [sliding(5)], at: 0)
        _ = try decide(.usage, [sliding(3)], at: 500_000)
        // The first has left: only the second is given back.
        let refunded = try decide(.refund, [sliding(100)], at: 1_200_000)
        #expect(refunded.states == [LimitState(used: 0, resetAfterMilliseconds: 0, isCharged: true)])
        let before = try dump()
        let again = try decide(.refund, [sliding(100)], at: 1_200_000)
        #expect(again.states == [LimitState(used: 0, resetAfterMilliseconds: 0)])
        #expect(try dump() == before)
        // Where the clock steps back, what had left is in the window again, and what was given back is not.
        #expect(try used(sliding(0), at: 900_000) == 5)
        server.end()
    }

    @Test("leaves the time of the last charge, at which the window stands still where the clock steps back")
    func timeStandsStill() throws {
        _ = try decide(.usage, [sliding(60)], at: 0)
        // Drops what it finds gone.
        _ = try decide(.usage, [sliding(10)], at: 1_000_000)
        _ = try decide(.refund, [sliding(10)], at: 1_000_000)
        #expect(try used(sliding(0), at: 1_000_000) == 0)
        // Of the 60 nothing is known any more: what is admitted now counts as long as if it were admitted then.
        let admitted = try decide(.check, [sliding(100)], at: 500_000)
        #expect(admitted.verdict == .done)
        #expect(admitted.states[0].resetAfterMilliseconds == 1_500)
        server.end()
    }

    @Test("of an id is done once, whatever usage or check has the same id")
    func once() throws {
        _ = try decide(.usage, id: "a", [sliding(50)], at: 0)
        #expect(try decide(.refund, id: "a", [sliding(20)], at: 1).states[0].used == 30)
        let repeated = try decide(.refund, id: "a", [sliding(20)], at: 2)
        #expect(repeated.verdict == .repeated && repeated.states[0].used == 30 && !repeated.states[0].isCharged)
        #expect(try decide(.usage, id: "a", [sliding(50)], at: 3).verdict == .repeated)
        #expect(try decide(.check, id: "a", [sliding(1)], at: 4).verdict == .done)
        #expect(try decide(.refund, id: "b", [sliding(20)], at: 5).states[0].used == 11)
        // Without an id it is done each time.
        #expect(try decide(.refund, [sliding(4)], at: 6).states[0].used == 7)
        #expect(try decide(.refund, [sliding(4)], at: 7).states[0].used == 3)
        server.end()
    }

    @Test("of several limits takes from each what it counts, and leaves what leases hold")
    func severalLimits() throws {
        func term(_ id: UInt32, _ cost: Int, isShadow: Bool = false) -> LimitTerm {
            LimitTerm(id: id, kind: .sliding(windowMilliseconds: 1000), isShadow: isShadow, quota: 100, cost: cost)
        }
        let slot = LimitTerm(id: 9, kind: .concurrency, quota: 4, cost: 1)
        _ = try decide(.usage, [term(1, 10), term(2, 2, isShadow: true)], at: 0)
        _ = try decide(.reserve, id: "a", [term(1, 30), slot], at: 0)
        let refunded = try decide(.refund, [term(1, 20), term(2, 1, isShadow: true), term(3, 5), slot], at: 1)
        #expect(refunded.states.map(\.used) == [30, 1, 0, 1])
        #expect(refunded.states.map(\.isCharged) == [true, true, false, false])
        #expect(try decide(.settle, id: "a", [term(1, 25)], at: 2).states[0].used == 25)
        server.end()
    }

    @Test("takes from what a calendar's period counts, and from what a window counted under another definition")
    func calendars() throws {
        func day(_ cost: Int) -> LimitTerm {
            LimitTerm(
                id: 7, kind: ModelWindow.calendar(seconds: 100).kind(clockMicroseconds: start), quota: 100, cost: cost)
        }
        _ = try decide(.usage, [day(40)], at: 0)
        _ = try decide(.usage, [day(5)], at: 10)
        #expect(try decide(.refund, [day(30)], at: 20).states[0].used == 15)
        // A sliding window has what is left as one charge of the last one's time.
        #expect(try decide(.refund, [sliding(5)], at: 1_000_009).states[0].used == 10)
        #expect(try decide(.refund, [sliding(5)], at: 1_000_010).states[0].used == 0)
        #expect(
            try decide(.refund, [day(50)], at: 1_000_010).states[0]
                == LimitState(used: 0, resetAfterMilliseconds: 0, isCharged: true))
        // And the calendar what was charged to a sliding window in its period.
        for at in 0..<4 { _ = try decide(.usage, [sliding(3)], at: 2_000_000 + at) }
        let refunded = try decide(.refund, [day(7)], at: 2_000_010)
        #expect(refunded.states[0].used == 5)
        #expect(try used(sliding(0), at: 3_000_000) == 2)
        server.end()
    }

    @Test("of a window that has outgrown the bundle takes from its end, and lets it come home when few are left")
    func longWindow() throws {
        let window = 60_000
        var random = SeededGenerator(seed: 13)
        // Every charge that is left: the plainest oracle. Merged entries leave up to a 1,024th of the window later.
        var charges: [(at: Int, cost: Int)] = []
        func counted(at now: Int, window: Int) -> Int {
            charges.filter { $0.at > now - window * 1000 }.reduce(0) { $0 + $1.cost }
        }
        func term(_ cost: Int) -> LimitTerm { sliding(cost, quota: 1_000_000_000, window: window) }
        var now = 0
        for step in 0..<6_000 {
            now += Int.random(in: 1...20_000, using: &random)
            let cost = Int.random(in: 1...9, using: &random)
            let answer: CallAnswer
            if step > 1_500, step % 7 == 0 {
                // Some take an entry's part, some many entries.
                let amount = step % 21 == 0 ? Int.random(in: 20...60, using: &random) : cost
                answer = try decide(.refund, [term(amount)], at: now)
                var left = amount
                while left > 0, let last = charges.last {
                    charges[charges.count - 1].cost -= min(left, last.cost)
                    left -= min(left, last.cost)
                    if charges[charges.count - 1].cost == 0 { charges.removeLast() }
                }
            } else {
                answer = try decide(.usage, [term(cost)], at: now)
                charges.append((now, cost))
            }
            let exact = counted(at: now, window: window)
            let late = counted(at: now, window: window + window / 1024 + 1)
            try #require(exact...late ~= answer.states[0].used, "step \(step)")
        }
        let long = "{\(key)}:w:00000007"
        #expect(try calls.keys() == [key, long])
        #expect(try calls.redis.command("STRLEN", long).integer ?? 0 > 8 * 1_024)
        #expect(try calls.redis.command("PEXPIRETIME", long) == calls.redis.command("PEXPIRETIME", key))
        // All but few: those that merged stay where they are, and then nothing is left of the second key.
        let all = try used(term(0), at: now)
        #expect(try decide(.refund, [term(all - 3)], at: now).states[0].used == 3)
        #expect(try decide(.refund, [term(3)], at: now).states[0].used == 0)
        #expect(try calls.keys() == [key])
        #expect(try decide(.check, [term(1)], at: now).states[0].used == 1)
        server.end()
    }

    @Test("brings a long window home where few charges are left, none of them merged, and counts on exactly")
    func comesHome() throws {
        func term(_ cost: Int) -> LimitTerm { sliding(cost, quota: 1_000_000, window: 60_000) }
        for number in 0..<200 { _ = try decide(.usage, [term(number % 2 == 0 ? 1 : 70_000)], at: number) }
        #expect(try calls.keys().count == 2)
        let all = try used(term(0), at: 200)
        #expect(try decide(.refund, [term(all - 30 * 70_001 - 1)], at: 300).states[0].used == 30 * 70_001 + 1)
        #expect(try calls.keys() == [key])
        #expect(try decide(.usage, [term(5)], at: 400).states[0].used == 30 * 70_001 + 6)
        #expect(try used(term(0), at: 60_000_059) == 6)
        #expect(try used(term(0), at: 60_000_060) == 5)
        server.end()
    }

    @Test("of a long window that Redis has evicted, or written longer than is known, takes what is there")
    func damagedLongWindow() throws {
        func term(_ cost: Int) -> LimitTerm { sliding(cost, quota: 1_000_000, window: 60_000) }
        let long = "{\(key)}:w:00000007"
        for number in 0..<200 { _ = try decide(.usage, [term(1)], at: number) }
        _ = try calls.redis.command("APPEND", long, "12345678")
        #expect(try decide(.refund, [term(50)], at: 300).states[0].used == 150)
        #expect(try calls.redis.command("STRLEN", long).integer == 150 * 8)
        _ = try calls.redis.command("DEL", long)
        #expect(try decide(.refund, [term(50)], at: 400).states == [LimitState(used: 0, resetAfterMilliseconds: 0)])
        #expect(try decide(.check, [term(1)], at: 500).states[0].used == 1)
        server.end()
    }

    @Test("fails alone where the key holds something else, and leaves it as it is")
    func brokenKey() throws {
        _ = try calls.redis.command("SET", key, "no window")
        let calls = (0..<2).map { number in
            DecisionCall(
                .refund,
                subjects: [SubjectTerms(key: Array("\(key)\(number == 0 ? "" : "2")".utf8), terms: [sliding(1)])])
        }
        let answers = try self.calls.decide(calls, clockMicroseconds: start)
        #expect(answers[0] == .failed("ERR the value is not a rate limit window"))
        guard case .decided(let answer) = answers[1] else { throw TestFailure("\(answers[1])") }
        #expect(answer.verdict == .done && answer.states[0].used == 0)
        #expect(try self.calls.redis.command("GET", key).text == "no window")
        server.end()
    }
}
