public import Listeners
public import RateLimitService

/// What became of a reset that was asked for, for who keeps an account of it.
public struct ResetReport: Sendable {
    /// Whose windows, and which of them.
    public var reset: LimitReset
    /// Who asked; nil where the kernel does not say.
    public var peer: PeerCredentials?
    /// Why it was not done; nil where it was.
    public var failure: ResetError?
}

/// Who keeps an account of what is done on the admin socket.
public struct AdminReports: Sendable {
    /// Told of each reset.
    public var reset: @Sendable (ResetReport) -> Void
    /// Told of each change to a budget.
    public var budget: @Sendable (BudgetReport) -> Void

    /// Makes an account of nothing but what is given.
    public init(
        reset: @escaping @Sendable (ResetReport) -> Void = { _ in },
        budget: @escaping @Sendable (BudgetReport) -> Void = { _ in }
    ) {
        self.reset = reset
        self.budget = budget
    }
}
