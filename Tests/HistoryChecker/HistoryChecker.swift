/// What the checker says of one user's history.
package enum Verdict: Sendable {
    /// There is an order in which all of it can have happened: the operations, by their place, each with an instant.
    case consistent([(operation: Int, instantMicroseconds: Int)])
    /// There is none; the smallest part of the history that shows it.
    case violation(Evidence)
    /// Not known within the bound on steps. What counting alone can find is not there.
    case undecided
}

/// Decides from the intervals alone whether a user's history can have happened under a window's contract.
package struct HistoryChecker: Sendable {
    /// How many steps a search may try for each operation, and for any history.
    package static let stepsForEach = 20
    package static let stepsAtLeast = 30_000
    /// The same for each smaller history that is tried.
    static let stepsForShrinking = 1_000

    package let contract: WindowContract

    package init(_ contract: WindowContract) { self.contract = contract }

    package func verdict(of operations: [Operation]) -> Verdict {
        let claims = Claim.claims(of: operations, under: contract)
        switch judgement(of: claims) {
        case .possible(let order):
            return .consistent(order.map { (claims[$0.claim].index, $0.instant) })
        case .impossible:
            return .violation(evidence(for: claims))
        case .unknown: return .undecided
        }
    }

    private func evidence(for claims: [Claim]) -> Evidence {
        // What counting finds is shrunk by counting, which is fast and can be counted again by whoever reads it.
        if !offences(of: claims).isEmpty {
            return Shrinking(contract: contract) { !offences(of: $0).isEmpty }.evidence(for: claims)
        }
        return Shrinking(contract: contract) { candidate in
            if case .impossible = judgement(of: candidate, steps: Self.stepsForShrinking) { true } else { false }
        }.evidence(for: claims)
    }

    /// The offences that can be counted, each with an instant at which it shows.
    package func offences(of operations: [Operation]) -> [(offence: IntervalBounds.Offence, atMicroseconds: Int)] {
        let claims = Claim.claims(of: operations, under: contract)
        return offences(of: claims).map { ($0.offence, claims[$0.claim].start) }
    }

    private func offences(of claims: [Claim]) -> [(offence: IntervalBounds.Offence, claim: Int)] {
        IntervalBounds(claims, windowMicroseconds: contract.windowMicroseconds).offences
    }

    enum Judgement {
        case possible([(claim: Int, instant: Int)])
        case impossible
        case unknown
    }

    /// Counting first, which is fast and needs no order; then the search for one.
    func judgement(of claims: [Claim], steps: Int? = nil) -> Judgement {
        guard offences(of: claims).isEmpty else { return .impossible }
        var search = OrderSearch(claims, windowMicroseconds: contract.windowMicroseconds)
        let steps = steps ?? max(Self.stepsAtLeast, claims.count * Self.stepsForEach)
        switch search.run(steps: max(steps, 2 * claims.count + 2)) {
        case .found(let order): return .possible(order)
        case .impossible: return .impossible
        case .exhausted: return .unknown
        }
    }
}
