public import RateLimitCore

/// Whom a budget is about.
public enum BudgetSubject: Hashable, Sendable {
    case user(SubjectID)
    case group(SubjectID)
}

/// A change to what is kept of budgets.
public enum BudgetChange: Hashable, Sendable {
    /// Sets a user's override, attributed to one of the user's groups or to none.
    case putUserBudget(SubjectID, BudgetTerms, attributedTo: SubjectID?)
    case deleteUserBudget(SubjectID)
    case putGroupBudget(SubjectID, BudgetTerms)
    case deleteGroupBudget(SubjectID)
    /// Takes a user into a group.
    case putMember(SubjectID, group: SubjectID)
    /// Takes a user out of a group, and with it the override that is attributed to that group.
    case deleteMember(SubjectID, group: SubjectID)
    /// Raises the quota of one limit until the window's end.
    case addGrant(BudgetSubject, GrantOrder)
    /// Takes back what was granted of one limit, or of all.
    case deleteGrants(BudgetSubject, limit: LimitName?)

    /// What the audit calls it.
    public var name: String {
        switch self {
        case .putUserBudget: "put_user_budget"
        case .deleteUserBudget: "delete_user_budget"
        case .putGroupBudget: "put_group_budget"
        case .deleteGroupBudget: "delete_group_budget"
        case .putMember: "put_member"
        case .deleteMember: "delete_member"
        case .addGrant(.user, _): "add_user_grant"
        case .addGrant(.group, _): "add_group_grant"
        case .deleteGrants(.user, _): "delete_user_grant"
        case .deleteGrants(.group, _): "delete_group_grant"
        }
    }

    /// The same, each amount in the unit that its limit has among these.
    func inUnits(of limits: LimitSet) -> BudgetChange {
        switch self {
        case .putUserBudget(let user, let terms, let group):
            .putUserBudget(user, terms.inUnits(of: limits), attributedTo: group)
        case .putGroupBudget(let group, let terms): .putGroupBudget(group, terms.inUnits(of: limits))
        case .deleteUserBudget, .deleteGroupBudget, .putMember, .deleteMember, .addGrant, .deleteGrants: self
        }
    }

    /// Whose keys it changes.
    public var subject: BudgetSubject {
        switch self {
        case .putUserBudget(let user, _, _), .deleteUserBudget(let user), .putMember(let user, _),
            .deleteMember(let user, _):
            .user(user)
        case .putGroupBudget(let group, _), .deleteGroupBudget(let group): .group(group)
        case .addGrant(let subject, _), .deleteGrants(let subject, _): subject
        }
    }

    /// The user it is about; nil for a group's budget.
    public var user: SubjectID? {
        if case .user(let user) = subject { user } else { nil }
    }

    /// The group that it is about, or to which the budget is attributed.
    public var group: SubjectID? {
        switch self {
        case .putUserBudget(_, _, let group): group
        case .deleteUserBudget: nil
        case .putGroupBudget(let group, _), .deleteGroupBudget(let group): group
        case .putMember(_, let group), .deleteMember(_, let group): group
        case .addGrant(let subject, _), .deleteGrants(let subject, _):
            if case .group(let group) = subject { group } else { nil }
        }
    }
}

/// Something that is kept of budgets.
public enum BudgetValue: Hashable, Sendable {
    case user(UserBudget)
    case group(GroupBudget)
    case membership(Membership)
}

/// What a change did.
public struct BudgetChangeResult: Hashable, Sendable {
    /// What was there before; nil for nothing.
    public var before: BudgetValue?
    /// What is there now; nil for nothing.
    public var after: BudgetValue?
    /// The override that went with a membership; nil for none.
    public var removed: UserBudget?
    /// Whether it was made before, by its id, and was not made again.
    public var isRepeated = false
}

/// Who asked for a change, as the kernel says; nil where it does not.
public struct BudgetActor: Hashable, Sendable {
    /// The effective user's number.
    public var userIdentifier: UInt32?
    /// The process's number; 0 where it cannot be seen from here.
    public var processIdentifier: Int32?

    /// Names who asked.
    public init(userIdentifier: UInt32? = nil, processIdentifier: Int32? = nil) {
        self.userIdentifier = userIdentifier
        self.processIdentifier = processIdentifier
    }
}

/// Why a change was not made, or something not read.
public enum BudgetFailure: Error, Hashable, Sendable {
    /// The user is not in the group to which the override was to be attributed; nothing was changed.
    case notMember(SubjectID, group: SubjectID)
    /// The user is in ``BudgetBounds/groups`` groups already; nothing was changed.
    case tooManyGroups(SubjectID)
    /// Grants of ``BudgetBounds/limits`` limits are in force already; nothing was changed.
    case tooManyGrants(BudgetSubject)
    /// Redis did not answer, or not as it should. The change may have been made, or may still be: ask for it again.
    case redis(FailureReason)
}
