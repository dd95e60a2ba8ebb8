import HistoryChecker
import TestSupport

/// Several clients whose calls are made up: every instant is known here, and only the intervals are told.
struct SimulatedCalls {
    var world = CallWorld()
    var clients = 6
    var callsEach = 40
    var longestLatencyMicroseconds = 4_000
    var longestPauseMicroseconds = 50_000
    /// Out of a hundred calls.
    var shareUnknown = 0
    var flushes = 0
    /// Each time so much has passed, nothing goes on for a while, as on a machine that is busy with something else.
    var stallsEachMicroseconds: Int?
    private static let stallMicroseconds = 350_000
    var fault = CallModel.Fault.none

    private struct Planned {
        var client: Int
        var start: Int
        var instant: Int
        var end: Int
    }

    /// The history, in the order in which it took place.
    func make(seed: UInt64) -> [CallOperation] {
        var habits = (0..<clients).map { CallHabits(client: $0, seed: seed) }
        let plan = planned(&habits)
        var model = CallModel(world.contract, quotas: world.quotas, fault: fault)
        var operations: [CallOperation] = []
        for planned in plan {
            guard planned.client >= 0 else {
                let flush = CallOperation(
                    .flush, startMicroseconds: planned.start, endMicroseconds: planned.end, outcome: .done)
                operations.append(model.perform(flush, at: planned.instant))
                continue
            }
            let intent = habits[planned.client].next()
            var operation = CallOperation(
                intent.action, id: intent.id,
                terms: world.terms(intent),
                startMicroseconds: planned.start, endMicroseconds: planned.end, outcome: .unknown)
            if habits[planned.client].happens(percent: shareUnknown), operation.action != .look {
                // Half of them take place. The client knows only when that was over.
                if habits[planned.client].happens(percent: 50) { _ = model.perform(operation, at: planned.instant) }
                operation.endMicroseconds += habits[planned.client].microseconds(0...200_000)
                if case .reserve = intent.action {
                    habits[planned.client].wasDenied(intent.id)
                    operation.id = nil
                }
                operations.append(operation)
                continue
            }
            let answered = model.perform(operation, at: planned.instant)
            if answered.outcome == .denied { habits[planned.client].wasDenied(intent.id) }
            operations.append(answered)
        }
        return operations
    }

    /// The instant when a client has gone on for so long: later where a stall comes in between.
    private func passed(from instant: Int, _ microseconds: Int) -> Int {
        guard let stallsEachMicroseconds else { return instant + microseconds }
        let period = stallsEachMicroseconds + Self.stallMicroseconds
        let place = min(instant % period, stallsEachMicroseconds)
        let stalls = (place + microseconds) / stallsEachMicroseconds
        return instant - instant % period + place + microseconds + stalls * Self.stallMicroseconds
    }

    private func planned(_ habits: inout [CallHabits]) -> [Planned] {
        var plan: [Planned] = []
        for client in 0..<clients {
            var clock = 1_000_000_000 + habits[client].microseconds(0...10_000)
            for _ in 0..<callsEach {
                clock = passed(from: clock, habits[client].microseconds(100...longestPauseMicroseconds))
                let instant = passed(from: clock, habits[client].microseconds(1...longestLatencyMicroseconds))
                let end = passed(from: instant, habits[client].microseconds(1...longestLatencyMicroseconds))
                plan.append(Planned(client: client, start: clock, instant: instant, end: end))
                clock = end
            }
        }
        let last = plan.map(\.instant).max() ?? 0
        for _ in 0..<flushes {
            let instant = habits[0].microseconds(1_000_010_000...last)
            plan.append(Planned(client: -1, start: instant - 300, instant: instant, end: instant + 300))
        }
        return plan.sorted { $0.instant < $1.instant }
    }
}
