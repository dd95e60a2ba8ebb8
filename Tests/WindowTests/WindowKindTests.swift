import TestSupport
import Testing

@testable import RateLimitCore
@testable import RateLimitService

/// What a window must say, in the plainest form: the list of all admissions, and which of them count at an instant.
private struct AdmissionList {
    let window: LimitWindow
    /// Of each the time at which it counts: where the clock has stepped back, that of the one before.
    private(set) var admissions: [(at: Int, cost: Int)] = []

    init(_ window: LimitWindow) { self.window = window }

    private func time(_ clock: Int) -> Int { max(clock, admissions.last?.at ?? clock) }

    mutating func admit(_ cost: Int, clock: Int) { admissions.append((time(clock), cost)) }

    func used(clock: Int) -> Int {
        let now = time(clock)
        let from: Int
        switch window {
        case .sliding(let milliseconds): from = now - milliseconds * 1000 + 1
        case .calendar(let kind, let zone, let start):
            from = kind.period(atUnixSeconds: now / 1_000_000, in: zone, starting: start).start * 1_000_000
        case .lifetime(let milliseconds):
            var began = now
            for admission in admissions.reversed() where began - admission.at < milliseconds * 1000 {
                began = admission.at
            }
            from = began
        }
        return admissions.reduce(0) { $0 + ($1.at >= from ? $1.cost : 0) }
    }
}

/// A history of checks under one window, held against the list of all admissions.
private struct WindowHistory {
    static let quota = 100

    let calls: DecidedCalls
    let window: LimitWindow
    /// The usual and the longest steps of the clock, and the longest back, in microseconds.
    let steps: (usual: Int, longest: Int, back: Int)
    var random: SeededGenerator
    var clock: Int
    var list: AdmissionList

    init(_ calls: DecidedCalls, _ row: WindowKindTests.Row, seed: UInt64) throws {
        self.calls = calls
        window = row.window
        steps = row.steps
        random = SeededGenerator(seed: seed)
        // A day before a leap day, or half a day before clocks are moved in the north or the south.
        let starts = [2_087_164_800, 2_090_199_600, 2_106_486_000, 2_093_018_400, 2_108_739_600]
        clock = (starts.randomElement(using: &random) ?? 0) * 1_000_000
        clock += Int.random(in: 0...43_200_000_000, using: &random)
        list = AdmissionList(row.window)
        _ = try calls.redis.command("FLUSHALL")
    }

    private func check(_ cost: Int, at clock: Int) throws -> CallAnswer {
        let kind: LimitKind =
            switch window {
            case .sliding(let milliseconds): .sliding(windowMilliseconds: milliseconds)
            case .lifetime(let milliseconds): .lifetime(idleMilliseconds: milliseconds)
            case .calendar(let kind, let zone, let start):
                .calendar(kind.boundaries(aroundUnixSeconds: clock / 1_000_000, in: zone, starting: start))
            }
        let term = LimitTerm(id: 7, kind: kind, quota: Self.quota, cost: cost)
        return try calls.decide(
            DecisionCall(.check, subjects: [SubjectTerms(key: Array("llm-rate:user".utf8), terms: [term])]),
            clockMicroseconds: clock)
    }

    private func kept() throws -> [RedisReply] {
        [try calls.redis.command("GET", "llm-rate:user"), try calls.redis.command("PEXPIRETIME", "llm-rate:user")]
    }

    private func hold(_ condition: Bool, _ what: @autoclosure () -> String) throws {
        if !condition { throw TestFailure("\(what()) at \(clock) in \(window)") }
    }

    /// The first millisecond from now on at which something is so, and a moment before is not.
    private func isFirst(_ milliseconds: Int, _ holds: (_ clock: Int) -> Bool) -> Bool {
        holds(clock + milliseconds * 1000) && !holds(clock + (milliseconds - 1) * 1000)
    }

    mutating func play(_ count: Int) throws {
        for _ in 0..<count {
            switch Int.random(in: 0..<10, using: &random) {
            case 0: clock += Int.random(in: 1...steps.longest, using: &random)
            case 1:
                // A plan knows two periods behind its own: further back than that it takes them to be as long as the last.
                clock -= Int.random(in: 1...steps.back, using: &random)
                clock = max(clock, (list.admissions.last?.at ?? 0) - steps.back)
            default: clock += Int.random(in: 0...steps.usual, using: &random)
            }
            try consume(Int.random(in: 0...60, using: &random))
        }
    }

