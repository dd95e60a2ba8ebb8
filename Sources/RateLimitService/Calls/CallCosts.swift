import RateLimitCore

/// What one call counts for, by unit.
struct CallCosts: Hashable, Sendable {
    /// In limits of requests.
    var requests: Int
    /// None where nothing is known of them.
    var tokens: TokenUsage
    /// The kinds of ``tokens`` that the call told; an estimate that was learned is not told.
    var told: ToldTokens
    /// In micro-dollars; nil where nothing is known of it.
    var spend: Int?
    /// Whether the call certainly costs no money: it said so, or its model's price does.
    var isFreeOfCharge: Bool

    /// How much of a unit, of tokens by their weights where there are some; 0 where that is not known.
    func amount(of unit: LimitUnit, weights: TokenWeights?) -> Int {
        switch unit {
        case .requests: requests
        case .tokens(let kind): weights.map { $0.weight(of: tokens, kind) } ?? tokens.count(of: kind)
        case .spend: spend ?? 0
        case .concurrency: 0
        }
    }

    /// Whether it certainly counts for nothing in a unit, and so needs no room there. What it did not tell may come.
    func isCertainlyNothing(of unit: LimitUnit, weights: TokenWeights?) -> Bool {
        switch unit {
        case .requests, .concurrency: false
        case .tokens(let kind):
            weights.map { $0.isCertainlyNothing(kind, for: tokens, told: told) }
                ?? told.isCertainlyNone(of: kind, in: tokens)
        case .spend: isFreeOfCharge
        }
    }
}

/// Where one of the amounts comes from that a plan's calls are put to Redis with.
struct PlanAmount: Hashable, Sendable {
    /// What it is an amount of.
    let unit: LimitUnit
    /// How much tokens weigh; nil where each counts as one.
    let weights: TokenWeights?
    /// Whether a limit has a quota of 0, which blocks also what costs nothing.
    let isBlocked: Bool

    /// The amount as a plan of this kind puts it; ``DecisionPlan/unknownCost`` where room is asked for without knowing how
    /// much.
    func amount(of costs: CallCosts, _ kind: CallKind) -> Int {
        // What is learned holds no more than the quota, and there is none.
        if isBlocked, kind.isLearned, unit.isKnownAfterwards { return DecisionPlan.unknownCost }
        let amount = costs.amount(of: unit, weights: weights)
        precondition(LimitTerm.amounts.contains(amount), "a cost is within its bounds")
        guard amount == 0, kind.asks else { return amount }
        return isBlocked || !costs.isCertainlyNothing(of: unit, weights: weights) ? DecisionPlan.unknownCost : 0
    }
}

extension LimitUnit {
    /// Whether what a call comes to is known when it has ended.
    var isKnownAfterwards: Bool {
        switch self {
        case .tokens, .spend: true
        case .requests, .concurrency: false
        }
    }
}
