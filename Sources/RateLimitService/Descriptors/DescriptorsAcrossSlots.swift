import RateLimitCore
import RedisClient

// What several slots of a cluster say, each of its own windows (``CallAcrossSlots``).
extension PlannedDescriptors {
    /// Whether all keys are in one slot of a cluster.
    func isInOneSlot(by slots: UserSlots) -> Bool {
        guard terms.count > 1 else { return true }
        return terms.dropFirst().allSatisfy { slots.slot(of: $0.key) == slots.slot(of: terms[0].key) }
    }

    /// The same as one call with everything laid out in it, of which each slot is sent its part.
    func laidOut(keyPrefix: String) -> DecisionCall {
        let (decision, step) = next
        let subjects = terms.filter { $0.isPart(of: step) }.map { term in
            let kind = term.kind
            let limit = LimitTerm(
                id: LimitDefinition.requestsID, kind: .sliding(windowMilliseconds: kind.windowMilliseconds),
                isShadow: kind.isShadow, quota: kind.quota, cost: term.hits(in: step),
                needsRoom: step == .check && kind.question == .room)
            return SubjectTerms(key: Array("\(keyPrefix):\(term.key.text)".utf8), terms: [limit])
        }
        return DecisionCall(decision.operation, subjects: subjects)
    }

    /// The answer as one script would have given it: each slot has told how its windows stand while they held what is
    /// asked, which has been charged since, or given back where another slot denied it.
    func settled(_ answer: CallAnswer, by slots: UserSlots) -> CallAnswer {
        guard next.step == .check else { return answer }
        let isAdmitted = answer.verdict == .done
        let slotsOfTerms = terms.map { slots.slot(of: $0.key) }
        let denying = Set(zip(slotsOfTerms, answer.states).filter { $0.1.isDenied }.map(\.0))
        var settled = answer
        for (place, term) in terms.enumerated() where term.kind.question == .hits {
            // A slot that denied held nothing, and a shadow does not where it would have denied.
            guard !denying.contains(slotsOfTerms[place]), !answer.states[place].isShadowDenied else { continue }
            if isAdmitted {
                settled.states[place].resetAfterMilliseconds = term.kind.windowMilliseconds
            } else {
                settled.states[place].used = max(0, answer.states[place].used - term.asked)
            }
        }
        return settled
    }
}
