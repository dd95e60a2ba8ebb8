import TestSupport
import Testing

@testable import RateLimitCore

/// A window under test: a clock in milliseconds and, beside it, every admission in full.
struct WindowUnderTest {
    var log = SlidingWindowLog()
    var limit: Limit
    /// Milliseconds, or fractions of one.
    var clock: Double = 1_000_000
    private(set) var admissions: [(microseconds: Int, cost: Int)] = []

    init(quota: Int, windowMilliseconds: Int) {
        limit = Limit(name: "requests", quota: quota, windowMilliseconds: windowMilliseconds)
    }

    var clockMicroseconds: Int { Int(clock * 1000) }

    @discardableResult
    mutating func check(_ cost: Int = 1) -> Decision {
        let decision = log.check(cost: cost, limit: limit, clockMicroseconds: clockMicroseconds)
        if decision.isAllowed, cost > 0 { admissions.append((clockMicroseconds, cost)) }
        return decision
    }

    /// What was admitted in (now − W, now], by the full record.
    func admittedInWindow(at microseconds: Int) -> Int {
        var sum = 0
        for admission in admissions.reversed() {
            guard admission.microseconds > microseconds - limit.windowMilliseconds * 1000 else { break }
            if admission.microseconds <= microseconds { sum += admission.cost }
        }
        return sum
    }
}

@Suite("A sliding window")
struct SlidingWindowLogTests {
    @Test("starts empty and full of quota")
    func empty() {
        var window = WindowUnderTest(quota: 20, windowMilliseconds: 3_600_000)
        #expect(window.check(0) == Decision(verdict: .allowed, quota: 20, used: 0, resetAfterMilliseconds: 0))
        #expect(window.check(1) == Decision(verdict: .allowed, quota: 20, used: 1, resetAfterMilliseconds: 3_600_000))
    }

    @Test("decides by the table", arguments: [0, 1_700_000_000_000_000])
    func table(_ epoch: Int) {
        var log = SlidingWindowLog()
        let limit = Limit(name: "requests", quota: 5, windowMilliseconds: 1_000)
        // At which millisecond, what cost, and what the window says: verdict, used, reset.
        let rows: [(at: Int, cost: Int, verdict: Decision.Verdict, used: Int, reset: Int)] = [
            (0, 2, .allowed, 2, 1_000),
            (100, 3, .allowed, 5, 1_000),
            (200, 1, .denied(retryAfterMilliseconds: 800), 5, 900),
            (200, 3, .denied(retryAfterMilliseconds: 900), 5, 900),
            (200, 6, .deniedForGood, 5, 900),
            (200, 0, .allowed, 5, 900),
            (999, 1, .denied(retryAfterMilliseconds: 1), 5, 101),
            (1_000, 1, .allowed, 4, 1_000),
            (1_099, 2, .denied(retryAfterMilliseconds: 1), 4, 901),
            (1_100, 4, .allowed, 5, 1_000),
            (2_099, 0, .allowed, 4, 1),
            (2_100, 0, .allowed, 0, 0),
            (2_100, 5, .allowed, 5, 1_000),
        ]
        for row in rows {
            let decision = log.check(cost: row.cost, limit: limit, clockMicroseconds: epoch + row.at * 1_000)
            let expected = Decision(
                verdict: row.verdict, quota: 5, used: row.used, resetAfterMilliseconds: row.reset
            )
            #expect(decision == expected, "cost \(row.cost) at \(row.at)")
        }
    }

