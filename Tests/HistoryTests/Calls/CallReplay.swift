import HistoryChecker
import TestSupport

/// Plays an order that the checker found, as plainly as can be: it knows nothing of how the order was found.
///
/// A lease lapses within a millisecond that is not known; there both is right.
struct CallReplay {
    private struct Lease {
        var base: Int
        var life: Int
        var terms: [CallOperation.Term]
    }

    private static let grain = 1_000
    private let contract: CallContract
    private var charges: [[(instant: Int, cost: Int)]]
    private var leases: [String: Lease] = [:]
    private var ended: Set<String> = []

    init(_ contract: CallContract) {
        self.contract = contract
        charges = contract.windows.map { _ in [] }
    }

    /// Throws where an answer is not what it must be in this order.
    mutating func play(
        _ order: [(operation: Int, instantMicroseconds: Int)], _ operations: [CallOperation]
    ) throws {
        var last = Int.min
        let placed = Set(order.map(\.operation))
        for index in operations.indices where !placed.contains(index) && operations[index].outcome != .unknown {
            throw TestFailure("operation \(index) is not in the order")
        }
        for (index, instant) in order {
            let operation = operations[index]
            let tolerance = contract.toleranceMicroseconds
            guard instant >= last, instant >= operation.startMicroseconds - tolerance,
                instant <= operation.endMicroseconds + tolerance
            else { throw TestFailure("operation \(index) stands at \(instant), behind \(last)") }
            last = instant
            guard perform(operation, index, at: instant) else {
                throw TestFailure("operation \(index) cannot be answered so: \(operation)")
            }
        }
    }

    private mutating func perform(_ operation: CallOperation, _ index: Int, at instant: Int) -> Bool {
        leases = leases.filter { instant < $0.value.base + $0.value.life + Self.grain }
        let id = operation.id ?? "unknown \(index)"
        let takesPlace = operation.outcome == .done || operation.outcome == .unknown
        switch operation.action {
        case .check where takesPlace: charge(operation, at: instant)
        case .reserve(let life) where takesPlace:
            leases[id] = Lease(base: instant, life: life, terms: operation.terms)
        case .renew(let life) where takesPlace:
            if leases[id] == nil { return false }
            leases[id]?.base = instant
            leases[id]?.life = life
        case .settle, .usage, .release:
            if operation.outcome == .repeated { return ended.contains(id) && stands(operation, at: instant) }
            if operation.outcome == .done, operation.action == .release, leases[id] == nil { return false }
            if operation.id != nil, !ended.insert(id).inserted { return false }
            leases[id] = nil
            if operation.action != .release { charge(operation, at: instant) }
        case .flush: self = CallReplay(contract)
        case .check, .reserve, .renew, .look, .reset: break
        }
        return stands(operation, at: instant)
    }

    private mutating func charge(_ operation: CallOperation, at instant: Int) {
        for term in operation.terms { charges[term.window].append((instant, term.cost)) }
    }

    /// Whether the windows stand as the answer says.
    private func stands(_ operation: CallOperation, at instant: Int) -> Bool {
        operation.terms.allSatisfy { term in
            guard let standing = term.standing else { return true }
            var least = 0
            if case .sliding(let microseconds) = contract.windows[term.window] {
                for charge in charges[term.window] where instant - charge.instant < microseconds {
                    least += charge.cost
                }
            }
            var most = least
            for lease in leases.values {
                let held = lease.terms.filter { $0.window == term.window }.reduce(0) { $0 + $1.cost }
                most += held
                if instant < lease.base + lease.life - Self.grain { least += held }
            }
            let asks = operation.outcome == .denied || term.need > term.cost
            let before = standing.used - (operation.outcome == .done ? term.cost : 0)
            let fits = before + term.need <= standing.quota
            return least...most ~= standing.used && (!asks || fits != standing.isDenied)
        }
    }
}
