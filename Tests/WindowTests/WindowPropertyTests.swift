import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// The window's properties, on generated histories: the script in a real Redis, the pure reference, and both together.
@Suite("The window on generated histories")
struct WindowPropertyTests {
    /// Ten years ahead, so that Redis's own clock never expires a key on which the fake one is at work.
    static let start = 2_100_000_000_000_000

    /// Half a minute before the microseconds, of which an entry keeps 48 bits, begin again.
    static let beforeTurn = 8 << 48 - 30_000_000

    static let shapes: [(name: String, shape: HistoryShape, start: Int, runs: Int)] = [
        (
            "a small limit",
            HistoryShape(steps: 250, quotas: [1, 2, 5, 20], windows: [1000, 3000, 60_000], largestCost: 8), start, 60
        ),
        (
            "costs in thousands",
            HistoryShape(
                steps: 250, quotas: [5_000, 100_000, 2_000_000], windows: [60_000, 3_600_000], largestCost: 1_000_000),
            start, 40
        ),
        (
            "hundreds of admissions",
            HistoryShape(steps: 2500, quotas: [300, 900], windows: [60_000], largestCost: 3, sharesOfChange: 1), start,
            6
        ),
        (
            "the turn of the clock's 48 bits",
            HistoryShape(steps: 250, quotas: [2, 20], windows: [10_000, 60_000], largestCost: 4), beforeTurn, 20
        ),
        (
            "thousands of admissions, which merge",
            HistoryShape(
                steps: 40, quotas: [4_000, 200_000], windows: [60_000, 61_000, 600_000], largestCost: 40,
                sharesOfRuns: 12, longestRun: 3_000, maximumTries: 150),
            start, 6
        ),
    ]

    @Test("The script keeps every property", arguments: shapes.indices)
    func script(_ index: Int) throws {
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = Self.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
            var player = Player(try ScriptWindow(redis), clock: entry.start)
            try player.play(history)
        }
        server.end()
    }

    @Test("The reference keeps every property", arguments: shapes.indices)
    func reference(_ index: Int) throws {
        let entry = Self.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
            var player = Player(SlidingWindowLog(), clock: entry.start)
            try player.play(history)
        }
    }

    @Test("Script and reference decide alike, to the millisecond", arguments: shapes.indices)
    func alike(_ index: Int) throws {
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = Self.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
            var script = Player(try ScriptWindow(redis), clock: entry.start)
            var reference = Player(SlidingWindowLog(), clock: entry.start)
            try script.play(history)
            try reference.play(history)
            for (step, (left, right)) in zip(script.decisions, reference.decisions).enumerated() where left != right {
                throw Violation(step: step, what: "decision \(step): the script says \(left), the reference \(right)")
            }
        }
        server.end()
    }

    /// Mistakes that check.lua could have, each by the text it stands in and the shape whose histories show it.
    static let plantedBugs: [(shape: Int, text: String, bug: String)] = [
        // Admits one too many, or one too few.
        (0, "elseif total + cost > limit then", "elseif total + cost > limit + 1 then"),
        (0, "elseif total + cost > limit then", "elseif total + cost >= limit then"),
        // Lets an admission leave a microsecond early, or late.
        (0, "if (now - time) % WRAP < window then break", "if (now - time) % WRAP < window - 1 then break"),
        (0, "if (now - time) % WRAP < window then break", "if (now - time) % WRAP <= window then break"),
        // Forgets that the clock has stepped back, or that it turns.
        (0, "if newest > now then", "if false then"),
        (3, "if (now - time) % WRAP < window then break", "if now - time < window then break"),
        // Tells a wait that is a millisecond too short.
        (0, "retry = math.ceil((window -", "retry = math.ceil(-1000 + (window -"),
        // Loses what a longer cost does not leave room for.
        (1, "if total > 65535 then size, format = 12", "if false then size, format = 12"),
        // Merges at the earlier time; loses a cost in it.
        (4, "last, sum = time, sum + charged", "last, sum = last, sum + charged"),
        (4, "last, sum = time, sum + charged", "last, sum = time, sum"),
    ]

    @Test("A bug planted in the script is caught, and shown by a history of few steps", arguments: plantedBugs.indices)
    func plantedBug(_ index: Int) throws {
        let (shape, text, bug) = Self.plantedBugs[index]
        let script = ScriptWindow.script.replacing(text, with: bug)
        try #require(script != ScriptWindow.script)
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = Self.shapes[shape]
        let smallest = try smallestFailure(
            runs: entry.runs, maximumTries: entry.shape.maximumTries, of: { entry.shape.history(&$0) }
        ) { history in
            var player = Player(try ScriptWindow(redis, script: script), clock: entry.start)
            try player.play(history)
        }
        let found = try #require(smallest, "nothing found wrong with \(bug)")
        let history = "\(found.history)".replacing("WindowTests.Step", with: "")
        print("planted: \(bug): \(found.failure.violation) in \(history)")
        #expect(found.history.count <= 12)
        server.end()
    }
}