    private mutating func consume(_ cost: Int) throws {
        let (before, used) = (try kept(), list.used(clock: clock))
        let answer = try check(cost, at: clock)
        switch answer.verdict {
        case .done:
            try hold(used + cost <= Self.quota, "\(cost) admitted with \(used) used")
            if cost > 0 { list.admit(cost, clock: clock) }
        case .denied(_, let wait):
            try hold(used + cost > Self.quota, "\(cost) denied with \(used) used")
            let (list, quota) = (list, Self.quota)
            let isExact = isFirst(wait) { list.used(clock: $0) + cost <= quota }
            try hold(isExact, "a wait of \(wait) ms")
        default: try hold(false, "\(answer)")
        }
        let state = answer.states[0]
        try hold(state.used == list.used(clock: clock), "\(state.used) used, and not \(list.used(clock: clock))")
        if state.used > 0 {
            let list = list
            let isExact = isFirst(state.resetAfterMilliseconds) { list.used(clock: $0) == 0 }
            try hold(isExact, "empty after \(state.resetAfterMilliseconds) ms")
        }
        if answer.verdict == .done, cost > 0 {
            let expiry = try calls.redis.command("PEXPIRETIME", "llm-rate:user").integer ?? 0
            let isExact = list.used(clock: expiry * 1000) == 0 && list.used(clock: (expiry - 1) * 1000) > 0
            try hold(isExact, "a key that expires at \(expiry) ms")
        } else {
            try hold(try kept() == before, "written by what charges nothing")
        }
    }
}

@Suite("A window of each kind")
struct WindowKindTests {
    struct Row: CustomTestStringConvertible, Sendable {
        var name: String
        var window: LimitWindow
        var steps: (usual: Int, longest: Int, back: Int)

        var testDescription: String { name }
    }

    private static func zone(_ rule: String) -> TimeZoneRules {
        TimeZoneRules(name: "Test/Zone", firstOffset: 0, changes: [], footer: PosixTimeZone(Array(rule.utf8)[...]))
    }

    private static let newYork = zone("EST5EDT,M3.2.0,M11.1.0")
    private static let lordHowe = zone("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0")
    private static let chatham = zone("<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45")
    private static let kathmandu = zone("<+0545>-5:45")

    private static let second = 1_000_000
    private static let hour = 3600 * second
    private static let day = 24 * hour

    static let rows: [Row] = {
        let ofHours = (usual: hour / 4, longest: 30 * hour, back: hour / 3)
        let ofMonths = (usual: 6 * day, longest: 200 * day, back: 20 * day)
        let ofYears = (usual: 60 * day, longest: 900 * day, back: 80 * day)
        return [
            Row(name: "hour", window: .calendar(.hour, .utc), steps: ofHours),
            Row(name: "hour, clocks moved by half an hour", window: .calendar(.hour, lordHowe), steps: ofHours),
            Row(name: "hour, three quarters ahead", window: .calendar(.hour, chatham), steps: ofHours),
            Row(
                name: "day", window: .calendar(.day, newYork),
                steps: (usual: 5 * hour, longest: 9 * day, back: 8 * hour)),
            Row(name: "month", window: .calendar(.month, kathmandu), steps: ofMonths),
            Row(name: "month from 15", window: .calendar(.month, newYork, starts: .init(day: 15)), steps: ofMonths),
            Row(name: "month from 31", window: .calendar(.month, .utc, starts: .init(day: 31)), steps: ofMonths),
            Row(name: "quarter", window: .calendar(.quarter, chatham), steps: ofYears),
            Row(
                name: "quarter from 02-29", window: .calendar(.quarter, .utc, starts: .init(month: 2, day: 29)),
                steps: ofYears),
            Row(name: "year", window: .calendar(.year, lordHowe), steps: ofYears),
            Row(
                name: "year from 02-29", window: .calendar(.year, kathmandu, starts: .init(month: 2, day: 29)),
                steps: ofYears),
            Row(
                name: "year from 04-06", window: .calendar(.year, newYork, starts: .init(month: 4, day: 6)),
                steps: ofYears),
            Row(
                name: "lifetime of an hour idle", window: .lifetime(idleMilliseconds: 3_600_000),
                steps: (usual: hour / 2, longest: 3 * hour, back: hour)),
            Row(
                name: "lifetime of a second idle", window: .lifetime(idleMilliseconds: 1_000),
                steps: (usual: second / 2, longest: 2 * second, back: 5 * second)),
        ]
    }()