    @Test("gives back from the newest admission on, and no more than is in the window")
    func refunds() {
        for seed in UInt64(0)..<60 {
            var random = SeededGenerator(seed: seed)
            let limit = Limit(
                name: "requests", quota: Int.random(in: 1...40, using: &random), windowMilliseconds: 1_000)
            var log = SlidingWindowLog()
            var admitted: [(at: Int, cost: Int)] = []
            var clock = 1_000_000_000
            for _ in 0..<400 {
                clock += Int.random(in: 0...200_000, using: &random)
                let first = admitted.firstIndex { $0.at > clock - 1_000_000 } ?? admitted.count
                let used = admitted[first...].reduce(0) { $0 + $1.cost }
                if Int.random(in: 0..<3, using: &random) == 0 {
                    let asked = Int.random(in: 0...12, using: &random)
                    #expect(log.refund(asked, limit: limit, clockMicroseconds: clock) == min(asked, used))
                    var left = min(asked, used)
                    while left > 0, let last = admitted.popLast() {
                        if last.cost > left { admitted.append((last.at, last.cost - left)) }
                        left -= min(left, last.cost)
                    }
                } else {
                    let cost = Int.random(in: 1...8, using: &random)
                    let decision = log.check(cost: cost, limit: limit, clockMicroseconds: clock)
                    #expect(decision.isAllowed == (used + cost <= limit.quota), "seed \(seed)")
                    if decision.isAllowed { admitted.append((clock, cost)) }
                }
            }
        }
    }

    @Test("never over: whatever is asked, the admitted cost of any window stays within the limit")
    func neverOver() {
        for seed in UInt64(0)..<60 {
            var random = SeededGenerator(seed: seed)
            var window = WindowUnderTest(quota: Int.random(in: 1...40, using: &random), windowMilliseconds: 1_000)
            for _ in 0..<600 {
                window.clock += Double.random(in: 0...60, using: &random)
                window.check(Int.random(in: 0...8, using: &random))
                #expect(window.admittedInWindow(at: window.clockMicroseconds) <= window.limit.quota)
            }
        }
    }

