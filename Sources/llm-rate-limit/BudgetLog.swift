import DaemonConfiguration
import HTTPServer
import Listeners
import Logging
import RateLimitCore
import RateLimitService

/// Writes one line for each change to a budget that was asked for: what, about whom, by whom, and what was there before
/// and after, or why it was not done.
struct BudgetLog: Sendable {
    let inForce: ConfigurationInForce
    let logger: Logger

    func log(_ report: BudgetReport) {
        var metadata: Logger.Metadata = ["operation": "\(report.change.name)"]
        if let peer = report.peer {
            metadata["by_uid"] = "\(peer.userIdentifier)"
            metadata["by_pid"] = "\(peer.processIdentifier)"
        }
        if let user = report.change.user, let text = inForce.value.settings.logUsers.text(of: user) {
            metadata["user"] = "\(text)"
        }
        if let group = report.change.group { metadata["group"] = "\(group.text)" }
        switch report.result {
        case .success(let result):
            metadata["before"] = "\(result.before?.text ?? "none")"
            metadata["after"] = "\(result.after?.text ?? "none")"
            if let removed = result.removed { metadata["removed"] = "\(BudgetValue.user(removed).text)" }
            logger.notice("changed a budget", metadata: metadata)
        case .failure(let error):
            metadata["reason"] = "\(error.text)"
            logger.warning("cannot change a budget", metadata: metadata)
        }
    }
}

extension BudgetValue {
    /// What was set, as a log line has it.
    var text: String {
        switch self {
        case .user(let budget): Self.text(budget.groupID, budget.spendLimitMicros, budget.limits, budget.grants)
        case .group(let budget): Self.text(nil, budget.spendLimitMicros, budget.limits, budget.grants)
        case .membership: "member"
        }
    }

    private static func text(
        _ group: SubjectID?, _ spendLimitMicros: Int?, _ limits: [String: BudgetAmount],
        _ grants: [String: Grant]
    ) -> String {
        var words = group.map { ["group_id=\($0)"] } ?? []
        if let spendLimitMicros { words.append("spend_limit_micros=\(spendLimitMicros)") }
        words += limits.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.amount)" }
        words += grants.sorted { $0.key < $1.key }.map { "\($0.key)+=\($0.value.amount)" }
        return words.isEmpty ? "nothing set" : words.joined(separator: " ")
    }
}

extension BudgetFailure {
    /// Why, as a log line has it.
    var text: String {
        switch self {
        case .notMember: "not_member"
        case .tooManyGroups: "too_many_groups"
        case .tooManyGrants: "too_many_grants"
        case .redis(let reason): reason.rawValue
        }
    }
}
