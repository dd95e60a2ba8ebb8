import NIOCore
import RateLimitCore
import RedisClient

/// A request on its way to Redis and back. It is told once what became of it.
///
/// A check has everything in it; whatever else is asked has one object besides, a ``PendingCall``.
struct PendingRequest {
    /// What became of a request.
    enum Fate: Equatable {
        /// It was told what Redis decided.
        case decided
        /// It failed, alone, with an error of the script's; nothing of it was charged.
        case failed(String)
        /// What came is none of the script's answers.
        case malformed
    }

    /// Who asks; of a request with keys of its own anybody.
    let user: SubjectID
    /// What a check costs.
    let cost: Int
    let ticket: Int
    /// When it arrived: its deadline runs from then.
    let arrivedAt: NIODeadline
    /// Who is told under ``ticket``; nil where ``PendingCall`` says who is.
    let requester: (any DecisionRequester)?
    /// What is asked; nil for a check under the one limit of checks.
    let call: (any PendingCall)?

    /// A check.
    @inline(__always)
    init(check user: SubjectID, cost: Int, ticket: Int, arrivedAt: NIODeadline, requester: any DecisionRequester) {
        self.user = user
        self.cost = cost
        self.ticket = ticket
        self.arrivedAt = arrivedAt
        self.requester = requester
        call = nil
    }

    /// What a gateway asks about a call.
    init(_ call: PlannedCall, ticket: Int, arrivedAt: NIODeadline, requester: any DecisionRequester) {
        user = call.request.user
        cost = 0
        self.ticket = ticket
        self.arrivedAt = arrivedAt
        self.requester = requester
        self.call = call
    }

    /// What a gateway asks about a call that has candidates.
    init(_ call: PlannedCandidates, arrivedAt: NIODeadline) {
        user = call.request.user
        cost = 0
        ticket = call.ticket
        self.arrivedAt = arrivedAt
        requester = call.requester
        self.call = call
    }

    /// What a proxy asks about a call's descriptors.
    init(_ call: PlannedDescriptors, ticket: Int, arrivedAt: NIODeadline, requester: any DecisionRequester) {
        user = SubjectID(high: 0, low: 0)
        cost = 0
        self.ticket = ticket
        self.arrivedAt = arrivedAt
        self.requester = requester
        self.call = call
    }

    /// A request with keys of its own: one off the hot path, or a part of a call.
    ///
    /// - Parameter done: told once: Redis's answer, or why there is none.
    init(
        _ request: DecisionCall, arrivedAt: NIODeadline, _ done: @escaping (Result<CallAnswer, FailureReason>) -> Void
    ) {
        user = SubjectID(high: 0, low: 0)
        cost = 0
        ticket = 0
        self.arrivedAt = arrivedAt
        requester = nil
        call = SingleRequest(request, done)
    }

    /// The call with candidates that it asks about; nil for anything else.
    var candidates: PlannedCandidates? { call as? PlannedCandidates }

    /// How many requests to the script it is.
    var width: Int { call?.width ?? 1 }

    /// What was to be decided, for the page and the log.
    var path: EnforcementState.Path { call == nil ? .checks : .calls }

    /// The slot of its first key; those of all others are the same.
    func slot(by slots: UserSlots) -> HashSlot { call?.slot(by: slots) ?? slots.slot(of: user) }
}

/// What a request asks that is no check.
protocol PendingCall: AnyObject {
    /// How many requests to the script it is; a batch has all of them, one behind the other.
    var width: Int { get }

    /// The slot of its first key.
    func slot(by slots: UserSlots) -> HashSlot

    /// Lays it out; false, and nothing done, where the batch has no room for what it asks.
    func layOut(in batch: inout DecisionBatch, _ keys: SubjectKeys) -> Bool

    /// Tells what Redis has decided; false, and nothing told, where that is not of the script's form.
    func decided(
        _ answer: DecisionAnswer, of request: PendingRequest, in batch: ScriptBatch, at now: NIODeadline,
        by engine: CheckEngine
    ) -> Bool

    /// Tells that Redis has not decided it; it may have run.
    func undecided(_ request: PendingRequest, because reason: FailureReason, by engine: CheckEngine)
}

extension PendingCall {
    var width: Int { 1 }
}

// MARK: - There

extension PendingRequest {
    /// Lays it out; false, and nothing done, where the batch has no room for what it asks and must be written first. An
    /// empty batch has room for any request.
    ///
    /// - Parameter check: what checks ask: one sliding window of the user.
    @inline(__always)
    func layOut(in batch: inout DecisionBatch, _ keys: SubjectKeys, check: DecisionPlan) -> Bool {
        if let call { return call.layOut(in: &batch, keys) }
        guard batch.begin(check) else { return false }
        batch.writeKeys { keys.writeUser(user, to: &$0) }
        batch.writeAmount(cost)
        return true
    }
}

