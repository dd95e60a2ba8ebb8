import RateLimitCore

/// A threshold of a limit under the quota in force for somebody.
struct TermThreshold: Hashable, Sendable {
    let threshold: LimitThreshold
    /// From how much on it is reached.
    let amount: Int

    /// Those of a limit, by ascending amounts: the shares that it warns at, the whole quota, and its soft quota. None of one
    /// that has no more to tell than that it denies, and none of what leases hold, which nothing is ever charged to.
    static func all(of limit: LimitDefinition, under quota: Int?) -> [TermThreshold] {
        guard limit.tellsThresholds else { return [] }
        var all: [TermThreshold] = []
        if let quota, quota > 0 {
            let shares = limit.warnAtPerMille.filter { $0 < 1000 } + [1000]
            for (place, share) in shares.enumerated() where !shares[..<place].contains(share) {
                // A million millions times a thousand fits in 64 bits.
                all.append(TermThreshold(threshold: .share(perMille: share), amount: (quota * share + 999) / 1000))
            }
        }
        if let softQuota = limit.softQuota {
            let place = all.firstIndex { $0.amount > softQuota } ?? all.count
            all.insert(TermThreshold(threshold: .softQuota, amount: softQuota), at: place)
        }
        return all
    }
}

extension CallTerm {
    /// How much its window may count before an answer says that the limit is over; nil where no answer does.
    var softLine: Int? { limit.softQuota ?? (limit.mode == .soft ? quota.amount : nil) }

    /// Whether its window counts more than the limit's soft line.
    package func isOver(_ state: LimitState) -> Bool { softLine.map { state.used > $0 } ?? false }
}

extension PlannedCall {
    /// What is told of the thresholds that the call crossed.
    func crossings(_ crossed: [TermCrossing]) -> [ThresholdCrossing] {
        crossed.flatMap { crossing in
            let term = plan.terms[crossing.term]
            return term.thresholds[crossing.thresholds].map { threshold in
                ThresholdCrossing(
                    limit: term.limit.name, unit: term.limit.unit, mode: term.limit.mode,
                    owner: caller.owner(term.subject), values: caller.values(term.subject),
                    threshold: threshold.threshold, amount: threshold.amount, quota: term.quota.amount,
                    used: crossing.used, period: term.kind.period(atUnixMilliseconds: crossing.unixMilliseconds),
                    windowMilliseconds: term.kind.windowMilliseconds, unixMilliseconds: crossing.unixMilliseconds)
            }
        }
    }
}

extension LimitKind {
    /// Which of a calendar's periods holds an instant: Redis may be in the one before or behind by its own clock.
    fileprivate func period(atUnixMilliseconds now: Int) -> CalendarPeriod? {
        guard case .calendar(let at) = self else { return nil }
        if now < at.start * 1000 { return CalendarPeriod(start: at.previousStart, nextStart: at.start) }
        if now < at.nextStart * 1000 { return CalendarPeriod(start: at.start, nextStart: at.nextStart) }
        return CalendarPeriod(start: at.nextStart, nextStart: at.afterNextStart)
    }

    fileprivate var windowMilliseconds: Int? {
        if case .sliding(let milliseconds) = self { milliseconds } else { nil }
    }
}

extension CheckEngine {
    /// Tells of the thresholds that a call crossed.
    func tell(_ crossed: [TermCrossing], of call: PlannedCall) {
        guard let whenCrossed else { return }
        for crossing in call.crossings(crossed) { whenCrossed(crossing) }
    }
}
