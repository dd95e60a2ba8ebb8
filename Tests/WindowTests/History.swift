import RateLimitCore
import TestSupport

/// One step of a generated history.
enum Step: Hashable, Sendable {
    case check(cost: Int)
    /// Many checks one after the other, as long as they fit.
    case checks(count: Int, cost: Int, gapMicroseconds: Int)
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
    /// Runs of checks out of a hundred steps, and the most checks of one; above 1,024 admissions a window merges.
    var sharesOfRuns = 0
    var longestRun = 1
    /// How often a failing history is played at most to make it smaller.
    var maximumTries = 1500

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
            case sharesOfChange..<sharesOfChange + sharesOfRuns:
                steps.append(
                    .checks(
                        count: Int.random(in: 1...longestRun, using: &random), cost: cost(&random),
                        gapMicroseconds: Int.random(in: 0...window / longestRun, using: &random)))
                // Far enough for some of them to leave, of which each may leave a little late.
                steps.append(.advance(microseconds: Int.random(in: 0...window, using: &random)))
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

/// A step of a history that can be made smaller.
protocol GeneratedStep: Hashable {
    /// The same step with smaller numbers, the smallest first.
    var simpler: [Self] { get }
    /// One step in place of this and the one before it, where both only let time pass.
    func joined(to earlier: Self) -> Self?
}

/// From the least to one less than `number`, ever nearer to it.
func smaller(_ number: Int, than least: Int) -> [Int] {
    var numbers: [Int] = []
    var distance = number - least
    while distance > 0 {
        numbers.append(number - distance)
        distance /= 2
    }
    return numbers
}

extension Step: GeneratedStep {
    var simpler: [Step] {
        switch self {
        case .check(let cost): smaller(cost, than: 1).map { .check(cost: $0) }
        case .checks(let count, let cost, let gap):
            [.check(cost: cost)]
                + smaller(count, than: 1).map { .checks(count: $0, cost: cost, gapMicroseconds: gap) }
                + smaller(cost, than: 1).map { .checks(count: count, cost: $0, gapMicroseconds: gap) }
                + smaller(gap, than: 0).map { .checks(count: count, cost: cost, gapMicroseconds: $0) }
        case .advance(let microseconds): smaller(microseconds, than: 1).map { .advance(microseconds: $0) }
        case .stepBack(let microseconds): smaller(microseconds, than: 1).map { .stepBack(microseconds: $0) }
        case .setQuota(let quota): smaller(quota, than: 1).map { .setQuota($0) }
        case .setWindow(let milliseconds): smaller(milliseconds, than: 1000).map { .setWindow(milliseconds: $0) }
        case .waitAsTold, .look: []
        }
    }

    func joined(to earlier: Step) -> Step? {
        guard case .advance(let first) = earlier, case .advance(let second) = self else { return nil }
        return .advance(microseconds: first + second)
    }
}

/// Makes a failing history as small as it gets: leaves out ever smaller runs of steps while it still fails, joins those
/// that only let time pass, makes the numbers that are left smaller, and begins again until nothing gets smaller.
///
/// - Parameter maximumTries: how often `fails` is asked at most.
func shrunk<Step: GeneratedStep>(
    _ history: [Step], maximumTries: Int, fails: ([Step]) throws -> Bool
) rethrows -> [Step] {
    var smallest = history
    var tries = 0
    func isSmaller(_ candidate: [Step]) throws -> Bool {
        tries += 1
        guard tries <= maximumTries, try fails(candidate) else { return false }
        smallest = candidate
        return true
    }
    var before: [Step] = []
    while before != smallest, tries < maximumTries {
        before = smallest
        var run = max(1, smallest.count / 2)
        while run >= 1 {
            var index = 0
            while index < smallest.count {
                var candidate = smallest
                candidate.removeSubrange(index..<min(index + run, candidate.count))
                if try !isSmaller(candidate) { index += run }
            }
            run /= 2
        }
        for index in smallest.indices.reversed() {
            guard index > 0, let joined = smallest[index].joined(to: smallest[index - 1]) else { continue }
            var candidate = smallest
            candidate[index - 1...index] = [joined]
            _ = try isSmaller(candidate)
        }
        for index in smallest.indices {
            for step in smallest[index].simpler {
                var candidate = smallest
                candidate[index] = step
                if try isSmaller(candidate) { break }
            }
        }
    }
    return smallest
}
