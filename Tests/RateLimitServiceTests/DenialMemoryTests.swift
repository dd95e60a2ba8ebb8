import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("The memory of denials")
struct DenialMemoryTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let user = SubjectID(high: 1, low: 2)
    private let stranger = SubjectID(high: 3, low: 4)
    private var memory = CheckDenials()

    private func at(_ milliseconds: Double) -> NIODeadline {
        Self.start + .nanoseconds(Int64(milliseconds * 1_000_000))
    }

    private static func denied(_ retry: Int, used: Int = 20, reset: Int = 9_000) -> Decision {
        Decision(
            verdict: .denied(retryAfterMilliseconds: retry), quota: 20, used: used, resetAfterMilliseconds: reset
        )
    }

    /// Remembers a denial that was asked for at 0 ms and answered at 10 ms.
    private mutating func remember(_ user: SubjectID, cost: Int = 1, retry: Int = 5_000, cache: Int = 1_000_000) {
        memory.remember(
            user, cost: cost, decision: Self.denied(retry), certainMilliseconds: retry, sentAt: at(0),
            receivedAt: at(10), cacheMilliseconds: cache
        )
    }

    private func retry(_ user: SubjectID, cost: Int = 1, at milliseconds: Double) -> Int? {
        guard let decision = memory.denial(of: user, cost: cost, quota: 20, now: at(milliseconds)) else { return nil }
        guard case .denied(let retry) = decision.verdict else { return nil }
        return retry
    }

    @Test("is empty at first")
    func empty() {
        #expect(memory.isEmpty)
        #expect(retry(user, at: 0) == nil)
        // The user whose bits are those of an unused place.
        #expect(memory.denial(of: SubjectID(high: 0, low: 0), cost: 0, quota: 20, now: at(0)) == nil)
    }

    @Test("denies the same user at the same cost, and nobody else and at no other cost")
    mutating func sameCheck() {
        remember(user, cost: 3)
        #expect(!memory.isEmpty)
        #expect(retry(user, cost: 3, at: 20) != nil)
        for cost in [0, 1, 2, 4] { #expect(retry(user, cost: cost, at: 20) == nil) }
        #expect(retry(stranger, cost: 3, at: 20) == nil)
        #expect(retry(SubjectID(high: 0, low: 0), cost: 0, at: 20) == nil)
    }

    @Test("denies until a millisecond before the wait is over since the question, not since the answer")
    mutating func untilSince() {
        remember(user)
        #expect(retry(user, at: 4_998.999) != nil)
        #expect(retry(user, at: 4_999) == nil)
        #expect(retry(user, at: 6_000) == nil)
    }

    @Test("tells the wait since the answer, rounded up, so that nobody comes too early")
    mutating func toldSince() {
        remember(user)
        #expect(retry(user, at: 10) == 5_000)
        #expect(retry(user, at: 10.001) == 5_000)
        #expect(retry(user, at: 11) == 4_999)
        #expect(retry(user, at: 4_998.5) == 12)
    }

    @Test("tells what was used, the quota now in force, and the time until the window is empty")
    mutating func decision() {
        remember(user)
        let decision = memory.denial(of: user, cost: 1, quota: 25, now: at(1_010))
        #expect(
            decision
                == Decision(
                    verdict: .denied(retryAfterMilliseconds: 4_000), quota: 25, used: 20,
                    resetAfterMilliseconds: 8_000
                )
        )
    }

    @Test("holds no longer than it is allowed to")
    mutating func cacheBound() {
        remember(user, cache: 100)
        #expect(retry(user, at: 99.9) != nil)
        #expect(retry(user, at: 100) == nil)
    }

    @Test("remembers nothing where it is switched off, and no decision but a denial that ends")
    mutating func nothing() {
        remember(user, cache: 0)
        for verdict in [Decision.Verdict.allowed, .deniedForGood] {
            memory.remember(
                user, cost: 1,
                decision: Decision(verdict: verdict, quota: 20, used: 20, resetAfterMilliseconds: 9_000),
                certainMilliseconds: 9_000, sentAt: at(0), receivedAt: at(10), cacheMilliseconds: 1_000
            )
        }
        #expect(memory.isEmpty)
        #expect(retry(user, at: 20) == nil)
    }

    @Test("does not deny for a wait of a millisecond, which may be over")
    mutating func shortest() {
        remember(user, retry: 1)
        #expect(retry(user, at: 0) == nil)
        #expect(retry(user, at: 10) == nil)
    }

    @Test("a later denial takes the place of an earlier one")
    mutating func replaced() {
        remember(user, cost: 1)
        remember(user, cost: 2)
        #expect(retry(user, cost: 2, at: 20) != nil)
        #expect(retry(user, cost: 1, at: 20) == nil)
    }

    @Test("forgets one user and keeps the others")
    mutating func forget() {
        remember(user)
        remember(stranger)
        memory.forget(user)
        #expect(retry(user, at: 20) == nil)
        // Both may have had the same place.
        if memory.denial(of: stranger, cost: 1, quota: 20, now: at(20)) == nil {
            remember(stranger)
            memory.forget(user)
            #expect(retry(stranger, at: 20) != nil)
        }
    }

    @Test("forgets all, and remembers again afterwards")
    mutating func forgetAll() {
        for low in UInt64(0)..<500 { remember(SubjectID(high: 9, low: low)) }
        memory.forgetAll()
        #expect(memory.isEmpty)
        for low in UInt64(0)..<500 { #expect(retry(SubjectID(high: 9, low: low), at: 20) == nil) }
        remember(user)
        #expect(retry(user, at: 20) != nil)
    }

    @Test("is bounded: a new denial replaces an old one, is itself remembered, and is never taken for another's")
    mutating func collisions() {
        var random = SeededGenerator(seed: 1)
        let users = (0..<4 * CheckDenials.capacity).map { _ in SubjectID(high: random.next(), low: random.next()) }
        for (index, user) in users.enumerated() {
            memory.remember(
                user, cost: 1, decision: Self.denied(5_000, used: index), certainMilliseconds: 5_000, sentAt: at(0),
                receivedAt: at(0),
                cacheMilliseconds: 1_000_000
            )
            #expect(memory.denial(of: user, cost: 1, quota: 20, now: at(1))?.used == index)
        }
        var remembered = 0
        for (index, user) in users.enumerated() {
            guard let decision = memory.denial(of: user, cost: 1, quota: 20, now: at(1)) else { continue }
            remembered += 1
            #expect(decision.used == index)
        }
        #expect(remembered <= CheckDenials.capacity)
        // Four times as many users as places leave few places unused.
        #expect(remembered > CheckDenials.capacity * 9 / 10)
    }

    @Test("forgetting a user whose place another has taken leaves the other")
    mutating func forgetReplaced() {
        var random = SeededGenerator(seed: 2)
        let users = (0..<4 * CheckDenials.capacity).map { _ in SubjectID(high: random.next(), low: random.next()) }
        for user in users { remember(user) }
        let isGone = { [memory] (user: SubjectID) in
            memory.denial(of: user, cost: 1, quota: 20, now: self.at(20)) == nil
        }
        let gone = users.filter(isGone)
        let kept = users.count - gone.count
        for user in gone { memory.forget(user) }
        #expect(users.count { retry($0, at: 20) != nil } == kept)
    }
}
