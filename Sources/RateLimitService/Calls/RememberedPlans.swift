import RateLimitCore

/// The plans of one event loop that were made under the limits in force, as a value: whoever calls next with the same kind
/// of call meets the plan that is there.
///
/// A plan depends on the kind of call, the limits that apply, the caller's budgets, what the call says its quotas are, and on the calendar's periods and grants
/// in force, for which it says how long it holds. Most callers have no budgets and no groups: their plans stand in a table
/// of ``places``, in two of which a plan may stand. The others are looked up by what the caller has.
struct RememberedPlans {
    /// How many plans for callers without budgets and groups are remembered; a power of two.
    static let places = 128
    /// Of how many terms the plans are that are remembered for other callers, in each of two generations: the older one is
    /// dropped when the younger is full.
    static let termCapacity = 8_192

    /// What a plan depends on that is no matter of time.
    private struct Key: Hashable {
        var kind: CallKind
        var applicable: LimitIndices
        var groupCount: Int
        /// What the call says its quotas are.
        var quotas: [CallQuota]
        /// Nil where neither the user nor a group has a budget.
        var budgets: CallerBudgets?

        init(_ kind: CallKind, _ applicable: LimitIndices, _ quotas: [CallQuota], _ caller: CallerBudgets) {
            self.kind = kind
            self.quotas = quotas
            self.applicable = applicable
            groupCount = caller.groups.count
            budgets = caller.hasBudgets ? caller : nil
        }

        /// Takes what tells budgets apart nearly always, and costs little.
        func hash(into hasher: inout Hasher) {
            hasher.combine(kind.word)
            hasher.combine(applicable.bits)
            hasher.combine(groupCount)
            for quota in quotas { hasher.combine(quota) }
            guard let budgets else { return }
            hasher.combine(budgets.budget?.updatedAt)
            for group in budgets.groups {
                hasher.combine(group.id)
                hasher.combine(group.budget?.updatedAt)
            }
        }
    }

    private var plain = [CallPlan?](repeating: nil, count: places)
    private var young: [Key: CallPlan] = [:]
    private var old: [Key: CallPlan] = [:]
    private var youngTerms = 0

    /// None yet.
    init() {}

    /// How many are remembered.
    var count: Int { plain.count { $0 != nil } + young.count + old.count }

    /// The plan for a caller, as ``PlanLayout`` makes it.
    mutating func plan(
        _ kind: CallKind, _ applicable: LimitIndices, quotas: [CallQuota] = [], for caller: CallerBudgets,
        under limits: LimitsInForce,
        atUnixMilliseconds now: Int
    ) -> CallPlan {
        func make() -> CallPlan {
            CallPlan(PlanLayout(kind, applicable, quotas: quotas, for: caller, under: limits, atUnixMilliseconds: now))
        }
        guard caller.groups.isEmpty, caller.budget == nil, quotas.isEmpty else {
            return planOfOthers(Key(kind, applicable, quotas, caller), atUnixMilliseconds: now, make)
        }
        let first = Self.place(kind, applicable)
        if let plan = plain[first], plan.isOf(kind, applicable), plan.isValid(atUnixMilliseconds: now) { return plan }
        let second = first ^ 1
        if let plan = plain[second], plan.isOf(kind, applicable), plan.isValid(atUnixMilliseconds: now) {
            plain.swapAt(first, second)
            return plan
        }
        // One that does not hold any longer gives its place to the new one; else the one used longer ago goes.
        if plain[first].map({ !$0.isOf(kind, applicable) }) ?? false { plain[second] = plain[first] }
        let plan = make()
        plain[first] = plan
        return plan
    }

    private static func place(_ kind: CallKind, _ applicable: LimitIndices) -> Int {
        let mixed = (kind.word ^ applicable.bits &* 0x9e37_79b9_7f4a_7c15) &* 0xff51_afd7_ed55_8ccd
        return Int(truncatingIfNeeded: mixed &>> 58) * 2
    }

    private mutating func planOfOthers(
        _ key: Key, atUnixMilliseconds now: Int, _ make: () -> CallPlan
    ) -> CallPlan {
        if let plan = young[key], plan.isValid(atUnixMilliseconds: now) { return plan }
        var plan = old.removeValue(forKey: key)
        if plan?.isValid(atUnixMilliseconds: now) != true { plan = nil }
        let kept = plan ?? make()
        if youngTerms >= Self.termCapacity {
            (old, young, youngTerms) = (young, [:], 0)
        }
        let replaced = young.updateValue(kept, forKey: key)
        youngTerms += kept.weight - (replaced?.weight ?? 0)
        return kept
    }
}

extension CallerBudgets {
    /// Whether the user or a group has a budget.
    fileprivate var hasBudgets: Bool { budget != nil || groups.contains { $0.budget != nil } }
}

extension CallPlan {
    fileprivate func isOf(_ kind: CallKind, _ applicable: LimitIndices) -> Bool {
        self.applicable == applicable && self.kind == kind
    }

    /// A plan without terms takes room as well.
    fileprivate var weight: Int { 1 + terms.count }
}
