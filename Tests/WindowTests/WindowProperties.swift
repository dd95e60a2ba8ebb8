import RateLimitCore

/// What is wrong with a decision, in words; the step is the index in the history.
struct Violation: Error, CustomStringConvertible {
    var step: Int
    var what: String
    var description: String { "step \(step): \(what)" }
}

/// Something that decides checks: the script in Redis, or the pure reference.
protocol WindowUnderTest {
    mutating func check(cost: Int, limit: Limit, clockMicroseconds: Int) throws -> Decision
    /// Everything the window keeps, for comparison.
    func state() throws -> String?
}

extension ScriptWindow: WindowUnderTest {
    func state() throws -> String? { try stored() }
}

extension SlidingWindowLog: WindowUnderTest {
    func state() throws -> String? { "\(self)" }
}

/// Plays a history against a window and holds every decision against the plainest oracle there is: the list of all
/// admissions. It knows nothing of how a window is stored.
struct Player<Window: WindowUnderTest> {
    var window: Window
    private var quota = 1
    private var windowMilliseconds = 1000
    /// The clock that Redis shows, and the furthest it had got at an admission: the two differ after a step back.
    private var clock: Int
    private var furthest = 0
    private var admissions: [(time: Int, cost: Int)] = []
    private var lastDenial: (cost: Int, retry: Int)?
    private var step = 0
    private(set) var decisions: [Decision] = []

    init(_ window: Window, clock: Int) {
        self.window = window
        self.clock = clock
    }

    private var limit: Limit { Limit(name: "requests", quota: quota, windowMilliseconds: windowMilliseconds) }

    mutating func play(_ history: [Step]) throws {
        for (index, next) in history.enumerated() {
            step = index
            switch next {
            case .check(let cost): try check(cost: cost)
            case .look: try look()
            case .advance(let microseconds): clock += microseconds
            case .stepBack(let microseconds): clock -= microseconds
            case .setQuota(let quota): self.quota = quota
            case .setWindow(let milliseconds): windowMilliseconds = milliseconds
            case .waitAsTold: try waitAsTold()
            }
        }
    }

    private var now: Int { max(clock, furthest) }

    private func used(stretchedBy extra: Int = 0) -> Int {
        let start = now - windowMilliseconds * 1000 - extra
        return admissions.reversed().prefix { $0.time > start }.reduce(0) { $0 + $1.cost }
    }

    private var entriesInWindow: Int {
        let start = now - windowMilliseconds * 1000
        return admissions.reversed().prefix { $0.time > start }.count
    }

    private mutating func check(cost: Int) throws {
        let before = try window.state()
        let decision = try window.check(cost: cost, limit: limit, clockMicroseconds: clock)
        decisions.append(decision)
        // Up to 1,024 admissions the window is exact; above, an entry may leave up to W/1024 late.
        let slack = hasMerged ? windowMilliseconds * 1000 / 1024 : 0
        switch decision.verdict {
        case .allowed:
            try hold(used() + cost <= quota, "over: \(used()) + \(cost) admitted under \(quota)")
            // What has left the window at an admission stays gone, also when a longer window comes after it.
            let gone = now - windowMilliseconds * 1000 - slack
            admissions.removeAll { $0.time <= gone }
            admissions.append((now, cost))
            furthest = now
            if entriesInWindow > SlidingWindowLog.exactEntries { hasMerged = true }
            lastDenial = nil
        case .denied(let retry):
            try hold(used(stretchedBy: slack) + cost > quota, "under: \(used()) + \(cost) denied under \(quota)")
            try hold(retry > 0, "a denial without a wait")
            try hold(try window.state() == before, "a denial consumed or dropped something")
            lastDenial = (cost, retry)
        case .deniedForGood:
            try hold(cost > quota, "denied for good, though \(cost) fits in \(quota)")
            try hold(try window.state() == before, "a denial consumed or dropped something")
        }
        try holdUsed(decision, slack: slack)
    }

    /// Entries may have merged since the last time the window was empty.
    private var hasMerged = false

    private mutating func look() throws {
        let before = try window.state()
        let decision = try window.check(cost: 0, limit: limit, clockMicroseconds: clock)
        try hold(try window.state() == before, "a look consumed or created something")
        try holdUsed(decision, slack: hasMerged ? windowMilliseconds * 1000 / 1024 : 0)
    }

    private func holdUsed(_ decision: Decision, slack: Int) throws {
        try hold(
            decision.used >= used() && decision.used <= used(stretchedBy: slack),
            "used is \(decision.used), should be \(used())"
        )
        let newest = admissions.last { $0.time > now - windowMilliseconds * 1000 - slack }
        let reset = newest.map { ($0.time + windowMilliseconds * 1000 - clock + 999) / 1000 } ?? 0
        try hold(
            decision.resetAfterMilliseconds == reset || (slack > 0 && decision.used > 0),
            "reset after \(decision.resetAfterMilliseconds), should be \(reset)"
        )
    }

    private mutating func waitAsTold() throws {
        guard let denial = lastDenial, denial.cost <= quota else { return }
        try check(cost: denial.cost)
        guard case .denied(let retry)? = decisions.last?.verdict else { return }
        clock += (retry - 1) * 1000
        try check(cost: denial.cost)
        try hold(decisions.last?.isAllowed == false, "passes a millisecond before the wait is over")
        clock += 1000
        try check(cost: denial.cost)
        try hold(decisions.last?.isAllowed == true, "denied after waiting \(retry) ms as told")
    }

    private func hold(_ condition: Bool, _ what: @autoclosure () -> String) throws {
        if !condition { throw Violation(step: step, what: what()) }
    }
}
