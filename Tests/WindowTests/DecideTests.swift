import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// Each operation of `decide.lua` by name, on a real Redis.
@Suite("The decision over several limits")
struct DecideTests {
    let start = WindowPropertyTests.start
    let server: RedisServer
    let calls: DecidedCalls
    let user = "llm-rate:user"
    let group = "llm-rate:group:team"
    let book = LeaseBook()

    init() throws {
        server = try RedisServer()
        calls = try DecidedCalls(server.connect())
    }

    func term(_ id: UInt32, _ quota: Int, _ cost: Int, window: Int = 1000, isShadow: Bool = false) -> LimitTerm {
        LimitTerm(id: id, kind: .sliding(windowMilliseconds: window), isShadow: isShadow, quota: quota, cost: cost)
    }

    func slot(_ quota: Int, _ cost: Int = 1) -> LimitTerm {
        LimitTerm(id: 99, kind: .concurrency, quota: quota, cost: cost)
    }

    func subject(_ key: String, _ terms: [LimitTerm]) -> SubjectTerms {
        SubjectTerms(key: Array(key.utf8), terms: terms)
    }

    func decide(
        _ operation: DecisionOperation, id: String = "", ttl: Int = 60_000, remember: Int = 3_600_000,
        _ terms: [LimitTerm],
        group groupTerms: [LimitTerm] = [], at microseconds: Int
    ) throws -> CallAnswer {
        let subjects = [subject(user, terms)] + (groupTerms.isEmpty ? [] : [subject(group, groupTerms)])
        let call = DecisionCall(
            operation, id: book.id(id, of: operation), lifeMilliseconds: ttl, rememberMilliseconds: remember,
            subjects: subjects)
        let answer = try calls.decide(call, clockMicroseconds: start + microseconds)
        book.note(answer, to: operation, of: id)
        return answer
    }

    func used(_ terms: [LimitTerm], at microseconds: Int) throws -> [Int] {
        let looks = terms.map { LimitTerm(id: $0.id, kind: $0.kind, isShadow: $0.isShadow, quota: $0.quota, cost: 0) }
        return try decide(.check, looks, at: microseconds).states.map(\.used)
    }

    @Test("charges all limits of all subjects, or none; names the one with the longest wait")
    func allOrNothing() throws {
        let terms = [term(1, 10, 1), term(2, 3, 2, window: 5000)]
        #expect(try decide(.check, terms, group: [term(1, 100, 7)], at: 0).verdict == .done)
        let denied = try decide(.check, terms, group: [term(1, 10, 7, window: 2000)], at: 10_000)
        #expect(denied.verdict == .denied(term: 1, retryAfterMilliseconds: 4990))
        #expect(denied.states.map(\.used) == [1, 2, 7])
        #expect(denied.states.map(\.isDenied) == [false, true, true])
        #expect(try used(terms, at: 20_000) == [1, 2])
        let forGood = try decide(.check, [term(1, 10, 1), term(2, 3, 4)], at: 20_000)
        #expect(forGood.verdict == .deniedForGood(term: 1) && forGood.states[1].isForGood)
        #expect(try used(terms, at: 20_000) == [1, 2])
        server.end()
    }

    @Test("A shadow limit denies nothing, and is charged only where it would have admitted")
    func shadow() throws {
        let terms = [term(1, 2, 1), term(2, 1, 1, isShadow: true)]
        #expect(try decide(.check, terms, at: 0).states.map(\.used) == [1, 1])
        let second = try decide(.check, terms, at: 1)
        #expect(second.verdict == .done && second.states.map(\.used) == [2, 1])
        #expect(second.states.map(\.isShadowDenied) == [false, true])
        guard case .denied(term: 0, _) = try decide(.check, terms, at: 2).verdict else {
            Issue.record("not denied")
            return
        }
        #expect(try used(terms, at: 3) == [2, 1])
        server.end()
    }

