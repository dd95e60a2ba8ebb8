import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// The window's properties, on generated histories: the script in a real Redis, the pure reference, and both together.
@Suite("The window on generated histories")
struct WindowPropertyTests {
    /// Ten years ahead, so that Redis's own clock never expires a key on which the fake one is at work.
    static let start = 2_100_000_000_000_000

    static let shapes: [(name: String, shape: HistoryShape, runs: Int)] = [
        (
            "a small limit",
            HistoryShape(steps: 250, quotas: [1, 2, 5, 20], windows: [1000, 3000, 60_000], largestCost: 8), 60
        ),
        (
            "costs in thousands",
            HistoryShape(
                steps: 250, quotas: [5_000, 100_000, 2_000_000], windows: [60_000, 3_600_000], largestCost: 1_000_000),
            40
        ),
        (
            "hundreds of admissions",
            HistoryShape(steps: 2500, quotas: [300, 900], windows: [60_000], largestCost: 3, sharesOfChange: 1), 6
        ),
    ]

    @Test("The script keeps every property", arguments: shapes.indices)
    func script(_ index: Int) throws {
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = Self.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
            var player = Player(try ScriptWindow(redis), clock: Self.start)
            try player.play(history)
        }
        server.end()
    }

    @Test("The reference keeps every property", arguments: shapes.indices)
    func reference(_ index: Int) throws {
        let entry = Self.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
            var player = Player(SlidingWindowLog(), clock: Self.start)
            try player.play(history)
        }
    }

    @Test("Script and reference decide alike, to the millisecond", arguments: shapes.indices)
    func alike(_ index: Int) throws {
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = Self.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
            var script = Player(try ScriptWindow(redis), clock: Self.start)
            var reference = Player(SlidingWindowLog(), clock: Self.start)
            try script.play(history)
            try reference.play(history)
            for (step, (left, right)) in zip(script.decisions, reference.decisions).enumerated() where left != right {
                throw Violation(step: step, what: "decision \(step): the script says \(left), the reference \(right)")
            }
        }
        server.end()
    }

    /// Plays generated histories; a failing one is shrunk and shown with its seed.
    private func holdOnHistories(_ shape: HistoryShape, runs: Int, _ play: ([Step]) throws -> Void) throws {
        for seed in 1...UInt64(runs) {
            var random = SeededGenerator(seed: seed)
            let history = shape.history(&random)
            do {
                try play(history)
            } catch is Violation {
                let smallest = try shrunk(history) { candidate in
                    do {
                        try play(candidate)
                        return false
                    } catch is Violation { return true }
                }
                do { try play(smallest) } catch let violation as Violation {
                    Issue.record("seed \(seed): \(violation) in \(smallest)")
                    return
                }
            }
        }
    }
}
