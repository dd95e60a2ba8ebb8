public import Listeners
public import RateLimitCore
public import RateLimitService

/// What became of a reset that was asked for, for who keeps an account of it.
public struct ResetReport: Sendable {
    /// Whose window it was.
    public var user: UserID
    /// Who asked; nil where the kernel does not say.
    public var peer: PeerCredentials?
    /// Why it was not done; nil where it was.
    public var failure: FailureReason?
}
