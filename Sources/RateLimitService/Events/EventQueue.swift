import NIOCore
import RedisClient

/// What became of events that were handed to an outlet.
public enum DeliveryResult: Hashable, Sendable {
    /// They are where they belong.
    case accepted
    /// They never will be: the same is not to be tried again.
    case refused(reason: String)
    /// They may not be, and are tried again, after so long where the receiver says it.
    case failed(reason: String, retryAfterSeconds: Int?)
}

/// What one outlet is given at a time, and how long it is tried.
public struct DeliveryBounds: Hashable, Sendable {
    /// How many events may wait, those under way included; one more is lost.
    public var capacity = 1_024
    /// How many are handed over at once.
    public var batch: Int
    /// How often the same are tried; nil for as often as there is time.
    public var tries: Int?
    /// How long an event may wait, in milliseconds. Behind that it is lost.
    public var patienceMilliseconds: Int64
    /// The wait behind the first failure, in milliseconds; each further one is twice as long, and half of it is drawn.
    public var initialWaitMilliseconds: Int64
    /// The longest wait that is chosen here, in milliseconds.
    public var longestWaitMilliseconds: Int64
    /// The longest wait that a receiver is granted, in milliseconds.
    public var longestRetryAfterMilliseconds: Int64 = 300_000

    /// Makes bounds; all of them are above 0.
    public init(
        capacity: Int = 1_024, batch: Int, tries: Int? = nil, patienceMilliseconds: Int64,
        initialWaitMilliseconds: Int64, longestWaitMilliseconds: Int64
    ) {
        precondition(capacity > 0 && batch > 0 && tries ?? 1 > 0 && patienceMilliseconds > 0)
        precondition(initialWaitMilliseconds > 0 && longestWaitMilliseconds > 0)
        self.capacity = capacity
        self.batch = batch
        self.tries = tries
        self.patienceMilliseconds = patienceMilliseconds
        self.initialWaitMilliseconds = initialWaitMilliseconds
        self.longestWaitMilliseconds = longestWaitMilliseconds
    }
}

/// The events that wait for one outlet, in the order in which they came, and when the first of them are to be tried: a
/// value, without a clock.
///
/// Those that are under way stay the same until they are accepted or given up: an outlet that may have taken them without
/// saying so can tell by the first of them that they come again.
struct EventQueue {
    /// What is to be done next.
    enum Step: Hashable {
        case deliver([ThresholdEvent])
        case wait(until: NIODeadline)
        case idle
    }

    /// How many events came to which end.
    struct Counts: Hashable {
        var delivered = 0
        var refused = 0
        var lost = 0
    }

    /// What is worth a log line.
    enum News: Hashable {
        /// The outlet takes nothing more, for this reason.
        case troubled(reason: String)
        /// It takes events again. So many were refused or lost meanwhile.
        case recovered(refused: Int, lost: Int)
    }

    private struct Waiting {
        var event: ThresholdEvent
        var giveUpAt: NIODeadline
    }

    let bounds: DeliveryBounds
    private var waiting = CircularBuffer<Waiting>()
    /// How many of the first are under way or to be tried again together; 0 before their first try.
    private var headCount = 0
    private var isUnderWay = false
    private var tries = 0
    private var notBefore: NIODeadline?
    private var backoff: Backoff
    private var isFinishing = false
    /// How many were lost since ``beginFinishing()``.
    private(set) var lostAtEnd = 0
    /// What has not been counted yet.
    private var counts = Counts()
    /// What was refused or lost since the outlet began to be in trouble; nil while it is in none.
    private var trouble: Counts?

    init(bounds: DeliveryBounds) {
        self.bounds = bounds
        backoff = Backoff(
            initial: .milliseconds(bounds.initialWaitMilliseconds), cap: .milliseconds(bounds.longestWaitMilliseconds))
    }

    /// How many events wait, those under way included.
    var count: Int { waiting.count }

    /// Takes an event, or counts it as lost where as many wait as may.
    mutating func append(_ event: ThresholdEvent, at now: NIODeadline) {
        guard waiting.count < bounds.capacity else { return lose(1) }
        waiting.append(Waiting(event: event, giveUpAt: now + .milliseconds(bounds.patienceMilliseconds)))
    }

    /// Says what is to be done; what has waited too long is lost before.
    ///
    /// What is to be delivered is under way until ``settle(_:at:using:)``, which has to follow.
    mutating func next(at now: NIODeadline) -> Step {
        precondition(!isUnderWay, "what is under way has to be settled first")
        while let first = waiting.first, first.giveUpAt <= now { giveUp() }
        guard !waiting.isEmpty else { return .idle }
        if let notBefore, now < notBefore { return .wait(until: notBefore) }
        notBefore = nil
        isUnderWay = true
        if headCount == 0 { headCount = min(bounds.batch, waiting.count) }
        tries += 1
        return .deliver(waiting.prefix(headCount).map(\.event))
    }

    /// Takes what became of what was under way.
    mutating func settle(
        _ result: DeliveryResult, at now: NIODeadline, using random: inout some RandomNumberGenerator
    ) -> News? {
        precondition(isUnderWay, "nothing is under way")
        isUnderWay = false
        switch result {
        case .accepted:
            counts.delivered += headCount
            removeHead()
            backoff.reset()
            notBefore = nil
            defer { trouble = nil }
            return trouble.map { .recovered(refused: $0.refused, lost: $0.lost) }
        case .refused(let reason):
            let news = begins(reason)
            counts.refused += headCount
            trouble?.refused += headCount
            removeHead()
            return news
        case .failed(let reason, let retryAfter):
            let news = begins(reason)
            if isFinishing || tries == bounds.tries { giveUp() }
            if !isFinishing { notBefore = now + wait(retryAfter, using: &random) }
            return news
        }
    }

    /// Has what waits tried at once, and once; behind that it is lost.
    mutating func beginFinishing() {
        isFinishing = true
        notBefore = nil
    }

    /// Loses all that waits. What is under way has to be settled first.
    mutating func loseAll() {
        while !waiting.isEmpty { giveUp() }
    }

    /// What came to an end since this was last asked for.
    mutating func takeCounts() -> Counts {
        defer { counts = Counts() }
        return counts
    }

    private mutating func begins(_ reason: String) -> News? {
        guard trouble == nil else { return nil }
        trouble = Counts()
        return .troubled(reason: reason)
    }

    private mutating func wait(
        _ retryAfterSeconds: Int?, using random: inout some RandomNumberGenerator
    ) -> TimeAmount {
        let own = backoff.next(using: &random)
        guard let retryAfterSeconds, retryAfterSeconds > 0 else { return own }
        // Divided and not multiplied: a receiver may ask for years.
        let seconds = min(Int64(retryAfterSeconds), bounds.longestRetryAfterMilliseconds / 1_000)
        return max(own, .seconds(seconds))
    }

    /// Loses the first events: those that are tried together, or else one.
    private mutating func giveUp() {
        headCount = max(1, headCount)
        lose(headCount)
        removeHead()
    }

    private mutating func lose(_ count: Int) {
        counts.lost += count
        trouble?.lost += count
        if isFinishing { lostAtEnd += count }
    }

    private mutating func removeHead() {
        waiting.removeFirst(headCount)
        headCount = 0
        tries = 0
    }
}
