import TestSupport
import Testing

@testable import RateLimitCore
@testable import RateLimitService

/// A limit that keeps its name and unit and becomes another, over and over, in a Redis that lets keys expire.
private struct ChangingLimit {
    /// What a limit may be: lengths, calendars of several zones and starts, and lifetimes.
    static let windows: [LimitWindow] = [
        .sliding(milliseconds: 60_000), .sliding(milliseconds: 3_600_000), .sliding(milliseconds: 86_400_000),
        .sliding(milliseconds: 30 * 86_400_000), .calendar(.day, .utc), .calendar(.week, .utc), .calendar(.month, .utc),
        .calendar(.day, east), .calendar(.week, east), .calendar(.day, newYork), .calendar(.month, newYork),
        .calendar(.hour, east), .calendar(.month, newYork, starts: CalendarStart(day: 31)), .calendar(.quarter, .utc),
        .calendar(.year, newYork, starts: CalendarStart(month: 2, day: 29)),
        .lifetime(idleMilliseconds: 60_000), .lifetime(idleMilliseconds: 86_400_000),
    ]

    private static let east = TimeZoneRules(name: "Test/East", firstOffset: 34_200, changes: [], footer: nil)
    private static let newYork = TimeZoneRules(
        name: "Test/New_York", firstOffset: -18_000, changes: [],
        footer: PosixTimeZone(Array("EST5EDT,M3.2.0,M11.1.0".utf8)[...]))

    private static let quota = 100

    private let calls: DecidedCalls
    private var random: SeededGenerator
    private var window: LimitWindow
    private var clock: Int
    /// What was admitted, and counted until the limit last changed.
    private var admissions: [(at: Int, cost: Int)] = []
    private var keepsKey = false

    init(_ calls: DecidedCalls, seed: UInt64, _ window: LimitWindow) {
        self.calls = calls
        self.window = window
        random = SeededGenerator(seed: seed)
        clock = WindowPropertyTests.start + Int.random(in: 0...800 * 86_400_000_000, using: &random)
    }

    private func boundaries(
        _ kind: CalendarPeriodKind, _ zone: TimeZoneRules, _ start: CalendarStart
    ) -> CalendarBoundaries {
        kind.boundaries(aroundUnixSeconds: clock / 1_000_000, in: zone, starting: start)
    }

    /// The instants that a charge counts at now if it was made at one of them.
    private var counted: ClosedRange<Int> {
        switch window {
        case .sliding(let milliseconds): clock - milliseconds * 1000 + 1...clock
        case .calendar(let kind, let zone, let start): boundaries(kind, zone, start).start * 1_000_000...clock
        case .lifetime(let milliseconds): began(idle: milliseconds * 1000)...clock
        }
    }

    /// Since when nothing has been idle for so long.
    private func began(idle: Int) -> Int {
        var began = clock
        for admission in admissions.reversed() where began - admission.at < idle { began = admission.at }
        return began
    }

    /// The longest wait there is now, in milliseconds.
    private var longestWait: Int {
        switch window {
        case .sliding(let milliseconds), .lifetime(let milliseconds): milliseconds
        case .calendar(let kind, let zone, let start): boundaries(kind, zone, start).nextStart * 1000 - clock / 1000
        }
    }

    private func decide(_ cost: Int) throws -> CallAnswer {
        let kind: LimitKind =
            switch window {
            case .sliding(let milliseconds): .sliding(windowMilliseconds: milliseconds)
            case .calendar(let kind, let zone, let start): .calendar(boundaries(kind, zone, start))
            case .lifetime(let milliseconds): .lifetime(idleMilliseconds: milliseconds)
            }
        let term = LimitTerm(id: 7, kind: kind, quota: Self.quota, cost: cost)
        // Another limit of the same subject keeps the key, which would else take everything with it.
        let other = LimitTerm(id: 8, kind: .sliding(windowMilliseconds: 30 * 86_400_000), quota: 1 << 30, cost: 1)
        let terms = keepsKey ? [term, other] : [term]
        try calls.expire(clockMicroseconds: clock)
        return try calls.decide(
            DecisionCall(.check, subjects: [SubjectTerms(key: Array("llm-rate:user".utf8), terms: terms)]),
            clockMicroseconds: clock)
    }

    private mutating func advance() {
        let most = [1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000, 10 * 86_400_000_000]
        clock += Int.random(in: 0...(most.randomElement(using: &random) ?? 0), using: &random)
    }

    mutating func play(_ changes: [LimitWindow]) throws {
        keepsKey = Bool.random(using: &random)
        try consume(12)
        for window in changes {
            if Bool.random(using: &random) { advance() }
            // What had left the window before may be gone.
            admissions = admissions.filter { counted.contains($0.at) }
            self.window = window
            try consume(6)
        }
    }

    private mutating func consume(_ times: Int) throws {
        for _ in 0..<times {
            let cost = Int.random(in: 1...60, using: &random)
            let answer = try decide(cost)
            switch answer.verdict {
            case .done: try admitted(cost)
            case .denied(_, let wait): try denied(cost, wait)
            default: throw Violation(step: 0, what: "\(answer)")
            }
            advance()
        }
    }

