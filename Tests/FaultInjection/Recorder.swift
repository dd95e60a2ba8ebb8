import HistoryChecker
import Synchronization
import TestSupport

/// What clients saw of one user.
final class UserLog: Sendable {
    private struct Storage {
        var operations: [Operation] = []
        var open = 0
    }

    let user = newUser()
    let contract: WindowContract
    /// Where the window is in a cluster.
    let slot: Int
    let createdAt = systemMicroseconds()
    private let storage = Mutex(Storage())

    /// - Parameter prefix: the daemons' prefix of keys.
    init(_ contract: WindowContract, prefix: String) {
        self.contract = contract
        slot = HashSlots.slot(of: "\(prefix):\(user)")
    }

    func began() { storage.withLock { $0.open += 1 } }

    func ended(_ operation: Operation) {
        storage.withLock { storage in
            storage.open -= 1
            storage.operations.append(operation)
        }
    }

    func forgot(from start: Int, to end: Int, isCertain: Bool) {
        let forgetting = Operation(
            startMicroseconds: start, endMicroseconds: end, outcome: .forgot(isCertain: isCertain)
        )
        storage.withLock { $0.operations.append(forgetting) }
    }

    /// All operations once no request is under way; nil before.
    var complete: [Operation]? { storage.withLock { $0.open == 0 ? $0.operations : nil } }
}

/// All that was seen: the logs, when windows were emptied or perhaps lost, and when what had been given up was over.
final class Recorder: Sendable {
    /// Windows that were emptied, or lost what was acknowledged in a span.
    private struct Forgetting {
        var startMicroseconds: Int
        var endMicroseconds: Int
        /// Those of some slots of a cluster; nil for all there are.
        var slots: Set<Int>?
        /// Of what was lost: from when on there were perhaps two masters.
        var forkMicroseconds: Int?

        func concerns(_ slot: Int, since instant: Int) -> Bool {
            endMicroseconds >= instant && slots?.contains(slot) != false
        }
    }

    /// What is known of the windows apart from the answers.
    private struct Known {
        var emptied: [Forgetting] = []
        var lost: [Forgetting] = []
        var settlements: [(askedBefore: Int, by: Int)] = []
    }

    private struct Storage {
        var retired: [UserLog] = []
        var retiredSubjects: [SubjectLog] = []
        var known = Known()
    }

    private let storage = Mutex(Storage())

    func retire(_ log: UserLog) { storage.withLock { $0.retired.append(log) } }

    func retire(_ log: SubjectLog) { storage.withLock { $0.retiredSubjects.append(log) } }

    /// Windows were emptied: those of some slots, or all.
    func forgot(from start: Int, to end: Int, slots: Set<Int>? = nil) {
        let emptied = Forgetting(startMicroseconds: start, endMicroseconds: end, slots: slots)
        storage.withLock { $0.known.emptied.append(emptied) }
    }

    /// What was acknowledged in a span may be forgotten: that in windows of some slots.
    ///
    /// - Parameter fork: where a former master goes on once more, from when on another one may have taken over.
    func lost(from start: Int, to end: Int, slots: Set<Int>, fork: Int? = nil) {
        let lost = Forgetting(startMicroseconds: start, endMicroseconds: end, slots: slots, forkMicroseconds: fork)
        storage.withLock { $0.known.lost.append(lost) }
    }

    func settled(askedBefore: Int, by end: Int) {
        storage.withLock { $0.known.settlements.append((askedBefore, end)) }
    }

    /// Histories that are complete: the user is retired, no request is under way, and of each the end is known.
    func takeComplete() -> [(log: UserLog, history: HistoryWithLosses<Operation>)] {
        storage.withLock { storage in
            var complete: [(log: UserLog, history: HistoryWithLosses<Operation>)] = []
            let known = storage.known
            storage.retired.removeAll { log in
                guard let operations = log.complete, let whole = Self.settled(operations, known) else {
                    return false
                }
                let emptied = known.emptied.filter { $0.concerns(log.slot, since: log.createdAt) }.map {
                    Operation(
                        startMicroseconds: $0.startMicroseconds, endMicroseconds: $0.endMicroseconds,
                        outcome: .forgot(isCertain: true))
                }
                let spans = Self.spans(known, log.slot, since: log.createdAt)
                complete.append((log, HistoryWithLosses(whole + emptied, lost: spans, under: log.contract)))
                return true
            }
            return complete
        }
    }

    /// How many histories wait to be complete.
    var waiting: Int { storage.withLock { $0.retired.count + $0.retiredSubjects.count } }

    /// The same of calls under several limits.
    func takeCompleteCalls() -> [(log: SubjectLog, history: HistoryWithLosses<CallOperation>)] {
        storage.withLock { storage in
            var complete: [(log: SubjectLog, history: HistoryWithLosses<CallOperation>)] = []
            let known = storage.known
            storage.retiredSubjects.removeAll { log in
                guard var operations = log.complete,
                    Self.isSettled(operations.lazy.map(\.endMicroseconds), known)
                else { return false }
                for index in operations.indices where operations[index].outcome == .unknown {
                    guard let end = Self.settled(operations[index].endMicroseconds, known) else { return false }
                    operations[index].endMicroseconds = end
                }
                let flushes = known.emptied.filter { $0.concerns(log.slot, since: log.createdAt) }.map {
                    CallOperation(
                        .flush, startMicroseconds: $0.startMicroseconds, endMicroseconds: $0.endMicroseconds,
                        outcome: .done)
                }
                let spans = Self.spans(known, log.slot, since: log.createdAt)
                complete.append((log, HistoryWithLosses(operations + flushes, lost: spans)))
                return true
            }
            return complete
        }
    }

    private static func spans(_ known: Known, _ slot: Int, since instant: Int) -> [LostSpan] {
        known.lost.filter { $0.concerns(slot, since: instant) }.map {
            LostSpan(
                startMicroseconds: $0.startMicroseconds, endMicroseconds: $0.endMicroseconds,
                forkMicroseconds: $0.forkMicroseconds)
        }
    }

    /// By when nothing that was asked before an instant could happen any more; nil where that is not known.
    private static func settled(_ end: Int, _ known: Known) -> Int? {
        let settlements = known.settlements
        // In the order of time, and there are many of them in a long run.
        var low = 0
        var high = settlements.count
        while low < high {
            let middle = (low + high) / 2
            if settlements[middle].askedBefore > end { high = middle } else { low = middle + 1 }
        }
        return low < settlements.count ? settlements[low].by : nil
    }

    /// Whether all that was lost by the end of a history is known.
    private static func isSettled(_ ends: some Sequence<Int>, _ known: Known) -> Bool {
        ends.max().map { settled($0, known) != nil } ?? true
    }

    /// With the instant by which each unknown outcome was settled as its end; nil where one is not.
    private static func settled(_ operations: [Operation], _ known: Known) -> [Operation]? {
        guard isSettled(operations.lazy.map(\.endMicroseconds), known) else { return nil }
        var operations = operations
        for (index, operation) in operations.enumerated() {
            switch operation.outcome {
            case .unknown, .forgot(isCertain: false): break
            case .admitted, .denied, .looked, .forgot: continue
            }
            guard let end = settled(operation.endMicroseconds, known) else { return nil }
            operations[index].endMicroseconds = end
        }
        return operations
    }
}
