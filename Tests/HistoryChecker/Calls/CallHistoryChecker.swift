/// Decides whether a history of calls under several limits can have happened.
package struct CallHistoryChecker: Sendable {
    package enum Verdict: Sendable {
        /// There is an order in which all of it can have happened: the operations, by their place, with their instants.
        case consistent([(operation: Int, instantMicroseconds: Int)])
        /// There is none; the smallest part of the history that shows it.
        case violation(CallEvidence)
        /// Nothing that can be counted speaks against it. An order was not looked for, or not found within the bound.
        case undecided
    }

    /// Up to so many operations an order is looked for.
    package static let longestSearched = 160
    /// How many steps a search may try for each operation, and for each smaller history that is tried.
    private static let stepsForEach = 40
    private static let stepsForShrinking = 500

    package let contract: CallContract

    package init(_ contract: CallContract) { self.contract = contract }

    package func verdict(of operations: [CallOperation]) -> Verdict {
        let widened = contract.widened(operations)
        let offences = CallBounds(widened, contract).offences
        // What an id alone shows is shown in the fewest calls.
        if let first = offences.first(where: { $0.window == nil }) ?? offences.first {
            return .violation(
                evidence(widened, first.offence, first.window, widened[first.operation].id) { candidate in
                    CallBounds(candidate, contract, only: first.window).offences.contains {
                        $0.offence == first.offence && $0.window == first.window
                    }
                })
        }
        guard operations.count <= Self.longestSearched else { return .undecided }
        var search = CallOrderSearch(widened, contract)
        switch search.run(steps: Self.stepsForEach * widened.count) {
        case .found(let order): return .consistent(order)
        case .exhausted: return .undecided
        case .impossible:
            return .violation(
                evidence(widened, nil, nil, nil) { candidate in
                    var search = CallOrderSearch(candidate, contract)
                    if case .impossible = search.run(steps: Self.stepsForShrinking) { return true }
                    return false
                })
        }
    }

    /// What counting alone finds.
    package func offences(
        of operations: [CallOperation]
    ) -> [(offence: CallBounds.Offence, operation: Int, window: Int?)] {
        CallBounds(contract.widened(operations), contract).offences
    }

    private func evidence(
        _ operations: [CallOperation], _ offence: CallBounds.Offence?, _ window: Int?, _ id: String?,
        isImpossible: @escaping ([CallOperation]) -> Bool
    ) -> CallEvidence {
        var shrinking = CallShrinking(
            contract: contract, window: window, offence: offence,
            isImpossible: isImpossible)
        let smallest = shrinking.smallest(of: concerned(operations, offence, window, id))
        return CallEvidence(operations: smallest, offence: offence, window: window)
    }

    /// The operations on which an offence rests: those of its id, or of its window and of the ids that have a part there.
    private func concerned(
        _ operations: [CallOperation], _ offence: CallBounds.Offence?, _ window: Int?, _ id: String?
    ) -> [CallShrinking.Kept] {
        let all = operations.enumerated().map { (index: $0.offset, operation: $0.element as CallOperation?) }
        guard offence != nil else { return all }
        var ids = Set([id].compactMap(\.self))
        if let window {
            ids = Set(operations.filter { $0.term(in: window) != nil }.compactMap(\.id))
        }
        return all.filter { _, operation in
            guard let operation else { return false }
            let hasPart = window.map { operation.term(in: $0) != nil } ?? false
            return operation.forgets || hasPart || operation.id.map(ids.contains) == true
        }
    }
}

/// Makes an impossible history of calls as small as it gets by having answers say less, while it stays impossible.
///
/// What may have had an effect stays, as one that perhaps had it: to leave it out could make a right answer wrong.
struct CallShrinking {
    /// A place in the history that was given, and what is left of the operation there.
    typealias Kept = (index: Int, operation: CallOperation?)

