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

    @Test("The script keeps every property, on its hot path and off it", arguments: shapes.indices)
    func script(_ index: Int) throws {
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = Self.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
            for script in [DecidedCalls.script, DecidedCalls.slowScript] {
                var player = Player(try ScriptWindow(redis, script: script), clock: entry.start)
                try player.play(history)
            }
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

    /// Windows that outgrow the bundle, and merge; tried few times, for each try is of hundreds of admissions.
    private static let long: [(name: String, shape: HistoryShape, start: Int, runs: Int)] = [
        (
            "hundreds of admissions",
            HistoryShape(
                steps: 12, quotas: [4000], windows: [1000], largestCost: 1, sharesOfRuns: 50, longestRun: 400,
                maximumTries: 60),
            start, 20
        ),
        (
            "thousands of admissions",
            HistoryShape(
                steps: 8, quotas: [4000], windows: [60_000], largestCost: 1, sharesOfRuns: 60, longestRun: 2000,
                maximumTries: 5),
            start, 20
        ),
    ]

    /// A mistake that the script could have: the text it stands in, the shape whose histories show it, and whether it is
    /// on the hot path.
    struct PlantedBug: Sendable {
        var shape: Int
        var text: String
        var bug: String
        var isOnHotPath = false
    }

    static let plantedBugs: [PlantedBug] = [
        // Admits one too many, or one too few.
        PlantedBug(
            shape: 0, text: "if sum <= plan[d + QUIET] then", bug: "if sum <= plan[d + QUIET] + 1 then",
            isOnHotPath: true
        ),
        PlantedBug(
            shape: 0, text: "local sum = total + cost", bug: "local sum = total + cost + 1", isOnHotPath: true),
        PlantedBug(
            shape: 0, text: "counted + held + need > quota", bug: "counted + held + need > quota + 1", isOnHotPath: true
        ),
        PlantedBug(
            shape: 0, text: "return term.total + held() + need > quota",
            bug: "return term.total + held() + need > quota + 1"),
        PlantedBug(
            shape: 0, text: "if cost > quota then return -1, 0 end", bug: "if cost >= quota then return -1, 0 end"),
        // Lets an admission leave a microsecond early, or late.
        PlantedBug(
            shape: 0, text: "(redis_now - oldest) % WRAP < window", bug: "(redis_now - oldest) % WRAP <= window",
            isOnHotPath: true),
        PlantedBug(
            shape: 0, text: "(redis_now - first_left) % WRAP >= window do\n              local _, gone",
            bug: "(redis_now - first_left) % WRAP >= window - 1000 do\n              local _, gone", isOnHotPath: true),
        PlantedBug(
            shape: 0, text: "if (now - time) % WRAP < span then return",
            bug: "if (now - time) % WRAP <= span then return"),
        // Forgets that the clock has stepped back, or that it turns.
        PlantedBug(
            shape: 0, text: "cost < 65536 and newest <= redis_now", bug: "cost < 65536 and true", isOnHotPath: true),
        PlantedBug(
            shape: 0, text: "local now = math.max(redis_now, newest)", bug: "local now = redis_now"),
        PlantedBug(
            shape: 3, text: "(redis_now - first_left) % WRAP >= window do\n              local _, gone",
            bug: "redis_now - first_left >= window do\n              local _, gone", isOnHotPath: true),
        // Tells a wait that is a millisecond too short.
        PlantedBug(
            shape: 0, text: "local retry = ceil((window", bug: "local retry = ceil(-1000 + (window", isOnHotPath: true),
        PlantedBug(
            shape: 0, text: "return ceil((term.window - (term.now", bug: "return ceil(-1000 + (term.window - (term.now"),
        // Loses what a longer cost does not leave room for.
        PlantedBug(
            shape: 1, text: "form, gone, oldest = cost < 65536 and 8 or 12", bug: "form, gone, oldest = 8",
            isOnHotPath: true),
        PlantedBug(
            shape: 1, text: "section.form, section.oldest = cost < 65536 and 8 or 12",
            bug: "section.form, section.oldest = 8"),
        // Counts the dead of a long window; merges at the earlier time; loses a cost in it.
        PlantedBug(
            shape: 5, text: "dead, live, merged = dead + term.gone, live - term.gone",
            bug: "dead, live, merged = dead, live - term.gone"),
        PlantedBug(shape: 4, text: "last, sum = time, sum + charged", bug: "last, sum = last, sum + charged"),
        PlantedBug(shape: 6, text: "last, sum = time, sum + charged", bug: "last, sum = time, sum"),
    ]

    @Test("A bug planted in the script is caught, and shown by a history of few steps", arguments: plantedBugs.indices)
    func plantedBug(_ index: Int) throws {
        let planted = Self.plantedBugs[index]
        let original = planted.isOnHotPath ? DecidedCalls.script : DecidedCalls.slowScript
        let script = original.replacing(planted.text, with: planted.bug)
        try #require(script != original)
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = planted.shape < 5 ? Self.shapes[planted.shape] : Self.long[planted.shape - 5]
        let smallest = try smallestFailure(
            runs: entry.runs, maximumTries: min(300, entry.shape.maximumTries), of: { entry.shape.history(&$0) }
        ) { history in
            var player = Player(try ScriptWindow(redis, script: script), clock: entry.start)
            try player.play(history)
        }
        let found = try #require(smallest, "nothing found wrong with \(planted.bug)")
        let history = "\(found.history)".replacing("WindowTests.Step", with: "")
        print("planted: \(planted.bug): \(found.failure.violation) in \(history)")
        #expect(found.history.count <= 12)
        server.end()
    }
}
