@testable import RateLimitCore

/// What a window has been charged with, whatever it was defined as; and what that comes to as it is defined now.
struct ModelLog {
    private var log = SlidingWindowLog()
    /// Whether it is one sum of a calendar's; and the most that this had come to before a refund, where that is more.
    private var isSum = false
    private var highest = 0

    private static func unbounded(_ milliseconds: Int) -> Limit {
        Limit(name: "model", quota: Limit.quotas.upperBound, windowMilliseconds: milliseconds)
    }

    /// The time of the last charge, also of one that was given back; 0 where there is none.
    var newest: Int { log.newestMicroseconds ?? 0 }

    /// Where the clock has stepped back, time stands still at the last charge.
    private func time(_ clock: Int) -> Int { max(clock, newest) }

    /// What counts, and how long until nothing does, in milliseconds.
    ///
    /// - Parameter keptUntil: when the last lease lapses, in milliseconds, where leases hold anything of it.
    func counted(_ window: ModelWindow, clock: Int, keptUntil: Int? = nil) -> (used: Int, reset: Int) {
        switch window {
        case .concurrency: return (0, 0)
        case .sliding(let milliseconds):
            var log = log
            let look = log.check(cost: 0, limit: Self.unbounded(milliseconds), clockMicroseconds: clock)
            return (look.used, look.resetAfterMilliseconds)
        case .calendar(let seconds, let offset):
            let period = ModelWindow.period(of: seconds, offset: offset, at: time(clock))
            let live = log.entries[log.dead...].filter { $0.timeMicroseconds >= period.lowerBound * 1_000_000 }
            let used = live.reduce(0) { $0 + $1.cost }
            return (used, used > 0 ? period.upperBound * 1000 - clock / 1000 : 0)
        case .lifetime(let milliseconds):
            guard log.total > 0, stands(milliseconds, clock: clock, keptUntil: keptUntil) else { return (0, 0) }
            let reset = window.ends(ofChargeAt: newest - clock)
            return (log.total, reset > 0 ? reset : max(1, (keptUntil ?? 0) - clock / 1000))
        }
    }

    /// Whether a lifetime goes on: it has not been idle for so long, or leases hold any of it.
    private func stands(_ idleMilliseconds: Int, clock: Int, keptUntil: Int?) -> Bool {
        keptUntil != nil || time(clock) - newest < idleMilliseconds * 1000
    }

    /// What is held from now on of a lifetime that has been idle begins it anew.
    mutating func hold(_ window: ModelWindow, clock: Int, keptUntil: Int?) {
        guard case .lifetime(let milliseconds) = window, log.total > 0 || highest > 0,
            !stands(milliseconds, clock: clock, keptUntil: keptUntil)
        else { return }
        let now = time(clock)
        (log, isSum, highest) = (SlidingWindowLog(), true, 0)
        log.newestMicroseconds = now
    }

    /// Charges, and says which thresholds are crossed: those above the first number, up to the second.
    @discardableResult
    mutating func charge(
        _ cost: Int, _ window: ModelWindow, clock: Int, keptUntil: Int? = nil
    ) -> (above: Int, upTo: Int) {
        var above = counted(window, clock: clock, keptUntil: keptUntil).used
        let total = above + cost
        let goesOn: Bool?
        switch window {
        case .calendar(let seconds, let offset):
            let period = ModelWindow.period(of: seconds, offset: offset, at: time(clock))
            goesOn = newest >= period.lowerBound * 1_000_000
        case .lifetime(let milliseconds): goesOn = stands(milliseconds, clock: clock, keptUntil: keptUntil)
        case .sliding, .concurrency: goesOn = nil
        }
        if isSum, goesOn == true { above = max(above, highest) }
        (isSum, highest) = (goesOn != nil, goesOn != nil && above > total ? above : 0)
        add(cost, window, clock: clock, keptUntil: keptUntil)
        return (above, total)
    }

    private mutating func add(_ cost: Int, _ window: ModelWindow, clock: Int, keptUntil: Int?) {
        switch window {
        case .concurrency: break
        case .sliding(let milliseconds):
            _ = log.check(cost: cost, limit: Self.unbounded(milliseconds), clockMicroseconds: clock)
        case .calendar, .lifetime:
            // It ends as a whole: what it counts is kept as one charge, the last one.
            let total = counted(window, clock: clock, keptUntil: keptUntil).used + cost
            let now = time(clock)
            log = SlidingWindowLog()
            log.entries = [SlidingWindowLog.Entry(timeMicroseconds: now, cost: total)]
            log.total = total
            log.newestMicroseconds = now
        }
    }

    /// Takes back what counts, from the newest charge on; whether anything did.
    mutating func refund(_ cost: Int, _ window: ModelWindow, clock: Int, keptUntil: Int? = nil) -> Bool {
        if isSum, cost > 0 {
            highest = max(highest, counted(window, clock: clock, keptUntil: keptUntil).used)
        }
        switch window {
        case .concurrency: return false
        case .sliding(let milliseconds):
            return log.refund(cost, limit: Self.unbounded(milliseconds), clockMicroseconds: clock) > 0
        case .calendar, .lifetime:
            // What the period counts is the newest, and no more than that is taken.
            let refunded = min(cost, counted(window, clock: clock, keptUntil: keptUntil).used)
            return refunded > 0
                && log.refund(refunded, limit: Self.unbounded(Self.longest), clockMicroseconds: clock) > 0
        }
    }

    private static let longest = 31_536_000_000
}