    @Test("A limit that needs room denies where nothing is left what costs nothing of it, and charges nothing")
    func needsRoom() throws {
        func room(_ quota: Int, _ cost: Int = 0, isShadow: Bool = false) -> LimitTerm {
            LimitTerm(
                id: 7, kind: .sliding(windowMilliseconds: 1000), isShadow: isShadow, quota: quota, cost: cost,
                needsRoom: true)
        }
        let requests = term(1, 10, 1)
        #expect(try decide(.check, [requests, room(10)], at: 0).states.map(\.used) == [1, 0])
        #expect(try decide(.usage, [room(10, 9)], at: 0).states.map(\.used) == [9])
        #expect(try decide(.check, [requests, room(10)], at: 1).states.map(\.used) == [2, 9])
        #expect(try decide(.reserve, id: "a", [requests, room(10, 1)], at: 1).states.map(\.used) == [3, 10])
        let full = CallVerdict.denied(term: 1, retryAfterMilliseconds: 998)
        let denied = try decide(.check, [requests, room(10)], at: 2000)
        #expect(denied.verdict == full && denied.states.map(\.isDenied) == [false, true])
        #expect(try decide(.reserve, id: "b", [requests, room(10)], at: 2000).verdict == full)
        #expect(try decide(.check, [requests, term(7, 10, 0)], at: 2000).states.map(\.used) == [4, 10])
        let shadow = try decide(.check, [requests, room(10, isShadow: true)], at: 2000)
        #expect(shadow.verdict == .done && shadow.states.map(\.isShadowDenied) == [false, true])
        #expect(try decide(.usage, [requests, room(10)], at: 2000).states.map(\.used) == [6, 10])
        #expect(try decide(.check, [room(0)], at: 2000).verdict == .deniedForGood(term: 0))
        #expect(try decide(.release, id: "a", [requests, room(10)], at: 2000).states.map(\.used) == [5, 9])
        #expect(try decide(.reserve, id: "b", ttl: 5, [requests, room(10)], at: 2000).states.map(\.used) == [6, 9])
        #expect(try used([requests, room(10)], at: 1_000_000) == [4, 0])
        server.end()
    }