    @Test(
        "admits what fits and nothing else, tells exact waits, writes nothing for nothing and expires when it is empty",
        arguments: rows)
    func properties(_ row: Row) throws {
        let server = try RedisServer()
        for script in [DecidedCalls.script, DecidedCalls.slowScript] {
            try play(row, DecidedCalls(server.connect(), script: script))
        }
        server.end()
    }

    private func play(_ row: Row, _ calls: DecidedCalls) throws {
        for seed in 1...12 {
            var history = try WindowHistory(calls, row, seed: UInt64(seed))
            do { try history.play(150) } catch let failure as TestFailure {
                throw TestFailure("seed \(seed): \(failure)")
            }
        }
    }

    /// Mistakes that the script could have with periods and lifetimes, and whether they are on its hot path.
    static let plantedBugs: [(isHot: Bool, text: String, bug: String)] = [
        // Counts what was charged in an earlier period, or begins one a second late.
        (true, "if newest < period * 1000 then counted = 0", "if newest < period * 1000 then counted = counted"),
        (false, "elseif newest >= term.start * 1000 then", "elseif newest >= 0 then"),
        (false, "elseif newest >= term.start * 1000 then", "elseif newest >= term.start * 1000 + 1000000000 then"),
        // Lets the period pass into the next one by the clock that has stepped back.
        (false, "period(term, floor(now / 1000))", "period(term, now_ms)"),
        // Lets the key expire when the period began, or tells another wait than to its end.
        (
            false, "local ends = term.kind == CALENDAR and term.stop or",
            "local ends = term.kind == CALENDAR and term.start or"
        ),
        (false, "if term.kind == CALENDAR then return term.stop - now_ms end", ""),
        // Takes an idle lifetime for one that goes on, or slides.
        (false, "(now < stands_until or section.held > 0)", "(now < stands_until + 1000000 or section.held > 0)"),
        (true, "if redis_now >= stands_until then", "if redis_now >= stands_until + 1000 then"),
        (
            false, "if term.kind ~= SLIDING or term.total == 0 then\n      begin_anew",
            "if true then\n      term.total = 0\n      begin_anew"
        ),
    ]

    @Test("A bug planted in the script is caught", arguments: plantedBugs.indices)
    func plantedBug(_ index: Int) throws {
        let (isHot, text, bug) = Self.plantedBugs[index]
        let original = isHot ? DecidedCalls.script : DecidedCalls.slowScript
        let script = original.replacing(text, with: bug)
        try #require(script != original, "\(text) is not in the script")
        let server = try RedisServer()
        let calls = try DecidedCalls(server.connect(), script: script)
        #expect(throws: (any Error).self) { for row in Self.rows { try play(row, calls) } }
        server.end()
    }

    @Test(
        "that is a lifetime begins anew for who would be denied, where nothing but thousands of lapsed leases kept it")
    func manyLapsedLeases() throws {
        let server = try RedisServer()
        let calls = try DecidedCalls(server.connect())
        let (book, start) = (LeaseBook(), 2_087_164_800_000_000)
        func decide(
            _ operation: DecisionOperation, _ name: String = "", cost: Int, life: Int = 1, at milliseconds: Int
        ) throws -> CallAnswer {
            let term = LimitTerm(id: 7, kind: .lifetime(idleMilliseconds: 1_000), quota: 2_700, cost: cost)
            let call = DecisionCall(
                operation, id: book.id(name, of: operation), lifeMilliseconds: life, rememberMilliseconds: 3_600_000,
                subjects: [SubjectTerms(key: Array("llm-rate:user".utf8), terms: [term])])
            let answer = try calls.decide(call, clockMicroseconds: start + milliseconds * 1_000)
            book.note(answer, to: operation, of: name)
            return answer
        }
        _ = try decide(.usage, cost: 1_500, at: 0)
        for lease in 0..<1_100 { _ = try decide(.reserve, "\(lease)", cost: 1, life: 5_000, at: lease / 2) }
        // One that stands and holds nothing: what has lapsed is given back little by little.
        _ = try decide(.reserve, "stands", cost: 0, life: 100_000, at: 600)
        #expect(try decide(.check, cost: 101, at: 4_999).states[0].used == 2_600)
        let admitted = try decide(.check, cost: 1_300, at: 7_000)
        #expect(admitted.verdict == .done && admitted.states[0].used == 1_300)
        server.end()
    }

