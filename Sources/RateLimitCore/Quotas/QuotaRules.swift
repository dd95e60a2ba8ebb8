/// Which of a user's groups gives a quota where several could.
public enum GroupPolicy: String, CaseIterable, Hashable, Sendable {
    /// The one that gives the least.
    case min
    /// The one that gives the most.
    case max
    /// The one to which the user's spend is attributed, and no other.
    case attributed
}

/// Which rule gave a quota.
public enum QuotaRule: Hashable, Sendable {
    /// The user's own budget.
    case override
    /// This group's budget.
    case group(SubjectID)
    /// The call, in place of the limits file.
    case call
    /// The limits file.
    case `default`
    /// No rule gave any.
    case unlimited
}

/// How much of a limit somebody has, and why.
public struct Quota: Hashable, Sendable {
    /// The quota in the limit's unit; nil is unlimited, 0 blocks.
    public let amount: Int?
    /// Where it comes from.
    public let rule: QuotaRule
    /// What was granted on top of what the rule gives, and is in ``amount``; nil where nothing was.
    public let grant: Grant?

    /// Makes a quota.
    public init(amount: Int?, rule: QuotaRule, grant: Grant? = nil) {
        self.amount = amount
        self.rule = rule
        self.grant = grant
    }
}

/// Who has which quota: the user's override, else the group's, else the default, else unlimited.
public struct QuotaRules: Hashable, Sendable {
    /// A group together with what its budget grants.
    public typealias Group = (id: SubjectID, terms: BudgetTerms)

    /// The limits.
    public let limits: LimitSet
    /// Which of several groups gives the quota.
    public let policy: GroupPolicy

    /// Makes the rules.
    public init(limits: LimitSet, policy: GroupPolicy) {
        self.limits = limits
        self.policy = policy
    }

    /// A user's quota of the limit at a place in ``limits``; of a limit that is not `per: user` the default.
    ///
    /// - Parameters:
    ///   - index: the limit's place; one that is not in ``limits`` is a programming error.
    ///   - user: what the user's override grants.
    ///   - attributedGroup: the group to which the user's spend is attributed.
    ///   - groups: the user's groups; of two that give the same, the first is named.
    public func quota(
        ofLimitAt index: Int, user: BudgetTerms, attributedTo attributedGroup: SubjectID? = nil,
        groups: some Sequence<Group>
    ) -> Quota {
        guard limits.limits[index].scope == .user else { return defaultQuota(ofLimitAt: index) }
        if let amount = amount(ofLimitAt: index, in: user) {
            return Quota(amount: amount, rule: .override)
        }
        var chosen: Quota?
        for group in groups {
            guard let given = amount(ofLimitAt: index, in: group.terms) else { continue }
            let isChosen =
                switch policy {
                case .min: chosen?.amount.map { given < $0 } ?? true
                case .max: chosen?.amount.map { given > $0 } ?? true
                case .attributed: group.id == attributedGroup
                }
            if isChosen { chosen = Quota(amount: given, rule: .group(group.id)) }
        }
        return chosen ?? defaultQuota(ofLimitAt: index)
    }

    /// A group's own quota of the `per: group` limit at a place in ``limits``; of any other limit the default.
    public func quota(ofLimitAt index: Int, group: Group) -> Quota {
        let limit = limits.limits[index]
        let spend = index == limits.groupSpendIndex ? group.terms.spendLimitMicros : nil
        if limit.scope == .group, let amount = group.terms.limits[limit.name.text]?.amount(in: limit.unit) ?? spend {
            return Quota(amount: amount, rule: .group(group.id))
        }
        return defaultQuota(ofLimitAt: index)
    }

    /// The quota the limits file gives all who have none of their own.
    public func defaultQuota(ofLimitAt index: Int) -> Quota {
        let amount = limits.limits[index].quota
        return Quota(amount: amount, rule: amount == nil ? .unlimited : .default)
    }

    /// A quota by the limit's name comes before the one that `spend_limit_micros` gives. One in another unit than the
    /// limit's is none.
    private func amount(ofLimitAt index: Int, in terms: BudgetTerms) -> Int? {
        let limit = limits.limits[index]
        if !terms.limits.isEmpty, let amount = terms.limits[limit.name.text]?.amount(in: limit.unit) { return amount }
        return index == limits.userSpendIndex ? terms.spendLimitMicros : nil
    }
}
