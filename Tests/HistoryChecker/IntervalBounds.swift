/// What is impossible by counting alone, whatever the order: fast, never wrong, and able to count offences.
///
/// It puts for each claim the least and the most that can have been in the window at its instant. What it does not find
/// may still be impossible; ``OrderSearch`` looks further.
package struct IntervalBounds: Sendable {
    package enum Offence: Hashable, Sendable {
        /// Admissions that are certainly all in one window, and above every quota they were admitted under.
        case over
        /// A denial though the window cannot have been so full.
        case under
        /// More or less used than can have been.
        case miscounted
        /// An admission whose window is not empty again exactly a window's length later.
        case wrongReset
    }

    /// The offences, each at the claim (by its place in the given list) where it shows.
    package private(set) var offences: [(offence: Offence, claim: Int)] = []

    private let claims: [Claim]
    private let window: Int
    private let forgettings: [Claim]
    /// Everything that may have been charged, and what certainly was, as running sums over starts and over ends.
    private let possible: RunningSums
    private let certain: RunningSums

    package init(_ claims: [Claim], windowMicroseconds: Int) {
        self.claims = claims
        window = windowMicroseconds
        forgettings = claims.filter(\.forgets)
        possible = RunningSums(claims.filter(\.charges))
        certain = RunningSums(claims.filter { $0.effect == .charges(isCertain: true) })
        for (index, claim) in claims.enumerated() { hold(claim, index) }
        findOver()
    }

    private mutating func hold(_ claim: Claim, _ index: Int) {
        let own = claim.charges ? claim.cost : 0
        if claim.exceedsQuota != nil || claim.used != nil {
            let most = mostBefore(claim, own: own)
            // What it says itself that was used is no more either, whatever else may have been charged.
            let full = min(most, claim.used?.upperBound ?? Int.max)
            if let quota = claim.exceedsQuota, full + claim.cost <= quota { offences.append((.under, index)) }
            if let used = claim.used {
                let isImpossible = most + own < used.lowerBound || leastBefore(claim) + own > used.upperBound
                if isImpossible { offences.append((.miscounted, index)) }
            }
        }
        if claim.charges, let reset = claim.resetSeconds, reset != (window + 999_999) / 1_000_000 {
            offences.append((.wrongReset, index))
        }
    }

    /// The most that others can have charged that is in the window at the claim's instant: charged by its end, not
    /// out of the window at its start, and not certainly forgotten since.
    private func mostBefore(_ claim: Claim, own: Int) -> Int {
        let all = possible.started(by: claim.end) - possible.ended(by: claim.start - window) - own
        let forgotten = forgettings.filter { $0.isCertain && $0.end < claim.start }.map(\.start).max()
        guard let forgotten, forgotten > claim.start - window else { return all }
        return all - (possible.ended(by: forgotten - 1) - possible.ended(by: claim.start - window))
    }

    /// The least: certainly charged before its start, in the window at its end, with no forgetting that could be between.
    private func leastBefore(_ claim: Claim) -> Int {
        var horizon = claim.end - window
        for forgetting in forgettings where forgetting.start <= claim.end { horizon = max(horizon, forgetting.end) }
        return max(0, certain.ended(by: claim.start - 1) - certain.started(by: horizon))
    }

    /// Looks for admissions that all fall into one window: those that start at an instant or later and end less than a
    /// window after it.
    private mutating func findOver() {
        let admissions = claims.indices.filter { claims[$0].effect == .charges(isCertain: true) }
        let byEnd = admissions.sorted { claims[$0].end < claims[$1].end }
        let ends = byEnd.map { claims[$0].end }
        var rank: [Int: Int] = [:]
        for (position, index) in byEnd.enumerated() { rank[index] = position }
        var sums = PrefixSums(count: byEnd.count)
        // From the latest start to the earliest, so that the sums hold those that start no earlier.
        for index in admissions.reversed() {
            let claim = claims[index]
            sums.add(claim.cost, at: rank[index] ?? 0)
            // Whatever a forgetting may separate is no evidence.
            let parted = forgettings.filter { $0.end >= claim.start }.map(\.start).min() ?? Int.max
            let count = ends.partitioningIndex { $0 >= min(claim.start + window, parted) }
            let total = sums.sum(before: count)
            guard let quota = claim.fitsQuota, total > quota else { continue }
            // The last of them to be charged had all of them in its window, and which that is is not known.
            let quotas = byEnd[..<count].filter { $0 >= index }.map { claims[$0].fitsQuota ?? Int.max }
            if let largest = quotas.max(), total > largest { offences.append((.over, index)) }
        }
    }
}

/// Costs summed up to an instant, by when operations started and by when they ended.
private struct RunningSums {
    private let starts: [Int]
    private let startSums: [Int]
    private let ends: [Int]
    private let endSums: [Int]

    init(_ claims: [Claim]) {
        let byStart = claims.sorted { $0.start < $1.start }
        let byEnd = claims.sorted { $0.end < $1.end }
        starts = byStart.map(\.start)
        ends = byEnd.map(\.end)
        startSums = byStart.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1.cost) }
        endSums = byEnd.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1.cost) }
    }

    func started(by instant: Int) -> Int { startSums[starts.partitioningIndex { $0 > instant }] }

    func ended(by instant: Int) -> Int { endSums[ends.partitioningIndex { $0 > instant }] }
}

/// Sums of the first so many of a row of numbers that change (a Fenwick tree).
private struct PrefixSums {
    private var tree: [Int]

    init(count: Int) { tree = Array(repeating: 0, count: count + 1) }

    mutating func add(_ value: Int, at position: Int) {
        var index = position + 1
        while index < tree.count {
            tree[index] += value
            index += index & -index
        }
    }

    func sum(before position: Int) -> Int {
        var index = position
        var total = 0
        while index > 0 {
            total += tree[index]
            index -= index & -index
        }
        return total
    }
}

extension Array {
    /// The first place whose element satisfies `predicate`, in an array in which all those behind it do too.
    func partitioningIndex(_ predicate: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if predicate(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
