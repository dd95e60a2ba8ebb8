public import RateLimitCore

/// Why Redis did not decide a check.
public enum FailureReason: String, Error, Hashable, Sendable, CaseIterable {
    /// No connection to Redis.
    case redisUnreachable = "redis_unreachable"
    /// No answer within the deadline.
    case redisTimeout = "redis_timeout"
    /// Redis answered with an error.
    case redisError = "redis_error"
    /// More checks wait for Redis than the bound allows.
    case overloaded
}

/// What happens to a check that Redis did not decide.
public enum FailureMode: String, Hashable, Sendable, CaseIterable {
    /// It is allowed: availability over perfect accounting.
    case open
    /// It is refused, as an error and not as a denial.
    case closed
    /// A window in this process decides, under this replica's share of the limit.
    case local
}

/// Where a decision came from.
public enum DecisionSource: String, Hashable, Sendable, CaseIterable {
    /// The window in Redis.
    case redis
    /// An earlier denial of Redis's, which still holds.
    case memory
    /// A window in this process, while Redis was away.
    case local
    /// None: the failure mode answered.
    case failureMode = "failure_mode"
    /// None: the limit is switched off.
    case off
}

/// The answer to one check, whichever protocol asked.
public struct Outcome: Hashable, Sendable {
    /// Whether the caller may go on.
    public let isAllowed: Bool
    /// What the window said, where one was asked.
    public let decision: Decision?
    /// Who decided.
    public let source: DecisionSource
    /// Why Redis did not, where it should have.
    public let degradedReason: FailureReason?
    /// The limit it was decided under, or would have been: not the one in force when the answer is written.
    public let limit: Limit.Numbers

    @inlinable
    init(
        isAllowed: Bool, decision: Decision?, source: DecisionSource, degradedReason: FailureReason? = nil,
        under limit: Limit.Numbers
    ) {
        self.isAllowed = isAllowed
        self.limit = limit
        self.decision = decision
        self.source = source
        self.degradedReason = degradedReason
    }

    /// Whether the window denied and shadow mode let the caller pass all the same.
    @inlinable public var isShadowDenied: Bool { isAllowed && decision?.isAllowed == false }
}

/// Who asked. Called on the event loop on which it asked, once for each ticket.
public protocol CheckRequester: AnyObject {
    /// The check that was given `ticket` is decided.
    func decided(_ outcome: Outcome, ticket: Int)
}
