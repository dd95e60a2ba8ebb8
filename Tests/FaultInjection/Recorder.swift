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
    let createdAt = systemMicroseconds()
    private let storage = Mutex(Storage())

    init(_ contract: WindowContract) { self.contract = contract }

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

/// All that was seen: the users' logs, when windows were emptied, and when what had been given up was over.
final class Recorder: Sendable {
    private struct Storage {
        var retired: [UserLog] = []
        var retiredTeams: [CallLog] = []
        var forgettings: [Operation] = []
        var settlements: [(askedBefore: Int, by: Int)] = []
    }

    private let storage = Mutex(Storage())

    func newLog(_ contract: WindowContract) -> UserLog { UserLog(contract) }

    func retire(_ log: UserLog) { storage.withLock { $0.retired.append(log) } }

    func retire(_ log: CallLog) { storage.withLock { $0.retiredTeams.append(log) } }

    /// Every window was emptied.
    func forgot(from start: Int, to end: Int) {
        let forgetting = Operation(startMicroseconds: start, endMicroseconds: end, outcome: .forgot(isCertain: true))
        storage.withLock { $0.forgettings.append(forgetting) }
    }

    func settled(askedBefore: Int, by end: Int) {
        storage.withLock { $0.settlements.append((askedBefore, end)) }
    }

    /// Histories that are complete: the user is retired, no request is under way, and of each the end is known.
    func takeComplete() -> [(log: UserLog, operations: [Operation])] {
        storage.withLock { storage in
            var complete: [(log: UserLog, operations: [Operation])] = []
            storage.retired.removeAll { log in
                guard let operations = log.complete, let whole = Self.settled(operations, storage.settlements) else {
                    return false
                }
                let forgettings = storage.forgettings.filter { $0.endMicroseconds >= log.createdAt }
                complete.append((log, whole + forgettings))
                return true
            }
            return complete
        }
    }

    /// How many histories wait to be complete.
    var waiting: Int { storage.withLock { $0.retired.count + $0.retiredTeams.count } }

    /// The same of calls under several limits.
    func takeCompleteCalls() -> [[CallOperation]] {
        storage.withLock { storage in
            var complete: [[CallOperation]] = []
            storage.retiredTeams.removeAll { log in
                guard var operations = log.complete else { return false }
                for index in operations.indices where operations[index].outcome == .unknown {
                    guard let end = Self.settled(operations[index].endMicroseconds, storage.settlements) else {
                        return false
                    }
                    operations[index].endMicroseconds = end
                }
                let flushes = storage.forgettings.filter { $0.endMicroseconds >= log.createdAt }.map {
                    CallOperation(
                        .flush, startMicroseconds: $0.startMicroseconds, endMicroseconds: $0.endMicroseconds,
                        outcome: .done)
                }
                complete.append(operations + flushes)
                return true
            }
            return complete
        }
    }

    /// By when nothing that was asked before an instant could happen any more; nil where that is not known.
    private static func settled(_ end: Int, _ settlements: [(askedBefore: Int, by: Int)]) -> Int? {
        settlements.first { $0.askedBefore > end }?.by
    }

    /// With the instant by which each unknown outcome was settled as its end; nil where one is not.
    private static func settled(
        _ operations: [Operation], _ settlements: [(askedBefore: Int, by: Int)]
    ) -> [Operation]? {
        var operations = operations
        for (index, operation) in operations.enumerated() {
            switch operation.outcome {
            case .unknown, .forgot(isCertain: false): break
            case .admitted, .denied, .looked, .forgot: continue
            }
            guard let end = settled(operation.endMicroseconds, settlements) else { return nil }
            operations[index].endMicroseconds = end
        }
        return operations
    }
}