    @Test("A concurrency limit that needs room denies a check where no slot is free")
    func needsSlot() throws {
        let needed = LimitTerm(id: 99, kind: .concurrency, quota: 1, cost: 1, needsRoom: true)
        #expect(try decide(.check, [needed], at: 0).states.map(\.used) == [0])
        #expect(try decide(.reserve, id: "a", ttl: 500, [slot(1)], at: 0).verdict == .done)
        #expect(try decide(.check, [slot(1)], at: 1000).states.map(\.used) == [1])
        #expect(
            try decide(.check, [needed], at: 1000).verdict == .atCapacity(term: 0, retryAfterMilliseconds: 499))
        #expect(try decide(.check, [needed], at: 500_000).verdict == .done)
        server.end()
    }

    @Test("A denial says how much of its wait what is charged needs, and whether leases hold some of it")
    func leastWait() throws {
        #expect(try decide(.usage, [term(1, 100, 60)], at: 0).states.map(\.used) == [60])
        #expect(try decide(.reserve, id: "a", ttl: 50_000, [term(1, 100, 30), slot(1)], at: 0).verdict == .done)
        // Leases alone deny.
        let held = try decide(.check, [term(1, 100, 20)], at: 0)
        #expect(held.verdict == .denied(term: 0, retryAfterMilliseconds: 1000))
        #expect(held.leastWaitMilliseconds == 0 && held.states.map(\.isHeld) == [true])
        let full = try decide(.reserve, id: "b", [slot(1)], at: 0)
        #expect(full.verdict == .atCapacity(term: 0, retryAfterMilliseconds: 50_000))
        #expect(full.leastWaitMilliseconds == 0 && full.states.map(\.isHeld) == [true])
        // What is charged does too.
        let both = try decide(.check, [term(1, 100, 80)], at: 400_000)
        #expect(both.verdict == .denied(term: 0, retryAfterMilliseconds: 49_600))
        #expect(both.leastWaitMilliseconds == 600 && both.states.map(\.isHeld) == [true])
        let longest = try decide(.reserve, id: "b", [term(1, 100, 80), slot(1)], at: 400_000)
        #expect(longest.verdict == .atCapacity(term: 1, retryAfterMilliseconds: 49_600))
        #expect(longest.leastWaitMilliseconds == 600)
        // It does alone.
        #expect(try decide(.release, id: "a", [], at: 500_000).verdict == .done)
        let charged = try decide(.check, [term(1, 100, 80)], at: 500_000)
        #expect(charged.verdict == .denied(term: 0, retryAfterMilliseconds: 500))
        #expect(charged.leastWaitMilliseconds == 500 && charged.states.map(\.isHeld) == [false])
        server.end()
    }

    @Test("A reserve holds; its settle charges the real costs, once, and frees the slot")
    func reserveAndSettle() throws {
        let terms = [term(1, 100, 40), slot(1)]
        #expect(try decide(.reserve, id: "a", terms, at: 0).states.map(\.used) == [40, 1])
        let full = try decide(.reserve, id: "b", ttl: 5000, terms, at: 1_000_000)
        #expect(full.verdict == .atCapacity(term: 1, retryAfterMilliseconds: 59_000))
        #expect(try decide(.reserve, id: "a", terms, at: 1_000_000).verdict == .repeated)
        #expect(try used(terms, at: 2_000_000) == [40, 1])
        let settled = try decide(.settle, id: "a", [term(1, 100, 130), slot(1, 0)], at: 2_000_000)
        #expect(settled.verdict == .done && settled.states.map(\.used) == [130, 0])
        #expect(try decide(.settle, id: "a", [term(1, 100, 130)], at: 2_000_001).verdict == .repeated)
        #expect(try used(terms, at: 2_000_002) == [130, 0])
        #expect(try used(terms, at: 3_000_000) == [0, 0])
        server.end()
    }

    @Test("A lease that is not renewed gives everything back by itself; a late settle still charges, once")
    func lapse() throws {
        let terms = [term(1, 100, 40), slot(1)]
        #expect(try decide(.reserve, id: "a", ttl: 500, terms, group: [term(1, 50, 50)], at: 0).verdict == .done)
        #expect(try decide(.renew, id: "a", ttl: 500, [], group: [slot(1)], at: 400_000).verdict == .done)
        #expect(try used(terms, at: 899_999) == [40, 1])
        #expect(
            try decide(.check, [term(1, 100, 61)], at: 899_999).verdict == .denied(term: 0, retryAfterMilliseconds: 1))
        #expect(try used(terms, at: 900_000) == [0, 0])
        #expect(try decide(.renew, id: "a", [], at: 900_000).verdict == .unknownLease)
        #expect(try decide(.reserve, id: "b", [slot(1)], at: 900_000).verdict == .done)
        let late = try decide(.settle, id: "a", [term(1, 100, 12), slot(1, 0)], group: [term(1, 50, 12)], at: 950_000)
        #expect(late.verdict == .done && late.states.map(\.used) == [12, 1, 12])
        #expect(try decide(.settle, id: "a", [term(1, 100, 12)], at: 960_000).verdict == .repeated)
        #expect(try used(terms, at: 970_000) == [12, 1])
        server.end()
    }

    @Test("A release gives back, and a later settle of the same id charges nothing")
    func release() throws {
        let terms = [term(1, 100, 40), slot(1)]
        #expect(try decide(.reserve, id: "a", terms, at: 0).verdict == .done)
        #expect(try decide(.release, id: "a", terms, at: 1).verdict == .done)
        #expect(try decide(.settle, id: "a", terms, at: 2).verdict == .repeated)
        #expect(try decide(.release, id: "b", terms, at: 3).verdict == .tooLate)
        #expect(try decide(.settle, id: "b", terms, at: 4).verdict == .tooLate)
        #expect(try used(terms, at: 5) == [0, 0])
        server.end()
    }

    @Test("A lease that was ended leaves nothing behind, and is ended once for as long as it is remembered")
    func memory() throws {
        let terms = [term(1, 100, 40), slot(1)]
        #expect(try decide(.reserve, id: "a", ttl: 500, terms, at: 0).verdict == .done)
        let (keys, length) = (try calls.keys(), try calls.redis.command("STRLEN", user).integer)
        #expect(keys == [user])
        for index in 1...20 {
            #expect(try decide(.reserve, id: "\(index)", [term(1, 100, 1)], at: index).verdict == .done)
            #expect(try decide(.settle, id: "\(index)", [term(1, 100, 0)], at: index).verdict == .done)
        }
        #expect(try calls.keys() == keys && calls.redis.command("STRLEN", user).integer == length)
        for (milliseconds, verdict) in [(499, CallVerdict.repeated), (3_600_499, .repeated), (3_660_001, .tooLate)] {
            #expect(try decide(.settle, id: "20", terms, at: milliseconds * 1000).verdict == verdict)
            #expect(try decide(.release, id: "20", terms, at: milliseconds * 1000).verdict == verdict)
        }
        server.end()
    }

    @Test("A lease that lapsed may be settled for as long as it is remembered, and then it is too late")
    func tooLate() throws {
        let terms = [term(1, 1000, 40), slot(3)]
        for id in ["a", "b", "c"] {
            #expect(try decide(.reserve, id: id, ttl: 500, remember: 5000, terms, at: 0).verdict == .done)
        }
        #expect(try decide(.settle, id: "a", remember: 5000, terms, at: 5_499_000).states[0].used == 40)
        #expect(try decide(.release, id: "b", remember: 5000, terms, at: 5_499_000).verdict == .unknownLease)
        #expect(try decide(.settle, id: "b", remember: 5000, terms, at: 5_499_000).verdict == .repeated)
        #expect(try decide(.settle, id: "c", remember: 5000, terms, at: 5_500_000).verdict == .tooLate)
        #expect(try decide(.settle, id: "a", remember: 5000, terms, at: 5_500_000).verdict == .tooLate)
        #expect(try decide(.settle, id: "never", remember: 5000, terms, at: 5_500_000).verdict == .tooLate)
        #expect(try used([terms[0]], at: 5_500_000) == [40])
        server.end()
    }

    @Test("A lease that was given before Redis lost what it knew of the user is charged once, settled or not")
    func lostMemory() throws {
        let terms = [term(1, 1000, 40, window: 600_000), slot(3)]
        #expect(try decide(.reserve, id: "a", terms, group: [term(1, 1000, 40)], at: 0).verdict == .done)
        #expect(try decide(.reserve, id: "b", terms, group: [term(1, 1000, 40)], at: 0).verdict == .done)
        _ = try calls.redis.command("DEL", user)
        #expect(
            try decide(.settle, id: "a", terms, group: [term(1, 1000, 40)], at: 1000).states.map(\.used) == [40, 0, 80])
        #expect(try decide(.settle, id: "a", terms, at: 2000).verdict == .repeated)
        // Another lease begins a memory that does not reach back.
        #expect(try decide(.reserve, id: "c", terms, at: 3000).verdict == .done)
        #expect(try decide(.settle, id: "a", terms, at: 4000).verdict == .repeated)
        #expect(try decide(.settle, id: "b", terms, at: 4000).states.map(\.used) == [120, 1])
        #expect(try decide(.release, id: "b", terms, at: 5000).verdict == .repeated)
        #expect(try decide(.settle, id: "c", terms, at: 5000).states.map(\.used) == [120, 0])
        #expect(try decide(.settle, id: "c", terms, at: 6000).verdict == .repeated)
        server.end()
    }

    @Test("A usage's id is known for as long as is said, in two keys however many there are")
    func usageMemory() throws {
        for index in 0..<700 {
            let answer = try decide(.usage, id: "\(index)", remember: 5000, [term(1, 10, 1)], at: index * 10_000)
            try #require(answer.verdict == .done)
        }
        #expect(try calls.keys() == [user, "{\(user)}:ids", "{\(user)}:ids:before"])
        for index in [200, 450, 699] {
            #expect(
                try decide(.usage, id: "\(index)", remember: 5000, [term(1, 10, 1)], at: 7_000_000).verdict == .repeated
            )
        }
        try calls.expire(clockMicroseconds: start + 17_000_000)
        #expect(try decide(.usage, id: "0", remember: 5000, [term(1, 10, 1)], at: 17_000_000).verdict == .done)
        server.end()
    }

    @Test("A shadow limit that did not admit a reservation is not charged by its settle")
    func shadowLease() throws {
        let terms = [term(1, 100, 40), term(2, 30, 40, isShadow: true), term(3, 90, 40, isShadow: true)]
        #expect(try decide(.reserve, id: "a", terms, at: 0).states.map(\.used) == [40, 0, 40])
        #expect(try decide(.settle, id: "a", terms, at: 1).states.map(\.used) == [40, 0, 40])
        server.end()
    }

    @Test("A settle says which limits it was charged to: those that have come since among them, shadows or not")
    func charged() throws {
        let before = [term(1, 100, 40), term(2, 30, 40, isShadow: true), slot(2)]
        #expect(try decide(.reserve, id: "a", before, at: 0).states.map(\.used) == [40, 0, 1])
        // The first has gone, two have come.
        let after = [
            term(2, 30, 40, isShadow: true), term(3, 100, 40), term(4, 100, 40, isShadow: true), term(5, 9, 0),
        ]
        let settled = try decide(.settle, id: "a", after + [slot(2, 0)], at: 1)
        #expect(settled.states.map(\.isCharged) == [false, true, true, false, false])
        #expect(settled.states.map(\.used) == [0, 40, 40, 0, 0])
        #expect(try used(before, at: 2) == [0, 0, 0])
        let again = try decide(.settle, id: "a", after, at: 3)
        #expect(again.verdict == .repeated && again.states.allSatisfy { !$0.isCharged })
        #expect(try decide(.usage, [term(1, 1, 7)], at: 4).states.map(\.isCharged) == [true])
        #expect(try decide(.check, [term(1, 9, 1)], at: 5).states.map(\.isCharged) == [false])
        server.end()
    }

    @Test("Usage passes the limit, and is charged once for each id")
    func usage() throws {
        let terms = [term(1, 10, 25)]
        #expect(try decide(.usage, id: "r", terms, at: 0).states.map(\.used) == [25])
        #expect(try decide(.usage, id: "r", terms, at: 1).verdict == .repeated)
        #expect(try decide(.usage, terms, at: 2).states.map(\.used) == [50])
        #expect(try decide(.usage, terms, at: 3).states.map(\.used) == [75])
        server.end()
    }

    @Test("A reset forgets one limit with its part of the leases, or everything")
    func reset() throws {
        let terms = [term(1, 2000, 1, window: 600_000), term(2, 2000, 5), slot(4)]
        for index in 0..<300 { #expect(try decide(.check, terms, at: index).verdict == .done) }
        #expect(try calls.keys().contains("{\(user)}:w:00000001"))
        #expect(try decide(.reserve, id: "a", terms, at: 300).states.map(\.used) == [301, 1505, 1])
        #expect(try decide(.reset, [terms[0]], at: 301).verdict == .done)
        #expect(try used(terms, at: 302) == [0, 1505, 1])
        #expect(try decide(.check, terms, at: 303).states.map(\.used) == [1, 1510, 1])
        #expect(try decide(.settle, id: "a", terms, at: 304).states.map(\.used) == [2, 1510, 0])
        #expect(try decide(.reset, [], at: 305).verdict == .done)
        // Which leases have been ended stays known.
        #expect(try calls.keys() == [user])
        #expect(try decide(.settle, id: "a", terms, at: 306).verdict == .repeated)
        #expect(try used(terms, at: 307) == [0, 0, 0])
        server.end()
    }

    @Test("A calendar window counts from one boundary to the next, and stands still where the clock steps back")
    func calendar() throws {
        let day = 86_400
        let today = start / 1_000_000 / day * day
        let kind = LimitKind.calendar(
            CalendarBoundaries(
                previousStart: today - day, start: today, nextStart: today + day, afterNextStart: today + 2 * day))
        func check(_ cost: Int, at second: Int) throws -> CallAnswer {
            let call = DecisionCall(
                .check,
                subjects: [subject(user, [LimitTerm(id: 5, kind: kind, quota: 10, cost: cost)])])
            return try calls.decide(call, clockMicroseconds: second * 1_000_000)
        }
        #expect(try check(8, at: today + 100).states[0] == LimitState(used: 8, resetAfterMilliseconds: 86_300_000))
        #expect(try check(3, at: today + day - 1).verdict == .denied(term: 0, retryAfterMilliseconds: 1000))
        #expect(try check(10, at: today + day).states[0].used == 10)
        #expect(try check(1, at: today + 5).verdict == .denied(term: 0, retryAfterMilliseconds: (2 * day - 5) * 1000))
        #expect(try check(1, at: today + 2 * day - 1).verdict == .denied(term: 0, retryAfterMilliseconds: 1000))
        #expect(throws: TestFailure.self) { try check(1, at: today + 2 * day) }
        server.end()
    }

    @Test("A limit that changes from sliding to calendar and back keeps what it counts")
    func kinds() throws {
        let second = start / 1_000_000
        let calendar = LimitKind.calendar(
            CalendarBoundaries(
                previousStart: second - 100, start: second - 10, nextStart: second + 10,
                afterNextStart: second + 100))
        #expect(try decide(.check, [term(1, 10, 6)], at: 0).states[0].used == 6)
        let days = LimitTerm(id: 1, kind: calendar, quota: 10, cost: 3)
        #expect(try decide(.check, [days], at: 1).states[0].used == 9)
        #expect(try decide(.check, [term(1, 10, 2)], at: 2).verdict == .denied(term: 0, retryAfterMilliseconds: 1000))
        #expect(try decide(.check, [term(1, 10, 1)], at: 3).states[0].used == 10)
        #expect(try decide(.check, [term(1, 10, 2)], at: 1_000_002).states[0].used == 3)
        server.end()
    }

    @Test("A key of another kind fails its own call alone, and nothing of that is charged")
    func foreignKeys() throws {
        let terms = [term(1, 2000, 1, window: 600_000), slot(2)]
        let good = subject(user, terms)
        for (key, setup) in [
            (group, ["RPUSH", group, "x"]), (group, ["SET", group, "somebody else's"]),
            (group, ["SET", group, "\u{8}\u{8}\u{8}"]),
        ] {
            _ = try calls.redis.command("FLUSHALL")
            _ = try calls.redis.command(setup)
            let bad = [good, subject(group, terms)]
            let answers = try calls.decide(
                [
                    DecisionCall(.reserve, id: book.lease("1"), subjects: bad),
                    DecisionCall(.reserve, id: book.lease("2"), subjects: [good]),
                ], clockMicroseconds: start)
            guard case .failed = answers[0], case .decided(let answer) = answers[1] else {
                Issue.record("\(setup): \(answers)")
                continue
            }
            #expect(answer.verdict == .done && answer.states.map(\.used) == [1, 1])
            #expect(try calls.redis.command("EXISTS", key).integer == 1)
        }
        server.end()
    }
}
