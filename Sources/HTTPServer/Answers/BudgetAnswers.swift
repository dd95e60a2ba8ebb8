import Glibc
import RateLimitCore
import RateLimitService

/// The answers on the admin socket.
extension Answer {
    /// What is kept, or 404 with a sentence that says what is not there.
    ///
    /// - Parameter rules: those in force, under which a part of what another replica has written may have no effect.
    static func stored(
        _ value: BudgetValue?, of user: SubjectID?, group: SubjectID?, under rules: QuotaRules? = nil, absent: String
    ) -> Answer {
        guard let value else { return .problem(.notFound, absent) }
        var text = json(value, user: user, group: group)
        if let names = rules.map(value.withoutEffect), !names.isEmpty {
            text = text.dropLast() + ",\"without_effect\":[\(names.map(jsonText).joined(separator: ","))]}"
        }
        return .json(text)
    }

    /// Why a budget cannot be set.
    static func refused(_ refusal: BudgetRefusal) -> Answer {
        func listed(_ names: [LimitName]) -> String {
            names.isEmpty ? "none" : names.map(\.text).joined(separator: ", ")
        }
        let reason =
            switch refusal {
            case .noOtherLimits:
                "there is no limit here that it could change; LLM_RATE_LIMIT_LIMITS_FILE, LLM_RATE_LIMIT_PER_SECOND and "
                    + "LLM_RATE_LIMIT_MAX_CONCURRENCY set such limits"
            case .unknownLimit(let name, let known):
                "there is no limit \(name); those that it can set: \(listed(known))"
            case .otherScope(let name, .group, let known):
                "\(name) is a limit of groups, which a group's budget sets; those that a user's can set: \(listed(known))"
            case .otherScope(let name, _, let known):
                "\(name) is a limit of all together, which the limits file alone sets; those that a budget can set: "
                    + listed(known)
            case .otherUnit(let name, let unit, let now):
                "the amount for \(name) is in \(unit.text) by its unit, and the limit counts \(now.text): leave the unit out"
            case .severalSpendLimits(let names):
                "spend_limit_micros is for the one limit of spend or the one named spend, and there are \(listed(names)): "
                    + "name them in limits"
            case .spendSetTwice(let name):
                "spend_limit_micros sets \(name), and limits gives it another quota: send one of them"
            case .noSpendLimit(let known):
                "spend_limit_micros is for a limit of spend, and it can set none; those that it can set in limits: "
                    + listed(known)
            }
        return .problem(.invalidBudget(reason))
    }

    /// What became of a change.
    static func changed(_ change: BudgetChange, _ result: Result<BudgetChangeResult, BudgetFailure>) -> Answer {
        switch result {
        case .success(let result):
            switch change {
            case .addGrant(_, let order): return .granted(order, result, at: unixMilliseconds())
            case .deleteUserBudget, .deleteGroupBudget, .deleteMember, .deleteGrants:
                return Answer(status: .noContent)
            case .putUserBudget, .putGroupBudget, .putMember:
                guard let value = result.after else { return Answer(status: .noContent) }
                return .json(json(value, user: change.user, group: change.group))
            }
        case .failure(.notMember(let user, let group)):
            return .problem(
                .badRequest,
                "The user \(user) is not a member of the group \(group): a budget can be attributed to one of the "
                    + "user's own groups alone."
            )
        case .failure(.tooManyGroups(let user)):
            return .problem(
                .badRequest, "The user \(user) is in \(BudgetBounds.groups) groups already, which is the most."
            )
        case .failure(.tooManyGrants):
            return .problem(
                .badRequest, "Grants of \(BudgetBounds.limits) limits are in force already, which is the most.")
        case .failure(.redis(let reason)):
            let isAnew = if case .addGrant(_, let order) = change { order.requestID == nil } else { false }
            return .problem(
                .serviceUnavailable,
                "The change cannot be confirmed: \(reason.rawValue). It may have been made or may still be; asking for "
                    + (isAnew ? "it again without a request_id may grant it twice." : "it again does no harm."),
                headers: [("Retry-After", "1")]
            )
        }
    }

    /// That something cannot be read.
    static func unreadable(_ error: BudgetFailure) -> Answer {
        let reason = if case .redis(let reason) = error { reason } else { FailureReason.redisError }
        return .problem(
            .serviceUnavailable, "What is kept cannot be read: \(reason.rawValue).", headers: [("Retry-After", "1")]
        )
    }

    /// That nothing was reset.
    static func notReset(_ reset: LimitReset, _ error: ResetError) -> Answer {
        switch error {
        case .redis(let reason):
            return .problem(
                .serviceUnavailable, "\(reset.owner.text) cannot be reset: \(reason.rawValue).",
                headers: [("Retry-After", "1")])
        case .unknownLimit(let known):
            let scope = reset.owner.scope.rawValue
            let names = known.isEmpty ? "There is none." : "Known are \(known.map(\.text).joined(separator: ", "))."
            return .problem(
                .notFound,
                "No limit per \(scope) is named \(reset.limit.map(\.text) ?? ""). \(names)")
        }
    }

