/// What the windows and leases are behind the operations that have been put in an order.
struct CallState {
    struct Lease {
        /// The operation that let it live on last.
        var base: Int
        var lifeMicroseconds: Int
        var held: [(window: Int, cost: Int)]
    }

    /// Each window's charges, oldest first: those that nothing has said to be gone.
    private var charges: [[(operation: Int, cost: Int)]]
    private var sums: [Int]
    /// By the operation that reserved it.
    private(set) var leases: [Int: Lease] = [:]
    private var named: [String: Int] = [:]
    /// The ids that have been dealt with.
    private var ended: Set<String> = []
    private let windows: [Int]

    init(_ contract: CallContract) {
        self.init(contract.windows.indices.map { contract.microseconds($0) })
    }

    /// All that decides what can follow, besides which operations are left.
    func key(_ instants: [Int]) -> [Int] {
        var key: [Int] = []
        for window in charges {
            key.append(-1)
            for charge in window { key += [charge.operation, instants[charge.operation]] }
        }
        for (reserve, lease) in leases.sorted(by: { $0.key < $1.key }) {
            key += [-2, reserve, lease.base, instants[lease.base]]
        }
        return key
    }

    /// The leases that may have lapsed by an operation, as far as it can tell: those that hold something in a window of
    /// which its answer says how it stands, and its own where it says that there is none. And those of them that have.
    func lapsable(_ operation: CallOperation, _ order: InstantOrder) -> (all: [Int], certain: [Int]) {
        let all = leases.keys.filter { reserve in
            guard let lease = leases[reserve],
                order.instants[lease.base] + lease.lifeMicroseconds - CallContract.leaseGrainMicroseconds
                    <= operation.endMicroseconds
            else { return false }
            if operation.outcome == .noLease { return operation.id.flatMap { named[$0] } == reserve }
            return lease.held.contains { operation.term(in: $0.window)?.standing != nil }
        }.sorted()
        let earliest = max(order.now, operation.startMicroseconds)
        let certain = all.filter { reserve in
            guard let lease = leases[reserve] else { return false }
            let lapse = order.latest(lease.base) + lease.lifeMicroseconds + CallContract.leaseGrainMicroseconds
            return lapse <= earliest
        }
        return (all, certain)
    }

    /// Whether what an answer says can be where these leases have lapsed by then: charges may leave a window besides, and
    /// none is given back but by them.
    func mayStand(_ operation: CallOperation, lapsed: [Int]) -> Bool {
        let acts = operation.outcome == .done && operation.action != .look
        let ownLease = acts && operation.ends ? operation.id.flatMap { named[$0] } : nil
        return operation.terms.allSatisfy { term in
            guard let standing = term.standing else { return true }
            func held(_ reserve: Int) -> Int { leases[reserve]?.held.first { $0.window == term.window }?.cost ?? 0 }
            let own = ownLease.map { lapsed.contains($0) ? 0 : held($0) } ?? 0
            let wanted = standing.used - (acts ? term.cost : 0) + own
            let left = sums[term.window] - lapsed.reduce(0) { $0 + held($1) }
            return windows[term.window] == 0 ? left == wanted : left >= wanted
        }
    }

    /// Lets leases lapse before an operation, and has the others it sees still live; false where that cannot be.
    mutating func lapse(
        _ lapsed: [Int], of lapsable: [Int], before operation: Int, _ order: inout InstantOrder
    ) -> Bool {
        for reserve in lapsable {
            guard let lease = leases[reserve] else { continue }
            let grain = CallContract.leaseGrainMicroseconds
            if lapsed.contains(reserve) {
                guard order.keep(operation, atLeast: lease.lifeMicroseconds - grain, after: lease.base) else {
                    return false
                }
                free(reserve)
            } else {
                guard stillLives(reserve, at: operation, &order) else { return false }
            }
        }
        return true
    }

    /// Has a lease live at an operation, as late as it can; false where it is over by then.
    private func stillLives(_ reserve: Int, at operation: Int, _ order: inout InstantOrder) -> Bool {
        guard let lease = leases[reserve] else { return false }
        return order.keep(
            lease.base, atLeast: 1 - lease.lifeMicroseconds - CallContract.leaseGrainMicroseconds, after: operation)
    }

    private mutating func free(_ reserve: Int) {
        guard let lease = leases.removeValue(forKey: reserve) else { return }
        for (window, cost) in lease.held { sums[window] -= cost }
    }

