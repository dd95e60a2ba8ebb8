import TestSupport
import Testing

/// A history that fails, by the seed that it comes from.
struct Failure {
    var seed: UInt64
    var violation: Violation
}

/// Records the first generated history that fails, made small.
func holdOnHistories(_ shape: HistoryShape, runs: Int, _ play: ([Step]) throws -> Void) throws {
    let found = try smallestFailure(
        runs: runs, maximumTries: shape.maximumTries, of: { shape.history(&$0) }, play)
    guard let (history, failure) = found else { return }
    Issue.record("seed \(failure.seed): \(failure.violation) in \(history)")
}

/// Plays generated histories up to the first that fails, and makes that as small as it gets.
func smallestFailure<Step: GeneratedStep>(
    runs: Int, maximumTries: Int, of history: (inout SeededGenerator) -> [Step], _ play: ([Step]) throws -> Void
) throws -> (history: [Step], failure: Failure)? {
    func violation(_ history: [Step]) throws -> Violation? {
        do {
            try play(history)
            return nil
        } catch let violation as Violation {
            return violation
        } catch {
            return Violation(step: 0, what: "\(error)")
        }
    }
    for seed in 1...UInt64(runs) {
        var random = SeededGenerator(seed: seed)
        let history = history(&random)
        guard try violation(history) != nil else { continue }
        let smallest = try shrunk(history, maximumTries: maximumTries) { try violation($0) != nil }
        guard let violation = try violation(smallest) else { continue }
        return (smallest, Failure(seed: seed, violation: violation))
    }
    return nil
}
