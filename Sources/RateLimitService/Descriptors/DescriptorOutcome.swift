import RateLimitCore

/// What Redis's answers mean for a request about descriptors, as a value.
struct DescriptorOutcome: Hashable {
    /// What its limits say: none of the verdicts that only leases and models have.
    let verdict: Outcome.Verdict
    /// How each descriptor stands, in the request's order.
    let standings: [DescriptorStanding]

    /// Makes an outcome of what Redis said.
    init(_ call: PlannedDescriptors, _ said: DescriptorAnswers) {
        let answers = Answers(call: call, said: said)
        verdict = answers.verdict
        standings = call.parts.map(answers.standing)
    }

    /// That of a request of which no window counts anything, and of one that Redis did not decide.
    init(_ verdict: Outcome.Verdict, undecided call: PlannedDescriptors) {
        self.verdict = verdict
        standings = call.parts.map { DescriptorStanding($0.limit) }
    }

    /// That of a request that a window of this process decided, which says nothing of what is left in all.
    ///
    /// - Parameter decider: the place of the term that denied it.
    init(_ verdict: Decision.Verdict, of call: PlannedDescriptors, by decider: Int?) {
        self.verdict = Outcome.Verdict(verdict)
        let wait: Int? = if case .denied(let milliseconds) = verdict { milliseconds } else { nil }
        standings = call.parts.map { part in
            let isOver = decider != nil && part.term == decider && part.use.asks
            return DescriptorStanding(part.limit, isOver: isOver, resetAfterMilliseconds: isOver ? wait : nil)
        }
    }
}

/// What Redis said of a request's terms.
private struct Answers {
    let call: PlannedDescriptors
    let said: DescriptorAnswers

    private var checked: CallAnswer? { said[.check] }

    var verdict: Outcome.Verdict {
        switch checked?.verdict {
        case nil: .allowed
        case .done: verdictTogether
        case .denied(_, let milliseconds): .denied(retryAfterMilliseconds: milliseconds)
        case .deniedForGood: .deniedForGood
        case .atCapacity, .unknownLease, .repeated, .tooLate:
            preconditionFailure("a request without leases is not answered so")
        }
    }

    /// What those say that deny together: each of them is over, or the request passes. It passes when the first of them
    /// has room, which is when its window is empty at the latest.
    private var verdictTogether: Outcome.Verdict {
        guard call.deniesTogether, let states = checked?.states else { return .allowed }
        var wait: Int?
        for (term, state) in zip(call.terms, states) where term.isInQuotaMode {
            guard state.isShadowDenied else { return .allowed }
            if !state.isForGood {
                wait = min(wait ?? state.resetAfterMilliseconds, state.resetAfterMilliseconds)
            }
        }
        return wait.map { .denied(retryAfterMilliseconds: max(1, $0)) } ?? .deniedForGood
    }

    func standing(of part: PlannedDescriptors.Part) -> DescriptorStanding {
        guard let place = part.term else { return DescriptorStanding(part.limit) }
        let term = call.terms[place]
        let quota = term.kind.quota
        let before = checked?.states[place]
        let after = state(of: place, after: .report)
        // Redis did not come to one that is only given something back where it failed before.
        guard let state = state(of: place, after: .refund) ?? after ?? before else {
            return DescriptorStanding(part.limit)
        }
        let isDenied = before.map { $0.isDenied || $0.isShadowDenied } ?? false
        let isOver: Bool
        let need: Int
        switch part.use {
        case .ask: (isOver, need) = (isDenied, term.asked)
        // Beside one that asks for more than is left something may be left.
        case .peek: (isOver, need) = (isDenied && state.used >= quota, 1)
        case .report: (isOver, need) = ((after?.used ?? state.used + term.reported) > quota, term.reported)
        case .refund: (isOver, need) = (false, 0)
        }
        let wait =
            isOver && part.use.asks
            ? waitWhereDenied(at: place, state.resetAfterMilliseconds) : state.resetAfterMilliseconds
        return DescriptorStanding(
            part.limit, isOver: isOver, remaining: max(0, quota - state.used),
            resetAfterMilliseconds: isOver && need > quota || wait == 0 ? nil : wait)
    }

    /// The wait for the term that decided, which Redis says; for another one no more than that, nor longer than until
    /// its window is empty.
    private func waitWhereDenied(at place: Int, _ reset: Int) -> Int {
        guard case .denied(let decider, let wait) = checked?.verdict, checked?.states[place].isDenied ?? false else {
            return reset
        }
        return decider == place ? wait : min(wait, reset)
    }

    /// How a term stood after a step; nil where the step was not done, or is not about it.
    private func state(of place: Int, after step: DescriptorStep) -> LimitState? {
        guard let answer = said[step], let at = call.plan?.places(step).firstIndex(of: place) else { return nil }
        return answer.states[at]
    }
}