// MARK: - Back

extension PendingRequest {
    /// Tells what Redis answered, nil for what is not of the script's form.
    @inline(__always)
    func received(
        _ answer: DecisionAnswer?, in batch: ScriptBatch, at now: NIODeadline, by engine: CheckEngine
    ) -> Fate {
        guard let answer else { return undecided(nil, by: engine) }
        if let call {
            if answer.isError || !call.decided(answer, of: self, in: batch, at: now, by: engine) {
                return undecided(answer, by: engine)
            }
            return .decided
        }
        guard let decided = answer.check(quota: batch.limit.quota) else { return undecided(answer, by: engine) }
        engine.decided(self, decided, in: batch, at: now)
        return .decided
    }

    @inline(never)
    private func undecided(_ answer: DecisionAnswer?, by engine: CheckEngine) -> Fate {
        undecided(because: .redisError, by: engine)
        return answer?.error.map { .failed($0) } ?? .malformed
    }

    /// Redis has not decided it; it may have run.
    func undecided(because reason: FailureReason, by engine: CheckEngine) {
        if let call { return call.undecided(self, because: reason, by: engine) }
        engine.undecided(self, because: reason)
    }
}

// MARK: - The calls

extension PlannedCall: PendingCall {
    func slot(by slots: UserSlots) -> HashSlot { slots.slot(of: plan.subjects[0], caller) }

    /// Lays it out as its plan says, with what is of its own: keys, id and amounts.
    func layOut(in batch: inout DecisionBatch, _ keys: SubjectKeys) -> Bool {
        layOut(in: &batch, keys, isFollowed: false)
    }

    /// - Parameter isFollowed: whether the call's next candidate is laid out behind it.
    func layOut(in batch: inout DecisionBatch, _ keys: SubjectKeys, isFollowed: Bool) -> Bool {
        guard let decision = plan.decision else { preconditionFailure("a call without limits asks nothing of Redis") }
        guard batch.begin(isFollowed ? decision.beforeNextCandidate() : decision) else { return false }
        batch.writeKeys { buffer in
            for subject in plan.subjects { keys.write(subject, of: caller, to: &buffer) }
        }
        if decision.hasID, let id { batch.writeID(id) }
        for amount in plan.amounts { batch.writeAmount(amount.amount(of: costs, plan.kind)) }
        return true
    }

    /// What an answer says of it; nil where that is not of the script's form.
    func decided(_ answer: DecisionAnswer) -> CallAnswer? {
        guard let decided = answer.decided(terms: plan.terms.count, givesLease: plan.kind.operation.givesLease),
            decided.crossings.isEmpty || decided.crosses(onlyOf: plan.terms.map(\.thresholds.count))
        else { return nil }
        return decided
    }

    func decided(
        _ answer: DecisionAnswer, of request: PendingRequest, in batch: ScriptBatch, at now: NIODeadline,
        by engine: CheckEngine
    ) -> Bool {
        guard let decided = decided(answer) else { return false }
        engine.decided(request, self, decided, sentAt: batch.sentAt, memoryEpoch: batch.memoryEpoch, at: now)
        return true
    }

    func undecided(_ request: PendingRequest, because reason: FailureReason, by engine: CheckEngine) {
        engine.undecided(request, self, because: reason)
    }
}

/// A request with keys of its own that waits for Redis.
private final class SingleRequest: PendingCall {
    private let request: DecisionCall
    private let done: (Result<CallAnswer, FailureReason>) -> Void

    init(_ request: DecisionCall, _ done: @escaping (Result<CallAnswer, FailureReason>) -> Void) {
        self.request = request
        self.done = done
    }

    func slot(by slots: UserSlots) -> HashSlot { HashSlot(key: request.subjects[0].key) }

    func layOut(in batch: inout DecisionBatch, _ keys: SubjectKeys) -> Bool { batch.append(request) }

    func decided(
        _ answer: DecisionAnswer, of request: PendingRequest, in batch: ScriptBatch, at now: NIODeadline,
        by engine: CheckEngine
    ) -> Bool {
        guard let decided = self.request.decided(answer) else { return false }
        done(.success(decided))
        return true
    }

    func undecided(_ request: PendingRequest, because reason: FailureReason, by engine: CheckEngine) {
        done(.failure(reason))
    }
}
