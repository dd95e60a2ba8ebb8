/// Whose budget it is.
public enum BudgetOwner: Hashable, Sendable {
    /// A user's.
    case user
    /// A group's: for its members, and for itself.
    case group

    /// Whether such a budget can set a quota of limits of a scope: a user's those of users, a group's those of its members
    /// and its own.
    public func sets(_ scope: LimitScope) -> Bool {
        switch scope {
        case .user: true
        case .group: self == .group
        case .global: false
        }
    }
}

/// Why a part of a budget can have no effect under the limits in force.
public enum BudgetRefusal: Error, Hashable, Sendable {
    /// There are no limits but that of checks, which has one quota for all.
    case noOtherLimits
    /// No limit has this name; those that the budget could name.
    case unknownLimit(String, known: [LimitName])
    /// The limit is of a scope whose quotas the budget does not set; those that it could name.
    case otherScope(LimitName, LimitScope, known: [LimitName])
    /// The amount is said to be in another unit than the limit counts.
    case otherUnit(LimitName, LimitUnit, now: LimitUnit)
    /// `spend_limit_micros` sets none of several limits of spend, of which none is named ``LimitName/spend``.
    case severalSpendLimits([LimitName])
    /// `spend_limit_micros` sets this limit, and `limits` gives it another quota, which would be the one that holds.
    case spendSetTwice(LimitName)
    /// `spend_limit_micros` is set, and no limit counts spend that the budget could set; those that it could name.
    case noSpendLimit(known: [LimitName])
}

extension QuotaRules {
    /// The place of the limit that `spend_limit_micros` sets. For a user it is that of ``LimitSet/userSpendIndex``. For a
    /// group it is the same, for its members; where no limit per user counts spend, the group's own of
    /// ``LimitSet/groupSpendIndex``. Nil where it sets none.
    public func spendLimit(of owner: BudgetOwner) -> Int? {
        limits.userSpendIndex ?? (owner == .group ? limits.groupSpendIndex : nil)
    }

    /// Refuses terms of which a part can have no effect: the first such part, in the order of the limits' names.
    ///
    /// - Parameter exempt: the parts that may have none, as ``withoutEffect(_:grants:of:)`` names them: whoever sets the
    ///   terms has been told, and another replica may have use for them.
    public func check(
        _ terms: BudgetTerms, of owner: BudgetOwner, exempt: Set<String> = []
    ) throws(BudgetRefusal) {
        let named = terms.limits.filter { !exempt.contains($0.key) }
        let micros = exempt.contains(Self.spendName) && refusalOfSpend(owner) != nil ? nil : terms.spendLimitMicros
        if limits.limits.isEmpty, !named.isEmpty || micros != nil { throw .noOtherLimits }
        for (name, amount) in named.sorted(by: { $0.key < $1.key }) {
            if let refusal = refusal(of: amount, ofLimit: name, owner) { throw refusal }
        }
        guard let micros else { return }
        if let refusal = refusalOfSpend(owner) { throw refusal }
        let name = spendLimit(of: owner).map { limits.limits[$0].name }
        if let name, let named = terms.limits[name.text], named.amount != micros { throw .spendSetTwice(name) }
    }

    private static let spendName = "spend_limit_micros"

    /// The parts of what is kept that have no effect under these limits, as a replica with others may have written them:
    /// names of limits in their order, and `spend_limit_micros`.
    ///
    /// - Parameter grants: the limits of which something is granted.
    public func withoutEffect(
        _ terms: BudgetTerms, grants: some Sequence<String>, of owner: BudgetOwner
    ) -> [String] {
        let names = terms.limits.filter { refusal(of: $0.value, ofLimit: $0.key, owner) != nil }.keys
        // A grant raises what is the subject's own.
        let granted = grants.filter { name in
            let limit = LimitName(name).flatMap(limits.index).map { limits.limits[$0] }
            return limit?.window == nil || limit?.scope != (owner == .user ? .user : .group)
        }
        let spend = terms.spendLimitMicros != nil && refusalOfSpend(owner) != nil
        return Set(names).union(granted).sorted() + (spend ? [Self.spendName] : [])
    }

    private func refusal(
        of amount: BudgetAmount, ofLimit text: String, _ owner: BudgetOwner
    ) -> BudgetRefusal? {
        guard let name = LimitName(text), let index = limits.index(of: name) else {
            return .unknownLimit(text, known: names(owner))
        }
        let limit = limits.limits[index]
        guard owner.sets(limit.scope) else { return .otherScope(name, limit.scope, known: names(owner)) }
        guard let unit = amount.unit, unit != limit.unit else { return nil }
        return .otherUnit(name, unit, now: limit.unit)
    }

    private func refusalOfSpend(_ owner: BudgetOwner) -> BudgetRefusal? {
        guard spendLimit(of: owner) == nil else { return nil }
        let several = limits.limits.filter { $0.unit == .spend && owner.sets($0.scope) }
        return several.isEmpty ? .noSpendLimit(known: names(owner)) : .severalSpendLimits(several.map(\.name))
    }

    private func names(_ owner: BudgetOwner) -> [LimitName] {
        limits.limits.filter { owner.sets($0.scope) }.map(\.name)
    }
}
