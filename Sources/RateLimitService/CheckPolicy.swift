public import RateLimitCore

/// What can change while the daemon runs: put in force on every event loop by ``CheckService/apply(_:)``.
public struct CheckPolicy: Hashable, Sendable {
    /// The limit each user has.
    public var limit: Limit
    /// All limits, where there are others beside that one; then it is among them.
    public var limits: LimitsInForce
    /// The limits that descriptors of Envoy's rate limit service meet.
    public var descriptors: DescriptorRules
    /// Whether denials are counted and reported, but let pass.
    public var isShadow: Bool
    /// What happens to checks that Redis does not decide.
    public var failureMode: FailureMode
    /// Among how many replicas the limit is divided in failure mode `local`.
    public var replicas: Int
    /// How long a denial is remembered at most, in milliseconds; 0 remembers none. For longer than a second only while
    /// Redis says that nothing was changed.
    public var denyCacheMilliseconds: Int

    /// Makes a policy.
    public init(
        limit: Limit, limits: LimitsInForce = .none, descriptors: DescriptorRules = .none, isShadow: Bool = false,
        failureMode: FailureMode = .open, replicas: Int = 1, denyCacheMilliseconds: Int = 10_000
    ) {
        self.limit = limit
        self.limits = limits
        self.descriptors = descriptors
        self.isShadow = isShadow
        self.failureMode = failureMode
        self.replicas = replicas
        self.denyCacheMilliseconds = denyCacheMilliseconds
    }

    /// Whether denials are remembered for longer than without the version of what the daemons tell each other.
    var remembersDenialsForLong: Bool { denyCacheMilliseconds > CheckDenials.unprovenMilliseconds }

    /// What calls meet: the limits of the file, or where there are none the one of checks, so that a call can be reserved
    /// and settled whatever limits there are, and what was under way when the last one left can end.
    var limitsOfCalls: LimitsInForce {
        guard limits.isEmpty, !limit.isOff else { return limits }
        let requests = LimitDefinition(
            name: .requests, scope: .user, unit: .requests, quota: limit.quota,
            window: .sliding(milliseconds: limit.windowMilliseconds),
            failureMode: FailureMode(rawValue: failureMode.rawValue) ?? .open)
        var calls = limits
        calls.rules = QuotaRules(limits: LimitSet(requests), policy: limits.rules.policy)
        return calls
    }
}