    @Test("never under: a denial means that the window and the cost together exceed the limit")
    func neverUnder() {
        for seed in UInt64(100)..<160 {
            var random = SeededGenerator(seed: seed)
            var window = WindowUnderTest(quota: Int.random(in: 1...300, using: &random), windowMilliseconds: 1_000)
            var denials = 0
            for _ in 0..<600 {
                window.clock += Double.random(in: 0...8, using: &random)
                let cost = Int.random(in: 1...9, using: &random)
                let used = window.admittedInWindow(at: window.clockMicroseconds)
                let decision = window.check(cost)
                #expect(decision.isAllowed == (used + cost <= window.limit.quota))
                #expect(decision.used == (decision.isAllowed ? used + cost : used))
                if !decision.isAllowed { denials += 1 }
            }
            if window.limit.quota < 200 { #expect(denials > 0) }
        }
    }

    @Test("a denied check consumes nothing, nor does a look")
    func deniedConsumesNothing() {
        var window = WindowUnderTest(quota: 3, windowMilliseconds: 1_000)
        for _ in 0..<3 { window.check() }
        let before = window.log
        for cost in [0, 1, 2, 3, 4, 1_000_000] {
            window.clock += 1
            #expect(window.check(cost).used == 3)
        }
        #expect(window.log.entries == before.entries)
        window.clock = 1_001_000
        #expect(window.check(3).isAllowed)
    }

    @Test("exact retry: the check passes at the time told, and a millisecond earlier it does not")
    func exactRetry() {
        for seed in UInt64(0)..<200 {
            var random = SeededGenerator(seed: seed)
            var window = WindowUnderTest(quota: Int.random(in: 1...30, using: &random), windowMilliseconds: 5_000)
            var cost = 1
            var retry: Int?
            while retry == nil {
                window.clock += Double.random(in: 0...200, using: &random)
                cost = Int.random(in: 1...window.limit.quota, using: &random)
                if case .denied(let milliseconds) = window.check(cost).verdict { retry = milliseconds }
            }
            let start = window.clock
            window.clock = start + Double(retry ?? 0) - 1.001
            if window.clock > start { #expect(!window.check(cost).isAllowed) }
            window.clock = start + Double(retry ?? 0)
            #expect(window.check(cost).isAllowed)
        }
    }

    @Test("is told to be empty from the moment its reset has passed")
    func reset() {
        var window = WindowUnderTest(quota: 3, windowMilliseconds: 1_000)
        window.check()
        window.clock += 400.5
        let reset = window.check().resetAfterMilliseconds
        #expect(reset == 1_000)
        window.clock += Double(reset) - 0.001
        #expect(!window.log.isEmpty(limit: window.limit, clockMicroseconds: window.clockMicroseconds))
        window.clock += 0.001
        #expect(window.log.isEmpty(limit: window.limit, clockMicroseconds: window.clockMicroseconds))
        #expect(window.check(0).used == 0)
    }

    @Test("a clock that steps back lets nothing more through, and retry still is exact")
    func clockStepsBack() {
        var window = WindowUnderTest(quota: 4, windowMilliseconds: 1_000)
        for _ in 0..<3 {
            window.check()
            window.clock += 100
        }
        window.clock -= 500
        // Time stands still at the newest admission, so the fourth counts from there.
        #expect(window.check().isAllowed)
        guard case .denied(let retry) = window.check().verdict else {
            Issue.record("not denied")
            return
        }
        #expect(retry == 1_200)
        window.clock += 1_199
        #expect(!window.check().isAllowed)
        window.clock += 1
        #expect(window.check().isAllowed)
    }

    @Test("a clock that steps to and fro never admits more than the limit in a window of the time it shows")
    func clockJumps() {
        for seed in UInt64(0)..<100 {
            var random = SeededGenerator(seed: seed)
            var window = WindowUnderTest(quota: 10, windowMilliseconds: 1_000)
            var standing = -Double.infinity
            var admitted: [(at: Double, cost: Int)] = []
            for _ in 0..<500 {
                window.clock += Double.random(in: -400...440, using: &random)
                let cost = Int.random(in: 1...4, using: &random)
                let wasAllowed = window.check(cost).isAllowed
                guard wasAllowed else { continue }
                standing = max(standing, window.clock)
                admitted.append((standing, cost))
                let inWindow = admitted.filter { $0.at > standing - 1_000 }.reduce(0) { $0 + $1.cost }
                #expect(inWindow <= 10)
            }
        }
    }

    @Test("a denial drops nothing that a clock stepping back would bring into the window again")
    func denialKeepsEntries() {
        var window = WindowUnderTest(quota: 2, windowMilliseconds: 1_000)
        window.check(1)
        window.clock += 500
        window.check(1)
        window.clock += 600
        #expect(window.check(2).verdict == .denied(retryAfterMilliseconds: 400))
        window.clock -= 550
        #expect(window.check(1).verdict == .denied(retryAfterMilliseconds: 450))
    }

    @Test("a new quota holds from the next check on and keeps what is counted")
    func newQuota() {
        var window = WindowUnderTest(quota: 5, windowMilliseconds: 1_000)
        for _ in 0..<5 {
            window.check()
            window.clock += 10
        }
        window.limit = Limit(name: "requests", quota: 2, windowMilliseconds: 1_000)
        let lowered = window.check()
        #expect(lowered.used == 5)
        #expect(lowered.remaining == 0)
        // Four of the five have to leave before one more fits: the fourth came at 30 ms, it is 50 ms now.
        #expect(lowered.verdict == .denied(retryAfterMilliseconds: 980))
        window.limit = Limit(name: "requests", quota: 6, windowMilliseconds: 1_000)
        #expect(window.check().isAllowed)
        #expect(!window.check().isAllowed)
    }

    @Test("a new window holds from the next check on and keeps what is counted")
    func newWindow() {
        var window = WindowUnderTest(quota: 2, windowMilliseconds: 1_000)
        window.check()
        window.clock += 100
        window.check()
        window.limit = Limit(name: "requests", quota: 2, windowMilliseconds: 2_000)
        #expect(window.check().verdict == .denied(retryAfterMilliseconds: 1_900))
        window.limit = Limit(name: "requests", quota: 2, windowMilliseconds: 1_000)
        window.clock += 900
        #expect(window.check().isAllowed)
    }

    @Test("a longer window does not bring back what an admission found outside the shorter one")
    func longerWindow() {
        var window = WindowUnderTest(quota: 2, windowMilliseconds: 1_000)
        window.check(2)
        window.clock += 1_000
        window.check(2)
        window.limit = Limit(name: "requests", quota: 2, windowMilliseconds: 10_000)
        #expect(window.check(0).used == 2)
    }
}
