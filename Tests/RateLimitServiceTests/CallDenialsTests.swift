import NIOCore
import RateLimitCore
import Testing

@testable import RateLimitService

@Suite("The memory of calls' denials")
struct CallDenialsTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let user = SubjectID(high: 1, low: 2)
    private var denials = CallDenials()
    private var planner: CallPlanner

    init() throws {
        planner = try Self.planner()
        denials.believedUntil = .distantFuture
    }

    private func at(_ milliseconds: Int64) -> NIODeadline { Self.start + .milliseconds(milliseconds) }

    /// The planner that finds the plan of each call of a test; under another quota it is another one.
    private static func planner(quota: Int = 5) throws -> CallPlanner {
        let limit = LimitDefinition(
            name: try #require(LimitName("calls")), scope: .user, unit: .requests, quota: quota,
            window: .sliding(milliseconds: 60_000))
        return CallPlanner(limits: LimitsInForce(rules: QuotaRules(limits: LimitSet(limit), policy: .min)))
    }

    private mutating func call(
        _ operation: CallRequest.Operation = .check, cost: Int = 1, of user: SubjectID? = nil, groups: [SubjectID] = []
    ) throws -> PlannedCall {
        let caller = CallerBudgets(budget: nil, groups: groups.map { CallerBudgets.Group(id: $0, budget: nil) })
        return try planner.plan(
            CallRequest(user: user ?? self.user, operation: operation, cost: cost), for: caller, atUnixMilliseconds: 0)
    }

    private static func denied(_ wait: Int = 9_000, certain: Int) -> CallAnswer {
        CallAnswer(
            verdict: .denied(term: 0, retryAfterMilliseconds: wait),
            states: [LimitState(used: 5, resetAfterMilliseconds: 30_000, isDenied: true)],
            leastWaitMilliseconds: certain)
    }

    private mutating func remember(
        _ answer: CallAnswer, to call: PlannedCall? = nil, cache: Int = 60_000
    ) throws {
        let call = try call ?? self.call()
        var details = OutcomeDetails(call.plan, of: call.caller, answer.states, decider: answer.verdict.decider)
        details.retryAfterAtMostMilliseconds = 9_000
        denials.remember(call, answer, details, sentAt: at(0), receivedAt: at(10), cacheMilliseconds: cache)
    }

    private mutating func denial(_ call: PlannedCall? = nil, at now: Int64) throws -> CallDenial? {
        denials.denial(of: try call ?? self.call(), after: RefundTimes(), at: at(now))
    }

    @Test("denies a call in the window of its own value, and in no other")
    mutating func values() throws {
        let limit = LimitDefinition(
            name: try #require(LimitName("sessions")), scope: .user, values: [.label("s")], unit: .requests, quota: 1,
            window: .sliding(milliseconds: 60_000))
        planner = CallPlanner(limits: LimitsInForce(rules: QuotaRules(limits: LimitSet(limit), policy: .min)))
        func call(_ value: String, _ planner: inout CallPlanner) throws -> PlannedCall {
            try planner.plan(
                CallRequest(user: user, attributes: CallAttributes(labels: ["s": value])),
                for: CallerBudgets(budget: nil, groups: []), atUnixMilliseconds: 0)
        }
        let (one, other) = (try call("1", &planner), try call("2", &planner))
        #expect(one.plan === other.plan)
        try remember(Self.denied(certain: 9_000), to: one)
        #expect(try denial(call("1", &planner), at: 20) != nil)
        #expect(try denial(other, at: 20) == nil)
    }

    @Test("denies the same question of the same user alone: other costs, operations, groups or limits ask another")
    mutating func question() throws {
        try remember(Self.denied(certain: 9_000))
        #expect(try denial(at: 20) != nil)
        let others = [
            try call(cost: 2), try call(.reserve(milliseconds: 1_000)), try call(of: SubjectID(high: 3, low: 4)),
            try call(groups: [SubjectID(high: 5, low: 6)]),
        ]
        for other in others { #expect(try denial(other, at: 20) == nil) }
        planner = try Self.planner(quota: 6)
        #expect(try denial(at: 20) == nil)
    }

    @Test("asks the same of each lease")
    mutating func reservations() throws {
        let reserve = CallRequest.Operation.reserve(milliseconds: 1_000)
        try remember(Self.denied(certain: 9_000), to: call(reserve))
        let other = try call(reserve)
        var random = SystemRandomNumberGenerator()
        other.drawLease(atUnixMilliseconds: 0, using: &random)
        #expect(try denial(other, at: 20) != nil)
    }

    @Test("holds only while what has been charged denies, and not while leases do, which may end")
    mutating func certain() throws {
        try remember(Self.denied(certain: 0))
        #expect(denials.isEmpty)
        try remember(Self.denied(certain: 3_000))
        #expect(try denial(at: 2_998) != nil)
        #expect(try denial(at: 2_999) == nil)
    }

    @Test("holds no longer than it may")
    mutating func bounded() throws {
        try remember(Self.denied(certain: 9_000), cache: 100)
        #expect(try denial(at: 99) != nil)
        #expect(try denial(at: 100) == nil)
    }

    @Test("tells every wait as it is by then")
    mutating func aged() throws {
        try remember(Self.denied(certain: 5_000))
        let denial = try #require(try denial(at: 1_010))
        #expect(!denial.isAtCapacity && denial.mostWaitMilliseconds == 8_000 && denial.leastWaitMilliseconds == 4_000)
        #expect(denial.details.retryAfterAtMostMilliseconds == 8_000)
        let state = LimitState(used: 5, resetAfterMilliseconds: 29_000, isDenied: true)
        #expect(denial.details.standings.map(\.state) == [state] && denial.details.binding?.state == state)
        // A later change of a copy is none of what is remembered.
        var changed = denial.details
        changed.estimate = CallEstimate(.none)
        #expect(changed.standings == denial.details.standings && changed.retryAfterAtMostMilliseconds == 8_000)
        #expect(denial.details.estimate == nil)
        #expect(try self.denial(at: 10)?.details.binding?.state.resetAfterMilliseconds == 30_000)
    }

    @Test("remembers no denial for good, which says no wait")
    mutating func forGood() throws {
        try remember(CallAnswer(verdict: .deniedForGood(term: 0), states: []))
        #expect(denials.isEmpty)
    }
}
