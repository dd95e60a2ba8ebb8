import HistoryChecker
import RateLimitCore
import TestSupport

/// Several clients on one window, made up: every operation's instant is known here, and only its interval is told.
struct SimulatedHistory {
    /// What the window does wrong.
    enum Fault: CaseIterable {
        case none, admitsOneTooMany, countsTwice, windowCutShort, losesAnAdmission
    }

    var clients = 6
    var operationsEach = 40
    var quota = 12
    var windowMilliseconds = 1_000
    var largestCost = 1
    var longestLatencyMicroseconds = 4_000
    var longestPauseMicroseconds = 60_000
    /// Out of a hundred operations.
    var shareUnknown = 0
    var shareLooks = 5
    var forgettings = 0
    var fault = Fault.none

    private struct Planned {
        var start: Int
        var instant: Int
        var end: Int
        var cost: Int
        var isForgetting = false
    }

    var contract: WindowContract { WindowContract(windowMicroseconds: windowMilliseconds * 1_000) }

    /// The history, in the order in which it took place, and each operation's true instant.
    func make(seed: UInt64) -> (operations: [Operation], instants: [Int]) {
        var random = SeededGenerator(seed: seed)
        var plan: [Planned] = []
        for _ in 0..<clients {
            var clock = 1_000_000_000 + Int.random(in: 0..<10_000, using: &random)
            for _ in 0..<operationsEach {
                clock += Int.random(in: 100...longestPauseMicroseconds, using: &random)
                let instant = clock + Int.random(in: 1...longestLatencyMicroseconds, using: &random)
                let end = instant + Int.random(in: 1...longestLatencyMicroseconds, using: &random)
                let looks = Int.random(in: 0..<100, using: &random) < shareLooks
                let cost = looks ? 0 : Int.random(in: 1...largestCost, using: &random)
                plan.append(Planned(start: clock, instant: instant, end: end, cost: cost))
                clock = end
            }
        }
        let span = plan.map(\.instant).min()!...plan.map(\.instant).max()!
        for _ in 0..<forgettings {
            let instant = Int.random(in: span, using: &random)
            plan.append(
                Planned(start: instant - 300, instant: instant, end: instant + 300, cost: 0, isForgetting: true))
        }
        plan.sort { $0.instant < $1.instant }
        var window = FaultyWindow(quota: quota, windowMilliseconds: windowMilliseconds, fault: fault)
        let operations = plan.map { planned -> Operation in
            var operation = Operation(
                cost: planned.cost, startMicroseconds: planned.start, endMicroseconds: planned.end, outcome: .unknown
            )
            guard !planned.isForgetting else {
                window.log = SlidingWindowLog()
                operation.outcome = .forgot(isCertain: true)
                return operation
            }
            if planned.cost > 0, Int.random(in: 0..<100, using: &random) < shareUnknown {
                // Half of them are charged. The client heard nothing and knows only when it was settled.
                if Bool.random(using: &random) { _ = window.check(cost: planned.cost, at: planned.instant) }
                operation.endMicroseconds += Int.random(in: 0...200_000, using: &random)
                return operation
            }
            operation.outcome = window.check(cost: planned.cost, at: planned.instant).outcome(cost: planned.cost)
            return operation
        }
        return (operations, plan.map(\.instant))
    }
}

/// The reference window with a fault planted into it.
struct FaultyWindow {
    var log = SlidingWindowLog()
    let quota: Int
    let windowMilliseconds: Int
    let fault: SimulatedHistory.Fault
    private var admissions = 0

    init(quota: Int, windowMilliseconds: Int, fault: SimulatedHistory.Fault) {
        self.quota = quota
        self.windowMilliseconds = windowMilliseconds
        self.fault = fault
    }

    mutating func check(cost: Int, at clock: Int) -> Decision {
        let isShort = fault == .windowCutShort
        let limit = Limit(
            name: "requests", quota: fault == .admitsOneTooMany ? quota + 1 : quota,
            windowMilliseconds: isShort ? windowMilliseconds - max(1, windowMilliseconds / 33) : windowMilliseconds
        )
        let before = log
        var decision = log.check(cost: cost, limit: limit, clockMicroseconds: clock)
        if decision.isAllowed, cost > 0 {
            admissions += 1
            if fault == .countsTwice, admissions.isMultiple(of: 7) {
                _ = log.check(cost: cost, limit: limit, clockMicroseconds: clock)
            }
            if fault == .losesAnAdmission, admissions.isMultiple(of: 7) { log = before }
        }
        // What it does is wrong; what it says is in form.
        decision.quota = quota
        if isShort, decision.isAllowed, cost > 0 { decision.resetAfterMilliseconds = windowMilliseconds }
        return decision
    }
}

extension Decision {
    /// How the daemon tells it.
    func outcome(cost: Int) -> Operation.Outcome {
        let answer = Operation.Answer(
            quota: quota, remaining: remaining, resetAfterSeconds: (resetAfterMilliseconds + 999) / 1_000
        )
        switch verdict {
        case .allowed: return cost == 0 ? .looked(answer) : .admitted(answer)
        case .deniedForGood: return .denied(answer, retryAfterSeconds: nil)
        case .denied(let milliseconds): return .denied(answer, retryAfterSeconds: max(1, (milliseconds + 999) / 1_000))
        }
    }
}
