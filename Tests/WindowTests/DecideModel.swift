import RateLimitCore

@testable import RateLimitService

/// What `decide.lua` must say, in the plainest form: each window a log of its own, each lease a value.
struct DecideModel {
    struct Lease {
        var lapsesAtMilliseconds: Int
        /// Whether it has lapsed, and holds nothing any more.
        var isFreed = false
        /// By limit; also 0, where it was admitted.
        var held: [Int: Int]
    }

    /// What a subject knows of its leases.
    struct Memory {
        var leases: [UInt8: Lease] = [:]
        /// The time before which nobody looks for lapsed leases, 0 for never, and the latest at which somebody did.
        var earliest = 0
        var freed = 0
        /// When it began, and when the latest lease was given.
        var began: Int?
        var latest = 0
        /// When Redis forgets it, in milliseconds; 0 where there is nothing.
        var standsUntil = 0

        /// Gives back what has lapsed.
        mutating func lapse(at now: Int, rememberMilliseconds: Int) {
            guard earliest > 0, earliest <= now else { return }
            freed = max(freed, now)
            leases = leases.filter { $0.value.lapsesAtMilliseconds + rememberMilliseconds > now }
            for (id, lease) in leases where lease.lapsesAtMilliseconds <= now { leases[id]?.isFreed = true }
            earliest = leases.values.map(\.lapsesAtMilliseconds).filter { $0 > now }.min() ?? 0
        }
    }

    struct Denial: Hashable {
        var isDenied = false
        var isForGood = false
    }

    /// What one step comes to: the verdict's kind, and how each limit stands after it.
    struct Outcome: Hashable {
        enum Kind: Hashable { case done, denied, deniedForGood, atCapacity, unknownLease, repeated, tooLate }
        var kind: Kind
        var states: [LimitState]
        /// Of a lease that was given or renewed.
        var instants: LeaseInstants?
        /// The thresholds that this very step crosses.
        var crossings: [TermCrossing] = []
    }

    var limits: [ModelLimit]
    /// For how long a lease that lapsed is remembered, and the id of a usage, refund or check.
    let rememberMilliseconds: Int
    /// Of a subject that there is one of for each value, those of the current one.
    var logs: [ModelLog]
    /// By subject: a lease is known to each of its subjects by itself.
    var memories = [Memory(), Memory()]
    var values: ModelValues?
    /// What the lease of an id says about itself.
    private(set) var instants: [UInt8: LeaseInstants] = [:]
    private var ids: ModelIDs
    /// Those of the step that is being decided.
    private var crossings: [TermCrossing] = []
    /// By limit when the last lease lapses, in milliseconds, where leases hold any of it before what is decided now.
    private var keptUntil: [Int?] = []

    init(_ limits: [ModelLimit], rememberMilliseconds: Int, expires: Bool, values: ModelValues? = nil) {
        self.limits = limits
        self.rememberMilliseconds = rememberMilliseconds
        self.values = values
        ids = ModelIDs(expires: expires)
        logs = limits.map { _ in ModelLog() }
    }

    private func held(_ limit: Int) -> Int {
        memories[limits[limit].subject].leases.values.reduce(0) { $0 + ($1.isFreed ? 0 : $1.held[limit] ?? 0) }
    }

    /// What the window counts, without what leases hold, and how long until it is empty.
    private func counted(_ limit: Int, clock: Int) -> (used: Int, reset: Int) {
        logs[limit].counted(limits[limit].window, clock: clock, keptUntil: keptUntil[limit])
    }