    let contract: CallContract
    /// The window that it is about; nil where it is about several, or about none.
    let window: Int?
    /// What counting calls it; nil where only the search for an order found it.
    let offence: CallBounds.Offence?
    let isImpossible: ([CallOperation]) -> Bool
    /// After so many smaller histories the smallest that was found is good enough.
    private static let mostTrials = 1_500
    private var trials = 0

    init(
        contract: CallContract, window: Int?, offence: CallBounds.Offence?,
        isImpossible: @escaping ([CallOperation]) -> Bool
    ) {
        self.contract = contract
        self.window = window
        self.offence = offence
        self.isImpossible = isImpossible
    }

    private mutating func stays(_ kept: [Kept]) -> Bool {
        trials += 1
        return trials <= Self.mostTrials && isImpossible(kept.compactMap(\.operation))
    }

    mutating func smallest(of operations: [Kept]) -> [(index: Int, operation: CallOperation)] {
        var kept = operations
        // What comes later seldom matters: the shortest beginning that shows it.
        kept.sort { ($0.operation?.endMicroseconds ?? 0) < ($1.operation?.endMicroseconds ?? 0) }
        let counts = Array(0...kept.count)
        let needed = counts.partitioningIndex { stays(beginning($0, of: kept)) }
        let trimmed = beginning(needed, of: kept)
        if stays(trimmed) { kept = trimmed.filter { $0.operation != nil } }
        var run = kept.count / 2
        while run >= 1 {
            var place = 0
            while place < kept.count {
                var candidate = kept
                for index in place..<min(place + run, kept.count) {
                    candidate[index].operation = kept[index].operation.flatMap(\.silenced)
                }
                if stays(candidate) { kept = candidate.filter { $0.operation != nil } }
                place += run
            }
            run /= 2
        }
        for index in kept.indices { kept[index].operation = withFewerStandings(kept, at: index) }
        // Of what only perhaps happened, what does not matter.
        for index in kept.indices.reversed() where kept[index].operation?.outcome == .unknown {
            var candidate = kept
            candidate.remove(at: index)
            if mayBeLeftOut(kept, index), stays(candidate) { kept = candidate }
        }
        return kept.compactMap { entry in entry.operation.map { (entry.index, $0) } }
    }

    /// With the answers behind the first so many not known.
    private func beginning(_ count: Int, of kept: [Kept]) -> [Kept] {
        kept.prefix(count) + kept.dropFirst(count).map { ($0.index, $0.operation.flatMap(\.silenced)) }
    }

    private mutating func withFewerStandings(_ kept: [Kept], at index: Int) -> CallOperation? {
        guard var operation = kept[index].operation else { return nil }
        for term in operation.terms.indices where operation.terms[term].standing != nil {
            var candidate = kept
            var fewer = operation
            fewer.terms[term].standing = nil
            candidate[index].operation = fewer
            if stays(candidate) { operation = fewer }
        }
        return operation
    }

    /// Whether what perhaps happened cannot matter: it has nothing in the window, or was out of it before anything that
    /// the certain operations say, or began after that.
    private func mayBeLeftOut(_ kept: [Kept], _ index: Int) -> Bool {
        guard let operation = kept[index].operation, !operation.forgets else { return false }
        let all = kept.compactMap(\.operation)
        let isOfCertain = operation.id != nil && all.contains { $0.outcome != .unknown && $0.id == operation.id }
        let lastCertain = all.filter { $0.outcome != .unknown }.map(\.endMicroseconds).max() ?? 0
        if offence != nil, operation.startMicroseconds > lastCertain { return true }
        // What only perhaps happened speaks for nobody who was admitted, nor for another id.
        if offence == .over || offence != nil && window == nil { return !isOfCertain }
        guard let window else { return false }
        let lease = operation.id == nil ? [operation] : all.filter { $0.id == operation.id }
        if lease.allSatisfy({ ($0.term(in: window)?.cost ?? 0) == 0 }) { return true }
        let certain = all.filter { $0.outcome != .unknown }
        let first = certain.map(\.startMicroseconds).min() ?? 0
        guard !lease.contains(where: { $0.outcome != .unknown }) else { return false }
        let lives = lease.compactMap(\.lifeMicroseconds).max() ?? 0
        let stays = max(contract.microseconds(window), lives) + CallContract.leaseGrainMicroseconds
        return lease.allSatisfy { $0.startMicroseconds > lastCertain || $0.endMicroseconds + stays < first }
    }
}

