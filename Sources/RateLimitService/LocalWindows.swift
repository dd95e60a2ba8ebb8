import RateLimitCore
import Synchronization

/// The windows of failure mode `local`: the same algorithm in this process, for as long as Redis is away.
///
/// One lock guards them all, since the event loops share each user's window; the way of a check that Redis decides
/// never comes here. At most ``maximumUsers`` are kept: two generations of which the older is dropped when the younger
/// is full, so that whoever has not asked for longest is forgotten first.
final class LocalWindows: Sendable {
    /// The most users that are kept.
    static let maximumUsers = 65_536

    private struct Generations {
        var young: [UserID: SlidingWindowLog] = [:]
        var old: [UserID: SlidingWindowLog] = [:]
    }

    private let generations = Mutex(Generations())

    /// No windows yet.
    init() {}

    /// Decides one check under a limit that is already this replica's share.
    func check(_ user: UserID, cost: Int, limit: Limit, clockMicroseconds: Int) -> Decision {
        generations.withLock { generations in
            var window =
                generations.young.removeValue(forKey: user) ?? generations.old.removeValue(forKey: user)
                ?? SlidingWindowLog()
            let decision = window.check(cost: cost, limit: limit, clockMicroseconds: clockMicroseconds)
            if !window.isEmpty(limit: limit, clockMicroseconds: clockMicroseconds) {
                if generations.young.count >= Self.maximumUsers / 2 {
                    generations.old = generations.young
                    generations.young = [:]
                }
                generations.young[user] = window
            }
            return decision
        }
    }

    /// Forgets one user's window.
    func reset(_ user: UserID) {
        generations.withLock { generations in
            generations.young[user] = nil
            generations.old[user] = nil
        }
    }

    var count: Int {
        generations.withLock { $0.young.count + $0.old.count }
    }
}
