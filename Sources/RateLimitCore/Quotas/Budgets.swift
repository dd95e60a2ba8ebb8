/// What was set for one user at run time, in place of what the user's groups and the limits file say.
public struct UserBudget: Hashable, Sendable {
    /// The quota of the per-user spend limit (``LimitSet/userSpendIndex``), in micro-dollars; 0 blocks.
    public let spendLimitMicros: Int?
    /// Quotas of limits by name, in their units; 0 blocks.
    public let limits: [LimitName: Int]
    /// The group to which the user's spend is attributed.
    public let attributedGroup: UserID?

    /// How many limits a budget may name.
    public static let maximumLimits = LimitSet.maximumCount

    /// Nothing of the user's own.
    public static let none = UserBudget()

    private init() {
        spendLimitMicros = nil
        limits = [:]
        attributedGroup = nil
    }

    /// Makes a budget.
    public init(
        spendLimitMicros: Int? = nil, limits: [LimitName: Int] = [:], attributedGroup: UserID? = nil
    ) throws(BudgetError) {
        try checkBudget(spendLimitMicros: spendLimitMicros, limits: limits)
        self.spendLimitMicros = spendLimitMicros
        self.limits = limits
        self.attributedGroup = attributedGroup
    }
}

/// What was set for one group at run time: for each of its members, and for the group as a whole.
public struct GroupBudget: Hashable, Sendable {
    /// The quota each member has of the per-user spend limit (``LimitSet/userSpendIndex``), in micro-dollars.
    public let spendLimitMicros: Int?
    /// Quotas of limits by name: of a limit `per: user` each member's, of a limit `per: group` the group's own.
    public let limits: [LimitName: Int]

    /// Nothing of the group's own.
    public static let none = GroupBudget()

    private init() {
        spendLimitMicros = nil
        limits = [:]
    }

    /// Makes a budget.
    public init(spendLimitMicros: Int? = nil, limits: [LimitName: Int] = [:]) throws(BudgetError) {
        try checkBudget(spendLimitMicros: spendLimitMicros, limits: limits)
        self.spendLimitMicros = spendLimitMicros
        self.limits = limits
    }
}

/// Why a budget cannot be.
public enum BudgetError: Error, Hashable, Sendable {
    /// The spend limit is negative or above 10^12.
    case spendLimitOutOfBounds
    /// The quota of this limit is negative or above 10^12.
    case quotaOutOfBounds(LimitName)
    /// It names more limits than there can be.
    case tooManyLimits
}

extension BudgetError: CustomStringConvertible {
    /// What is wrong and what is accepted.
    public var description: String {
        let accepted = "accepted are whole numbers from 0 to 1,000,000,000,000"
        return switch self {
        case .spendLimitOutOfBounds: "spend_limit_micros is out of bounds: \(accepted)"
        case .quotaOutOfBounds(let name): "the quota of \(name) is out of bounds: \(accepted)"
        case .tooManyLimits: "it names more than \(UserBudget.maximumLimits) limits"
        }
    }
}

private func checkBudget(spendLimitMicros: Int?, limits: [LimitName: Int]) throws(BudgetError) {
    if let spendLimitMicros, !LimitDefinition.quotas.contains(spendLimitMicros) { throw .spendLimitOutOfBounds }
    guard limits.count <= UserBudget.maximumLimits else { throw .tooManyLimits }
    let outside = limits.filter { !LimitDefinition.quotas.contains($0.value) }.keys.min { $0.text < $1.text }
    if let outside { throw .quotaOutOfBounds(outside) }
}
