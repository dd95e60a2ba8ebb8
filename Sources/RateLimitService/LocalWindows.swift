import RateLimitCore
import Synchronization

/// The windows of failure mode `local`, and of limits that are `local` while Redis is away: the same algorithm in this process, for as long as Redis is away.
///
/// One lock guards them all, since the event loops share each user's window; the hot path that Redis decides
/// never comes here. At most ``maximumUsers`` are kept: two generations of which the older is dropped when the younger
/// is full, so that whoever has not asked for longest is forgotten first.
final class LocalWindows: Sendable {
    /// The most users that are kept.
    static let maximumUsers = 65_536

    /// Whose window of which limit it is.
    private struct Key: Hashable {
        var owner: WindowOwner
        var values: WindowValues?
        var limitID: UInt32
    }

    private struct Generations {
        var young: [Key: SlidingWindowLog] = [:]
        var old: [Key: SlidingWindowLog] = [:]

        /// Uses the window of a key, and keeps it where it is not empty afterwards.
        mutating func check(_ key: Key, cost: Int, limit: Limit, clockMicroseconds: Int) -> Decision {
            var window = young.removeValue(forKey: key) ?? old.removeValue(forKey: key) ?? SlidingWindowLog()
            let decision = window.check(cost: cost, limit: limit, clockMicroseconds: clockMicroseconds)
            if !window.isEmpty(limit: limit, clockMicroseconds: clockMicroseconds) {
                if young.count >= maximumUsers / 2 {
                    old = young
                    young = [:]
                }
                young[key] = window
            }
            return decision
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
    /// calendar's period counts as a sliding window of its length. Everything is charged or nothing is.
    func check(_ call: PlannedCall, replicas: Int, clockMicroseconds: Int) -> Decision.Verdict {
        let windows = call.plan.terms.compactMap { term in
            Self.limit(of: term, replicas: replicas).map { limit in
                (
                    key: Key(
                        owner: call.caller.owner(term.subject), values: call.caller.values(term.subject),
                        limitID: term.limit.id), limit: limit, cost: call.cost(of: term).amount
                )
            }
        }
        return generations.withLock { generations in
            for (key, limit, cost) in windows {
                let used = generations.check(key, cost: 0, limit: limit, clockMicroseconds: clockMicroseconds).used
                guard used + cost > limit.quota else { continue }
                // A check that is denied charges nothing, and says for how long.
                return generations.check(key, cost: cost, limit: limit, clockMicroseconds: clockMicroseconds).verdict
            }
            for (key, limit, cost) in windows where cost > 0 {
                _ = generations.check(key, cost: cost, limit: limit, clockMicroseconds: clockMicroseconds)
            }
            return .allowed
        }
    }

    /// The share of a limit that counts here; nil where it does not.
    private static func limit(of term: CallTerm, replicas: Int) -> Limit? {
        guard term.limit.failureMode == .local, !term.limit.isShadow, let quota = term.quota.amount else {
            return nil
        }
        let milliseconds: Int
        switch term.limit.window {
        case nil: return nil
        case .sliding(let length): milliseconds = length
        case .calendar: milliseconds = term.period.map { ($0.nextStart - $0.start) * 1000 } ?? 86_400_000
        }
        return Limit(name: term.limit.name.text, quota: quota, windowMilliseconds: milliseconds)
            .share(ofReplicas: replicas)
    }

    /// Forgets somebody's windows of some limits, those for values among them: it looks at all there are.
    func reset(_ owner: WindowOwner, limitIDs: [UInt32]) {
        func isKept(_ key: Key) -> Bool { key.owner != owner || !limitIDs.contains(key.limitID) }
        generations.withLock { generations in
            generations.young = generations.young.filter { isKept($0.key) }
            generations.old = generations.old.filter { isKept($0.key) }
        }
    }

    var count: Int {
        generations.withLock { $0.young.count + $0.old.count }
    }
}
