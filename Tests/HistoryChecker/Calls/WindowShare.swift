/// What one call, or one lease with all its calls, has in one window: when it may be there, and when it must be.
///
/// A lease has at any instant either what it holds in the window or what its settlement charged, never both.
struct WindowShare {
    struct Span {
        var amount: Int
        var from: Int
        /// Behind its end.
        var to: Int
    }

    /// At its instants such an amount may be in the window.
    private(set) var possible: [Span] = []
    /// Behind its first instant and before its last such an amount is in the window, whatever happened.
    private(set) var certain: [Span] = []

    var begin: Int { possible.map(\.from).min() ?? 0 }
    var end: Int { possible.map(\.to).max() ?? 0 }

    /// The most that can be there at some instant from `start` to `end`.
    func most(_ start: Int, _ end: Int) -> Int {
        var most = 0
        for span in possible where span.from <= end && span.to > start { most = max(most, span.amount) }
        return most
    }

    /// The least that is there at each instant from `start` to `end`.
    func least(_ start: Int, _ end: Int) -> Int {
        var least = 0
        for span in certain where span.from < start && span.to > end { least = max(least, span.amount) }
        return least
    }

    /// The share of a call that charges by itself.
    init?(_ operation: CallOperation, in window: Int, _ forgettings: Forgettings, _ microseconds: Int) {
        guard operation.mayAct else { return nil }
        charge(operation, in: window, forgettings, microseconds)
        if possible.isEmpty { return nil }
    }

    /// The share of a lease, or of a request id.
    init?(_ story: LeaseStory, in window: Int, _ forgettings: Forgettings, _ microseconds: Int) {
        for end in story.ends where end.action != .release && end.mayAct {
            charge(end, in: window, forgettings, microseconds)
        }
        if let reserve = story.reserve { hold(reserve, story, in: window, forgettings, microseconds) }
        if possible.isEmpty { return nil }
    }

    private mutating func charge(
        _ operation: CallOperation, in window: Int, _ forgettings: Forgettings, _ microseconds: Int
    ) {
        guard let cost = operation.term(in: window)?.cost, cost > 0, microseconds > 0 else { return }
        let latest = min(operation.endMicroseconds + microseconds, forgettings.latest(after: operation))
        possible.append(Span(amount: cost, from: operation.startMicroseconds, to: latest))
        guard operation.outcome == .done else { return }
        let earliest = min(operation.startMicroseconds + microseconds, forgettings.earliest(after: operation))
        certain.append(Span(amount: cost, from: operation.endMicroseconds, to: earliest))
    }

    private mutating func hold(
        _ reserve: CallOperation, _ story: LeaseStory, in window: Int, _ forgettings: Forgettings, _ microseconds: Int
    ) {
        guard let amount = reserve.term(in: window)?.cost, amount > 0, let lapse = story.lapse() else { return }
        var latest = min(lapse.upperBound + 1, forgettings.latest(after: reserve))
        if let first = story.first { latest = min(latest, first.endMicroseconds + 1) }
        possible.append(Span(amount: amount, from: reserve.startMicroseconds, to: latest))
        guard reserve.outcome == .done else { return }
        let forgotten = forgettings.earliest(after: reserve)
        let ended = story.ends.map(\.startMicroseconds).min() ?? Int.max
        let from = reserve.endMicroseconds
        certain.append(Span(amount: amount, from: from, to: min(ended, lapse.lowerBound, forgotten)))
        guard let first = story.first else {
            return settleAtMost(story, amount, in: window, from: from, forgotten: forgotten, microseconds, lapse)
        }
        // Settled while it lived, the charge takes the place of what was held without a gap.
        guard first.action == .settle, first.outcome == .done, first.endMicroseconds < lapse.lowerBound,
            let cost = first.term(in: window)?.cost
        else { return }
        let left = min(first.startMicroseconds + microseconds, forgotten)
        certain.append(Span(amount: min(amount, cost), from: from, to: left))
    }

    /// Where only settlements can have ended it, and none is known to have, either it holds still or one has charged.
    private mutating func settleAtMost(
        _ story: LeaseStory, _ amount: Int, in window: Int, from: Int, forgotten: Int, _ microseconds: Int,
        _ lapse: ClosedRange<Int>
    ) {
        let costs = story.ends.map { end in
            (cost: end.action == .settle ? end.term(in: window)?.cost ?? 0 : 0, start: end.startMicroseconds)
        }
        guard let least = costs.map(\.cost).min(), least > 0, let start = costs.map(\.start).min() else { return }
        let left = min(start + microseconds, lapse.lowerBound, forgotten)
        certain.append(Span(amount: min(amount, least), from: from, to: left))
    }
}

/// When a window was emptied.
struct Forgettings {
    private let operations: [CallOperation]

    init(_ operations: [CallOperation], of window: Int) {
        self.operations = operations.filter { $0.action == .flush || $0.term(in: window) != nil }
    }

    /// By when what an operation did in the window has certainly been forgotten.
    func latest(after operation: CallOperation) -> Int {
        operations.filter { $0.outcome == .done && $0.startMicroseconds > operation.endMicroseconds }
            .map { $0.endMicroseconds + 1 }.min() ?? Int.max
    }

    /// From when on it may have been forgotten.
    func earliest(after operation: CallOperation) -> Int {
        operations.filter { $0.endMicroseconds >= operation.startMicroseconds }.map(\.startMicroseconds).min()
            ?? Int.max
    }
}
