import RateLimitCore
import RedisClient

/// The names under which budgets are kept.
struct BudgetKeys: Sendable {
    /// How many entries the audit keeps, more or less: Redis removes them by whole nodes of the stream.
    static let auditEntries = 10_000

    let prefix: String

    /// The version of all that the daemons tell each other: another one after each change of a budget, each reset and each
    /// changed limit, and never the same twice.
    var version: String { "\(prefix):changes:version" }
    var audit: String { "\(prefix):audit" }
    var channel: String { InvalidationListener.channel(keyPrefix: prefix) }

    func budget(of subject: BudgetSubject) -> String { "{\(window(of: subject))}:budget" }
    func groups(of subject: BudgetSubject) -> String { "{\(window(of: subject))}:groups" }

    /// What says that a grant was made: the digits of its id are a part of the name.
    func granted(_ id: [UInt8], to subject: BudgetSubject) -> String {
        "{\(window(of: subject))}:granted:\(String(decoding: hexadecimalDigits(of: id), as: UTF8.self))"
    }

    /// The key of the subject's windows, whose slot in a cluster all others of the subject share.
    private func window(of subject: BudgetSubject) -> String {
        switch subject {
        case .user(let user): WindowOwner.user(user).key(prefix: prefix)
        case .group(let group): WindowOwner.group(group).key(prefix: prefix)
        }
    }
}

/// The commands that change budgets.
struct BudgetCommands: Sendable {
    let keys: BudgetKeys
    /// For how long the id of a grant is known: as long as that of a usage.
    private static let grantIDMilliseconds = 86_400_000

    /// Whether version and audit are elsewhere than the budgets.
    let isCluster: Bool

    /// The call of `budget.lua` that makes a change.
    func change(_ change: BudgetChange, by actor: BudgetActor, version: String) -> [String] {
        let subject = change.subject
        var own = [keys.budget(of: subject), keys.groups(of: subject)]
        if case .addGrant(_, let order) = change, let id = order.requestID {
            own[1] = keys.granted(id, to: subject)
        }
        let keys = isCluster ? own : own + [self.keys.version, self.keys.audit]
        let fields = Self.auditFields(change, by: actor)
        return ["EVAL", String(decoding: PackageResources.budget_lua, as: UTF8.self), "\(keys.count)"] + keys
            + [
                Self.operation(change), Self.group(change), version, self.keys.channel,
                ChangeNotice.Change.budget(subject).text,
            ]
            + ["\(BudgetKeys.auditEntries)", "\(fields.count)"] + fields + Self.arguments(change)
    }

    /// The call of `announce.lua` behind a reset or a changed limit, and in a cluster behind the change of a budget.
    func announcement(_ change: ChangeNotice.Change) -> [String] {
        [
            "EVAL", String(decoding: PackageResources.announce_lua, as: UTF8.self), "1", keys.version,
            Self.newVersion(), keys.channel, change.text,
        ]
    }

    /// Drawn and not counted: a Redis that has gone back to older data never comes to a version that was before.
    static func newVersion() -> String { "\(UInt64.random(in: 1 ... .max))" }

    /// The audit's entry behind a change in a cluster; nil where the change changed nothing.
    func auditEntry(_ change: BudgetChange, by actor: BudgetActor, _ parts: ChangeParts) -> [String]? {
        guard !parts.before.isEmpty || !parts.after.isEmpty else { return nil }
        return ["XADD", keys.audit, "MAXLEN", "~", "\(BudgetKeys.auditEntries)", "*"]
            + Self.auditFields(change, by: actor)
            + ["before", parts.before.joined(separator: " "), "after", parts.after.joined(separator: " ")]
            + ["removed", parts.removed.joined(separator: " ")]
    }

    private static func operation(_ change: BudgetChange) -> String {
        switch change {
        case .putUserBudget, .putGroupBudget: "put"
        case .deleteUserBudget, .deleteGroupBudget: "delete"
        case .putMember: "join"
        case .deleteMember: "leave"
        case .addGrant: "grant"
        case .deleteGrants: "revoke"
        }
    }

    /// The group that `budget.lua` looks for among the user's.
    private static func group(_ change: BudgetChange) -> String {
        switch change {
        case .putUserBudget, .putMember, .deleteMember: change.group?.encoded ?? ""
        case .deleteUserBudget, .putGroupBudget, .deleteGroupBudget, .addGrant, .deleteGrants: ""
        }
    }

