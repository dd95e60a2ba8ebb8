/// A time in which what was acknowledged may be forgotten afterwards, as a failover forgets what a master had not passed on.
///
/// What was acknowledged before it is kept: the replica that takes over certainly has it. So what is kept in the end is
/// one history, in which everything that overlaps the span took place once or not at all.
package struct LostSpan: Hashable, Sendable {
    package var startMicroseconds: Int
    package var endMicroseconds: Int
    /// From when on there were perhaps two masters of which neither had what the other one did.
    package var forkMicroseconds: Int

    /// - Parameter fork: where that was earlier than the span, in which a former master goes on once more.
    package init(startMicroseconds: Int, endMicroseconds: Int, forkMicroseconds fork: Int? = nil) {
        self.startMicroseconds = startMicroseconds
        self.endMicroseconds = endMicroseconds
        forkMicroseconds = min(fork ?? startMicroseconds, startMicroseconds)
    }

    fileprivate func overlaps(_ start: Int, _ end: Int) -> Bool {
        start <= endMicroseconds && startMicroseconds <= end
    }
}

/// An operation whose effect may be forgotten though it was answered.
package protocol Losable: Equatable, Sendable {
    var startMicroseconds: Int { get }
    var endMicroseconds: Int { get }
    /// The same with its answer not known; nil where it then says nothing.
    var silenced: Self? { get }
    /// What its answer told of the windows, apart from what it did; nil where it told nothing.
    var told: Self? { get }
}

/// A history in whose time something may have been lost, in the forms in which it can be judged.
package struct HistoryWithLosses<Element: Losable>: Sendable {
    /// What overlaps a lost span says nothing any more, and perhaps took place: an order can be looked for.
    package private(set) var kept: [Element] = []
    /// The histories in which counting looks for what cannot be: what is kept, and for each span one more, with the numbers
    /// and denials that were told in it.
    ///
    /// Each of these has to be possible by itself: the master that lost its writes and the one that took over may both
    /// have told them, so they need no common order. Nor does what was answered behind the fork say anything of what the
    /// other master had: a lease that one of them ended in the span, and lost, the other one may end again.
    package private(set) var counted: [[Element]] = []
    package private(set) var hasLosses = false

    /// - Parameter began: when an operation may have been decided first.
    private init(_ operations: [Element], lost spans: [LostSpan], _ began: (Element) -> Int) {
        func overlaps(_ operation: Element, _ span: LostSpan) -> Bool {
            span.overlaps(began(operation), operation.endMicroseconds)
        }
        for operation in operations {
            guard spans.contains(where: { overlaps(operation, $0) }) else {
                kept.append(operation)
                continue
            }
            hasLosses = hasLosses || operation.silenced != operation
            if let silenced = operation.silenced { kept.append(silenced) }
        }
        counted = [kept]
        for span in spans {
            var history: [Element] = []
            var tells = false
            for operation in operations {
                if operation.endMicroseconds < span.forkMicroseconds,
                    !spans.contains(where: { overlaps(operation, $0) })
                {
                    history.append(operation)
                    continue
                }
                if let silenced = operation.silenced { history.append(silenced) }
                guard overlaps(operation, span), let told = operation.told else { continue }
                history.append(told)
                tells = true
            }
            if tells { counted.append(history) }
        }
    }
}

extension HistoryWithLosses where Element == CallOperation {
    /// - Parameter spans: those of the slot in which the history's windows are.
    package init(_ operations: [CallOperation], lost spans: [LostSpan]) {
        self.init(operations, lost: spans) { $0.startMicroseconds }
    }
}

extension HistoryWithLosses where Element == Operation {
    /// - Parameters:
    ///   - spans: those of the slot in which the user's window is.
    ///   - contract: a denial may be repeated from memory for a while behind a span.
    package init(_ operations: [Operation], lost spans: [LostSpan], under contract: WindowContract) {
        self.init(operations, lost: spans) { operation in
            guard case .denied = operation.outcome else { return operation.startMicroseconds }
            return operation.startMicroseconds - contract.denialMemoryMicroseconds
        }
    }
}

extension CallOperation: Losable {
    package var told: CallOperation? {
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

extension Operation: Losable {
    package var silenced: Operation? {
        var silenced = self
        switch outcome {
        case .denied, .looked: return nil
        case .admitted, .unknown: silenced.outcome = .unknown
        case .forgot: silenced.outcome = .forgot(isCertain: false)
        }
        return silenced
    }

    package var told: Operation? {
        switch outcome {
        case .forgot, .unknown: return nil
        case .denied, .looked: return self
        case .admitted(let answer):
            var told = self
            told.cost = 0
            told.outcome = .looked(answer)
            return told
        }
    }
}
