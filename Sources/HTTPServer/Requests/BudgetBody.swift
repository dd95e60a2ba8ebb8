import RateLimitCore

/// Reads the JSON body of a budget, `{"group_id":"<text>","spend_limit_micros":50000000,"limits":{"<name>":1000}}`, in
/// any order; what is left out or null is not set.
///
/// A member that is not known is refused, unless it is null: with a misspelt one somebody would be without a limit.
/// `created_at`, `updated_at` and `grants` may stand there, so that an answer can be sent back, and are not read. `units`
/// says what amounts are in; what `without_effect` names may have none.
struct BudgetBody: Hashable {
    var terms = BudgetTerms()
    /// The group to which a user's budget is attributed.
    var group: SubjectID?
    /// The parts of which whoever sends it knows that they have no effect here.
    var withoutEffect: Set<String> = []

    private static let unread: [StaticString] = ["created_at", "updated_at", "grants"]

    /// Reads a whole body.
    ///
    /// - Parameter takesGroup: whether `group_id` is accepted, as it is for a user's budget.
    static func read(_ bytes: UnsafeRawBufferPointer, takesGroup: Bool) throws(RequestError) -> BudgetBody {
        var text = JSONReader(bytes)
        var body = BudgetBody()
        var units: [String: LimitUnit] = [:]
        do throws(RequestError) {
            try text.wholeObject { (text, name) throws(RequestError) in
                if text.isName(name, "spend_limit_micros") {
                    body.terms.spendLimitMicros = try text.isNull() ? nil : text.amount("spend_limit_micros")
                } else if text.isName(name, "limits") {
                    body.terms.limits = try text.limits()
                } else if takesGroup, text.isName(name, "group_id") {
                    body.group = try text.isNull() ? nil : text.group()
                } else if text.isName(name, "without_effect") {
                    body.withoutEffect = try text.isNull() ? [] : text.names()
                } else if text.isName(name, "units") {
                    units = try text.units()
                } else if Self.unread.contains(where: { text.isName(name, $0) }) {
                    try text.skipValue(depth: 1)
                } else if !text.isNull() {
                    throw .invalidBudget("it has a member that is not known, which ends at byte \(text.position)")
                }
            }
        } catch {
            guard case .malformedJSON(let reason) = error else { throw error }
            throw .invalidBudget(reason)
        }
        for (name, unit) in units { body.terms.limits[name]?.unit = unit }
        return body
    }
}

extension JSONReader {
    fileprivate mutating func group() throws(RequestError) -> SubjectID {
        guard let group = try subject() else { throw .invalidGroup }
        return group
    }

    fileprivate mutating func amount(_ name: String) throws(RequestError) -> Int {
        guard let amount = try wholeNumber(), BudgetBounds.amounts.contains(amount) else {
            throw .invalidBudget("\(name) is no whole number from 0 to \(BudgetBounds.amounts.upperBound)")
        }
        return amount
    }

    /// The units of amounts by the names of their limits.
    fileprivate mutating func units() throws(RequestError) -> [String: LimitUnit] {
        var units: [String: LimitUnit] = [:]
        if isNull() { return units }
        try object { (text, name) throws(RequestError) in
            guard let key = text.unescaped(name) else { throw .invalidBudget("a name in units is no text") }
            if text.isNull() { return }
            guard let unit = LimitUnit(try text.text("a unit")) else {
                throw .invalidBudget("the unit of \(key) is none that a limit can have")
            }
            units[key] = unit
            guard units.count <= BudgetBounds.limits else {
                throw .invalidBudget("units names more than \(BudgetBounds.limits) limits")
            }
        }
        return units
    }

    /// Names of limits, and of other parts of a budget; what is none is refused where a limit has it.
    fileprivate mutating func names() throws(RequestError) -> Set<String> {
        var names: Set<String> = []
        try array { (text) throws(RequestError) in
            names.insert(try text.text("a name in without_effect"))
            guard names.count <= BudgetBounds.limits + 1 else {
                throw .invalidBudget("without_effect names more than \(BudgetBounds.limits) limits")
            }
        }
        return names
    }

    fileprivate mutating func limits() throws(RequestError) -> [String: BudgetAmount] {
        var limits: [String: BudgetAmount] = [:]
        if isNull() { return limits }
        try object { (text, name) throws(RequestError) in
            guard let key = text.unescaped(name), LimitName(key) != nil else {
                throw .invalidBudget(
                    "a limit's name has 1 to \(LimitName.lengths.upperBound) bytes of a-z, 0-9, '-', '_' and '.'"
                )
            }
            limits[key] = try text.isNull() ? nil : BudgetAmount(text.amount(key))
            guard limits.count <= BudgetBounds.limits else {
                throw .invalidBudget("it names more than \(BudgetBounds.limits) limits")
            }
        }
        return limits
    }
}