    /// Charges a limit, and whether there was something to charge.
    private mutating func charge(_ limit: Int, _ cost: Int, clock: Int) -> Bool {
        guard cost > 0, !limits[limit].isConcurrency else { return false }
        let (above, upTo) = logs[limit].charge(cost, limits[limit].window, clock: clock, keptUntil: keptUntil[limit])
        let crossed = limits[limit].thresholds.indices.filter {
            above < limits[limit].thresholds[$0] && limits[limit].thresholds[$0] <= upTo
        }
        if let first = crossed.first, let last = crossed.last {
            crossings.append(
                TermCrossing(term: limit, thresholds: first...last, used: upTo, unixMilliseconds: clock / 1000))
        }
        let ends = limits[limit].window.ends(ofChargeAt: logs[limit].newest)
        let subject = limits[limit].subject
        memories[subject].standsUntil = max(memories[subject].standsUntil, ends)
        return true
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
        crossings = []
        if ids.expires { expireValues(clock: clock) }
        let stoodUntil = values.map { memories[$0.subject].standsUntil }
        lapse(clock: clock, at: step)
        keptUntil = limits.indices.map { limit in
            held(limit) > 0 ? memories[limits[limit].subject].leases.values.map(\.lapsesAtMilliseconds).max() : nil
        }
        var denials = limits.map { _ in Denial() }
        var kind = Outcome.Kind.done
        var charged: Set<Int> = []
        var given: LeaseInstants?
        switch step {
        case .check(let id, let costs):
            denials = self.denials(costs, takesSlots: false, clock: clock)
            kind = judged(denials)
            if let id, ids.note(.check(id), looks: kind != .done, for: rememberMilliseconds, at: clock / 1000) {
                kind = .repeated
                denials = limits.map { _ in Denial() }
            }
            for limit in limits.indices where kind == .done && !denials[limit].isDenied {
                _ = charge(limit, costs[limit], clock: clock)
            }
        case .reserve(let id, let costs, let ttl):
            if memories.indices.contains(where: { known(id, to: $0, clock: clock) != nil }) {
                kind = .repeated
            } else {
                denials = self.denials(costs, takesSlots: true, clock: clock)
                kind = judged(denials)
                if kind == .done { given = lease(id, costs, ttl: ttl, denials, clock: clock) }
            }
        case .renew(let id, let ttl):
            if memories.indices.contains(where: { known(id, to: $0, clock: clock)?.isFreed ?? true }) {
                kind = .unknownLease
            } else {
                given = renew(id, ttl: ttl, clock: clock)
            }
        case .settle(let id, let costs): kind = finish(id, charging: costs, clock: clock, &charged)
        case .release(let id): kind = finish(id, charging: nil, clock: clock, &charged)
        case .usage(let id, let costs):
            if let id, ids.note(.usage(id), for: rememberMilliseconds, at: clock / 1000) { kind = .repeated }
            for limit in limits.indices where kind == .done {
                if charge(limit, costs[limit], clock: clock) { charged.insert(limit) }
            }
        case .refund(let id, let costs):
            if let id, ids.note(.refund(id), for: rememberMilliseconds, at: clock / 1000) { kind = .repeated }
            for limit in limits.indices where kind == .done {
                let window = limits[limit].window
                if logs[limit].refund(costs[limit], window, clock: clock, keptUntil: keptUntil[limit]) {
                    charged.insert(limit)
                }
            }
        case .reset(let limit): forget(limit)
        case .resetAll(let subject):
            for limit in limits.indices where limits[limit].subject == subject { forget(limit) }
            if memories[subject].began == nil { memories[subject].standsUntil = 0 }
            if subject == 0 { forgetAllValues(clock: clock) }
        case .look, .say, .setQuota, .setWindow, .advance, .stepBack, .waitAsTold: break
        }
        let hasDisplaced = stoodUntil.map { registerValue(stoodUntil: $0, clock: clock) } ?? false
        let states = limits.indices.map { limit in
            let window = counted(limit, clock: clock)
            return LimitState(
                used: window.used + held(limit), resetAfterMilliseconds: window.reset,
                isDenied: denials[limit].isDenied && !limits[limit].isShadow,
                isShadowDenied: denials[limit].isDenied && limits[limit].isShadow,
                isForGood: denials[limit].isForGood, isCharged: charged.contains(limit),
                isHeld: denials[limit].isDenied && held(limit) > 0,
                hasDisplaced: hasDisplaced && limits[limit].subject == values?.subject)
        }
        return Outcome(kind: kind, states: states, instants: given, crossings: crossings)
    }

    /// Whether a step is done at an instant at which every lease has ended.
    func isDoneWithoutLeases(_ step: CallStep, clock: Int) -> Bool {
        var copy = self
        copy.memories = [Memory(), Memory()]
        copy.values = nil
        return copy.decide(step, clock: clock).kind == .done
    }

    /// Gives back what has lapsed. The script does it when it looks at a subject, and it stays so where the clock steps
    /// back after that.
    private mutating func lapse(clock: Int, at step: CallStep) {
        let now = clock / 1000
        for subject in memories.indices {
            if case .reset(let limit) = step, limits[limit].subject != subject { continue }
            if case .resetAll(let other) = step, other != subject { continue }
            memories[subject].lapse(at: now, rememberMilliseconds: rememberMilliseconds)
        }
    }

