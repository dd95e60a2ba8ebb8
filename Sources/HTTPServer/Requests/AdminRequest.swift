import RateLimitCore
import RateLimitService

/// What is asked on the admin socket about budgets.
enum AdminRequest: Hashable {
    case userBudget(SubjectID)
    case groupBudget(SubjectID)
    case membership(SubjectID, group: SubjectID)
    /// A change, and which parts of a budget may have no effect, as an earlier answer told.
    case change(BudgetChange, exempt: Set<String> = [])
    case grant(BudgetSubject, GrantBody)
    case resetDescriptor(DescriptorReset)
    /// So many entries of the audit, the newest or those older than a cursor.
    case audit(limit: Int, olderThan: StreamCursor?)
    /// So many events of the stream, the oldest or those behind a cursor.
    case events(limit: Int, after: StreamCursor?)
}
