import NIOCore
import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("The memory of calls' denials")
struct CallDenialsTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let user = SubjectID(high: 1, low: 2)
    private var denials = CallDenials()

    private func at(_ milliseconds: Int64) -> NIODeadline { Self.start + .milliseconds(milliseconds) }

    private static func call(
        _ operation: DecisionOperation = .check, quota: Int = 5, cost: Int = 1, id: UInt8 = 1
    ) -> DecisionCall {
        let term = LimitTerm(id: 7, kind: .sliding(windowMilliseconds: 60_000), quota: quota, cost: cost)
        let own: DecisionID? =
            switch operation {
            case .check, .reset: nil
            case .usage: .usage(UsageDigest(of: [id]))
            case .reserve, .renew, .settle, .release: .lease(LeaseMark(id: UInt64(id)))
            }
        return DecisionCall(operation, id: own, subjects: [SubjectTerms(key: [1], terms: [term])])
    }

    private static func denied(_ wait: Int = 9_000, certain: Int) -> CallAnswer {
        CallAnswer(
            verdict: .denied(term: 0, retryAfterMilliseconds: wait),
            states: [LimitState(used: 5, resetAfterMilliseconds: 30_000, isDenied: true)],
            leastWaitMilliseconds: certain)
    }

    private mutating func remember(_ answer: CallAnswer, cache: Int = 60_000) throws {
        let question = try #require(CallQuestion(Self.call()))
        denials.remember(user, question, answer, sentAt: at(0), receivedAt: at(10), cacheMilliseconds: cache)
    }

    private func denial(_ call: DecisionCall = Self.call(), of user: SubjectID? = nil, at now: Int64) -> CallAnswer? {
        CallQuestion(call).flatMap { denials.denial(of: user ?? self.user, $0, at: at(now)) }
    }

    @Test("denies the same question of the same user alone: another cost, quota or operation is another question")
    mutating func question() throws {
        try remember(Self.denied(certain: 9_000))
        #expect(denial(at: 20) != nil)
        for other in [Self.call(quota: 6), Self.call(cost: 2), Self.call(.reserve)] {
            #expect(denial(other, at: 20) == nil)
        }
        #expect(denial(of: SubjectID(high: 3, low: 4), at: 20) == nil)
    }

    @Test("asks the same of each lease, and nothing of what is never denied")
    func reservations() {
        #expect(CallQuestion(Self.call(.reserve, id: 1)) == CallQuestion(Self.call(.reserve, id: 2)))
        for operation in [DecisionOperation.renew, .settle, .release, .usage] {
            #expect(CallQuestion(Self.call(operation)) == nil)
        }
    }

    @Test("holds only while what has been charged denies, and not while leases do, which may end")
    mutating func certain() throws {
        try remember(Self.denied(certain: 0))
        #expect(denials.isEmpty)
        try remember(Self.denied(certain: 3_000))
        #expect(denial(at: 2_998) != nil)
        #expect(denial(at: 2_999) == nil)
    }

    @Test("holds no longer than it may")
    mutating func bounded() throws {
        try remember(Self.denied(certain: 9_000), cache: 100)
        #expect(denial(at: 99) != nil)
        #expect(denial(at: 100) == nil)
    }

    @Test("tells every wait as it is by then")
    mutating func aged() throws {
        try remember(Self.denied(certain: 5_000))
        let answer = try #require(denial(at: 1_010))
        #expect(answer.verdict == .denied(term: 0, retryAfterMilliseconds: 8_000))
        #expect(answer.leastWaitMilliseconds == 4_000)
        #expect(answer.states == [LimitState(used: 5, resetAfterMilliseconds: 29_000, isDenied: true)])
    }

    @Test("remembers no denial for good, which says no wait")
    mutating func forGood() throws {
        try remember(CallAnswer(verdict: .deniedForGood(term: 0), states: []))
        #expect(denials.isEmpty)
    }
}
