import TestSupport
import Testing

@testable import RateLimitCore

@Suite("A sliding window of many admissions")
struct MergingTests {
    /// Admissions that arrive with gaps drawn from `gaps`, in milliseconds.
    private func check(quota: Int, window windowMilliseconds: Int, gaps: ClosedRange<Double>, seed: UInt64, count: Int)
    {
        var random = SeededGenerator(seed: seed)
        var window = WindowUnderTest(quota: quota, windowMilliseconds: windowMilliseconds)
        let slack = windowMilliseconds * 1000 / 1024
        var mostLive = 0
        for step in 0..<count {
            window.clock += Double.random(in: gaps, using: &random)
            let cost = Int.random(in: 1...3, using: &random)
            let now = window.clockMicroseconds
            let used = window.check(cost).used
            mostLive = max(mostLive, window.log.liveEntries)
            // Comparing with the full record takes long, so not after each.
            guard step % 97 == 0 else { continue }
            let record = window.admittedInWindow(at: now)
            let late = WindowRecord(window).admitted(at: now, windowMicroseconds: windowMilliseconds * 1000 + slack)
            #expect(used >= record, "an admission left the window early")
            #expect(used <= late, "an admission left the window more than W/1024 late")
            #expect(record <= quota)
        }
        #expect(mostLive <= 2 * 1024 + SlidingWindowLog.exactEntries + SlidingWindowLog.slackEntries)
    }

    private struct WindowRecord {
        let window: WindowUnderTest

        init(_ window: WindowUnderTest) { self.window = window }

        func admitted(at microseconds: Int, windowMicroseconds: Int) -> Int {
            var sum = 0
            for admission in window.admissions.reversed() {
                guard admission.microseconds > microseconds - windowMicroseconds else { break }
                sum += admission.cost
            }
            return sum
        }
    }

    @Test("never lets one leave early, nor more than W/1024 late, at an even rate")
    func even() {
        check(quota: 30_000, window: 10_000, gaps: 0.4...0.6, seed: 1, count: 60_000)
    }

    @Test("never lets one leave early, nor more than W/1024 late, when they come unevenly")
    func uneven() {
        check(quota: 20_000, window: 10_000, gaps: 0...4, seed: 2, count: 40_000)
    }

    @Test("never lets one leave early, nor more than W/1024 late, under a limit that is always reached")
    func saturated() {
        check(quota: 6_000, window: 3_000, gaps: 0...0.3, seed: 3, count: 60_000)
    }

    @Test("is exact for as long as no more than 1,024 are in the window")
    func exact() {
        var random = SeededGenerator(seed: 4)
        var window = WindowUnderTest(quota: 1_024, windowMilliseconds: 1_000)
        for _ in 0..<30_000 {
            window.clock += Double.random(in: 0...1.5, using: &random)
            let now = window.clockMicroseconds
            let used = window.admittedInWindow(at: now)
            let decision = window.check()
            #expect(decision.isAllowed == (used < 1_024))
            #expect(decision.used == min(1_024, used + 1))
        }
    }

    @Test("keeps few entries for any number of admissions in the same instant")
    func sameInstant() {
        var window = WindowUnderTest(quota: 100_000, windowMilliseconds: 1_000)
        for _ in 0..<100_000 { window.check() }
        #expect(window.check(0).used == 100_000)
        #expect(window.check().verdict == .denied(retryAfterMilliseconds: 1_000))
        #expect(window.log.entries.count <= 3 * SlidingWindowLog.exactEntries)
        window.clock += 1_000
        #expect(window.check(0).used == 0)
    }

    @Test("keeps few entries over many windows, the dead ones included")
    func longRun() {
        var window = WindowUnderTest(quota: 1_000_000, windowMilliseconds: 1_000)
        var most = 0
        for _ in 0..<200_000 {
            window.clock += 0.05
            window.check()
            most = max(most, window.log.entries.count)
        }
        #expect(most <= 2 * 1024 + SlidingWindowLog.exactEntries + 2 * SlidingWindowLog.slackEntries)
    }
}
