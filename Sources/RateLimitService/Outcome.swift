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

/// The limit whose numbers stand for all: the one that denied, else the one of which the least share is left.
public struct BindingState: Hashable, Sendable {
    /// How much there may be in its window.
    public let quota: Int
    /// How much there is; above the quota where that was lowered.
    public let used: Int
    /// How long until the window is empty and the full quota free again.
    public let resetAfterMilliseconds: Int

    @inlinable
    init(quota: Int, used: Int, resetAfterMilliseconds: Int) {
        self.quota = quota
        self.used = used
        self.resetAfterMilliseconds = resetAfterMilliseconds
    }

    /// What is left of the quota, at least 0.
    @inlinable public var remaining: Int { max(0, quota - used) }
}

/// What became of a request, whichever protocol asked: a check of a user alone, or a call under many limits.
///
/// What most answers need stands in it; there are ``details`` only where several limits, a lease or a model have a part. They
/// lie elsewhere, so that an outcome is small and cheap to copy.
public struct Outcome: Hashable, Sendable {
    /// What the limits say.
    public enum Verdict: Hashable, Sendable {
        /// It may go on, or what was asked is done.
        case allowed
        /// It may not. With nobody else consuming the same passes after this long; where leases hold what it needs, that is
        /// a forecast, and ``OutcomeDetails/retryAfterAtMostMilliseconds`` is certain.
        case denied(retryAfterMilliseconds: Int)
        /// It may not, and no wait helps.
        case deniedForGood
        /// It may not: as many are under way as may be. The wait is as for a denial.
        case atCapacity(retryAfterMilliseconds: Int)
        /// It may not: nobody knows what its model costs, and unknown models are denied.
        case unknownModel
        /// It may not: it does not say a value that ``OutcomeDetails/lacking`` names.
        case missingValue
        /// Redis cannot decide, and a limit that applies is to be closed then.
        case refused
        /// There is no such lease, or not any more.
        case unknownLease
        /// It was done before, and was not done again.
        case repeated
        /// The lease lapsed so long ago that nobody knows whether it was settled; it was not charged.
        case tooLate

        /// What a window says.
        @inlinable
        init(_ verdict: Decision.Verdict) {
            switch verdict {
            case .allowed: self = .allowed
            case .denied(let milliseconds): self = .denied(retryAfterMilliseconds: milliseconds)
            case .deniedForGood: self = .deniedForGood
            }
        }
    }

    /// What the limits say.
    public var verdict: Verdict
    /// Whether they deny, and shadow mode lets the request pass all the same.
    public var isShadowDenied: Bool
    /// Where the decision came from.
    public var source: DecisionSource
    /// Why Redis did not decide, where it should have.
    public var degradedReason: FailureReason?
    /// How the limit that binds stands, where one was asked.
    public var binding: BindingState?
    /// The limit of checks that a check was decided under, or would have been: not the one in force when the answer is
    /// written. Nil for what meets other limits.
    public var limit: Limit.Numbers?
    /// What there is to tell besides.
    public var details: OutcomeDetails?

    /// Makes the outcome of a request.
    public init(_ verdict: Verdict, source: DecisionSource, degradedReason: FailureReason? = nil) {
        self.verdict = verdict
        self.source = source
        self.degradedReason = degradedReason
        isShadowDenied = false
    }

    /// Makes the outcome of a check.
    ///
    /// - Parameters:
    ///   - isAllowed: whether it passes, by what the window said, by shadow mode or by the failure mode.
    ///   - decision: what the window said, where one was asked.
    init(
        isAllowed: Bool, decision: Decision?, source: DecisionSource, degradedReason: FailureReason? = nil,
        under limit: Limit.Numbers
    ) {
        if let decision {
            verdict = Verdict(decision.verdict)
            isShadowDenied = isAllowed && !decision.isAllowed
            binding = BindingState(
                quota: decision.quota, used: decision.used, resetAfterMilliseconds: decision.resetAfterMilliseconds)
        } else {
            verdict = isAllowed ? .allowed : .refused
            isShadowDenied = false
        }
        self.source = source
        self.degradedReason = degradedReason
        self.limit = limit
    }

    /// Whether the caller may go on.
    public var isAllowed: Bool {
        switch verdict {
        case .allowed, .repeated, .tooLate: true
        case .denied, .deniedForGood, .atCapacity, .unknownModel, .missingValue, .refused, .unknownLease: isShadowDenied
        }
    }
}

/// Who asked. Called on the event loop on which it asked, once for each ticket.
public protocol DecisionRequester: AnyObject {
    /// The request that was given `ticket` is decided.
    func deliver(_ outcome: Outcome, ticket: Int)
}
