import RateLimitCore

@testable import RateLimitService

/// A call planned as an engine plans it, by a planner that remembers nothing yet.
func planned(
    _ request: CallRequest, under limits: LimitsInForce, learned: CallEstimate? = nil,
    for caller: CallerBudgets = CallerBudgets(budget: nil, groups: []), isShadow: Bool = false,
    atUnixMilliseconds now: Int = 0
) throws -> PlannedCall {
    var random = SystemRandomNumberGenerator()
    var planner = CallPlanner(limits: limits, isShadow: isShadow)
    let call = try planner.plan(request, learned: learned, for: caller, atUnixMilliseconds: now)
    call.drawLease(atUnixMilliseconds: now, using: &random)
    return call
}

extension PlannedCall {
    /// The terms in the order in which they are told.
    var told: [CallTerm] { plan.toldOrder.map { plan.terms[$0] } }

    /// What each term is put with, in the order in which they are told.
    var toldCosts: [Int] { told.map { cost(of: $0).amount } }

    /// What is asked of Redis, with everything in it.
    var call: DecisionCall? { laidOut(keyPrefix: "x") }

    /// The keys in Redis.
    var keys: [String] { call?.subjects.map { String(decoding: $0.key, as: UTF8.self) } ?? [] }
}
