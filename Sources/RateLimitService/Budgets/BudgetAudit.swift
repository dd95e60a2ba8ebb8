public import RateLimitCore
import RedisClient

/// One change, as the audit keeps it.
public struct AuditEntry: Hashable, Sendable {
    /// Where it stands.
    public var cursor: StreamCursor
    /// When the change was made, in milliseconds since 1970 by Redis's clock.
    public var at: Int { Int(clamping: cursor.milliseconds) }
    /// The name of the ``BudgetChange``.
    public var operation: String
    /// The user it is about; nil for a group's budget.
    public var user: SubjectID?
    /// The group it is about, or to which the budget was attributed.
    public var group: SubjectID?
    /// Who asked for it.
    public var actor: BudgetActor
    /// What was there before, what is there since, and what went with it.
    public var result: BudgetChangeResult
}

/// Some entries of the audit, newest first.
public struct AuditPage: Hashable, Sendable {
    /// How many entries may be asked for: as many as fit Redis's longest answer.
    public static let sizes = 1...50

    /// At most as many as were asked for.
    public var entries: [AuditEntry]
    /// Where the older ones begin; nil where there are none.
    public var next: StreamCursor?

    /// Reads what XREVRANGE replied; nil where it is no such reply.
    init?(_ reply: Reply, limit: Int) {
        guard case .array(let count)? = reply.elements.first else { return nil }
        entries = []
        var position = 1
        for _ in 0..<count {
            guard position + 1 < reply.elements.count, case .array(2) = reply.elements[position],
                let cursor = reply.text(of: reply.elements[position + 1]).flatMap({ StreamCursor($0) })
            else { return nil }
            position += 2
            guard let fields = reply.texts(at: &position), let entry = AuditEntry(cursor, fields) else { return nil }
            entries.append(entry)
        }
        next = count == limit ? entries.last?.cursor : nil
    }
}

extension AuditEntry {
    /// Reads the fields of an entry; values that nobody reads are nothing, so that they hide no other entry.
    fileprivate init?(_ cursor: StreamCursor, _ fields: [String]) {
        guard fields.count.isMultiple(of: 2) else { return nil }
        var texts: [String: String] = [:]
        for index in stride(from: 0, to: fields.count, by: 2) { texts[fields[index]] = fields[index + 1] }
        self.cursor = cursor
        operation = texts["operation"] ?? ""
        user = texts["user"].flatMap { SubjectID(encoded: $0) }
        group = texts["group"].flatMap { SubjectID(encoded: $0) }
        actor = BudgetActor(
            userIdentifier: texts["by_uid"].flatMap { UInt32($0) },
            processIdentifier: texts["by_pid"].flatMap { Int32($0) }
        )
        result = BudgetChangeResult(
            before: Self.value(operation, texts["before"]), after: Self.value(operation, texts["after"]),
            removed: try? BudgetFields.userBudget(Self.words(texts["removed"]))
        )
    }

    private static func value(_ operation: String, _ text: String?) -> BudgetValue? {
        let fields = words(text)
        guard let value = try? BudgetFields.userBudget(fields) else { return nil }
        if operation.hasSuffix("_user_budget") || operation.hasSuffix("_user_grant") { return .user(value) }
        if operation.hasSuffix("_member") { return .membership(Membership(createdAt: value.createdAt)) }
        return (try? BudgetFields.groupBudget(fields)).map { .group($0) }
    }

    private static func words(_ text: String?) -> [String] { text?.split(separator: " ").map(String.init) ?? [] }
}
