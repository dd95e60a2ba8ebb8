import RateLimitCore
import TestSupport

/// One step of a generated history.
enum Step: Hashable, Sendable {
    case check(cost: Int)
    case look
    case advance(microseconds: Int)
    case stepBack(microseconds: Int)
    case setQuota(Int)
    case setWindow(milliseconds: Int)
    /// Waits as long as the last denial said, less a millisecond, asks, and asks again a millisecond later.
    case waitAsTold
}

/// What a history is made of.
struct HistoryShape: Sendable {
    var steps: Int
    var quotas: [Int]
    var windows: [Int]
    var largestCost: Int
    /// Out of a hundred steps.
    var sharesOfChange = 4

    func history(_ random: inout some RandomNumberGenerator) -> [Step] {
        var steps: [Step] = [
            .setQuota(quotas.randomElement(using: &random) ?? 1),
            .setWindow(milliseconds: windows.randomElement(using: &random) ?? 1000),
        ]
        let window = windows[0] * 1000
        for _ in 0..<self.steps {
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<sharesOfChange:
                switch Int.random(in: 0..<3, using: &random) {
                case 0: steps.append(.setQuota(quotas.randomElement(using: &random) ?? 1))
                case 1: steps.append(.setWindow(milliseconds: windows.randomElement(using: &random) ?? 1000))
                default: steps.append(.stepBack(microseconds: Int.random(in: 1...window * 2, using: &random)))
                }
            case 90..<93: steps.append(.look)
            case 93..<96: steps.append(.waitAsTold)
            case 96..<97: steps.append(.advance(microseconds: Int.random(in: 0...window * 2, using: &random)))
            case 40..<90: steps.append(.check(cost: cost(&random)))
            default: steps.append(.advance(microseconds: Int.random(in: 0...window / 16, using: &random)))
            }
        }
        return steps
    }

    private func cost(_ random: inout some RandomNumberGenerator) -> Int {
        switch Int.random(in: 0..<20, using: &random) {
        case 0: Int.random(in: 1...largestCost, using: &random)
        case 1..<8: Int.random(in: 1...max(1, largestCost / 20), using: &random)
        default: 1
        }
    }
}

/// Makes a failing history as small as it gets: leaves out ever smaller runs of steps while it still fails.
func shrunk(_ history: [Step], fails: ([Step]) throws -> Bool) rethrows -> [Step] {
    var smallest = history
    var run = max(1, history.count / 2)
    while run >= 1 {
        var index = 0
        while index < smallest.count {
            var candidate = smallest
            candidate.removeSubrange(index..<min(index + run, candidate.count))
            if try fails(candidate) { smallest = candidate } else { index += run }
        }
        run /= 2
    }
    return smallest
}
