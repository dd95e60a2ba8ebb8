import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// The window inside a bundle has every property of `check.lua`'s, shown on the same histories.
@Suite("The window in a bundle, on generated histories")
struct BundledWindowTests {
    @Test("keeps every property", arguments: WindowPropertyTests.shapes.indices)
    func properties(_ index: Int) throws {
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = WindowPropertyTests.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
            var player = Player(try BundledWindow(redis), clock: entry.start)
            try player.play(history)
        }
        server.end()
    }

    @Test("decides as the reference does, to the millisecond", arguments: WindowPropertyTests.shapes.indices)
    func alike(_ index: Int) throws {
        let server = try RedisServer()
        let redis = try server.connect()
        let entry = WindowPropertyTests.shapes[index]
        try holdOnHistories(entry.shape, runs: entry.runs) { history in
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
}