    private mutating func admitted(_ cost: Int) throws {
        admissions.append((clock, cost))
        let used = admissions.filter { counted.contains($0.at) }.reduce(0) { $0 + $1.cost }
        guard used <= Self.quota else {
            throw Violation(step: 0, what: "\(used) of \(Self.quota) at \(clock) in \(window)")
        }
    }

    /// Whoever is denied waits as told, with nobody else asking.
    private mutating func denied(_ cost: Int, _ wait: Int) throws {
        guard wait <= longestWait else {
            throw Violation(step: 0, what: "\(wait) ms to wait, where \(longestWait) is the longest of \(window)")
        }
        clock += (wait - 1) * 1000
        if wait > 1 {
            guard case .denied(_, 1) = try decide(cost).verdict else {
                throw Violation(step: 0, what: "not denied for one more millisecond before the wait that was told")
            }
        }
        clock += 1000
        guard try decide(cost).verdict == .done else {
            throw Violation(step: 0, what: "denied after \(wait) ms as told, in \(window)")
        }
        try admitted(cost)
    }
}

@Suite("A limit that becomes another")
struct ChangedLimitTests {
    /// Plays a change from each window to each other one, and two more behind it.
    private func play(_ calls: DecidedCalls, runs: Int) throws {
        for run in 0..<runs {
            for (index, first) in ChangingLimit.windows.enumerated() {
                for (place, second) in ChangingLimit.windows.enumerated() {
                    let seed = UInt64(1 + run * 10_000 + index * 100 + place)
                    var random = SeededGenerator(seed: seed)
                    let further = (0..<2).compactMap { _ in ChangingLimit.windows.randomElement(using: &random) }
                    _ = try calls.redis.command("FLUSHALL")
                    var limit = ChangingLimit(calls, seed: seed, first)
                    do { try limit.play([second] + further) } catch let violation as Violation {
                        throw TestFailure("seed \(seed), \(first) to \(second): \(violation)")
                    }
                }
            }
        }
    }

    @Test("is never exceeded, and passes after the wait that was told and not before, from each window to each other")
    func changes() throws {
        let server = try RedisServer()
        try play(DecidedCalls(server.connect()), runs: 2)
        server.end()
    }

    @Test("A month of 1,000 with 600 used that becomes a day of 500 denies until the day ends, and passes then")
    func monthToDay() throws {
        let server = try RedisServer()
        let calls = try DecidedCalls(server.connect())
        let noon = 24_305 * 86_400 + 43_200
        func check(_ kind: CalendarPeriodKind, _ quota: Int, _ cost: Int, at second: Int) throws -> CallAnswer {
            let window = LimitKind.calendar(kind.boundaries(aroundUnixSeconds: second, in: .utc))
            try calls.expire(clockMicroseconds: second * 1_000_000)
            let term = LimitTerm(id: 7, kind: window, quota: quota, cost: cost)
            return try calls.decide(
                DecisionCall(.check, subjects: [SubjectTerms(key: Array("llm-rate:team".utf8), terms: [term])]),
                clockMicroseconds: second * 1_000_000)
        }
        #expect(try check(.month, 1000, 600, at: noon).verdict == .done)
        let denied = try check(.day, 500, 1, at: noon + 60)
        #expect(denied.verdict == .denied(term: 0, retryAfterMilliseconds: 43_140_000))
        #expect(denied.states[0].used == 600)
        #expect(try check(.day, 500, 500, at: noon + 43_200).states.map(\.used) == [500])
        #expect(
            try check(.day, 500, 1, at: noon + 43_201).verdict == .denied(term: 0, retryAfterMilliseconds: 86_399_000))
        server.end()
    }

    /// Mistakes that decide.lua could have with windows that change.
    static let plantedBugs: [(text: String, bug: String)] = [
        // Lets what counts for longer now expire as it would have before.
        ("if keeps and term.total > 0 and section.ends < ends then", "if false then"),
        // Forgets of a sliding window what was charged early in the calendar's period.
        ("now - term.start * 1000 + 1)", "now - term.start * 1000 - 3600000000)"),
        // Takes a calendar's count for one of another instant.
        (
            "section.total, section.newest, section.ends = term.total, term.now, ends",
            "section.total, section.newest, section.ends = term.total, term.now - 60000000, ends"
        ),
    ]

    @Test("A bug planted in the script is caught", arguments: plantedBugs.indices)
    func plantedBug(_ index: Int) throws {
        let (text, bug) = Self.plantedBugs[index]
        let script = DecidedCalls.slowScript.replacing(text, with: bug)
        try #require(script != DecidedCalls.slowScript)
        let server = try RedisServer()
        let calls = try DecidedCalls(server.connect(), script: script)
        #expect(throws: TestFailure.self) { try play(calls, runs: 2) }
        server.end()
    }
}
