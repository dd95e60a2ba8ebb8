/// Makes an impossible history as small as it gets by dropping what operations say, while it stays impossible.
///
/// Nothing is left out that could make the history legal: an admission whose answer is dropped may still have been
/// charged. Only what cannot matter to the claims that are left is not shown.
struct Shrinking {
    let contract: WindowContract
    let isImpossible: ([Claim]) -> Bool

    func evidence(for claims: [Claim]) -> Evidence {
        var claims = trimmed(claims)
        var run = claims.count / 2
        while run >= 1 {
            var place = 0
            while place < claims.count {
                let range = place..<min(place + run, claims.count)
                var candidate = claims
                for index in range { candidate[index] = claims[index].silenced }
                if candidate != claims, isImpossible(compacted(candidate)) { claims = candidate }
                place += run
            }
            claims = compacted(claims)
            run /= 2
        }
        for index in claims.indices { claims = withFewerNumbers(claims, at: index) }
        let shown = relevant(compacted(claims))
        return Evidence(claims: shown, contract: contract)
    }

    /// With everything silenced behind the first point at which it is impossible, and then before the last.
    private func trimmed(_ claims: [Claim]) -> [Claim] {
        let byEnd = claims.indices.sorted { claims[$0].end < claims[$1].end }
        func silencing(_ indices: some Sequence<Int>, in claims: [Claim]) -> [Claim] {
            var candidate = claims
            for index in indices { candidate[index] = claims[index].silenced }
            return candidate
        }
        let counts = Array(0...claims.count)
        let needed = counts.partitioningIndex { isImpossible(compacted(silencing(byEnd[$0...], in: claims))) }
        var trimmed = claims
        if needed < claims.count { trimmed = silencing(byEnd[needed...], in: claims) }
        guard isImpossible(compacted(trimmed)) else { return claims }
        let early = counts.partitioningIndex { !isImpossible(compacted(silencing(0..<$0, in: trimmed))) }
        let candidate = compacted(silencing(0..<max(0, early - 1), in: trimmed))
        return isImpossible(candidate) ? candidate : compacted(trimmed)
    }

    /// Without one claim's numbers, one after the other.
    private func withFewerNumbers(_ claims: [Claim], at index: Int) -> [Claim] {
        var claims = claims
        let drops: [(inout Claim) -> Void] = [
            { $0.resetSeconds = nil }, { $0.retrySeconds = nil }, { $0.used = nil }, { $0.exceedsQuota = nil },
        ]
        for drop in drops {
            var candidate = claims
            drop(&candidate[index])
            if candidate != claims, isImpossible(candidate) { claims = candidate }
        }
        return claims
    }

    private func compacted(_ claims: [Claim]) -> [Claim] { claims.filter { !$0.isEmpty } }

    /// Without what may have been charged too early or too late to be in the window of any claim that is left.
    private func relevant(_ claims: [Claim]) -> [Claim] {
        let loud = claims.filter(\.isCertain)
        guard let first = loud.map(\.start).min(), let last = loud.map(\.end).max() else { return claims }
        let kept = claims.filter { $0.isCertain || $0.end > first - contract.windowMicroseconds && $0.start <= last }
        return isImpossible(kept) ? kept : claims
    }
}

/// The part of a history that shows a violation, to be read by people.
package struct Evidence: Sendable, CustomStringConvertible {
    package let claims: [Claim]
    package let kinds: Set<IntervalBounds.Offence>
    private let contract: WindowContract
    private let began: Int

    init(claims: [Claim], contract: WindowContract) {
        self.claims = claims
        self.contract = contract
        began = claims.map(\.start).min() ?? 0
        kinds = Set(IntervalBounds(claims, windowMicroseconds: contract.windowMicroseconds).offences.map(\.offence))
    }

    /// Operations that the evidence rests on, without those that only may have been charged.
    package var certainCount: Int { claims.count(where: \.isCertain) }

    private var headline: String {
        if kinds.contains(.over) { return "more than the quota was admitted within one window" }
        if kinds.contains(.under) { return "denied, though the window cannot have been full" }
        if kinds.contains(.miscounted) { return "another number used than can have been" }
        if kinds.contains(.wrongReset) { return "an admission's window ends at another time than a window later" }
        return "there is no order in which all of these can be true"
    }

    package var description: String {
        let limit = 60
        var lines = ["\(headline); window \(contract.windowMicroseconds / 1_000) ms, times in ms:"]
        lines += claims.prefix(limit).map { claim in
            let interval = "\(milliseconds(claim.start - began)) to \(milliseconds(claim.end - began))"
            return "  \(interval)  operation \(claim.index): \(Self.words(for: claim))"
        }
        if claims.count > limit { lines.append("  and \(claims.count - limit) more") }
        return lines.joined(separator: "\n")
    }

    private func milliseconds(_ microseconds: Int) -> String {
        let fraction = String(microseconds % 1_000 + 1_000).dropFirst()
        return "\(microseconds / 1_000).\(fraction)"
    }

    private static func words(for claim: Claim) -> String {
        var words: [String] = []
        switch claim.effect {
        case .charges(let isCertain): words.append("\(isCertain ? "admitted" : "perhaps charged"), cost \(claim.cost)")
        case .forgets(let isCertain): words.append(isCertain ? "window emptied" : "window perhaps emptied")
        case .nothing: words.append(claim.cost > 0 ? "asked, cost \(claim.cost)" : "looked")
        }
        if let quota = claim.fitsQuota { words.append("within \(quota)") }
        if let quota = claim.exceedsQuota { words.append("denied under \(quota)") }
        if let used = claim.used {
            words.append(used.upperBound == Int.max ? "\(used.lowerBound) or more used" : "\(used.lowerBound) used")
        }
        if let retry = claim.retrySeconds { words.append("retry after \(retry) s") }
        if let reset = claim.resetSeconds { words.append("empty after \(reset) s") }
        return words.joined(separator: ", ")
    }
}
