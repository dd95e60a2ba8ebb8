import RedisClient

extension DecisionBatch {
    /// Takes one more request with keys of its own; false, and nothing taken, where the batch has no room for what it asks
    /// and must be written first.
    ///
    /// - Parameter isFollowed: whether the next request is the call's next candidate.
    mutating func append(_ call: DecisionCall, isFollowed: Bool = false) -> Bool {
        let (plan, amounts) = call.planned()
        guard begin(isFollowed ? plan.beforeNextCandidate() : plan) else { return false }
        writeKeys { keys in
            for subject in call.subjects { keys.writeRESPBulk(subject.key) }
        }
        if let id = call.id { writeID(id) }
        for amount in amounts { writeAmount(amount) }
        return true
    }
}

extension DecisionCall {
    /// What an answer to this request says, its terms in the request's order; nil where that is not of the script's form.
    func decided(_ answer: DecisionAnswer) -> CallAnswer? {
        let terms = operation == .reset ? 0 : termCount
        guard let decided = answer.decided(terms: terms, givesLease: operation.givesLease).map(inOrder) else {
            return nil
        }
        let thresholds = operation.charges ? subjects.flatMap { $0.terms.map(\.thresholds.count) } : []
        return decided.crosses(onlyOf: thresholds) ? decided : nil
    }

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
                    id: term.id, kind: term.kind, isShadow: term.isShadow, quota: term.quota, cost: source,
                    thresholds: operation.charges ? term.thresholds : [])
            }
        }
        let plan = DecisionPlan(
            operation, hasID: id != nil, lifeMilliseconds: lifeMilliseconds, rememberMilliseconds: rememberMilliseconds,
            amountCount: amounts.count, subjects: planned, mostValues: subjects.map(\.mostValues))
        return (plan, amounts)
    }

    private func cost(of term: LimitTerm) -> Int {
        // A check takes no slot: it asks for one where the limit needs room.
        let cost = operation.asks && !operation.takesSlots && term.kind == .concurrency ? 0 : term.cost
        return cost == 0 && operation.asks && term.needsRoom ? DecisionPlan.unknownCost : cost
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
        for index in ordered.crossings.indices { ordered.crossings[index].term = terms[ordered.crossings[index].term] }
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
