/// A time in which what was acknowledged may be forgotten afterwards, as a failover forgets what a master had not passed on.
///
/// What was acknowledged before it is kept: the replica that takes over certainly has it. So what is kept in the end is
/// one history, in which everything that overlaps the span took place once or not at all.
package struct LostSpan: Hashable, Sendable {
    package var startMicroseconds: Int
    package var endMicroseconds: Int

    package init(startMicroseconds: Int, endMicroseconds: Int) {
        self.startMicroseconds = startMicroseconds
        self.endMicroseconds = endMicroseconds
    }

    fileprivate func overlaps(_ start: Int, _ end: Int) -> Bool {
        start <= endMicroseconds && startMicroseconds <= end
    }
}

/// A history in whose time something may have been lost, in the two forms in which it can be judged.
package struct HistoryWithLosses<Element: Sendable>: Sendable {
    /// What overlaps a lost span says nothing any more, and perhaps took place: an order can be looked for.
    package private(set) var kept: [Element]
    /// With the numbers and denials that were told within a span as well, each of which had to be possible by itself:
    /// the master that lost its writes and the one that took over may both have told them, so they need no common order.
    package private(set) var counted: [Element]

    package var hasLosses: Bool { kept.count != counted.count || hasSilenced }
    private var hasSilenced = false
}

extension HistoryWithLosses where Element == CallOperation {
    /// - Parameter spans: those of the slot in which the history's windows are.
    package init(_ operations: [CallOperation], lost spans: [LostSpan]) {
        kept = []
        counted = []
        for operation in operations {
            let isLost = spans.contains { $0.overlaps(operation.startMicroseconds, operation.endMicroseconds) }
            guard isLost, !operation.forgets else {
                kept.append(operation)
                counted.append(operation)
                continue
            }
            hasSilenced = true
            if let silenced = operation.silenced {
                kept.append(silenced)
                counted.append(silenced)
            }
            if let told = operation.told { counted.append(told) }
        }
    }
}

extension CallOperation {
    /// What its answer told of the windows, apart from what it did.
    fileprivate var told: CallOperation? {
        guard outcome != .unknown, terms.contains(where: { $0.standing != nil }) else { return nil }
        if outcome == .denied { return self }
        var told = self
        told.action = .look
        told.outcome = .done
        told.id = nil
        for index in told.terms.indices { told.terms[index].cost = 0 }
        return told
    }
}

extension HistoryWithLosses where Element == Operation {
    /// - Parameters:
    ///   - spans: those of the slot in which the user's window is.
    ///   - contract: a denial may be repeated from memory for a while behind a span.
    package init(_ operations: [Operation], lost spans: [LostSpan], under contract: WindowContract) {
        kept = []
        counted = []
        for operation in operations {
            let memory = if case .denied = operation.outcome { contract.denialMemoryMicroseconds } else { 0 }
            let isLost = spans.contains {
                $0.overlaps(operation.startMicroseconds - memory, operation.endMicroseconds)
            }
            guard isLost else {
                kept.append(operation)
                counted.append(operation)
                continue
            }
            switch operation.outcome {
            case .forgot, .unknown:
                kept.append(operation)
                counted.append(operation)
            case .denied, .looked:
                hasSilenced = true
                counted.append(operation)
            case .admitted(let answer):
                hasSilenced = true
                var silenced = operation
                silenced.outcome = .unknown
                kept.append(silenced)
                counted.append(silenced)
                var told = operation
                told.cost = 0
                told.outcome = .looked(answer)
                counted.append(told)
            }
        }
    }
}
