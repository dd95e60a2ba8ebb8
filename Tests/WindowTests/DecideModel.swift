import RateLimitCore

@testable import RateLimitService

/// What `decide.lua` must say, in the plainest form: each window a log of its own, each lease a value.
struct DecideModel {
    struct Lease {
        var expiryMilliseconds: Int
        /// By limit; also 0, where it was admitted.
        var held: [Int: Int]
    }

    struct Denial: Hashable {
        var isDenied = false
        var isForGood = false
    }

    /// What one step comes to: the verdict's kind, and how each limit stands after it.
    struct Outcome: Hashable {
        enum Kind: Hashable { case done, denied, deniedForGood, atCapacity, unknownLease, repeated }
        var kind: Kind
        var states: [LimitState]
    }

    var limits: [ModelLimit]
    private var logs: [ModelLog]
    /// By subject and id: a lease is known to each of its subjects by itself.
    private var leases: [[UInt8: Lease]] = [[:], [:]]
    private var dealtWith: Set<UInt8> = []

    init(_ limits: [ModelLimit]) {
        self.limits = limits
        logs = limits.map { _ in ModelLog() }
    }

    private func held(_ limit: Int) -> Int {
        leases[limits[limit].subject].values.reduce(0) { $0 + ($1.held[limit] ?? 0) }
    }

    /// What the window counts, without what leases hold, and how long until it is empty.
    private func counted(_ limit: Int, clock: Int) -> (used: Int, reset: Int) {
        logs[limit].counted(limits[limit].window, clock: clock)
    }

    /// Charges a limit, and whether there was something to charge.
    private mutating func charge(_ limit: Int, _ cost: Int, clock: Int) -> Bool {
        logs[limit].charge(cost, limits[limit].window, clock: clock)
        return cost > 0 && !limits[limit].isConcurrency
    }

    private func denials(_ costs: [Int], takesSlots: Bool, clock: Int) -> [Denial] {
        limits.indices.map { limit in
            let asked = limits[limit].isConcurrency && !takesSlots ? 0 : costs[limit]
            let cost = asked == 0 && limits[limit].needsRoom ? 1 : asked
            guard cost > 0, counted(limit, clock: clock).used + held(limit) + cost > limits[limit].quota else {
                return Denial()
            }
            return Denial(isDenied: true, isForGood: cost > limits[limit].quota)
        }
    }

    private func judged(_ denials: [Denial]) -> Outcome.Kind {
        let enforced = limits.indices.filter { !limits[$0].isShadow && denials[$0].isDenied }
        if enforced.contains(where: { limits[$0].isConcurrency && !denials[$0].isForGood }) { return .atCapacity }
        if enforced.contains(where: { denials[$0].isForGood }) { return .deniedForGood }
        return enforced.isEmpty ? .done : .denied
    }

    mutating func decide(_ step: CallStep, clock: Int) -> Outcome {
        lapse(clock: clock, at: step)
        var denials = limits.map { _ in Denial() }
        var kind = Outcome.Kind.done
        var charged: Set<Int> = []
        switch step {
        case .check(let costs):
            denials = self.denials(costs, takesSlots: false, clock: clock)
            kind = judged(denials)
            for limit in limits.indices where kind == .done && !denials[limit].isDenied {
                _ = charge(limit, costs[limit], clock: clock)
            }
        case .reserve(let id, let costs, let ttl):
            if dealtWith.contains(id) || leases.contains(where: { $0[id] != nil }) {
                kind = .repeated
            } else {
                denials = self.denials(costs, takesSlots: true, clock: clock)
                kind = judged(denials)
                if kind == .done { lease(id, costs, expiry: clock / 1000 + ttl, denials) }
            }
        case .renew(let id, let ttl):
            if leases.contains(where: { $0[id] == nil }) { kind = .unknownLease }
            for subject in leases.indices where kind == .done {
                leases[subject][id]?.expiryMilliseconds = clock / 1000 + ttl
            }
        case .settle(let id, let costs): kind = settle(id, costs, clock: clock, &charged)
        case .release(let id):
            kind = leases.contains { $0[id] != nil } ? .done : .unknownLease
            if !dealtWith.insert(id).inserted { kind = .repeated } else { free(id) }
        case .usage(let id, let costs):
            if let id, !dealtWith.insert(id).inserted { kind = .repeated }
            for limit in limits.indices where kind == .done {
                if charge(limit, costs[limit], clock: clock) { charged.insert(limit) }
            }
        case .reset(let limit): forget(limit)
        case .resetAll(let subject):
            for limit in limits.indices where limits[limit].subject == subject { forget(limit) }
            leases[subject] = [:]
        case .look, .setQuota, .setWindow, .advance, .stepBack, .waitAsTold: break
        }
        let states = limits.indices.map { limit in
            let window = counted(limit, clock: clock)
            return LimitState(
                used: window.used + held(limit), resetAfterMilliseconds: window.reset,
                isDenied: denials[limit].isDenied && !limits[limit].isShadow,
                isShadowDenied: denials[limit].isDenied && limits[limit].isShadow,
                isForGood: denials[limit].isForGood, isCharged: charged.contains(limit),
                isHeld: denials[limit].isDenied && held(limit) > 0)
        }
        return Outcome(kind: kind, states: states)
    }

    /// Whether a step is done at an instant at which every lease has ended.
    func isDoneWithoutLeases(_ step: CallStep, clock: Int) -> Bool {
        var copy = self
        copy.leases = [[:], [:]]
        return copy.decide(step, clock: clock).kind == .done
    }

    /// Gives back what has lapsed. The script does it when it looks at a subject, and it stays so where the clock steps
    /// back after that.
    private mutating func lapse(clock: Int, at step: CallStep) {
        for subject in leases.indices {
            if case .reset(let limit) = step, limits[limit].subject != subject { continue }
            if case .resetAll(let other) = step, other != subject { continue }
            leases[subject] = leases[subject].filter { $0.value.expiryMilliseconds > clock / 1000 }
        }
    }

    private mutating func lease(_ id: UInt8, _ costs: [Int], expiry: Int, _ denials: [Denial]) {
        for subject in leases.indices {
            let own = limits.indices.filter { limits[$0].subject == subject && !denials[$0].isDenied }
            leases[subject][id] = Lease(
                expiryMilliseconds: expiry, held: Dictionary(uniqueKeysWithValues: own.map { ($0, costs[$0]) }))
        }
    }

    private mutating func settle(
        _ id: UInt8, _ costs: [Int], clock: Int, _ charged: inout Set<Int>
    ) -> Outcome.Kind {
        guard dealtWith.insert(id).inserted else { return .repeated }
        let known = leases.map { $0[id] }
        free(id)
        for limit in limits.indices {
            // A shadow limit that did not admit the reservation keeps the window it would have had: without it.
            if limits[limit].isShadow, let lease = known[limits[limit].subject], lease.held[limit] == nil { continue }
            if charge(limit, costs[limit], clock: clock) { charged.insert(limit) }
        }
        return .done
    }

    private mutating func free(_ id: UInt8) {
        for subject in leases.indices { leases[subject][id] = nil }
    }

    private mutating func forget(_ limit: Int) {
        logs[limit] = ModelLog()
        let subject = limits[limit].subject
        for (id, lease) in leases[subject] where lease.held[limit] != nil { leases[subject][id]?.held[limit] = 0 }
    }
}
