/// Looks for an order of calls, each at an instant of its own interval, under which every answer is true.
///
/// A depth-first search with a bound on its steps. The numbers in the answers leave mostly one choice: which leases had
/// lapsed is one where that is not known. What leads nowhere is remembered, where no earlier instant had to be moved.
struct CallOrderSearch {
    enum Result {
        case found([(operation: Int, instantMicroseconds: Int)])
        case impossible
        case exhausted
    }

    private enum Reached { case end, deadEnd, bound }

    /// More leases of which it is not known whether they had lapsed are too many to try. A machine that stood still for a
    /// moment may have so many lapse within one call.
    private static let mostLapsable = 10

    private let operations: [CallOperation]
    /// The places of those that certainly took place, by their ends; and of those that perhaps did.
    private let certain: [Int]
    private let perhaps: [Int]
    private let contract: CallContract
    private var order: InstantOrder
    private var isDone: [Bool]
    private var firstOpen = 0
    private var left: Int
    private var stepsLeft = 0
    private var deadEnds: Set<[Int]> = []

    /// - Parameter operations: with intervals widened by the clocks' tolerance.
    init(_ operations: [CallOperation], _ contract: CallContract) {
        self.operations = operations
        self.contract = contract
        certain = operations.indices.filter { operations[$0].outcome != .unknown }
            .sorted { operations[$0].endMicroseconds < operations[$1].endMicroseconds }
        perhaps = operations.indices.filter { operations[$0].outcome == .unknown }
            .sorted { operations[$0].endMicroseconds < operations[$1].endMicroseconds }
        order = InstantOrder(operations)
        isDone = Array(repeating: false, count: operations.count)
        left = certain.count
    }

    /// - Parameter steps: how many steps to try at most.
    mutating func run(steps: Int) -> Result {
        // What a reset leaves of leases is not played.
        guard !operations.contains(where: { $0.action == .reset }) else { return .exhausted }
        stepsLeft = steps
        switch goOn(CallState(contract)) {
        case .end: return .found(order.order.map { ($0, order.instants[$0]) })
        case .deadEnd: return .impossible
        case .bound: return .exhausted
        }
    }

    private mutating func goOn(_ state: CallState) -> Reached {
        guard left > 0 else { return .end }
        while firstOpen < certain.count, isDone[certain[firstOpen]] { firstOpen += 1 }
        let key = done + [-3, order.now] + state.key(order.instants)
        guard !deadEnds.contains(key) else { return .deadEnd }
        let movesBack = order.movesBack
        for index in candidates() {
            let (lapsable, certain) = state.lapsable(operations[index], order)
            let open = lapsable.filter { !certain.contains($0) }
            guard open.count <= Self.mostLapsable else { return .bound }
            for choice in 0..<1 << open.count {
                let lapsed = certain + open.indices.filter { choice >> $0 & 1 == 1 }.map { open[$0] }
                guard state.mayStand(operations[index], lapsed: lapsed) else { continue }
                let reached = attempt(index, lapsed, lapsable, state)
                guard reached == .deadEnd else { return reached }
            }
        }
        if order.movesBack == movesBack { deadEnds.insert(key) }
        return .deadEnd
    }

    private mutating func attempt(_ index: Int, _ lapsed: [Int], _ lapsable: [Int], _ state: CallState) -> Reached {
        guard stepsLeft > 0 else { return .bound }
        stepsLeft -= 1
        let mark = order.mark
        var next = state
        if order.append(index), next.lapse(lapsed, of: lapsable, before: index, &order),
            next.perform(index, operations[index], &order)
        {
            let isCertain = operations[index].outcome != .unknown
            let open = firstOpen
            isDone[index] = true
            if isCertain { left -= 1 }
            let reached = goOn(next)
            guard reached == .deadEnd else { return reached }
            isDone[index] = false
            if isCertain { left += 1 }
            firstOpen = open
        }
        order.takeBack(to: mark)
        return .deadEnd
    }

    /// What has its place, as far as it does not follow from the first that has none.
    private var done: [Int] {
        [firstOpen] + certain[firstOpen...].filter { isDone[$0] } + perhaps.filter { isDone[$0] }
    }

    /// What may come next: whatever starts before the end of each certain one that is open; what perhaps happened last.
    private func candidates() -> [Int] {
        guard firstOpen < certain.count else { return [] }
        let latest = operations[certain[firstOpen]].endMicroseconds
        func mayBeNext(_ index: Int) -> Bool {
            !isDone[index] && operations[index].startMicroseconds <= latest
                && operations[index].endMicroseconds >= order.now
        }
        return certain[firstOpen...].filter(mayBeNext) + perhaps.filter(mayBeNext)
    }
}
