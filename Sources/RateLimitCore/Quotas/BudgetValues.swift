/// Bounds on what is kept of budgets.
public enum BudgetBounds {
    /// A spend limit in micro-dollars, or a quota in its limit's unit: as much as a limit can have.
    public static let amounts = Limit.quotas
    /// How many limits one budget may name.
    public static let limits = LimitSet.maximumCount
    /// How many groups one user may be in, of those that are kept; a call may name more.
    public static let groups = 32
}

/// A quota that a budget sets, with the unit of the limit that it was set for.
public struct BudgetAmount: Hashable, Sendable, ExpressibleByIntegerLiteral {
    /// How much; within ``BudgetBounds/amounts``.
    public var amount: Int
    /// What it is an amount of; nil where nobody knows, and then it is believed of any unit.
    public var unit: LimitUnit?

    /// Makes an amount.
    public init(_ amount: Int, unit: LimitUnit? = nil) {
        self.amount = amount
        self.unit = unit
    }

    /// Makes an amount of which nobody has said the unit.
    public init(integerLiteral amount: Int) { self.init(amount) }

    /// The amount, for a limit of this unit; nil where it is one of another unit.
    public func amount(in unit: LimitUnit) -> Int? { self.unit == nil || self.unit == unit ? amount : nil }
}

/// What a budget grants: the part that an operator sets.
public struct BudgetTerms: Hashable, Sendable {
    /// What may be spent, in micro-dollars, in the window of the limit that ``QuotaRules/spendLimit(of:)`` names; 0 blocks, nil
    /// leaves it to the next rule.
    public var spendLimitMicros: Int?
    /// Quotas by the name of their limit; 0 blocks. At most ``BudgetBounds/limits``.
    public var limits: [String: BudgetAmount]

    /// Nothing is set.
    public static let none = BudgetTerms()

    /// Makes the terms; amounts are within ``BudgetBounds/amounts``.
    public init(spendLimitMicros: Int? = nil, limits: [String: BudgetAmount] = [:]) {
        self.spendLimitMicros = spendLimitMicros
        self.limits = limits
    }

    /// The same, each amount in the unit that the limit of its name has among these; one that has a unit keeps it.
    public func inUnits(of limits: LimitSet) -> BudgetTerms {
        var terms = self
        for (name, amount) in self.limits where amount.unit == nil {
            terms.limits[name]?.unit = limits.limits.first { $0.name.text == name }?.unit
        }
        return terms
    }
}

/// What one user has in place of what the user's groups give: an override.
public struct UserBudget: Hashable, Sendable {
    /// The group to which the user's spend is attributed, one of the user's own; nil for none.
    public var groupID: SubjectID?
    /// What may be spent, in micro-dollars, in the window of the limit that ``QuotaRules/spendLimit(of:)`` names; 0 blocks, nil
    /// leaves it to the next rule.
    public var spendLimitMicros: Int?
    /// Quotas by the name of their limit; 0 blocks.
    public var limits: [String: BudgetAmount]
    /// What was granted on top, by the name of the limit; some of it may have ended.
    public var grants: [String: Grant]
    /// When it was made, in milliseconds since 1970 by Redis's clock.
    public var createdAt: Int
    /// When it was changed last, in the same unit; never before ``createdAt``.
    public var updatedAt: Int

    /// Makes a budget as it is kept.
    public init(
        groupID: SubjectID? = nil, spendLimitMicros: Int? = nil, limits: [String: BudgetAmount] = [:],
        grants: [String: Grant] = [:], createdAt: Int, updatedAt: Int
    ) {
        self.groupID = groupID
        self.spendLimitMicros = spendLimitMicros
        self.limits = limits
        self.grants = grants
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

extension UserBudget {
    /// What it grants.
    public var terms: BudgetTerms { BudgetTerms(spendLimitMicros: spendLimitMicros, limits: limits) }
}

/// What the members of a group have, and the group itself for limits that count by group.
public struct GroupBudget: Hashable, Sendable {
    /// What may be spent, in micro-dollars, in the window of the limit that ``QuotaRules/spendLimit(of:)`` names; 0 blocks, nil
    /// leaves it to the next rule.
    public var spendLimitMicros: Int?
    /// Quotas by the name of their limit; 0 blocks.
    public var limits: [String: BudgetAmount]
    /// What was granted on top, by the name of the limit; some of it may have ended.
    public var grants: [String: Grant]
    /// When it was made, in milliseconds since 1970 by Redis's clock.
    public var createdAt: Int
    /// When it was changed last, in the same unit; never before ``createdAt``.
    public var updatedAt: Int

    /// Makes a budget as it is kept.
    public init(
        spendLimitMicros: Int? = nil, limits: [String: BudgetAmount] = [:], grants: [String: Grant] = [:],
        createdAt: Int,
        updatedAt: Int
    ) {
        self.spendLimitMicros = spendLimitMicros
        self.limits = limits
        self.grants = grants
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

extension GroupBudget {
    /// What it grants.
    public var terms: BudgetTerms { BudgetTerms(spendLimitMicros: spendLimitMicros, limits: limits) }
}

/// That a user is in a group.
public struct Membership: Hashable, Sendable {
    /// Since when, in milliseconds since 1970 by Redis's clock.
    public var createdAt: Int

    /// Makes a membership as it is kept.
    public init(createdAt: Int) {
        self.createdAt = createdAt
    }
}
