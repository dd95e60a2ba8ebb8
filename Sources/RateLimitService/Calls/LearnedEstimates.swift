public import RateLimitCore

/// What a reservation expects its call to come to.
public struct CallEstimate: Hashable, Sendable {
    /// Where an estimate comes from.
    public enum Source: Hashable, Sendable {
        /// The call said it.
        case given
        /// From what the user's last calls of the model came to.
        case learnedFromUser
        /// From what everybody's last calls of the model came to.
        case learnedFromModel
        /// Nobody knows.
        case none
    }

    /// Where it comes from.
    public var source: Source
    /// The tokens; nil where nothing is known of them.
    public var tokens: TokenUsage?
    /// The cost in micro-dollars; nil where nothing is known of it, or no limit counts it.
    public var costMicros: Int?

    /// Makes an estimate.
    public init(_ source: Source, tokens: TokenUsage? = nil, costMicros: Int? = nil) {
        self.source = source
        self.tokens = tokens
        self.costMicros = costMicros
    }
}

/// What one event loop has learned of the calls of each user and model, and of each model: those used last, as a value.
struct LearnedEstimates {
    /// How many pairs of a user and a model are remembered.
    static let userCapacity = 16_384
    /// How many models are remembered.
    static let modelCapacity = 1_024

    private struct UserModel: Hashable {
        var user: SubjectID
        var model: String?
    }

    private var users: LeastRecentlyUsed<UserModel, RecentUsage>
    private var models: LeastRecentlyUsed<String?, RecentUsage>

    init(userCapacity: Int = Self.userCapacity, modelCapacity: Int = Self.modelCapacity) {
        users = LeastRecentlyUsed(capacity: userCapacity)
        models = LeastRecentlyUsed(capacity: modelCapacity)
    }

    /// How many pairs and how many models are remembered.
    var counts: (users: Int, models: Int) { (users.count, models.count) }

    /// Notes what a call came to.
    mutating func note(_ user: SubjectID, model: String?, tokens: TokenUsage?, costMicros: Int?) {
        guard tokens != nil || costMicros != nil else { return }
        users.update(UserModel(user: user, model: model), from: RecentUsage()) {
            $0.note(tokens, costMicros: costMicros)
        }
        models.update(model, from: RecentUsage()) { $0.note(tokens, costMicros: costMicros) }
    }

    /// What the user's next call of a model is to be expected to come to: from the user's own calls where there are
    /// enough to tell which of them are large, else from everybody's.
    mutating func estimate(_ user: SubjectID, model: String?) -> CallEstimate? {
        let own = users.value(for: UserModel(user: user, model: model))
        if let own, own.count >= RecentAmounts.fewest {
            return CallEstimate(.learnedFromUser, tokens: own.tokens, costMicros: own.costMicros)
        }
        if let all = models.value(for: model) {
            return CallEstimate(.learnedFromModel, tokens: all.tokens, costMicros: all.costMicros)
        }
        return own.map { CallEstimate(.learnedFromUser, tokens: $0.tokens, costMicros: $0.costMicros) }
    }
}

extension CheckEngine {
    /// What a reservation that says nothing is to be expected to come to; nil where it says so itself, where nothing is
    /// known, and for other operations.
    func learned(for request: CallRequest) -> CallEstimate? {
        guard case .reserve = request.operation, request.tokens == nil, request.costMicros == nil else { return nil }
        let model = request.attributes.model
        guard var estimate = estimates.estimate(request.user, model: model) else { return nil }
        // A model without a price follows the rule for such models, whatever its calls have cost.
        if policy.limits.prices.price(ofModel: model) == nil { estimate.costMicros = nil }
        return estimate
    }

    /// Learns from a call that has been charged, once.
    func learn(from request: CallRequest) {
        switch request.operation {
        case .settle, .usage:
            estimates.note(
                request.user, model: request.attributes.model, tokens: request.tokens, costMicros: request.costMicros)
        case .check, .checkOnce, .reserve, .renew, .release, .refund, .look: break
        }
    }
}
