import NIOCore
import RateLimitCore
import RedisClient

/// How a batch of checks is put to `decide.lua`, and how its answer is read: all of them have one plan, which is made
/// when the limit is put in force.
struct CheckScript {
    /// The digest under which Redis knows the script; nil where a service does not keep scripts, or not yet.
    var digest: String?

    private let keys: SubjectKeys
    private var plan: DecisionPlan
    /// What the batch that is being laid out is decided under.
    private(set) var conditions: Limit.Numbers

    private var batch = DecisionBatch()

    /// Checks in the batch that is being laid out.
    var count: Int { batch.count }

    init(keyPrefix: String, limit: Limit) {
        keys = SubjectKeys(prefix: keyPrefix)
        plan = Self.plan(limit)
        conditions = limit.numbers
    }

    /// Puts a limit in force, where no batch has been begun.
    mutating func setLimit(_ limit: Limit) {
        precondition(count == 0)
        conditions = limit.numbers
        plan = Self.plan(limit)
    }

    private static func plan(_ limit: Limit) -> DecisionPlan {
        let term = DecisionPlan.Term(
            id: LimitDefinition.requestsID, kind: .sliding(windowMilliseconds: limit.windowMilliseconds),
            quota: limit.quota, cost: .amount(0))
        return DecisionPlan(.check, amountCount: 1, subjects: [[term]])
    }

    /// Takes one more check into the batch that is being laid out.
    mutating func append(_ user: SubjectID, cost: Int) {
        let hasRoom = batch.begin(plan)
        precondition(hasRoom, "all checks have one plan")
        batch.writeAmount(cost)
        batch.writeKeys { keys.writeUser(user, to: &$0) }
    }

    /// Writes the batch as one EVALSHA, or as an EVAL with the whole text where `inFull` or where there is no digest,
    /// and begins the next one.
    mutating func write(inFull: Bool, to buffer: inout ByteBuffer) {
        batch.write(digest: digest, inFull: inFull, to: &buffer)
    }

    /// The answer to check `index` of a batch of `count`; nil when the reply is not of the script's form.
    static func answer(_ index: Int, of count: Int, in reply: Reply, quota: Int) -> ScriptAnswer<DecidedCheck>? {
        guard let answer = DecisionAnswer(index, of: count, in: reply) else { return nil }
        if let error = answer.error { return .failed(error) }
        return answer.check(quota: quota).map { .decided($0) }
    }
}

extension CheckScript: ScriptCodec {
    static var path: EnforcementState.Path { .checks }

    static func batcher(of lane: ScriptLane) -> ScriptBatcher<CheckScript> { lane.checks }

    mutating func append(_ check: PendingCheck) -> Bool {
        append(check.user, cost: check.cost)
        return true
    }

    static func answer(
        _ index: Int, of batch: ScriptBatch<CheckScript>, in reply: Reply, to check: PendingCheck
    ) -> ScriptAnswer<DecidedCheck>? {
        answer(index, of: batch.count, in: reply, quota: batch.conditions.quota)
    }
}

/// What Redis decided about a check.
struct DecidedCheck: Hashable {
    var decision: Decision
    /// How long a denial is certain to last, in milliseconds: what leases hold may come back at any time.
    var certainMilliseconds: Int
}

/// A check on its way to Redis and back.
struct PendingCheck: PendingRequest {
    typealias Codec = CheckScript

    var user: SubjectID
    var cost: Int
    var ticket: Int
    var arrivedAt: NIODeadline
    var requester: any DecisionRequester

    func slot(by slots: UserSlots) -> HashSlot { slots.slot(of: user) }

    func decided(
        _ decided: DecidedCheck, in batch: ScriptBatch<CheckScript>, at now: NIODeadline, by engine: CheckEngine
    ) {
        engine.decided(self, decided, in: batch, at: now)
    }

    func failed(_ error: String, by engine: CheckEngine) { undecided(because: .redisError, by: engine) }

    func undecided(because reason: FailureReason, by engine: CheckEngine) { engine.undecided(self, because: reason) }
}
