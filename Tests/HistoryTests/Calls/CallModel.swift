import HistoryChecker

/// What calls come to in the plainest form: each window a list of charges and a sum of what is held.
///
/// It is right without a fault: what it says are the histories that a checker must accept.
struct CallModel {
    /// What it does wrong.
    enum Fault: CaseIterable {
        case none, chargesOneThoughAnotherDenied, settleChargedTwice, leaseDoesNotLapse, lapseGivesBackTwice
        case slotGivenTwice, windowCutShort, settleKeepsTheHold, repeatedSettleCharged, deniesTooEarly
        case valuesShareAWindow, countedWithoutAValue, chargesAValueThoughDenied, settledUnderAnotherValue
    }

    private struct Lease {
        var lapsesAtMilliseconds: Int
        var terms: [CallOperation.Term]
    }

    private let contract: CallContract
    private let quotas: [Int]
    private let fault: Fault
    private var charges: [[(instant: Int, cost: Int)]]
    private var held: [Int]
    private var leases: [String: Lease] = [:]
    private var ended: Set<String> = []
    private var count = 0

    init(_ contract: CallContract, quotas: [Int], fault: Fault = .none) {
        self.contract = contract
        self.quotas = quotas
        self.fault = fault
        charges = quotas.map { _ in [] }
        held = quotas.map { _ in 0 }
    }

    private func used(_ window: Int) -> Int {
        let window = place(window)
        return charges[window].reduce(0) { $0 + $1.cost } + held[window]
    }

    /// Where a window is.
    private func place(_ window: Int) -> Int {
        fault == .valuesShareAWindow ? CallWorld.values(of: window)[0] : window
    }

    /// Has the operation take place at an instant; with what is answered.
    mutating func perform(_ operation: CallOperation, at instant: Int) -> CallOperation {
        passTime(to: instant)
        count += 1
        var answered = operation
        var denied: Set<Int> = []
        answered.outcome = .done
        switch operation.action {
        case .check, .reserve:
            denied = Set(operation.terms.filter { !fits($0) }.map(\.window))
            if !denied.isEmpty { answered.outcome = .denied }
            if denied.isEmpty { admit(operation, at: instant) }
            if !denied.isEmpty { chargeThoughDenied(operation, denied, at: instant) }
        case .renew(let life):
            let id = operation.id ?? ""
            if leases[id] == nil { answered.outcome = .noLease }
            leases[id]?.lapsesAtMilliseconds = instant / 1_000 + life / 1_000
        case .settle, .usage, .release: answered.outcome = end(operation, at: instant)
        case .look: break
        case .flush: self = CallModel(contract, quotas: quotas, fault: fault)
        case .reset: break
        }
        for index in answered.terms.indices {
            let window = answered.terms[index].window
            answered.terms[index].standing = CallOperation.Standing(
                quota: quotas[window], used: used(window), isDenied: denied.contains(window))
        }
        return answered
    }

    private mutating func chargeThoughDenied(_ operation: CallOperation, _ denied: Set<Int>, at instant: Int) {
        guard operation.action == .check else { return }
        let charged = operation.terms.first { term in
            guard term.cost > 0, !denied.contains(term.window) else { return false }
            return fault == .chargesOneThoughAnotherDenied
                || fault == .chargesAValueThoughDenied && CallWorld.values(of: term.window).count > 1
        }
        if let charged { charge(charged, at: instant) }
    }

    private mutating func passTime(to instant: Int) {
        for window in charges.indices {
            guard case .sliding(var microseconds) = contract.windows[window] else { continue }
            if fault == .windowCutShort { microseconds -= microseconds / 20 }
            charges[window].removeAll { instant - $0.instant >= microseconds }
        }
        for (id, lease) in leases where lease.lapsesAtMilliseconds <= instant / 1_000 {
            if fault == .leaseDoesNotLapse { continue }
            free(id)
            if fault == .lapseGivesBackTwice {
                giveBack(lease)
            }
        }
    }

    private func fits(_ term: CallOperation.Term) -> Bool {
        guard term.need > 0 else { return true }
        var quota = quotas[term.window]
        let isSlots = contract.windows[term.window] == .concurrency
        if fault == .slotGivenTwice, isSlots { quota += 1 }
        if fault == .deniesTooEarly, !isSlots { quota -= 2 }
        return used(term.window) + term.need <= quota
    }

    private mutating func admit(_ operation: CallOperation, at instant: Int) {
        guard case .reserve(let life) = operation.action else {
            for term in operation.terms { charge(term, at: instant) }
            if fault == .countedWithoutAValue { countWithoutAValue(operation, at: instant) }
            return
        }
        leases[operation.id ?? "unknown \(count)"] = Lease(
            lapsesAtMilliseconds: instant / 1_000 + life / 1_000, terms: operation.terms)
        for term in operation.terms { held[place(term.window)] += term.cost }
    }

    /// Charges a call's first part in the first session of its user, where it says no session.
    private mutating func countWithoutAValue(_ operation: CallOperation, at instant: Int) {
        var user: Int?
        for term in operation.terms {
            switch CallWorld.subject(of: term.window) {
            case .user(let own): user = own
            case .session: return
            case .all, .tenant: break
            }
        }
        guard let user, let cost = operation.terms.map(\.cost).max() else { return }
        charge(CallOperation.Term(window: CallWorld.sessionWindow(0, ofUser: user), cost: cost), at: instant)
    }

    private mutating func charge(_ term: CallOperation.Term, at instant: Int) {
        guard term.cost > 0, contract.windows[term.window] != .concurrency else { return }
        charges[place(term.window)].append((instant, term.cost))
    }

    private mutating func free(_ id: String) {
        if let lease = leases.removeValue(forKey: id) { giveBack(lease) }
    }

    private mutating func giveBack(_ lease: Lease) {
        for term in lease.terms {
            let window = place(term.window)
            held[window] = max(0, held[window] - term.cost)
        }
    }

    private mutating func end(_ operation: CallOperation, at instant: Int) -> CallOperation.Outcome {
        guard let id = operation.id else {
            for term in operation.terms { charge(term, at: instant) }
            return .done
        }
        guard ended.insert(id).inserted || fault == .repeatedSettleCharged else { return .repeated }
        if operation.action == .release {
            let had = leases[id] != nil
            free(id)
            return had ? .done : .noLease
        }
        if fault != .settleKeepsTheHold || operation.action == .usage { free(id) }
        for var term in operation.terms {
            if fault == .settledUnderAnotherValue, operation.action == .settle {
                term.window = CallWorld.values(of: term.window).first { $0 != term.window } ?? term.window
            }
            charge(term, at: instant)
            if fault == .settleChargedTwice, count.isMultiple(of: 5) { charge(term, at: instant) }
        }
        return .done
    }
}
