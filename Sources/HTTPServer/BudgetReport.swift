public import Listeners
public import RateLimitService

/// What became of a change to a budget that was asked for, for who keeps an account of it.
public struct BudgetReport: Sendable {
    /// What was asked for.
    public var change: BudgetChange
    /// Who asked; nil where the kernel does not say.
    public var peer: PeerCredentials?
    /// What it did, or why it was not done.
    public var result: Result<BudgetChangeResult, BudgetFailure>
}