    /// What a subject knows of a lease, for as long as that is remembered.
    private func known(_ id: UInt8, to subject: Int, clock: Int) -> Lease? {
        guard let lease = memories[subject].leases[id],
            lease.lapsesAtMilliseconds + rememberMilliseconds > clock / 1000
        else { return nil }
        return lease
    }

    private mutating func put(_ lease: Lease, _ id: UInt8, in subject: Int) {
        memories[subject].leases[id] = lease
        let earliest = memories[subject].earliest
        memories[subject].earliest =
            earliest == 0 ? lease.lapsesAtMilliseconds : min(earliest, lease.lapsesAtMilliseconds)
        let until = lease.lapsesAtMilliseconds + rememberMilliseconds
        memories[subject].standsUntil = max(memories[subject].standsUntil, until)
    }

    private mutating func lease(
        _ id: UInt8, _ costs: [Int], ttl: Int, _ denials: [Denial], clock: Int
    ) -> LeaseInstants {
        let given = max(clock / 1000, memories.map(\.latest).max() ?? 0)
        for subject in memories.indices {
            let own = limits.indices.filter { limits[$0].subject == subject && !denials[$0].isDenied }
            for limit in own where costs[limit] > 0 {
                logs[limit].hold(limits[limit].window, clock: clock, keptUntil: keptUntil[limit])
            }
            memories[subject].began = memories[subject].began ?? given
            memories[subject].latest = given
            put(
                Lease(
                    lapsesAtMilliseconds: max(clock / 1000, memories[subject].freed) + ttl,
                    held: Dictionary(uniqueKeysWithValues: own.map { ($0, costs[$0]) })), id, in: subject)
        }
        let told = LeaseInstants(givenAtMilliseconds: given, lapsesAtMilliseconds: latestLapse(of: id))
        instants[id] = told
        return told
    }

    private mutating func renew(_ id: UInt8, ttl: Int, clock: Int) -> LeaseInstants {
        for subject in memories.indices {
            guard var lease = memories[subject].leases[id] else { continue }
            lease.lapsesAtMilliseconds = max(clock / 1000, memories[subject].freed) + ttl
            put(lease, id, in: subject)
        }
        let told = LeaseInstants(givenAtMilliseconds: clock / 1000, lapsesAtMilliseconds: latestLapse(of: id))
        instants[id] = instants[id]?.renewed(until: told)
        return told
    }

    private func latestLapse(of id: UInt8) -> Int {
        memories.compactMap { $0.leases[id]?.lapsesAtMilliseconds }.max() ?? 0
    }

    /// Ends a lease; nil costs charge nothing.
    private mutating func finish(
        _ id: UInt8, charging costs: [Int]?, clock: Int, _ charged: inout Set<Int>
    ) -> Outcome.Kind {
        var kind = Outcome.Kind.done
        let known = memories.indices.map { self.known(id, to: $0, clock: clock) }
        if let first = known[0] {
            if costs == nil, first.isFreed { kind = .unknownLease }
        } else {
            let own = instants[id] ?? .unknown
            let end = own.lapsesAtMilliseconds + rememberMilliseconds
            if clock / 1000 >= end { return .tooLate }
            // Redis loses nothing here but whole bundles, so it was given later than the latest only after one.
            if let began = memories[0].began, began...memories[0].latest ~= own.givenAtMilliseconds { return .repeated }
            let keep = max(end - clock / 1000, rememberMilliseconds)
            if ids.note(.lease(id), for: keep, at: clock / 1000) { return .repeated }
            if costs == nil { kind = .unknownLease }
        }
        for (subject, lease) in known.enumerated() {
            guard let lease else { continue }
            if !lease.isFreed { kind = .done }
            memories[subject].leases[id] = nil
            if memories[subject].leases.isEmpty { memories[subject].earliest = 0 }
        }
        for limit in limits.indices {
            guard let costs else { break }
            // A shadow limit that did not admit the reservation keeps the window it would have had: without it.
            if limits[limit].isShadow, let lease = known[limits[limit].subject], lease.held[limit] == nil { continue }
            if charge(limit, costs[limit], clock: clock) { charged.insert(limit) }
        }
        return kind
    }

    private mutating func forget(_ limit: Int) {
        logs[limit] = ModelLog()
        let subject = limits[limit].subject
        for (id, lease) in memories[subject].leases where lease.held[limit] != nil {
            memories[subject].leases[id]?.held[limit] = 0
        }
    }
}