    private static func arguments(_ change: BudgetChange) -> [String] {
        switch change {
        case .putUserBudget(_, let terms, let group): BudgetFields.of(terms, attributedTo: group)
        case .putGroupBudget(_, let terms): BudgetFields.of(terms, attributedTo: nil)
        case .putMember: ["\(BudgetBounds.groups)"]
        case .deleteUserBudget, .deleteGroupBudget, .deleteMember: []
        case .addGrant(_, let order): arguments(order)
        case .deleteGrants(_, let limit): [limit.map { "\($0)" } ?? ""]
        }
    }

    private static func arguments(_ order: GrantOrder) -> [String] {
        var arguments = ["\(order.limit)", order.unit.text, "\(order.amount)", "\(BudgetBounds.amounts.upperBound)"]
        arguments += ["\(BudgetBounds.limits)", order.requestID == nil ? "0" : "\(grantIDMilliseconds)"]
        switch order.end {
        case .after(let milliseconds): arguments.append("\(milliseconds)")
        case .firstOf(let instants): arguments += ["0"] + instants.map { "\($0 * 1000)" }
        }
        return arguments
    }

    private static func auditFields(_ change: BudgetChange, by actor: BudgetActor) -> [String] {
        var fields = ["operation", change.name]
        if case .user(let user) = change.subject { fields += ["user", user.encoded] }
        if let group = change.group { fields += ["group", group.encoded] }
        if let user = actor.userIdentifier { fields += ["by_uid", "\(user)"] }
        if let process = actor.processIdentifier { fields += ["by_pid", "\(process)"] }
        return fields
    }
}

/// What `budget.lua` replied to a change that was made: fields and values, empty for nothing.
struct ChangeParts {
    var before: [String]
    var after: [String]
    var removed: [String]
    /// Whether the change had been made before.
    var isRepeated: Bool

    /// Reads the reply; throws where the change was refused, and where it is no reply of the script's.
    init(_ result: CommandResult, of change: BudgetChange) throws(BudgetFailure) {
        let reply: Reply
        switch result {
        case .failure(let reason): throw .redis(reason)
        case .success(let it): reply = it
        }
        guard case .array(let count)? = reply.elements.first, count > 0,
            let verdict = reply.text(of: reply.elements[1])
        else { throw .redis(.redisError) }
        switch (verdict, change) {
        case ("not_member", .putUserBudget(let user, _, let group?)): throw .notMember(user, group: group)
        case ("too_many", .putMember(let user, _)): throw .tooManyGroups(user)
        case ("too_many", .addGrant(let subject, _)): throw .tooManyGrants(subject)
        default: break
        }
        var position = 2
        isRepeated = verdict == "repeated"
        guard verdict == "done" || isRepeated, let before = reply.texts(at: &position),
            let after = reply.texts(at: &position),
            let removed = reply.texts(at: &position)
        else { throw .redis(.redisError) }
        self.before = before
        self.after = after
        self.removed = removed
    }

    /// What the fields stand for. What was there before may be something that nobody reads, and is nothing then: it is
    /// gone.
    func result(of change: BudgetChange) throws(BudgetFailure) -> BudgetChangeResult {
        BudgetChangeResult(
            before: try? BudgetFields.value(before, of: change), after: try BudgetFields.value(after, of: change),
            removed: try? BudgetFields.userBudget(removed), isRepeated: isRepeated
        )
    }
}

/// How budgets are written as fields and values, in a hash as in the audit.
enum BudgetFields {
    static func of(_ terms: BudgetTerms, attributedTo group: SubjectID?) -> [String] {
        var fields: [String] = []
        if let group { fields += ["group_id", group.encoded] }
        if let spend = terms.spendLimitMicros { fields += ["spend_limit_micros", "\(spend)"] }
        for (name, quota) in terms.limits.sorted(by: { $0.key < $1.key }) {
            fields += ["limit:\(name)", "\(quota.amount)" + (quota.unit.map { ":\($0.text)" } ?? "")]
        }
        return fields
    }

    static func value(_ fields: [String], of change: BudgetChange) throws(BudgetFailure) -> BudgetValue? {
        switch change {
        case .putUserBudget, .deleteUserBudget, .addGrant(.user, _), .deleteGrants(.user, _):
            try userBudget(fields).map { .user($0) }
        case .putGroupBudget, .deleteGroupBudget, .addGrant(.group, _), .deleteGrants(.group, _):
            try groupBudget(fields).map { .group($0) }
        case .putMember, .deleteMember: try membership(fields).map { .membership($0) }
        }
    }

