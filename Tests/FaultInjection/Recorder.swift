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
        var forgettings: [Operation] = []
        var settlements: [(askedBefore: Int, by: Int)] = []
    }

    private let storage = Mutex(Storage())

    func newLog(_ contract: WindowContract) -> UserLog { UserLog(contract) }

    func retire(_ log: UserLog) { storage.withLock { $0.retired.append(log) } }

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
    var waiting: Int { storage.withLock { $0.retired.count } }

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
            let end = operation.endMicroseconds
            let place = settlements.firstIndex { $0.askedBefore > end }
            guard let place else { return nil }
            operations[index].endMicroseconds = settlements[place].by
        }
        return operations
    }
}
