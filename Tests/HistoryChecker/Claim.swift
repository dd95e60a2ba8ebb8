/// What one operation says must be true at its instant, each part of which can be dropped by itself.
///
/// To drop a part, or to turn "was charged" into "may have been charged", only allows more worlds. So when a history is
/// impossible with some of its claims dropped, it is impossible: that is why shrinking cannot raise a false alarm.
package struct Claim: Hashable, Sendable {
    package enum Effect: Hashable, Sendable {
        /// Charged, once; `isCertain` false: or not at all.
        case charges(isCertain: Bool)
        /// The window was emptied; `isCertain` false: or not.
        case forgets(isCertain: Bool)
        case nothing
    }

    /// Place in the history that was given, to show it by.
    package var index: Int
    package var cost: Int
    /// The interval of its instant, widened by the clocks' tolerance.
    package var start: Int
    package var end: Int
    package var effect: Effect
    /// An admission: the cost in the window with its own is at most this.
    package var fitsQuota: Int?
    /// A denial: the cost in the window and its own are more than this.
    package var exceedsQuota: Int?
    /// The cost in the window, an admission's own included.
    package var used: ClosedRange<Int>?
    /// Whole seconds, rounded up, until a denied check passes.
    package var retrySeconds: Int?
    /// Whole seconds, rounded up, until the window is empty.
    package var resetSeconds: Int?

    var isCertain: Bool {
        switch effect {
        case .charges(let isCertain), .forgets(let isCertain): isCertain
        case .nothing: true
        }
    }

    var charges: Bool { if case .charges = effect { true } else { false } }

    var forgets: Bool { if case .forgets = effect { true } else { false } }

    /// Whether it says nothing any more.
    var isEmpty: Bool { effect == .nothing && exceedsQuota == nil && used == nil && resetSeconds == nil }

    /// The same with all it says dropped, but for what it may have done.
    var silenced: Claim {
        let effect: Effect =
            switch effect {
            case .charges: .charges(isCertain: false)
            case .forgets: .forgets(isCertain: false)
            case .nothing: .nothing
            }
        return Claim(index: index, cost: cost, start: start, end: end, effect: effect)
    }
}

extension Claim {
    /// The claims of a user's operations, in the order of their starts.
    package static func claims(of operations: [Operation], under contract: WindowContract) -> [Claim] {
        let forgotten = operations.filter { if case .forgot = $0.outcome { true } else { false } }
        let claims = operations.enumerated().compactMap { index, operation -> Claim? in
            var claim = Claim(
                index: index, cost: operation.cost,
                start: operation.startMicroseconds - contract.toleranceMicroseconds,
                end: operation.endMicroseconds + contract.toleranceMicroseconds, effect: .nothing
            )
            switch operation.outcome {
            case .unknown:
                guard operation.cost > 0 else { return nil }
                claim.effect = .charges(isCertain: false)
            case .forgot(let isCertain): claim.effect = .forgets(isCertain: isCertain)
            case .admitted(let answer):
                claim.effect = .charges(isCertain: true)
                claim.fitsQuota = answer.quota
                claim.used = answer.quota - answer.remaining...answer.quota - answer.remaining
                claim.resetSeconds = answer.resetAfterSeconds
            case .looked(let answer): claim.claimNumbers(of: answer)
            case .denied(let answer, let retryAfterSeconds):
                let memory = contract.denialMemoryMicroseconds
                let mayBeOutlived = forgotten.contains { forgetting in
                    forgetting.startMicroseconds <= operation.endMicroseconds
                        && operation.startMicroseconds <= forgetting.endMicroseconds + memory
                }
                guard memory == 0 || !mayBeOutlived else { return nil }
                claim.exceedsQuota = answer.quota
                guard memory == 0 else { break }
                claim.claimNumbers(of: answer)
                claim.retrySeconds = retryAfterSeconds
            }
            return claim
        }
        return claims.sorted { ($0.start, $0.end, $0.index) < ($1.start, $1.end, $1.index) }
    }

    private mutating func claimNumbers(of answer: Operation.Answer) {
        let used = answer.quota - answer.remaining
        // Where the quota was lowered more may be used than it allows.
        self.used = answer.remaining > 0 ? used...used : used...Int.max
        resetSeconds = answer.resetAfterSeconds
    }
}
