import HistoryChecker
import Synchronization

/// What is counted of a run, by the fault in whose time it fell.
package struct FaultFigures: Sendable {
    package var injected = 0
    package var answers = 0
    package var slowestMicroseconds = 0
    package var deniedWrongly = 0
    package var admittedOver = 0
    package var otherOffences = 0
    package var slowestExactMilliseconds = 0.0
}

/// What was asked of several limits at once.
package struct CallFigures: Sendable {
    package var operations = 0
    package var unknown = 0
    /// By what was asked.
    package var kinds: [String: Int] = [:]
    /// By the limit that denied.
    package var denials: [String: Int] = [:]
}

/// The figures while the run goes on. A fault's time lasts from its beginning until the next one begins.
package final class Statistics: Sendable {
    private struct Storage {
        var figures: [FaultFigures]
        /// Which fault began when, in the order of time; the first stands for "none yet".
        var times: [(startMicroseconds: Int, fault: Int)]
        var latencies: [Int] = []
        var calls = CallFigures()
    }

    private let storage: Mutex<Storage>

    /// - Parameter kinds: how many kinds of faults there are; one more row stands for the time before the first.
    init(kinds: Int) {
        storage = Mutex(
            Storage(figures: Array(repeating: FaultFigures(), count: kinds + 1), times: [(Int.min, kinds)])
        )
    }

    var figures: [FaultFigures] { storage.withLock { $0.figures } }

    func began(_ fault: Int, atMicroseconds start: Int) {
        storage.withLock { storage in
            storage.times.append((start, fault))
            storage.figures[fault].injected += 1
        }
    }

    func exactAgain(_ fault: Int, afterMilliseconds milliseconds: Double) {
        storage.withLock { storage in
            storage.figures[fault].slowestExactMilliseconds = max(
                storage.figures[fault].slowestExactMilliseconds, milliseconds
            )
        }
    }

    var calls: CallFigures { storage.withLock { $0.calls } }

    /// - Parameter denied: the limits that denied it.
    func called(_ call: CallOperation, deniedBy denied: [String]) {
        storage.withLock { storage in
            for name in denied { storage.calls.denials[name, default: 0] += 1 }
            storage.calls.operations += 1
            storage.calls.unknown += call.outcome == .unknown ? 1 : 0
            storage.calls.kinds[call.kind, default: 0] += 1
        }
    }

    func answered(from start: Int, to end: Int) {
        let took = end - start
        storage.withLock { storage in
            let fault = Self.fault(at: end, storage.times)
            storage.figures[fault].answers += 1
            storage.figures[fault].slowestMicroseconds = max(storage.figures[fault].slowestMicroseconds, took)
            storage.latencies.append(took)
        }
    }

    func offended(_ offence: IntervalBounds.Offence, atMicroseconds instant: Int) {
        storage.withLock { storage in
            let fault = Self.fault(at: instant, storage.times)
            switch offence {
            case .over: storage.figures[fault].admittedOver += 1
            case .under: storage.figures[fault].deniedWrongly += 1
            case .miscounted, .wrongReset: storage.figures[fault].otherOffences += 1
            }
        }
    }

    func offended(_ offence: CallBounds.Offence, atMicroseconds instant: Int) {
        switch offence {
        case .over: offended(IntervalBounds.Offence.over, atMicroseconds: instant)
        case .under: offended(IntervalBounds.Offence.under, atMicroseconds: instant)
        case .miscounted, .endedTwice, .neverEnded, .lapsedEarly, .outlived:
            offended(IntervalBounds.Offence.miscounted, atMicroseconds: instant)
        }
    }

    /// How long the answers since the last call took.
    func takeLatencies() -> [Int] {
        storage.withLock { storage in
            defer { storage.latencies.removeAll(keepingCapacity: true) }
            return storage.latencies
        }
    }

    private static func fault(at instant: Int, _ times: [(startMicroseconds: Int, fault: Int)]) -> Int {
        times.last { $0.startMicroseconds <= instant }?.fault ?? times[0].fault
    }
}
