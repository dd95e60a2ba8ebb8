import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// The window inside a bundle has every property of `check.lua`'s, shown on the same histories.
@Suite("The window in a bundle, on generated histories")
struct BundledWindowTests {
    @Test(
        "keeps every property, and decides as the reference does to the millisecond",
        arguments: WindowPropertyTests.shapes.indices)
    func alike(_ index: Int) throws {
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = WindowPropertyTests.shapes[index]
        try holdOnHistories(entry.shape, runs: max(2, entry.runs / 3)) { history in
            var script = Player(try BundledWindow(redis), clock: entry.start)
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
            WindowPropertyTests.start, 20
        ),
        (
            "thousands of admissions",
            HistoryShape(
                steps: 8, quotas: [4000], windows: [60_000], largestCost: 1, sharesOfRuns: 60, longestRun: 2000,
                maximumTries: 5),
            WindowPropertyTests.start, 20
        ),
    ]

    /// Mistakes that decide.lua could have, each by the text it stands in and the shape whose histories show it.
    static let plantedBugs: [(shape: Int, text: String, bug: String)] = [
        (0, "if totals[i] + held + cost > quota", "if totals[i] + held + cost > quota + 1"),
        (0, "if cost > quota then return -1, 0 end", "if cost >= quota then return -1, 0 end"),
        (0, "if (now - time) % WRAP < window then return", "if (now - time) % WRAP <= window then return"),
        (0, "if newest > now then now = newest end", ""),
        (0, "return ceil((window - (now - time)", "return ceil(-1000 + (window - (now - time)"),
        (1, "if cost < 65536 then return pack('<I6I2', now, cost), 8 end", "do return pack('<I6I2', now, cost), 8 end"),
        (5, "dead, live, merged = dead + gone, live - gone", "dead, live, merged = dead, live - gone"),
        (6, "last, sum = time, sum + charged", "last, sum = time, sum"),
    ]

    @Test("shows a bug planted in the script by a history of few steps", arguments: plantedBugs.indices)
    func plantedBug(_ index: Int) throws {
        let (shape, text, bug) = Self.plantedBugs[index]
        let script = DecidedCalls.script.replacing(text, with: bug)
        try #require(script != DecidedCalls.script)
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = shape < 5 ? WindowPropertyTests.shapes[shape] : Self.long[shape - 5]
        let smallest = try smallestFailure(
            runs: entry.runs, maximumTries: min(300, entry.shape.maximumTries), of: { entry.shape.history(&$0) }
        ) { history in
            var player = Player(try BundledWindow(redis, script: script), clock: entry.start)
            try player.play(history)
        }
        let found = try #require(smallest, "nothing found wrong with \(bug)")
        #expect(found.history.count <= 12)
        server.end()
    }
}
