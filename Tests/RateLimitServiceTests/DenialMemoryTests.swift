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
    private let refunds = RefundTimes()

    init() { memory.believedUntil = .distantFuture }

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
        guard let decision = memory.denial(of: user, cost: cost, quota: 20, after: refunds, now: at(milliseconds))
        else { return nil }
        guard case .denied(let retry) = decision.verdict else { return nil }
        return retry
    }

    @Test("is empty at first")
    func empty() {
        #expect(memory.isEmpty)
        #expect(retry(user, at: 0) == nil)
        // The user whose bits are those of an unused place.
        #expect(memory.denial(of: SubjectID(high: 0, low: 0), cost: 0, quota: 20, after: refunds, now: at(0)) == nil)
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

    @Test("does not deny a user who was given something back since the question, and everybody else all the same")
    mutating func refunded() {
        remember(user)
        remember(stranger)
        refunds.note(CallWindows(owner: .user(user), values: nil), at: at(-1))
        #expect(retry(user, at: 20) != nil)
        // Between the question and its answer: nobody knows which came first.
        refunds.note(CallWindows(owner: .user(user), values: nil), at: at(5))
        #expect(retry(user, at: 20) == nil && retry(stranger, at: 20) != nil)
        memory.remember(
            user, cost: 1, decision: Self.denied(5_000), certainMilliseconds: 5_000, sentAt: at(6), receivedAt: at(30),
            cacheMilliseconds: 60_000)
        #expect(retry(user, at: 40) != nil)
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
        let decision = memory.denial(of: user, cost: 1, quota: 25, after: refunds, now: at(1_010))
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

    @Test("holds for a second where nobody knows what was changed since, and for longer while that is known")
    mutating func unproven() {
        memory.believedUntil = .distantPast
        remember(user)
        #expect(retry(user, at: 1_009.9) != nil)
        #expect(retry(user, at: 1_010) == nil)
        memory.believedUntil = at(3_000)
        #expect(retry(user, at: 2_999.9) != nil)
        #expect(retry(user, at: 3_000) == nil)
        // What is forgotten and remembered again later is believed as long.
        memory.forgetAll()
        remember(user)
        #expect(retry(user, at: 2_999.9) != nil && retry(user, at: 3_000) == nil)
        memory.believedUntil = .distantFuture
        #expect(retry(user, at: 4_998) != nil)
        #expect(retry(user, at: 4_999) == nil)
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
        #expect(retry(user, at: 20) == nil && retry(stranger, at: 20) != nil)
        remember(user)
        #expect(retry(user, at: 20) != nil && memory.count == 2)
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

    @Test("takes no more memory for as many denials as it has forgotten")
    mutating func forgottenAndRefilled() {
        let users = users(CheckDenials.capacity)
        for user in users { remember(user) }
        let reserved = memory.reservedBytes
        #expect(reserved >= CheckDenials.capacity * CheckDenials.entryBytes)
        for _ in 0..<2 {
            memory.forgetAll()
            #expect(memory.isEmpty && memory.reservedBytes == reserved)
            // Those who come again stand in other places.
            for user in users.reversed() { remember(user) }
            #expect(memory.count == users.count && memory.reservedBytes == reserved)
            #expect(users.allSatisfy { retry($0, at: 20) != nil })
        }
    }

    @Test("takes no memory where nobody is denied")
    mutating func unused() {
        memory.forgetAll()
        #expect(memory.reservedBytes == 0)
    }

    /// So many users, of UUIDs, short texts and long ones.
    private func users(_ count: Int) -> [SubjectID] {
        var random = SeededGenerator(seed: 1)
        return (0..<count).map { number in
            switch number % 16 {
            case 0: SubjectID("user-\(number)") ?? user
            case 1: SubjectID("a user with a long name, number \(number)") ?? user
            default: SubjectID(high: random.next(), low: random.next())
            }
        }
    }

    @Test("remembers as many as fit, each as it was, and takes the place of the oldest for one more")
    mutating func full() {
        let users = users(CheckDenials.capacity + 5_000)
        for (number, user) in users.enumerated() {
            memory.remember(
                user, cost: 1, decision: Self.denied(5_000, used: number), certainMilliseconds: 5_000, sentAt: at(0),
                receivedAt: at(0), cacheMilliseconds: 1_000_000)
        }
        #expect(memory.count == CheckDenials.capacity)
        let told = users.map { memory.denial(of: $0, cost: 1, quota: 20, after: refunds, now: at(1))?.used }
        #expect(told[..<5_000].allSatisfy { $0 == nil })
        #expect(Array(told[5_000...]) == Array(5_000..<users.count))
    }

    @Test("takes the places of denials that have ended before it takes more memory")
    mutating func ended() {
        for round in 0..<50 {
            for low in UInt64(0)..<400 {
                let start = at(Double(round) * 1_000)
                memory.remember(
                    SubjectID(high: UInt64(round), low: low), cost: 1, decision: Self.denied(900),
                    certainMilliseconds: 900, sentAt: start, receivedAt: start, cacheMilliseconds: 1_000)
            }
        }
        #expect(memory.count == 400)
        #expect(
            memory.denial(of: SubjectID(high: 49, low: 7), cost: 1, quota: 20, after: refunds, now: at(49_001)) != nil)
    }

    @Test("is what a dictionary would be, whoever is denied, comes again or is forgotten")
    mutating func model() {
        var random = SeededGenerator(seed: 3)
        let users = users(3_000)
        var model: [SubjectID: (used: Int, until: Double)] = [:]
        for step in 0..<60_000 {
            let now = Double(step) / 10
            let user = users[Int.random(in: users.indices, using: &random)]
            switch Int.random(in: 0..<2_000, using: &random) {
            case 0:
                memory.forget(user)
                model[user] = nil
            case 1..<1_000:
                let wait = Int.random(in: 2...3_000, using: &random)
                memory.remember(
                    user, cost: 1, decision: Self.denied(wait, used: step), certainMilliseconds: wait,
                    sentAt: at(now), receivedAt: at(now), cacheMilliseconds: 1_000_000)
                model[user] = (step, now + Double(wait - 1))
            default:
                let expected = model[user].flatMap { $0.until > now ? $0.used : nil }
                #expect(memory.denial(of: user, cost: 1, quota: 20, after: refunds, now: at(now))?.used == expected)
            }
        }
        #expect(memory.count < 3_100)
    }

    @Test("finds users quickly that differ in a few bits alone, whichever these are", arguments: [0, 16, 32, 48])
    mutating func chosen(_ shift: Int) {
        for number in UInt64(0)..<32_768 {
            remember(SubjectID(high: 7, low: number << UInt64(shift)))
            remember(SubjectID(high: number << UInt64(shift), low: 7))
        }
        var steps = 0
        for number in UInt64(0)..<32_768 {
            steps = max(steps, memory.steps(to: SubjectID(high: 7, low: number << UInt64(shift)), kind: 0))
        }
        #expect(steps < 200)
    }

    @Test("takes few bytes for each: 50,000 of them are less than 5 MiB")
    func size() {
        #expect(50_000 * (CheckDenials.entryBytes + 8) < 5 * 1_048_576)
        #expect(CallDenials.entryBytes <= 192)
        #expect(DescriptorDenials.entryBytes <= 128)
        #expect(OutcomeDetails.sharedBytes <= 272)
    }
}