    static func userBudget(_ fields: [String]) throws(BudgetFailure) -> UserBudget? {
        guard !fields.isEmpty else { return nil }
        return try reading(fields) { (name, value, budget: inout UserBudget) in
            switch name {
            case "group_id": SubjectID(encoded: value).map { budget.groupID = $0 } != nil
            case "spend_limit_micros": amount(value).map { budget.spendLimitMicros = $0 } != nil
            case "created_at": time(value).map { budget.createdAt = $0 } != nil
            case "updated_at": time(value).map { budget.updatedAt = $0 } != nil
            default:
                limit(name, value).map { budget.limits[$0] = $1 } != nil
                    || grant(name, value).map { budget.grants[$0] = $1 } != nil
            }
        }
    }

    static func groupBudget(_ fields: [String]) throws(BudgetFailure) -> GroupBudget? {
        // A group's budget is attributed to nobody; everything else is alike.
        guard let budget = try userBudget(fields) else { return nil }
        return GroupBudget(
            spendLimitMicros: budget.spendLimitMicros, limits: budget.limits, grants: budget.grants,
            createdAt: budget.createdAt, updatedAt: budget.updatedAt
        )
    }

    static func membership(_ fields: [String]) throws(BudgetFailure) -> Membership? {
        try userBudget(fields).map { Membership(createdAt: $0.createdAt) }
    }

    /// The groups in a user's hash of memberships.
    static func groups(_ fields: [String]) throws(BudgetFailure) -> [SubjectID] {
        try stride(from: 0, to: fields.count, by: 2).map { index throws(BudgetFailure) in
            guard let group = SubjectID(encoded: fields[index]) else { throw .redis(.redisError) }
            return group
        }.sorted { $0.encoded < $1.encoded }
    }

    private static func reading(
        _ fields: [String], _ take: (String, String, inout UserBudget) -> Bool
    ) throws(BudgetFailure) -> UserBudget {
        var budget = UserBudget(createdAt: 0, updatedAt: 0)
        guard fields.count.isMultiple(of: 2) else { throw .redis(.redisError) }
        for index in stride(from: 0, to: fields.count, by: 2) {
            guard take(fields[index], fields[index + 1], &budget) else { throw .redis(.redisError) }
        }
        return budget
    }

    private static func time(_ text: String) -> Int? { Int(text).flatMap { $0 >= 0 ? $0 : nil } }

    private static func amount(_ text: String) -> Int? {
        Int(text).flatMap { BudgetBounds.amounts.contains($0) ? $0 : nil }
    }

    /// `limit:<name>` is `<amount>:<unit>`.
    private static func limit(_ name: String, _ value: String) -> (String, BudgetAmount)? {
        let parts = value.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard name.hasPrefix("limit:"), let amount = amount(parts[0]), let unit = unit(parts, at: 1) else { return nil }
        return (String(name.dropFirst("limit:".utf8.count)), BudgetAmount(amount, unit: unit))
    }

    /// `grant:<name>` is `<amount>:<end>:<unit>`.
    private static func grant(_ name: String, _ value: String) -> (String, Grant)? {
        let parts = value.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard name.hasPrefix("grant:"), parts.count > 1, let amount = amount(parts[0]), let end = time(parts[1]),
            let unit = unit(parts, at: 2)
        else { return nil }
        return (String(name.dropFirst("grant:".utf8.count)), Grant(amount: amount, expiresAt: end, unit: unit))
    }

    /// The unit that is the last part; nil where it is something else, and none where it is left out.
    private static func unit(_ parts: [String], at index: Int) -> LimitUnit?? {
        if parts.count == index { return .some(nil) }
        guard parts.count == index + 1, let unit = LimitUnit(parts[index]) else { return nil }
        return .some(unit)
    }
}

extension Reply {
    /// The texts of the array that begins at an element; nil where none does. The position goes behind it.
    func texts(at position: inout Int) -> [String]? {
        guard position < elements.count, case .array(let count) = elements[position],
            count <= elements.count - position - 1
        else { return nil }
        let texts = elements[position + 1..<position + 1 + count].compactMap { text(of: $0) }
        position += 1 + count
        return texts.count == count ? texts : nil
    }

    /// The texts, where the whole reply is an array of them.
    var texts: [String]? {
        var position = 0
        guard let texts = texts(at: &position), position == elements.count else { return nil }
        return texts
    }
}