    @Test("that is a lifetime is not dropped where another limit needs room, while it counts or a lease keeps it")
    func keptInTheBundle() throws {
        let server = try RedisServer()
        let calls = try DecidedCalls(server.connect())
        let (book, start, hour) = (LeaseBook(), 2_087_164_800_000_000, 3_600_000)
        func term(_ id: UInt32, idle: Int, cost: Int) -> LimitTerm {
            LimitTerm(id: id, kind: .lifetime(idleMilliseconds: idle), quota: 100, cost: cost)
        }
        func used(
            _ operation: DecisionOperation, _ terms: [LimitTerm], of name: String = "", at milliseconds: Int
        ) throws -> [Int] {
            let call = DecisionCall(
                operation, id: book.id(name, of: operation), lifeMilliseconds: 5 * hour, rememberMilliseconds: hour,
                subjects: [SubjectTerms(key: Array("llm-rate:user".utf8), terms: terms)])
            try calls.expire(clockMicroseconds: start + milliseconds * 1_000)
            let answer = try calls.decide(call, clockMicroseconds: start + milliseconds * 1_000)
            book.note(answer, to: operation, of: name)
            return answer.states.map(\.used)
        }
        // One that counts for a day, one that a lease keeps, and one that has been idle for hours.
        let idles = [24 * hour, 1_000, 1_000]
        func looks(at milliseconds: Int) throws -> [Int] {
            try used(.check, (0..<3).map { term(UInt32(1 + $0), idle: idles[$0], cost: 0) }, at: milliseconds)
        }
        _ = try used(.usage, (0..<3).map { term(UInt32(1 + $0), idle: idles[$0], cost: 40) }, at: 0)
        _ = try used(.reserve, [term(2, idle: 1_000, cost: 5)], of: "a", at: 1)
        _ = try used(.usage, [term(4, idle: 1_000, cost: 1)], at: 4 * hour)
        #expect(try looks(at: 4 * hour) == [40, 45, 0])
        // The lease lapses: all that is left is what counts for a day, and at its end nothing.
        #expect(try looks(at: 5 * hour + 1) == [40, 0, 0])
        #expect(try looks(at: 24 * hour - 1) == [40, 0, 0])
        #expect(try looks(at: 24 * hour) == [0, 0, 0])
        #expect(try calls.keys().isEmpty)
        server.end()
    }

    @Test("of a calendar is not decided by periods that are all past, or all to come")
    func otherPeriods() throws {
        let server = try RedisServer()
        let calls = try DecidedCalls(server.connect())
        let now = 2_087_164_800
        for (daemon, error) in [(now - 7_200, "past"), (now + 7_200, "to come")] {
            let kind = LimitKind.calendar(CalendarPeriodKind.hour.boundaries(aroundUnixSeconds: daemon, in: .utc))
            let term = LimitTerm(id: 7, kind: kind, quota: 9, cost: 1)
            let call = DecisionCall(.check, subjects: [SubjectTerms(key: Array("llm-rate:user".utf8), terms: [term])])
            let decided = try calls.decide([call], clockMicroseconds: now * 1_000_000)
            #expect(decided == [.failed("ERR the calendar periods are \(error)")])
            // An hour less, and it is decided.
            let near = LimitKind.calendar(
                CalendarPeriodKind.hour.boundaries(aroundUnixSeconds: (now + daemon) / 2, in: .utc))
            let other = LimitTerm(id: 7, kind: near, quota: 9, cost: 1)
            let answer = try calls.decide(
                DecisionCall(.check, subjects: [SubjectTerms(key: Array("llm-rate:user".utf8), terms: [other])]),
                clockMicroseconds: now * 1_000_000)
            #expect(answer.verdict == .done)
        }
        #expect(try calls.keys() == ["llm-rate:user"])
        server.end()
    }
}