    /// Has the operation take place; false where it says what cannot be.
    mutating func perform(_ index: Int, _ operation: CallOperation, _ order: inout InstantOrder) -> Bool {
        guard answersFit(operation) else { return false }
        guard stands(index, operation, &order) else { return false }
        guard operation.mayAct else {
            if operation.outcome == .noLease, operation.action == .release, let id = operation.id { ended.insert(id) }
            return true
        }
        switch operation.action {
        case .check: charge(index, operation)
        case .reserve(let life):
            let held = operation.terms.filter { $0.cost > 0 }.map { (window: $0.window, cost: $0.cost) }
            leases[index] = Lease(base: index, lifeMicroseconds: life, held: held)
            for (window, cost) in held { sums[window] += cost }
            if let id = operation.id { named[id] = index }
        case .renew(let life):
            guard let reserve = operation.id.flatMap({ named[$0] }), stillLives(reserve, at: index, &order) else {
                return false
            }
            leases[reserve]?.base = index
            leases[reserve]?.lifeMicroseconds = life
        case .settle, .usage:
            guard end(operation) else { return false }
            charge(index, operation)
        case .release:
            // One that gave something back did so before its lease lapsed.
            if operation.outcome == .done, let reserve = operation.id.flatMap({ named[$0] }),
                !stillLives(reserve, at: index, &order)
            {
                return false
            }
            return end(operation)
        case .look: break
        case .flush: self = CallState(windows)
        case .reset: return false
        }
        return true
    }

    private init(_ windows: [Int]) {
        self.windows = windows
        charges = windows.map { _ in [] }
        sums = windows.map { _ in 0 }
    }

    /// Whether what an answer says of an id and its lease can be.
    private func answersFit(_ operation: CallOperation) -> Bool {
        guard let id = operation.id else { return true }
        switch operation.outcome {
        case .repeated: return ended.contains(id)
        case .noLease:
            return named[id].flatMap { leases[$0] } == nil && (operation.action != .release || !ended.contains(id))
        case .done:
            let needsLease = operation.action == .release
            return !needsLease || named[id].flatMap { leases[$0] } != nil
        case .denied, .unknown: return true
        }
    }

    /// Frees what an id holds; false where it has been dealt with.
    private mutating func end(_ operation: CallOperation) -> Bool {
        guard let id = operation.id else { return true }
        guard ended.insert(id).inserted else { return false }
        if let reserve = named[id] { free(reserve) }
        return true
    }

    private mutating func charge(_ index: Int, _ operation: CallOperation) {
        for term in operation.terms where term.cost > 0 && windows[term.window] > 0 {
            charges[term.window].append((index, term.cost))
            sums[term.window] += term.cost
        }
    }

    /// Whether the windows stand as the answer says, where what has to have left them has.
    private mutating func stands(_ index: Int, _ operation: CallOperation, _ order: inout InstantOrder) -> Bool {
        let acts = operation.outcome == .done && operation.action != .look
        var own: [(window: Int, cost: Int)] = []
        // What its own lease holds is no more when it has been settled.
        if acts, operation.ends, let id = operation.id, let reserve = named[id], let lease = leases[reserve] {
            own = lease.held
        }
        for term in operation.terms {
            guard let standing = term.standing else { continue }
            let held = own.first { $0.window == term.window }?.cost ?? 0
            let wanted = standing.used - (acts ? term.cost : 0) + held
            if operation.asks {
                let fits = wanted + term.need <= standing.quota
                guard fits != standing.isDenied else { return false }
            }
            guard leave(term.window, downTo: wanted, before: index, &order) else { return false }
        }
        return true
    }

    /// Lets the oldest charges leave a window until so much is there, and has the next one still be in it.
    private mutating func leave(
        _ window: Int, downTo wanted: Int, before index: Int, _ order: inout InstantOrder
    ) -> Bool {
        var count = 0
        while sums[window] > wanted, count < charges[window].count {
            sums[window] -= charges[window][count].cost
            count += 1
        }
        guard sums[window] == wanted else { return false }
        if count > 0 {
            let last = charges[window][count - 1].operation
            guard order.keep(index, atLeast: windows[window], after: last) else { return false }
            charges[window].removeFirst(count)
        }
        guard let oldest = charges[window].first else { return true }
        return order.keep(oldest.operation, atLeast: 1 - windows[window], after: index)
    }
}
