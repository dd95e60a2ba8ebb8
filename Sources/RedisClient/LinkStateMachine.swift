import NIOCore

/// What one connection to Redis is waiting for, as a value: no channel, no clock of its own.
///
/// Replies come in the order of the commands, so the commands in flight are a queue. A command whose deadline has
/// passed is given up but keeps its place: its reply still comes, and must not be taken for another's.
struct LinkStateMachine: ~Copyable {
    /// Whose reply is awaited.
    enum Purpose {
        /// Step of the handshake, by its index.
        case setup(Int)
        /// A PING of the link's own, which tests whether Redis answers in time.
        case probe
        /// The user's command.
        case command
        /// A command given up at its deadline.
        case abandoned
    }

    /// What to do with a reply.
    enum ReplyAction {
        case setup(Int)
        case probe
        case deliver
        /// The reply of a command given up; `isLast` when nothing else is in flight.
        case discard(isLast: Bool)
        /// Nobody asked: the stream cannot be trusted any more.
        case unmatched
    }

    private struct InFlight {
        var purpose: Purpose
        var deadline: NIODeadline
    }

    private var inFlight = CircularBuffer<InFlight>(initialCapacity: 64)
    private var abandoned = 0

    /// Commands whose reply has not come, those given up included.
    var count: Int { inFlight.count }

    /// Whether commands that were given up still occupy the connection.
    var hasAbandoned: Bool { abandoned > 0 }

    /// When the oldest command that is still waited for is due; nil when there is none.
    var nextDeadline: NIODeadline? {
        abandoned < inFlight.count ? inFlight[offset: abandoned].deadline : nil
    }

    /// Notes a command that has been written. Deadlines must not decrease from one to the next by more than the
    /// caller can bear: they are looked at in the order of the queue.
    mutating func sent(_ purpose: Purpose, deadline: NIODeadline) {
        inFlight.append(InFlight(purpose: purpose, deadline: deadline))
    }

    /// Takes note of one reply.
    mutating func received() -> ReplyAction {
        guard let first = inFlight.popFirst() else { return .unmatched }
        switch first.purpose {
        case .setup(let step): return .setup(step)
        case .probe: return .probe
        case .command: return .deliver
        case .abandoned:
            abandoned -= 1
            return .discard(isLast: inFlight.isEmpty)
        }
    }

    /// Gives up the oldest command whose deadline has passed, and says whose it was; nil when there is none.
    mutating func expire(now: NIODeadline) -> Purpose? {
        guard let deadline = nextDeadline, deadline <= now else { return nil }
        let index = inFlight.index(inFlight.startIndex, offsetBy: abandoned)
        let purpose = inFlight[index].purpose
        inFlight[index].purpose = .abandoned
        abandoned += 1
        return purpose
    }

    /// Takes the oldest command off a connection that is gone; nil when none is left.
    mutating func drain() -> Purpose? {
        abandoned = 0
        return inFlight.popFirst()?.purpose
    }
}