    /// That a descriptor's window was not reset.
    static func notReset(_ error: DescriptorResetError) -> Answer {
        switch error {
        case .redis(let reason):
            .problem(
                .serviceUnavailable, "The descriptor cannot be reset: \(reason.rawValue).",
                headers: [("Retry-After", "1")])
        case .noLimit: .problem(.notFound, "The descriptor meets no limit that counts in a window.")
        }
    }

    /// A page of the audit.
    static func audit(_ page: AuditPage) -> Answer {
        let entries = page.entries.map { entry in
            func text(_ value: BudgetValue?) -> String {
                value.map { json($0, user: entry.user, group: entry.group, at: entry.at) } ?? "null"
            }
            return "{\"id\":\"\(entry.cursor)\",\"at\":\"\(rfc3339(milliseconds: entry.at))\","
                + "\"operation\":\(jsonText(entry.operation)),\"user_id\":\(json(entry.user)),"
                + "\"group_id\":\(json(entry.group)),\"by_uid\":\(json(entry.actor.userIdentifier)),"
                + "\"by_pid\":\(json(entry.actor.processIdentifier)),"
                + "\"before\":\(text(entry.result.before)),\"after\":\(text(entry.result.after)),"
                + "\"removed_budget\":\(text(entry.result.removed.map { .user($0) }))}"
        }
        let next = page.next.map { "\"\($0)\"" } ?? "null"
        return .json("{\"entries\":[\(entries.joined(separator: ","))],\"next_cursor\":\(next)}")
    }

    /// - Parameter now: in milliseconds since 1970, when the grants that are told are in force.
    private static func json(
        _ value: BudgetValue, user: SubjectID?, group: SubjectID?, at now: Int = unixMilliseconds()
    ) -> String {
        switch value {
        case .user(let budget):
            "{\"group_id\":\(json(budget.groupID)),\(terms(budget.spendLimitMicros, budget.limits)),"
                + "\(times(budget.createdAt, budget.updatedAt))\(grantsMember(budget.grants, at: now))}"
        case .group(let budget):
            "{\(terms(budget.spendLimitMicros, budget.limits)),\(times(budget.createdAt, budget.updatedAt))"
                + "\(grantsMember(budget.grants, at: now))}"
        case .membership(let membership):
            // A membership never changes: it begins and ends.
            "{\"group_id\":\(json(group)),\"user_id\":\(json(user)),"
                + "\(times(membership.createdAt, membership.createdAt))}"
        }
    }

    /// What is set, and in which unit of each limit: one that counts another unit by now has none of it.
    private static func terms(_ spendLimitMicros: Int?, _ limits: [String: BudgetAmount]) -> String {
        let limits = limits.sorted { $0.key < $1.key }
        let amounts = limits.map { "\(jsonText($0.key)):\($0.value.amount)" }
        let units = limits.compactMap { name, amount in amount.unit.map { "\(jsonText(name)):\"\($0.text)\"" } }
        return "\"spend_limit_micros\":\(json(spendLimitMicros)),\"limits\":{\(amounts.joined(separator: ","))}"
            + (units.isEmpty ? "" : ",\"units\":{\(units.joined(separator: ","))}")
    }

    private static func times(_ createdAt: Int, _ updatedAt: Int) -> String {
        "\"created_at\":\"\(rfc3339(milliseconds: createdAt))\",\"updated_at\":\"\(rfc3339(milliseconds: updatedAt))\""
    }

    private static func json(_ id: SubjectID?) -> String { id.map { jsonText($0.text) } ?? "null" }

    private static func json(_ number: (some BinaryInteger)?) -> String { number.map { "\($0)" } ?? "null" }
}

extension BudgetValue {
    /// The parts of it that have no effect under some rules.
    fileprivate func withoutEffect(under rules: QuotaRules) -> [String] {
        switch self {
        case .user(let budget): rules.withoutEffect(budget.terms, grants: budget.grants.keys, of: .user)
        case .group(let budget): rules.withoutEffect(budget.terms, grants: budget.grants.keys, of: .group)
        case .membership: []
        }
    }
}

extension WindowOwner {
    fileprivate var text: String {
        switch self {
        case .user: "The user"
        case .group: "The group"
        case .global: "What all share"
        }
    }
}

/// A moment as RFC 3339 has it, in UTC and with milliseconds: `2026-11-21T10:00:00.000Z`.
///
/// - Parameter milliseconds: since 1970, not negative.
func rfc3339(milliseconds: Int) -> String {
    var seconds = milliseconds / 1_000
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ value: Int, _ count: Int) -> String {
        let digits = "\(value)"
        return String(repeating: "0", count: max(0, count - digits.utf8.count)) + digits
    }
    func two(_ value: Int32) -> String { padded(Int(value), 2) }
    return "\(padded(1900 + Int(parts.tm_year), 4))-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
        + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(padded(milliseconds % 1_000, 3))Z"
}
