import NIOCore
import TestSupport
import Testing

@testable import RedisClient

@Suite("The back-off between attempts to connect")
struct BackoffTests {
    @Test("doubles up to the cap, at least half of it certain, at most all of it")
    func bounds() {
        for seed in UInt64(0)..<200 {
            var random = SeededGenerator(seed: seed)
            var backoff = Backoff(initial: .milliseconds(10), cap: .milliseconds(400))
            for full in [10, 20, 40, 80, 160, 320, 400, 400, 400] as [Int64] {
                let wait = backoff.next(using: &random)
                #expect(wait >= .milliseconds(full / 2))
                #expect(wait <= .milliseconds(full))
            }
        }
    }

    @Test("never exceeds its cap, however often it is asked")
    func cap() {
        var random = SeededGenerator(seed: 1)
        var backoff = Backoff()
        for _ in 0..<10_000 { #expect(backoff.next(using: &random) <= .milliseconds(400)) }
    }

    @Test("differs between replicas that fail at the same time")
    func jitter() {
        var waits: Set<Int64> = []
        for seed in UInt64(0)..<100 {
            var random = SeededGenerator(seed: seed)
            var backoff = Backoff()
            waits.insert(backoff.next(using: &random).nanoseconds)
        }
        #expect(waits.count > 95)
    }

    @Test("is drawn from the generator it is given")
    func seeded() {
        func waits() -> [TimeAmount] {
            var random = SeededGenerator(seed: 7)
            var backoff = Backoff()
            return (0..<10).map { _ in backoff.next(using: &random) }
        }
        #expect(waits() == waits())
    }

    @Test("starts again from the shortest wait after a reset")
    func reset() {
        var random = SeededGenerator(seed: 3)
        var backoff = Backoff(initial: .milliseconds(10), cap: .seconds(10))
        for _ in 0..<8 { _ = backoff.next(using: &random) }
        #expect(backoff.next(using: &random) >= .milliseconds(1280))
        backoff.reset()
        #expect(backoff.next(using: &random) <= .milliseconds(10))
    }
}
