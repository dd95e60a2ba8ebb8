import NIOCore
import RateLimitCore

/// What a decision needs of a user. What there is lies elsewhere: most users have nothing, and many are remembered.
enum UserStanding: Hashable, Sendable {
    case nothing
    indirect case something(UserBudget?, groups: [SubjectID])

    init(budget: UserBudget?, groups: [SubjectID]) {
        self = budget == nil && groups.isEmpty ? .nothing : .something(budget, groups: groups)
    }

    /// The user's override; nil for none.
    var budget: UserBudget? {
        if case .something(let budget, _) = self { budget } else { nil }
    }

    /// The groups the user is in, in a fixed order; at most ``BudgetBounds/groups``.
    var groups: [SubjectID] {
        if case .something(_, let groups) = self { groups } else { [] }
    }
}

/// What one event loop remembers of users, or of groups, and what of them it is asking Redis for.
struct BudgetTable<Value> {
    /// How to come by a value that is not remembered.
    enum Step: Hashable {
        /// Redis has just been asked: wait for that answer.
        case join(Int)
        /// Ask Redis, and give the answer to ``loaded(_:_:ticket:)``.
        case load(Int)
    }

    private struct Load {
        var ticket: Int
        var sentAt: NIODeadline
    }

    private var values: LeastRecentlyUsed<SubjectID, Value>
    private var loads: [SubjectID: Load] = [:]
    private var lastTicket = 0

    init(capacity: Int) { values = LeastRecentlyUsed(capacity: capacity) }

    var count: Int { values.count }

    mutating func value(of id: SubjectID) -> Value? { values.value(for: id) }

    /// What to do for a value that is not remembered. An answer that has been on its way for long is not waited for by
    /// anybody else: it may be from before a change that whoever asks now must see.
    mutating func load(_ id: SubjectID, at now: NIODeadline) -> Step {
        if let load = loads[id], now < load.sentAt + BudgetCache.patience { return .join(load.ticket) }
        lastTicket += 1
        loads[id] = Load(ticket: lastTicket, sentAt: now)
        return .load(lastTicket)
    }

    /// Takes Redis's answer, nil for none. It is not remembered where a change was heard of since it was asked for.
    mutating func loaded(_ id: SubjectID, _ value: Value?, ticket: Int) {
        guard loads[id]?.ticket == ticket else { return }
        loads[id] = nil
        if let value { values.set(value, for: id) }
    }

    mutating func forget(_ id: SubjectID) {
        values.remove(id)
        loads[id] = nil
    }

    mutating func forgetAll() {
        values.removeAll()
        loads.removeAll()
    }
}

/// What one event loop remembers of budgets, as a value, believed as ``KnownVersion`` says.
struct BudgetCache {
    /// How long somebody may wait for an answer that another has asked for: as long as one is believed.
    static let patience = KnownVersion.patience
    /// How many users are remembered: one who has nothing takes some 60 bytes.
    static let userCapacity = 131_072
    /// How many groups are remembered.
    static let groupCapacity = 65_536

    var users: BudgetTable<UserStanding>
    var groups: BudgetTable<GroupBudget?>
    private var known = KnownVersion()

    init(users: Int = Self.userCapacity, groups: Int = Self.groupCapacity) {
        self.users = BudgetTable(capacity: users)
        self.groups = BudgetTable(capacity: groups)
    }

    /// Whether what is remembered may be used.
    func isBelieved(at now: NIODeadline) -> Bool { now < known.believedUntil }

    /// Takes the version that Redis had at `sentAt` or later.
    mutating func polled(_ version: String, sentAt: NIODeadline) {
        if !known.polled(version, sentAt: sentAt) { forgetAll() }
    }

    /// Takes the message about a change: of a budget, or of something else that the version counts.
    mutating func heard(_ notice: ChangeNotice) {
        guard known.heard(from: notice.versionBefore, to: notice.version) else { return forgetAll() }
        if case .budget(let subject) = notice.change { forget(subject) }
    }

    mutating func forget(_ subject: BudgetSubject) {
        switch subject {
        case .user(let user): users.forget(user)
        case .group(let group): groups.forget(group)
        }
    }

    private mutating func forgetAll() {
        users.forgetAll()
        groups.forgetAll()
    }
}
