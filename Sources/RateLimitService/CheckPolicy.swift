public import RateLimitCore

/// What can change while the daemon runs: put in force on every event loop by ``CheckService/apply(_:)``.
public struct CheckPolicy: Hashable, Sendable {
    /// The limit each user has.
    public var limit: Limit
    /// All limits, where there are others beside that one; then it is among them.
    public var limits: LimitsInForce
    /// Whether denials are counted and reported, but let pass.
    public var isShadow: Bool
    /// What happens to checks that Redis does not decide.
    public var failureMode: FailureMode
    /// Among how many replicas the limit is divided in failure mode `local`.
    public var replicas: Int
    /// How long a denial is remembered at most, in milliseconds; 0 remembers none.
    public var denyCacheMilliseconds: Int

    /// Makes a policy.
    public init(
        limit: Limit, limits: LimitsInForce = .none, isShadow: Bool = false, failureMode: FailureMode = .open,
        replicas: Int = 1,
        denyCacheMilliseconds: Int = 1000
    ) {
        self.limit = limit
        self.limits = limits
        self.isShadow = isShadow
        self.failureMode = failureMode
        self.replicas = replicas
        self.denyCacheMilliseconds = denyCacheMilliseconds
    }
}
