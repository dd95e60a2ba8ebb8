/// The earliest instants of operations that have been put in an order, each in its own interval, so that distances
/// between some of them hold. Each step can be taken back.
struct InstantOrder {
    /// What taking back to a point needs.
    struct Mark {
        fileprivate var count: Int
        fileprivate var moves: Int
        fileprivate var distances: Int
    }

    private let ends: [Int]
    private(set) var instants: [Int]
    private(set) var order: [Int] = []
    private var places: [Int]
    private var dependents: [[(later: Int, distance: Int)]]
    private var moves: [(operation: Int, instant: Int)] = []
    private var distances: [Int] = []
    /// How often an operation that had its place was moved: what follows then rests on more than what is seen now.
    private(set) var movesBack = 0

    init(_ operations: [CallOperation]) {
        ends = operations.map(\.endMicroseconds)
        instants = operations.map(\.startMicroseconds)
        places = Array(repeating: -1, count: operations.count)
        dependents = Array(repeating: [], count: operations.count)
    }

    /// The instant of the last.
    var now: Int { order.last.map { instants[$0] } ?? .min }

    /// The latest instant that an operation in the order can have: none that follows it is before it.
    func latest(_ operation: Int) -> Int { order[places[operation]...].map { ends[$0] }.min() ?? ends[operation] }

    var mark: Mark { Mark(count: order.count, moves: moves.count, distances: distances.count) }

    /// Puts an operation at the end; false where its interval is over by then.
    mutating func append(_ operation: Int) -> Bool {
        let before = now
        places[operation] = order.count
        order.append(operation)
        return move(operation, to: before)
    }

    mutating func takeBack(to mark: Mark) {
        while moves.count > mark.moves, let move = moves.popLast() { instants[move.operation] = move.instant }
        while distances.count > mark.distances, let earlier = distances.popLast() { dependents[earlier].removeLast() }
        while order.count > mark.count, let operation = order.popLast() { places[operation] = -1 }
    }

    /// Holds two operations apart from now on; false where they cannot be.
    mutating func keep(_ later: Int, atLeast distance: Int, after earlier: Int) -> Bool {
        dependents[earlier].append((later, distance))
        distances.append(earlier)
        return move(later, to: instants[earlier] + distance)
    }

    private mutating func move(_ operation: Int, to instant: Int) -> Bool {
        var open = [(operation: operation, instant: instant)]
        while let (operation, instant) = open.popLast() {
            guard instants[operation] < instant else { continue }
            if places[operation] < order.count - 1 { movesBack += 1 }
            guard instant <= ends[operation] else { return false }
            moves.append((operation, instants[operation]))
            instants[operation] = instant
            let next = places[operation] + 1
            if next < order.count { open.append((order[next], instant)) }
            for dependent in dependents[operation] { open.append((dependent.later, instant + dependent.distance)) }
        }
        return true
    }
}
