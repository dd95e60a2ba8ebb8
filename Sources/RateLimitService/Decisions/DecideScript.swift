import NIOCore
import RedisClient

/// How a batch of calls is put to `decide.lua`, and how its answer is read.
struct DecideScript {
    /// The digest under which Redis knows the script; nil where a service does not keep scripts, or not yet.
    var digest: String?

    private let keys: SubjectKeys
    var batch = DecisionBatch()

    /// Calls in the batch that is being laid out.
    var count: Int { batch.count }

    init(keyPrefix: String) { keys = SubjectKeys(prefix: keyPrefix) }

    /// Takes one more call into the batch that is being laid out; false, and nothing taken, where the batch has no room
    /// for what it asks and must be written first. An empty batch has room for any call.
    mutating func append(_ call: PlannedCall) -> Bool {
        let plan = call.plan
        guard let decision = plan.decision else { preconditionFailure("a call without limits asks nothing of Redis") }
        guard batch.begin(decision) else { return false }
        batch.writeKeys { buffer in
            for subject in plan.subjects { keys.write(subject, of: call.caller, to: &buffer) }
        }
        if decision.hasID, let id = call.id { batch.writeID(id) }
        for amount in plan.amounts { batch.writeAmount(amount.amount(of: call.costs, plan.kind)) }
        return true
    }

    /// Writes the batch as one EVALSHA, or as an EVAL with the whole text where `inFull` or where there is no digest,
    /// and begins the next one.
    mutating func write(inFull: Bool, to buffer: inout ByteBuffer) {
        batch.write(digest: digest, inFull: inFull, to: &buffer)
    }

    /// The answer to call `index` of a batch of `count`, its terms in the order of the plan; nil when the reply is not of
    /// the script's form.
    static func answer(
        _ index: Int, of count: Int, in reply: Reply, to call: PlannedCall
    ) -> ScriptAnswer<CallAnswer>? {
        DecisionAnswer(index, of: count, in: reply)?.whole(
            terms: call.plan.terms.count, givesLease: call.plan.kind.operation.givesLease)
    }
}
