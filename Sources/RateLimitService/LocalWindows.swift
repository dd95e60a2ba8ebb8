import RateLimitCore
import Synchronization

/// The windows of failure mode `local`, and of limits that are `local` while Redis is away: the same algorithm in this process, for as long as Redis is away.
///
/// One lock guards them all, since the event loops share each user's window; the hot path that Redis decides
/// never comes here. At most ``maximumUsers`` are kept: two generations of which the older is dropped when the younger
/// is full, so that whoever has not asked for longest is forgotten first. Both keep their room.
final class LocalWindows: Sendable {
    /// The most users that are kept.
    static let maximumUsers = 65_536

    /// Whose window of which limit it is.
    private enum Key: Hashable {
        case limit(WindowOwner, WindowValues?, UInt32)
        case descriptor(DescriptorKey)

        init(owner: WindowOwner, values: WindowValues? = nil, limitID: UInt32) {
            self = .limit(owner, values, limitID)
        }
    }

    /// What is asked of a window, and charged where all that is asked fits.
    private struct Question {
        var key: Key
        /// This replica's share.
        var limit: Limit
        /// Whether all counts until the window has been idle for as long as ``limit`` says.
        var isLifetime = false
        var cost: Int
        /// How much must be left.
        var need: Int
    }

    private struct Generations {
        var young: [Key: SlidingWindowLog] = [:]
        var old: [Key: SlidingWindowLog] = [:]

        /// Uses the window of a key, and keeps it where it is not empty afterwards.
        mutating func check(
            _ key: Key, cost: Int, limit: Limit, isLifetime: Bool = false, clockMicroseconds: Int
        ) -> Decision {
            var window = young.removeValue(forKey: key) ?? old.removeValue(forKey: key) ?? SlidingWindowLog()
            let decision =
                isLifetime
                ? window.checkLifetime(cost: cost, limit: limit, clockMicroseconds: clockMicroseconds)
                : window.check(cost: cost, limit: limit, clockMicroseconds: clockMicroseconds)
            if !window.isEmpty(limit: limit, clockMicroseconds: clockMicroseconds) {
                if young.count >= maximumUsers / 2 {
                    swap(&young, &old)
                    young.removeAll(keepingCapacity: true)
                }
                young[key] = window
            }
            return decision
        }

        /// Charges everything where all of it fits, unless nothing is to be charged; else nothing, and says which
        /// question's window denies it.
        mutating func decide(
            _ questions: [Question], clockMicroseconds: Int, charges: Bool = true
        ) -> (verdict: Decision.Verdict, decider: Int?) {
            func check(_ asked: Question, cost: Int) -> Decision {
                self.check(
                    asked.key, cost: cost, limit: asked.limit, isLifetime: asked.isLifetime,
                    clockMicroseconds: clockMicroseconds)
            }
            for (place, asked) in questions.enumerated() {
                let used = check(asked, cost: 0).used
                guard used + asked.need > asked.limit.quota else { continue }
                // A check that is denied charges nothing, and says for how long.
                return (check(asked, cost: asked.need).verdict, place)
            }
            for asked in questions where asked.cost > 0 && charges { _ = check(asked, cost: asked.cost) }
            return (.allowed, nil)
        }

        /// Charges as much of each as there is room for.
        mutating func charge(_ reports: [Question], clockMicroseconds: Int) {
            for report in reports {
                let left = check(report.key, cost: 0, limit: report.limit, clockMicroseconds: clockMicroseconds)
                    .remaining
                guard left > 0 else { continue }
                _ = check(
                    report.key, cost: min(report.cost, left), limit: report.limit, clockMicroseconds: clockMicroseconds)
            }
        }

        /// Gives back of each as much as there is.
        mutating func refund(_ refunds: [Question], clockMicroseconds: Int) {
            for refund in refunds {
                let (key, cost, limit) = (refund.key, refund.cost, refund.limit)
                young[key]?.refund(cost, limit: limit, clockMicroseconds: clockMicroseconds)
                old[key]?.refund(cost, limit: limit, clockMicroseconds: clockMicroseconds)
            }
        }
    }

    private let generations = Mutex(Generations())

    /// No windows yet.
    init() {}

    /// Decides one check under a limit that is already this replica's share.
    func check(_ user: SubjectID, cost: Int, limit: Limit, clockMicroseconds: Int) -> Decision {
        generations.withLock {
            $0.check(
                Key(owner: .user(user), limitID: LimitDefinition.requestsID), cost: cost, limit: limit,
                clockMicroseconds: clockMicroseconds)
        }
    }

