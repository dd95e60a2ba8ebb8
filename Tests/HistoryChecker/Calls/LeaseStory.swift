/// What became of one lease, or of one request id, as far as its calls tell.
///
/// Of the calls that end it (settle, release, usage) one is the first, and only that has an effect: the others find its
/// mark. A flush takes the mark away; where one may have come in between nothing is concluded from it.
struct LeaseStory {
    private(set) var reserve: CallOperation?
    private var renewals: [CallOperation] = []
    /// The calls that end it, those that found it ended left out.
    private(set) var ends: [CallOperation] = []
    /// The call that certainly was the first to end it; nil where that is not known.
    private(set) var first: CallOperation?
    private let mayBeForgotten: Bool
    private static let grain = CallContract.leaseGrainMicroseconds

    /// - Parameters:
    ///   - operations: those of one id.
    ///   - forgettings: those of the history that empty windows.
    init(_ operations: [CallOperation], forgettings: [CallOperation]) {
        let begin = operations.map(\.startMicroseconds).min() ?? 0
        let end = operations.map(\.endMicroseconds).max() ?? 0
        let mayBeFlushed = forgettings.contains {
            $0.action == .flush && $0.startMicroseconds <= end && begin <= $0.endMicroseconds
        }
        mayBeForgotten = forgettings.contains { $0.startMicroseconds <= end && begin <= $0.endMicroseconds }
        for operation in operations {
            switch operation.action {
            case .reserve: reserve = operation.mayAct ? operation : reserve
            case .renew where operation.mayAct: renewals.append(operation)
            case .settle, .release, .usage: if operation.outcome != .repeated { ends.append(operation) }
            default: break
            }
        }
        guard !mayBeFlushed else { return }
        let repeated = operations.filter { $0.ends && $0.outcome == .repeated }.map(\.endMicroseconds).min()
        let certain = ends.filter { $0.outcome != .unknown }
        // Where one found it ended and only one can have done it, that one did.
        first = certain.first ?? (repeated != nil && ends.count == 1 ? ends.first : nil)
        guard var first else { return }
        if first.outcome == .unknown { first.outcome = .done }
        if let repeated { first.endMicroseconds = max(first.startMicroseconds, min(first.endMicroseconds, repeated)) }
        self.first = first
        ends = [first]
    }

    /// The calls that have certainly let it live on, the reservation first.
    private var lives: [CallOperation] { (reserve.map { [$0] } ?? []) + renewals }

    /// From when to when it may lapse, by what can have let it live on last.
    ///
    /// - Parameters:
    ///   - before: only what ended before this is certain.
    ///   - by: only what began by this can have happened.
    ///   - excluded: a call that is not looked at.
    func lapse(
        certainBefore before: Int = .max, startedBy by: Int = .max, except excluded: CallOperation? = nil
    ) -> ClosedRange<Int>? {
        let possible = lives.filter { $0.startMicroseconds <= by && $0 != excluded }
        let last = possible.filter { $0.outcome == .done && $0.endMicroseconds < before }
            .map(\.startMicroseconds).max()
        let candidates = possible.filter { $0.endMicroseconds >= last ?? Int.min }
        let earliest = candidates.map { $0.startMicroseconds + ($0.lifeMicroseconds ?? 0) - Self.grain }.min()
        let latest = candidates.map { $0.endMicroseconds + ($0.lifeMicroseconds ?? 0) + Self.grain }.max()
        guard let earliest, let latest else { return nil }
        // One that was let live on at an instant had not lapsed before.
        return max(earliest, min(last ?? Int.min, latest))...latest
    }

    /// Whether the lease certainly lived all through an operation of its own.
    func certainlyLives(during operation: CallOperation) -> Bool {
        guard let reserve, reserve.outcome == .done, reserve.endMicroseconds < operation.startMicroseconds,
            !mayBeForgotten
        else { return false }
        let mayHaveEnded = ends.contains { $0 != operation && $0.startMicroseconds <= operation.endMicroseconds }
        let lapse = lapse(
            certainBefore: operation.startMicroseconds, startedBy: operation.endMicroseconds, except: operation)
        guard !mayHaveEnded, let lapse else { return false }
        return lapse.lowerBound > operation.endMicroseconds
    }

    /// Whether the lease certainly was gone all through an operation of its own.
    func certainlyGone(during operation: CallOperation) -> Bool {
        if let first, first.endMicroseconds < operation.startMicroseconds { return true }
        guard reserve != nil else { return false }
        guard
            let lapse = lapse(
                certainBefore: operation.startMicroseconds, startedBy: operation.endMicroseconds, except: operation)
        else { return true }
        return lapse.upperBound < operation.startMicroseconds
    }

    /// What the answers about an id say that cannot be, each with the operation that says it.
    func offences(_ operations: [CallOperation], indices: [Int]) -> [(offence: CallBounds.Offence, operation: Int)] {
        var offences: [(CallBounds.Offence, Int)] = []
        var hasFirst = false
        for index in indices {
            let operation = operations[index]
            if operation.ends, operation.outcome == .done || operation.outcome == .noLease, first != nil {
                if hasFirst { offences.append((.endedTwice, index)) }
                hasFirst = true
            }
            if operation.ends, operation.outcome == .repeated {
                let mayHaveEnded = ends.contains { $0.startMicroseconds <= operation.endMicroseconds }
                if !mayHaveEnded { offences.append((.neverEnded, index)) }
            }
            if operation.outcome == .noLease, certainlyLives(during: operation) {
                offences.append((.lapsedEarly, index))
            }
            switch operation.action {
            case .renew, .release:
                if operation.outcome == .done, certainlyGone(during: operation) { offences.append((.outlived, index)) }
            default: break
            }
        }
        return offences
    }
}
