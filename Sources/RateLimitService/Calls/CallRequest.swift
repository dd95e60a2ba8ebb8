public import RateLimitCore

/// What a gateway asks about one call of a user's, whichever protocol it asks by.
public struct CallRequest: Hashable, Sendable {
    /// What is to be done.
    public enum Operation: Hashable, Sendable {
        /// May the call go on?
        case check
        /// The same under an id: one that was admitted before, by its id, is admitted again and not charged.
        case checkOnce(id: [UInt8])
        /// May it go on, and hold what it may come to, for so many milliseconds?
        case reserve(milliseconds: Int)
        /// The call goes on: let its lease live for so many milliseconds from now.
        case renew(Lease, milliseconds: Int)
        /// The call has ended: charge what it came to in place of what its lease holds.
        case settle(Lease)
        /// The call was not made: give back what its lease holds.
        case release(Lease)
        /// A call came to so much; one that was told before, by its id, is not charged again.
        case usage(id: [UInt8])
        /// So much was charged by mistake: take it back; once for each id, each time without one.
        case refund(id: [UInt8])
        /// How does the user stand?
        case look
    }

    /// Who calls.
    public var user: SubjectID
    /// What is to be done.
    public var operation: Operation
    /// What the call says about itself.
    public var attributes: CallAttributes
    /// What it counts for in limits of requests, within ``Limit/costs``; 0 of a refund that gives none of them back.
    public var cost: Int
    /// The tokens it used, or may use; nil where that is not known.
    public var tokens: TokenUsage?
    /// Which kinds of ``tokens`` it told; none where there are none.
    public var told: ToldTokens
    /// What it cost, or may cost, in micro-dollars; nil where the tokens' price says it, or nothing does.
    public var costMicros: Int?
    /// What it may be made with, each instead of what ``attributes`` say, of which the first that its limits admit is taken;
    /// none of a call that is made in one way. Only a check or a reservation has any, ``CallCandidate/largestCount`` at most.
    public var candidates: [CallCandidate] = []
    /// Whether a check or a reservation only asks what it would be answered: nothing is charged, held or remembered of it.
    public var isDryRun = false
    /// What it said besides and whoever read it could not use.
    public var ignored: [IgnoredMember] = []

    /// Makes a request; of tokens every kind is told, where that is left out.
    public init(
        user: SubjectID, operation: Operation = .check, attributes: CallAttributes = .none, cost: Int = 1,
        tokens: TokenUsage? = nil, told: ToldTokens = .all, costMicros: Int? = nil
    ) {
        self.user = user
        self.operation = operation
        self.attributes = attributes
        self.cost = cost
        self.tokens = tokens
        self.told = tokens == nil ? [] : told
        self.costMicros = costMicros
    }

    /// The same about one of its candidates.
    func asking(about candidate: CallCandidate) -> CallRequest {
        var request = self
        request.attributes = attributes.served(
            as: CallAttributes(model: candidate.model, provider: candidate.provider))
        request.candidates = [candidate]
        request.ignored = []
        return request
    }

    /// The same, as the lease has it that the call was given: whose it is, and what it said about itself. The model and
    /// the provider are those that a settle names, where it does: a gateway may have fallen back to others.
    func underItsLease() -> CallRequest {
        guard let lease = operation.lease else { return self }
        var request = self
        request.user = lease.owner
        request.cost = lease.cost
        request.attributes = lease.attributes.served(as: attributes)
        return request
    }
}

extension CallRequest.Operation {
    /// Whether it tells all that a call came to, its tokens being none where it names none. A refund that gives back requests
    /// may be about these alone.
    func tellsWhole(ofCost cost: Int) -> Bool {
        switch self {
        case .settle, .usage: true
        case .refund: cost == 0
        case .check, .checkOnce, .reserve, .renew, .release, .look: false
        }
    }

    /// A check, with an id where there is one.
    public init(checkWithID id: [UInt8]?) { self = id.map { .checkOnce(id: $0) } ?? .check }
}