    /// Decides a call over all its limits that are `local` while Redis is away, under this replica's share of each: a
    /// calendar's period counts as a sliding window of its length, and a lifetime as what it is. Everything is charged or
    /// nothing is.
    ///
    /// - Parameter charges: false for a dry run.
    func check(
        _ call: PlannedCall, replicas: Int, clockMicroseconds: Int, charges: Bool = true
    ) -> Decision.Verdict {
        let questions = call.plan.terms.compactMap { term in
            Self.limit(of: term, replicas: replicas).map { limit in
                let cost = call.cost(of: term).amount
                return Question(
                    key: Key(
                        owner: call.caller.owner(term.subject), values: call.caller.values(term.subject),
                        limitID: term.limit.id), limit: limit, isLifetime: term.limit.window?.isLifetime ?? false,
                    cost: cost, need: cost)
            }
        }
        return generations.withLock {
            $0.decide(questions, clockMicroseconds: clockMicroseconds, charges: charges).verdict
        }
    }

    /// Decides a request about descriptors while Redis is away, under this replica's share of each window that may deny it.
    /// Of what is reported so much is charged as there is room for, and of what is given back as much as there is.
    func check(_ call: PlannedDescriptors, replicas: Int, clockMicroseconds: Int) -> DescriptorOutcome {
        func question(_ term: DescriptorTerm, cost: Int, need: Int) -> Question {
            let limit = Limit(
                name: "descriptor", quota: term.kind.quota, windowMilliseconds: term.kind.windowMilliseconds)
            return Question(
                key: .descriptor(term.key), limit: limit.share(ofReplicas: replicas), cost: cost, need: need)
        }
        let asking = call.terms.indices.filter { place in
            !call.terms[place].kind.isShadow && call.terms[place].kind.question != .look
        }
        let questions = asking.map { place in
            let term = call.terms[place]
            return question(term, cost: term.asked, need: max(1, term.asked))
        }
        let reports = call.terms.filter(\.kind.reports).map { question($0, cost: $0.reported, need: 0) }
        let refunds = call.terms.filter(\.kind.refunds).map { question($0, cost: $0.refunded, need: 0) }
        let (verdict, decider) = generations.withLock { generations in
            let decided = generations.decide(questions, clockMicroseconds: clockMicroseconds)
            if decided.verdict == .allowed {
                generations.charge(reports, clockMicroseconds: clockMicroseconds)
                generations.refund(refunds, clockMicroseconds: clockMicroseconds)
            }
            return decided
        }
        return DescriptorOutcome(verdict, of: call, by: decider.map { asking[$0] })
    }

    /// The share of a limit that counts here; nil where it does not.
    private static func limit(of term: CallTerm, replicas: Int) -> Limit? {
        guard term.limit.failureMode == .local, term.limit.denies, let quota = term.quota.amount else {
            return nil
        }
        let milliseconds: Int
        switch term.limit.window {
        case nil: return nil
        case .sliding(let length), .lifetime(let length): milliseconds = length
        case .calendar: milliseconds = term.period.map { ($0.nextStart - $0.start) * 1000 } ?? 86_400_000
        }
        return Limit(name: term.limit.name.text, quota: quota, windowMilliseconds: milliseconds)
            .share(ofReplicas: replicas)
    }

    /// Forgets somebody's windows of some limits, those for values among them: it looks at all there are.
    func reset(_ owner: WindowOwner, limitIDs: [UInt32]) {
        func isKept(_ key: Key) -> Bool {
            guard case .limit(owner, _, let limitID) = key else { return true }
            return !limitIDs.contains(limitID)
        }
        generations.withLock { generations in
            generations.young = generations.young.filter { isKept($0.key) }
            generations.old = generations.old.filter { isKept($0.key) }
        }
    }

    /// Forgets a descriptor's window.
    func reset(_ key: DescriptorKey) {
        generations.withLock { generations in
            generations.young[.descriptor(key)] = nil
            generations.old[.descriptor(key)] = nil
        }
    }

    var count: Int {
        generations.withLock { $0.young.count + $0.old.count }
    }

    /// For how many there is room without more memory.
    var capacity: Int {
        generations.withLock { $0.young.capacity + $0.old.capacity }
    }
}
