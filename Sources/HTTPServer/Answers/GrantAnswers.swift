import RateLimitCore
import RateLimitService

/// The answers about grants.
extension Answer {
    /// What is granted of a limit after a grant was made, or was found to have been made before.
    static func granted(_ order: GrantOrder, _ result: BudgetChangeResult, at now: Int) -> Answer {
        let grants: [String: Grant] =
            switch result.after {
            case .user(let budget): budget.grants
            case .group(let budget): budget.grants
            case .membership, nil: [:]
            }
        let grant = grants[order.limit.text].flatMap { $0.isInForce(atUnixMilliseconds: now) ? $0 : nil }
        let end = grant.map { "\"\(rfc3339(milliseconds: $0.expiresAt))\"" } ?? "null"
        return .json(
            "{\"limit\":\"\(order.limit)\",\"amount\":\(grant?.amount ?? 0),\"expires_at\":\(end),"
                + "\"granted\":\(!result.isRepeated)}")
    }

    /// Why a grant cannot be made.
    static func refused(_ refusal: GrantRefusal) -> Answer {
        let reason: String
        switch refusal {
        case .noOtherLimits: return .problem(.noOtherLimits)
        case .unknownLimit(let name, let known):
            let names = known.isEmpty ? "none" : known.map(\.text).joined(separator: ", ")
            reason = "there is no limit \(name); those that can be granted here: \(names)"
        case .otherScope(let name, .user): reason = "\(name) is a limit of users: grant it to a user"
        case .otherScope(let name, .group): reason = "\(name) is a limit of groups: grant it to a group"
        case .otherScope(let name, .global):
            reason = "\(name) is a limit of all together: the limits file alone changes its quota"
        case .noWindow(let name): reason = "\(name) has no window, and so no window's end"
        }
        return .problem(.invalidGrant(reason))
    }

    /// The grants in force, as a member of a budget; nothing where there are none.
    static func grantsMember(_ grants: [String: Grant], at now: Int) -> String {
        let texts = grants.filter { $0.value.isInForce(atUnixMilliseconds: now) }.sorted { $0.key < $1.key }.map {
            "{\"limit\":\(jsonText($0.key)),\(members(of: $0.value))}"
        }
        return texts.isEmpty ? "" : ",\"grants\":[\(texts.joined(separator: ","))]"
    }

    /// How much was granted, and until when.
    static func members(of grant: Grant) -> String {
        "\"amount\":\(grant.amount),\"expires_at\":\"\(rfc3339(milliseconds: grant.expiresAt))\""
            + (grant.unit.map { ",\"unit\":\"\($0.text)\"" } ?? "")
    }
}
