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

/// Admissions in the order they came, of which the oldest may be forgotten.
struct AdmissionRecord {
    private var times: [Int] = []
    /// The cost of all that came before each, and of all.
    private var costs = [0]
    private var first = 0

    var newest: Int? { times.last }

    mutating func append(time: Int, cost: Int) {
        times.append(time)
        costs.append(costs[times.count - 1] + cost)
    }

    /// The cost of those after `time`.
    func cost(after time: Int) -> Int { costs[times.count] - costs[index(after: time)] }

    func count(after time: Int) -> Int { times.count - index(after: time) }

    mutating func forget(upTo time: Int) { first = index(after: time) }

    private func index(after time: Int) -> Int {
        var range = first..<times.count
        while !range.isEmpty {
            let middle = (range.lowerBound + range.upperBound) / 2
            range = times[middle] > time ? range.lowerBound..<middle : middle + 1..<range.upperBound
        }
        return range.lowerBound
    }
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
    /// What the window must count, and what it may: the same until entries have merged, which may leave late.
    private var certain = AdmissionRecord()
    private var possible = AdmissionRecord()
    /// By how much an admission may leave late. Up to 1,024 admissions the window is exact; above, it is the largest
    /// W/1024 under which entries have merged.
    private var slack = 0
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
            case .checks(let count, let cost, let gap):
                for _ in 0..<count {
                    // To compare everything that is kept takes too long for so many.
                    try check(cost: cost, comparesState: false)
                    guard decisions.last?.isAllowed == true else { break }
                    clock += gap
                }
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

    /// Where the window begins: what came at this time or before it has left.
    private var start: Int { now - windowMilliseconds * 1000 }
    private var certainlyUsed: Int { certain.cost(after: start) }
    private var possiblyUsed: Int { possible.cost(after: start - slack) }

    private mutating func check(cost: Int, comparesState: Bool = true) throws {
        func state() throws -> String? { comparesState ? try window.state() : nil }
        let before = try state()
        let decision = try window.check(cost: cost, limit: limit, clockMicroseconds: clock)
        decisions.append(decision)
        switch decision.verdict {
        case .allowed:
            try hold(certainlyUsed + cost <= quota, "over: \(certainlyUsed) + \(cost) admitted under \(quota)")
            // What has left the window at an admission stays gone, also when a longer window comes after it.
            certain.forget(upTo: start)
            possible.forget(upTo: start - slack)
            certain.append(time: now, cost: cost)
            possible.append(time: now, cost: cost)
            furthest = now
            if possible.count(after: start - slack) > SlidingWindowLog.exactEntries {
                slack = max(slack, windowMilliseconds * 1000 / 1024)
            }
            lastDenial = nil
        case .denied(let retry):
            try hold(possiblyUsed + cost > quota, "under: \(possiblyUsed) + \(cost) denied under \(quota)")
            try hold(retry > 0, "a denial without a wait")
            try hold(try state() == before, "a denial consumed or dropped something")
            lastDenial = (cost, retry)
        case .deniedForGood:
            try hold(cost > quota, "denied for good, though \(cost) fits in \(quota)")
            try hold(try state() == before, "a denial consumed or dropped something")
        }
        try holdUsed(decision)
    }

    private mutating func look() throws {
        let before = try window.state()
        let decision = try window.check(cost: 0, limit: limit, clockMicroseconds: clock)
        try hold(try window.state() == before, "a look consumed or created something")
        try holdUsed(decision)
    }

    private func holdUsed(_ decision: Decision) throws {
        try hold(
            certainlyUsed <= possiblyUsed && (certainlyUsed...possiblyUsed).contains(decision.used),
            "used is \(decision.used), should be from \(certainlyUsed) to \(possiblyUsed)"
        )
        let newest = certain.newest.flatMap { $0 > start ? $0 : nil }
        let reset = newest.map { ($0 + windowMilliseconds * 1000 - clock + 999) / 1000 } ?? 0
        try hold(
            decision.resetAfterMilliseconds == reset,
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
