/// A call of a model, as far as limits look at it.
public struct Call: Hashable, Sendable {
    /// Who is limited: any text of 1 to 256 bytes of UTF-8.
    public var user: String
    /// How many requests it counts as, from 1 to 1,000,000.
    public var cost: Int
    /// The model's name, as limits and prices have it.
    public var model: String?
    /// The provider's name, likewise.
    public var provider: String?
    /// The user's groups, which count where the daemon has `LLM_RATE_LIMIT_GROUPS=given`.
    public var groups: [String]
    /// What limits match or have a window for, such as `["session": "4711"]`.
    public var labels: [String: String]
    /// What the caller's plan gives of limits with `quota_from_call`, by their names.
    public var quotas: [String: Int] = [:]
    /// What it is expected to come to; nil for what the daemon has learned.
    public var estimate: Usage?
    /// What it may be made with, in place of ``model`` and ``provider``, the best first: 16 at most. The first that its
    /// limits admit is charged, and ``Decision/candidate`` names it.
    public var candidates: [Candidate] = []

    /// A model and provider that a call may be made with.
    public struct Candidate: Hashable, Sendable {
        /// The model's name.
        public var model: String?
        /// The provider's name.
        public var provider: String?

        /// Names a model, a provider, or both.
        public init(model: String? = nil, provider: String? = nil) {
            self.model = model
            self.provider = provider
        }
    }

    /// Describes a call.
    public init(
        user: String, cost: Int = 1, model: String? = nil, provider: String? = nil, groups: [String] = [],
        labels: [String: String] = [:], estimate: Usage? = nil
    ) {
        self.user = user
        self.cost = cost
        self.model = model
        self.provider = provider
        self.groups = groups
        self.labels = labels
        self.estimate = estimate
    }
}

/// What a call came to, or is expected to. What is nil is not told: a settlement takes it for 0.
public struct Usage: Hashable, Sendable {
    /// Tokens of the prompt that came from no cache.
    public var inputTokens: Int?
    /// Tokens of the answer, those of reasoning among them.
    public var outputTokens: Int?
    /// Tokens of the prompt that came from the provider's cache.
    public var cacheReadInputTokens: Int?
    /// Tokens of the prompt that were written into it.
    public var cacheWriteInputTokens: Int?
    /// Of the output, what the model thought.
    public var reasoningTokens: Int?
    /// Of the input, sound.
    public var audioInputTokens: Int?
    /// Of the input, pictures.
    public var imageInputTokens: Int?
    /// Of the output, sound.
    public var audioOutputTokens: Int?
    /// Of the output, pictures.
    public var imageOutputTokens: Int?
    /// The price in micro-dollars: 1,000,000 are $1. Nil for what the daemon's table of prices says.
    public var costMicros: Int?

    /// Describes usage.
    public init(
        inputTokens: Int? = nil, outputTokens: Int? = nil, cacheReadInputTokens: Int? = nil,
        cacheWriteInputTokens: Int? = nil, costMicros: Int? = nil
    ) {
        self.inputTokens = inputTokens
        self.outputTokens = outputTokens
        self.cacheReadInputTokens = cacheReadInputTokens
        self.cacheWriteInputTokens = cacheWriteInputTokens
        self.costMicros = costMicros
    }
}

/// What a reservation holds until it is settled, released, or lapses.
public struct Lease: Hashable, Sendable {
    /// Its name on the wire.
    public var token: String
    /// Who is charged.
    public var user: String
    /// Seconds from when it was given, after which it lapses unless it is renewed.
    public var expiresInSeconds: Int
    /// What it holds.
    public var estimate: Usage

    /// A lease that was kept somewhere.
    public init(token: String, user: String, expiresInSeconds: Int = 0, estimate: Usage = Usage()) {
        self.token = token
        self.user = user
        self.expiresInSeconds = expiresInSeconds
        self.estimate = estimate
    }
}

/// The answer to a check or a reservation.
public struct Decision: Hashable, Sendable {
    /// Why nobody counted who should have.
    public enum Degradation: Hashable, Sendable {
        /// The daemon could not be asked, so the call is allowed.
        case daemonUnreachable(RateLimitClientError)
        /// Redis did not decide, for this reason; the limits' failure modes did.
        case redis(reason: String)
    }

    /// Whether to let the call through.
    public var isAllowed: Bool
    /// The limit that the numbers are of; nil where none applies or nobody counted.
    public var limitName: String?
    /// Its quota.
    public var limit: Int?
    /// What is left of it.
    public var remaining: Int?
    /// Seconds after which to ask again, at least 1 in a denial; nil where no wait helps, and in what is none.
    public var retryAfterSeconds: Int?
    /// Seconds after which the call passes for certain, where ``retryAfterSeconds`` is a forecast.
    public var retryAfterAtMostSeconds: Int?
    /// Seconds until the full quota is free.
    public var resetAfterSeconds: Int?
    /// Why it is not decided as it should be; nil where it is.
    public var degradation: Degradation?
    /// Why a call may not go on, for people.
    public var message: String?
    /// Whether it was a limit of calls under way that denied.
    public var isAtCapacity = false
    /// Whether it would be a denial, were it not for shadow mode.
    public var isShadowDenied = false
    /// The limits of which more is used than their soft line, which denies nobody.
    public var overLimits: [String] = []
    /// The place among ``Call/candidates`` of the one that it is about; nil where the call has none, and where a check was
    /// admitted before and nobody knows for which.
    public var candidate: Int?
    /// Whether it only says what would be decided.
    public var isDryRun = false
    /// What was reserved; nil for a check, a denial, and where Redis did not decide.
    public var lease: Lease?
    /// `Retry-After` and those that say how the quota stands, as `LLM_RATE_LIMIT_HEADERS` has them sent: for a gateway to
    /// hand on.
    public var headers: [String: String] = [:]

    /// What is decided where the daemon cannot be asked.
    static func open(because error: RateLimitClientError) -> Decision {
        Decision(isAllowed: true, degradation: .daemonUnreachable(error))
    }
}

/// What became of a settlement, or of usage that was reported. All of it is final.
public struct Settlement: Hashable, Sendable {
    /// Whether some limit counted something of it.
    public var isCharged: Bool
    /// Whether it had been settled, released or charged before.
    public var isRepeated: Bool
    /// Whether the lease lapsed so long ago that nobody knows.
    public var isTooLate: Bool
}

/// What became of a refund. All of it is final.
public struct Refund: Hashable, Sendable {
    /// Whether some limit gave something back: false where nothing was left.
    public var isRefunded: Bool
    /// Whether it had been done before, by its id.
    public var isRepeated: Bool
}

/// What a user has used of the limit of checks; nil where that is switched off.
public struct UserStatus: Hashable, Sendable {
    /// Who.
    public var user: String
    /// The quota.
    public var limit: Int?
    /// What is used of it, which may be more where the limit was lowered.
    public var used: Int?
    /// What is left.
    public var remaining: Int?
    /// Seconds until all of it is free.
    public var resetAfterSeconds: Int
}

/// How one limit stands for a user.
public struct LimitStanding: Hashable, Sendable {
    /// The limit's name.
    public var name: String
    /// What it counts: `requests`, `tokens`, `spend` (in micro-dollars) …
    public var unit: String
    /// The group whose window it is, of a limit of groups.
    public var group: String?
    /// The quota; nil where it is unlimited.
    public var limit: Int?
    /// What is used and held.
    public var used: Int
    /// What is left; nil where it is unlimited.
    public var remaining: Int?
    /// Seconds until all of it is free.
    public var resetAfterSeconds: Int
}
