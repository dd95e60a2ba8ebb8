/// One request of one user, as its client saw it: when it was sent, when its answer was there, and what that said.
///
/// Its effect, if it had one, took place at one instant in between; nothing else about that instant is known.
package struct Operation: Hashable, Sendable {
    /// What the answer said of the window.
    package struct Answer: Hashable, Sendable {
        package var quota: Int
        package var remaining: Int
        package var resetAfterSeconds: Int

        package init(quota: Int, remaining: Int, resetAfterSeconds: Int) {
            self.quota = quota
            self.remaining = remaining
            self.resetAfterSeconds = resetAfterSeconds
        }
    }

    package enum Outcome: Hashable, Sendable {
        /// Redis admitted it: it was charged, once.
        case admitted(Answer)
        /// Redis denied it, now or a moment ago; nil where no wait helps.
        case denied(Answer, retryAfterSeconds: Int?)
        /// It only looked.
        case looked(Answer)
        /// No decision reached the client (degraded, closed, timed out): it may have been charged, once, or not. The
        /// operation's end is then the latest instant at which that can have happened.
        case unknown
        /// Not a request: something emptied the window, as a reset, FLUSHALL or the end of a Redis without persistence
        /// does. Where it is not certain it may not have happened.
        case forgot(isCertain: Bool)
    }

    package var cost: Int
    package var startMicroseconds: Int
    package var endMicroseconds: Int
    package var outcome: Outcome

    package init(cost: Int = 0, startMicroseconds: Int, endMicroseconds: Int, outcome: Outcome) {
        self.cost = cost
        self.startMicroseconds = startMicroseconds
        self.endMicroseconds = endMicroseconds
        self.outcome = outcome
    }
}

/// What the window promises, as far as the checker has to know.
package struct WindowContract: Hashable, Sendable {
    package var windowMicroseconds: Int
    /// How long a denial may be repeated from memory. Above 0 a denial's numbers may be as old as that, so only the
    /// denial itself is judged; and none is judged that follows a forgetting by less.
    package var denialMemoryMicroseconds: Int
    /// How far the clients' clock and the window's may be apart.
    package var toleranceMicroseconds: Int

    package init(windowMicroseconds: Int, denialMemoryMicroseconds: Int = 0, toleranceMicroseconds: Int = 1_000) {
        self.windowMicroseconds = windowMicroseconds
        self.denialMemoryMicroseconds = denialMemoryMicroseconds
        self.toleranceMicroseconds = toleranceMicroseconds
    }
}
