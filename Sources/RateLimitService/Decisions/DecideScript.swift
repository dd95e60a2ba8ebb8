import NIOCore
import RateLimitCore
import RedisClient

/// How a batch of calls is put to `decide.lua`, and how its answer is read.
struct DecideScript {
    /// The digest under which Redis knows the script; nil where a service does not keep scripts, or not yet.
    var digest: String?

    private var batch = DecisionBatch()

    /// Calls in the batch that is being laid out.
    var count: Int { batch.count }

    /// Takes one more call into the batch that is being laid out; false, and nothing taken, where the batch has no room
    /// for what it asks and must be written first. An empty batch has room for any call.
    mutating func append(_ call: DecisionCall) -> Bool {
        let (plan, amounts) = call.planned()
        guard batch.begin(plan) else { return false }
        batch.writeKeys { keys in
            for subject in call.subjects { keys.writeRESPBulk(subject.key) }
        }
        if let id = call.id { batch.writeID(id) }
        for amount in amounts { batch.writeAmount(amount) }
        return true
    }

    /// Writes the batch as one EVALSHA, or as an EVAL with the whole text where `inFull` or where there is no digest,
    /// and begins the next one.
    mutating func write(inFull: Bool, to buffer: inout ByteBuffer) {
        batch.write(digest: digest, inFull: inFull, to: &buffer)
    }

    /// The answer to call `index` of a batch of `count`; nil when the reply is not of the script's form.
    ///
    /// - Parameter call: the call that was put, which says how many terms the answer has.
    static func answer(
        _ index: Int, of count: Int, in reply: Reply, to call: DecisionCall
    ) -> ScriptAnswer<CallAnswer>? {
        guard let answer = DecisionAnswer(index, of: count, in: reply) else { return nil }
        if let error = answer.error { return .failed(error) }
        let terms = call.operation == .reset ? 0 : call.termCount
        guard answer.termCount == terms, var whole = answer.verdict(givesLease: call.givesLease) else { return nil }
        whole.states.reserveCapacity(terms)
        for place in 0..<terms {
            guard let state = answer.state(place) else { return nil }
            whole.states.append(state)
        }
        return .decided(call.inOrder(whole))
    }
}

extension DecisionCall {
    /// Whether it gives or renews a lease.
    fileprivate var givesLease: Bool { operation == .reserve || operation == .renew }

    /// What it asks, and what that costs: calls that differ in keys, id and costs alone ask the same.
    func planned() -> (plan: DecisionPlan, amounts: [Int]) {
        var amounts: [Int] = []
        let planned = subjects.map { subject in
            subject.terms.map { term in
                let cost = cost(of: term)
                var source = DecisionPlan.Term.Cost.fixed(cost)
                if let place = amounts.firstIndex(of: cost) {
                    source = .amount(place)
                } else if amounts.count < DecisionPlan.largestAmountCount {
                    source = .amount(amounts.count)
                    amounts.append(cost)
                }
                return DecisionPlan.Term(
                    id: term.id, kind: term.kind, isShadow: term.isShadow, quota: term.quota, cost: source)
            }
        }
        let plan = DecisionPlan(
            operation, hasID: id != nil, lifeMilliseconds: lifeMilliseconds, rememberMilliseconds: rememberMilliseconds,
            amountCount: amounts.count, subjects: planned)
        return (plan, amounts)
    }

    private func cost(of term: LimitTerm) -> Int {
        let asks = operation == .check || operation == .reserve
        // A check takes no slot: it asks for one where the limit needs room.
        let cost = operation == .check && term.kind == .concurrency ? 0 : term.cost
        return cost == 0 && asks && term.needsRoom ? DecisionPlan.unknownCost : cost
    }

    /// The script's answer with its terms in the call's order.
    fileprivate func inOrder(_ answer: CallAnswer) -> CallAnswer {
        guard !answer.states.isEmpty, subjects.contains(where: { !$0.isInScriptOrder }) else { return answer }
        var terms: [Int] = []
        for subject in subjects {
            let start = terms.count
            terms += DecisionPlan.order(subject.terms.map(\.id)).map { start + $0 }
        }
        var ordered = answer
        for (place, term) in terms.enumerated() { ordered.states[term] = answer.states[place] }
        switch answer.verdict {
        case .denied(let place, let wait): ordered.verdict = .denied(term: terms[place], retryAfterMilliseconds: wait)
        case .deniedForGood(let place): ordered.verdict = .deniedForGood(term: terms[place])
        case .atCapacity(let place, let wait):
            ordered.verdict = .atCapacity(term: terms[place], retryAfterMilliseconds: wait)
        case .done, .unknownLease, .repeated, .tooLate: break
        }
        return ordered
    }
}

extension SubjectTerms {
    fileprivate var isInScriptOrder: Bool { zip(terms, terms.dropFirst()).allSatisfy { $0.id < $1.id } }
}
