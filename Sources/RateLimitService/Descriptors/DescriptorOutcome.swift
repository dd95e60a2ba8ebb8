import RateLimitCore

/// What Redis's answers mean for a request about descriptors, as a value.
struct DescriptorOutcome: Hashable {
    /// What its limits say: none of the verdicts that only leases and models have.
    let verdict: Outcome.Verdict
    /// How each descriptor stands, in the request's order.
    let standings: [DescriptorStanding]

    /// Makes an outcome of what Redis said.
    ///
    /// - Parameters:
    ///   - checked: what it said of what is asked; nil where nothing is.
    ///   - reported: what it said of what is reported; nil where nothing is, or was not charged.
    init(_ call: PlannedDescriptors, checked: CallAnswer?, reported: CallAnswer?) {
        let answers = Answers(call: call, checked: checked, reported: reported)
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
    let checked: CallAnswer?
    let reported: CallAnswer?

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
        let after = reportedState(of: place)
        guard let state = after ?? before else { preconditionFailure("each term is asked or reported") }
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

    private func reportedState(of place: Int) -> LimitState? {
        guard let reported, let at = call.plan?.reporting.firstIndex(of: place) else { return nil }
        return reported.states[at]
    }
}
