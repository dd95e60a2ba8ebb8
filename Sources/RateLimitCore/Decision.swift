/// What a window says to one check. A denial is a decision like any other, never an error.
public struct Decision: Hashable, Sendable {
    /// Whether the check may go on, and if not, when.
    public enum Verdict: Hashable, Sendable {
        /// The cost was charged (or, when only looking, nothing was).
        case allowed
        /// Nothing was charged; with nobody else consuming, the same check passes after this long.
        case denied(retryAfterMilliseconds: Int)
        /// Nothing was charged, and no wait helps: the cost is above the quota.
        case deniedForGood
    }

    /// The verdict.
    public var verdict: Verdict
    /// The quota the verdict was reached under.
    public var quota: Int
    /// The cost in the window after this check; above the quota when the quota was lowered.
    public var used: Int
    /// How long until the window is empty and the full quota free again.
    public var resetAfterMilliseconds: Int

    /// Makes a decision from its parts.
    @inlinable
    public init(verdict: Verdict, quota: Int, used: Int, resetAfterMilliseconds: Int) {
        self.verdict = verdict
        self.quota = quota
        self.used = used
        self.resetAfterMilliseconds = resetAfterMilliseconds
    }

    /// What is left of the quota, at least 0.
    @inlinable public var remaining: Int { max(0, quota - used) }

    /// Whether the verdict is ``Verdict/allowed``.
    @inlinable public var isAllowed: Bool { verdict == .allowed }
}