/// The part of a history of calls that shows a violation, to be read by people.
package struct CallEvidence: Sendable, CustomStringConvertible {
    package let operations: [(index: Int, operation: CallOperation)]
    /// What counting calls it; nil where only the search for an order found it.
    package let offence: CallBounds.Offence?
    /// The window that it is about, where it is about one.
    package let window: Int?

    /// Operations that it rests on, without those that only may have happened.
    package var certainCount: Int { operations.count { $0.operation.outcome != .unknown } }

    private var headline: String {
        switch offence {
        case .over: "more was admitted than a limit has room for"
        case .under: "denied by a limit that cannot have been full"
        case .miscounted: "another number used than can have been"
        case .endedTwice: "one lease or request id was dealt with twice"
        case .neverEnded: "taken for one that had been dealt with, though nothing had"
        case .lapsedEarly: "a lease was gone before its time"
        case .outlived: "a lease was there after its time"
        case nil: "there is no order in which all of these can be true"
        }
    }

    package var description: String {
        let limit = 60
        // Where there are more, what is certain says most, and the last of it shows what cannot be.
        let certain = operations.indices.filter { operations[$0].operation.outcome != .unknown }.suffix(limit)
        let perhaps = operations.indices.filter { operations[$0].operation.outcome == .unknown }
        let shown = (certain + perhaps.suffix(limit - certain.count)).sorted()
        let began = operations.map(\.operation.startMicroseconds).min() ?? 0
        var lines = ["\(headline)\(window.map { " in window \($0)" } ?? ""); times in ms:"]
        lines += shown.map { place in
            let (index, operation) = operations[place]
            let interval = [operation.startMicroseconds, operation.endMicroseconds].map { milliseconds($0 - began) }
            return "  \(interval[0]) to \(interval[1])  operation \(index): \(operation.words(about: window))"
        }
        if operations.count > limit { lines.append("  and \(operations.count - limit) more, most of them before") }
        return lines.joined(separator: "\n")
    }

    private func milliseconds(_ microseconds: Int) -> String {
        let fraction = String(microseconds % 1_000 + 1_000).dropFirst()
        return "\(microseconds / 1_000).\(fraction)"
    }
}

extension CallOperation {
    /// What it says, of one window or of all.
    func words(about window: Int?) -> String {
        let result =
            switch outcome {
            case .done: ""
            case .denied: ", denied"
            case .repeated: ", had been dealt with"
            case .noLease: ", no such lease"
            case .unknown: ", perhaps"
            }
        var words = ["\(name)\(result)"]
        if let id { words.append("id \(id.count > 12 ? String(id.dropFirst(2).prefix(6)) : id)") }
        words += terms.filter { window == nil || $0.window == window }.compactMap { term in
            if let standing = term.standing {
                let used = "\(standing.used) of \(standing.quota) used"
                return "window \(term.window): cost \(term.cost), \(standing.isDenied ? "denied, " : "")\(used)"
            }
            return term.cost > 0 && mayAct ? "window \(term.window): cost \(term.cost)" : nil
        }
        return words.joined(separator: "; ")
    }

    private var name: String { lifeMicroseconds.map { "\(kind) for \($0 / 1_000) ms" } ?? kind }

    /// What it is called.
    package var kind: String {
        switch action {
        case .check: "check"
        case .reserve: "reserve"
        case .renew: "renew"
        case .settle: "settle"
        case .release: "release"
        case .usage: "usage"
        case .look: "look"
        case .reset: "reset"
        case .flush: "Redis emptied"
        }
    }
}
