public import Listeners
public import RateLimitService

/// The outcome of a change to a budget, for the log.
public struct BudgetReport: Sendable {
    /// The change.
    public var change: BudgetChange
    /// Who asked; nil where the kernel does not say.
    public var peer: PeerCredentials?
    /// What it did, or the reason why it failed.
    public var result: Result<BudgetChangeResult, BudgetFailure>
}
