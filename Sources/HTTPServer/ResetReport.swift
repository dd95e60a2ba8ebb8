public import Listeners
public import RateLimitService

/// The outcome of a reset, for the log.
public struct ResetReport: Sendable {
    /// The windows that were to begin anew.
    public var reset: LimitReset
    /// Who asked; nil where the kernel does not say.
    public var peer: PeerCredentials?
    /// The reason why it failed; nil where it did not.
    public var failure: ResetError?
}

/// The outcome of a reset of a descriptor's window, for the log.
public struct DescriptorResetReport: Sendable {
    /// The window that was to begin anew.
    public var reset: DescriptorReset
    /// Who asked; nil where the kernel does not say.
    public var peer: PeerCredentials?
    /// The reason why it failed; nil where it did not.
    public var failure: DescriptorResetError?
}

/// The logs of what is done on the admin socket.
public struct AdminReports: Sendable {
    /// Logs a reset.
    public var reset: @Sendable (ResetReport) -> Void
    /// Logs a reset of a descriptor's window.
    public var descriptorReset: @Sendable (DescriptorResetReport) -> Void
    /// Logs a change to a budget.
    public var budget: @Sendable (BudgetReport) -> Void

    /// Makes the logs; one that is left out logs nothing.
    public init(
        reset: @escaping @Sendable (ResetReport) -> Void = { _ in },
        descriptorReset: @escaping @Sendable (DescriptorResetReport) -> Void = { _ in },
        budget: @escaping @Sendable (BudgetReport) -> Void = { _ in }
    ) {
        self.reset = reset
        self.descriptorReset = descriptorReset
        self.budget = budget
    }
}
