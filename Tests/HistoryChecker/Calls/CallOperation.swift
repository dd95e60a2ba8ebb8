/// One call under several limits, as its client saw it: when it was sent, when its answer was there, what that said.
///
/// Its effect, if it had one, took place at one instant in between, in all of its windows at once.
package struct CallOperation: Hashable, Sendable {
    package enum Action: Hashable, Sendable {
        /// Asks whether it may go on, and charges.
        case check
        /// Asks, and holds under its lease for so long.
        case reserve(microseconds: Int)
        /// Lets its lease live for so long from now.
        case renew(microseconds: Int)
        /// Charges in place of what its lease holds; also where that has lapsed.
        case settle
        /// Gives back what its lease holds.
        case release
        /// Charges without being asked; with a lease's place taken by its request id, once.
        case usage
        case look
        /// Not a call: its terms' windows were emptied. The marks of ids that have been dealt with stay.
        case reset
        /// Not a call: Redis was emptied, as FLUSHALL or the end of a Redis without persistence does it.
        case flush
    }

    package enum Outcome: Hashable, Sendable {
        /// Admitted, charged, held, renewed, released, emptied.
        case done
        /// By at least one of its terms; it had no effect.
        case denied
        /// Its id had been settled, released or charged before; it had no effect.
        case repeated
        /// There is no such lease. A release has seen to it that a later settle charges nothing.
        case noLease
        /// No answer that says what happened: its effect took place once, or not at all, until the operation's end.
        case unknown
    }

    /// How an answer says that a limit stands.
    package struct Standing: Hashable, Sendable {
        package var quota: Int
        /// Charged and held, the call's own included.
        package var used: Int
        package var isDenied: Bool

        package init(quota: Int, used: Int, isDenied: Bool = false) {
            self.quota = quota
            self.used = used
            self.isDenied = isDenied
        }
    }

    /// The call's part in one window.
    package struct Term: Hashable, Sendable {
        /// Its place among the contract's windows.
        package var window: Int
        package var cost: Int
        /// What has to be free for an admission: the cost, or 1 where none is given.
        package var need: Int
        package var standing: Standing?

        package init(window: Int, cost: Int, need: Int? = nil, standing: Standing? = nil) {
            self.window = window
            self.cost = cost
            self.need = need ?? cost
            self.standing = standing
        }
    }

    package var action: Action
    /// The lease it is about, or that it was given; of usage the request id.
    package var id: String?
    package var terms: [Term]
    package var startMicroseconds: Int
    package var endMicroseconds: Int
    package var outcome: Outcome

    package init(
        _ action: Action, id: String? = nil, terms: [Term] = [], startMicroseconds: Int, endMicroseconds: Int,
        outcome: Outcome
    ) {
        self.action = action
        self.id = id
        self.terms = terms
        self.startMicroseconds = startMicroseconds
        self.endMicroseconds = endMicroseconds
        self.outcome = outcome
    }

    /// Whether it asks for room, and can be denied.
    var asks: Bool {
        switch action {
        case .check, .reserve: true
        case .renew, .settle, .release, .usage, .look, .reset, .flush: false
        }
    }

    /// Whether it empties windows.
    var forgets: Bool { action == .reset || action == .flush }

    /// Whether it settles what becomes of its id.
    var ends: Bool { action == .settle || action == .release || action == .usage }

    /// Whether it may have taken place with an effect.
    var mayAct: Bool { outcome == .done || outcome == .unknown }

    /// For how long it lets a lease live; nil where it does not.
    var lifeMicroseconds: Int? {
        switch action {
        case .reserve(let microseconds), .renew(let microseconds): microseconds
        case .check, .settle, .release, .usage, .look, .reset, .flush: nil
        }
    }

    /// The same with its answer not known; nil where it then says nothing.
    package var silenced: CallOperation? {
        let hasMarked = action == .release && outcome == .noLease
        guard mayAct || hasMarked, action != .look else { return nil }
        var silenced = self
        silenced.outcome = .unknown
        for index in silenced.terms.indices { silenced.terms[index].standing = nil }
        return silenced
    }

    func term(in window: Int) -> Term? { terms.first { $0.window == window } }
}

/// What the windows of a history promise, as far as the checker has to know.
package struct CallContract: Hashable, Sendable {
    package enum Window: Hashable, Sendable {
        case sliding(microseconds: Int)
        /// Only holds.
        case concurrency
    }

    /// Each limit of each user, and those that users share.
    package var windows: [Window]
    /// How far the clients' clock and Redis's may be apart.
    package var toleranceMicroseconds: Int
    /// Leases live by whole milliseconds.
    static let leaseGrainMicroseconds = 1_000

    package init(windows: [Window], toleranceMicroseconds: Int = 1_000) {
        self.windows = windows
        self.toleranceMicroseconds = toleranceMicroseconds
    }

    /// For how long a charge stays in a window; none does where only holds count.
    func microseconds(_ window: Int) -> Int {
        switch windows[window] {
        case .sliding(let microseconds): microseconds
        case .concurrency: 0
        }
    }

    /// The operations with their intervals widened by the tolerance.
    func widened(_ operations: [CallOperation]) -> [CallOperation] {
        operations.map { operation in
            var operation = operation
            operation.startMicroseconds -= toleranceMicroseconds
            operation.endMicroseconds += toleranceMicroseconds
            return operation
        }
    }
}
