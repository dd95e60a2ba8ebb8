import NIOCore
import RateLimitCore
import RateLimitService

/// The leases of calls that are under way on one event loop, by who calls and the id of the request: a value.
///
/// Who asks with an id is held what the call may come to, and who tells with the same id what it came to settles that. A
/// proxy does both on one connection, so both are here. What is forgotten, or is another event loop's, lapses by itself in
/// Redis, and what such a call came to is charged without it.
struct ReservedCalls {
    /// How many are kept in each of two generations: the older one is dropped when the younger is full.
    static let capacity = 16_384
    /// After so long the younger generation becomes the older one, and not before the longest lease in it may have lapsed:
    /// a call that is forgotten is charged beside what it still holds.
    static let span = TimeAmount.minutes(10)

    /// Who calls, and the id of the request.
    struct Key: Hashable {
        var user: SubjectID
        var requestID: [UInt8]
    }

    /// What is known of a call.
    enum State: Hashable {
        /// It has asked, and is not answered yet.
        case reserving
        /// It goes on.
        case held(Lease, lapsesAt: NIODeadline)
    }

    private let capacity: Int
    private var young: [Key: State] = [:]
    private var old: [Key: State] = [:]
    private var startedAt = NIODeadline.uptimeNanoseconds(0)
    private var longestLife = Self.span

    init(capacity: Int = Self.capacity) { self.capacity = capacity }

    /// How many are known.
    var count: Int { young.count + old.count }

    /// What is known of a call; nil where nothing is, and where its lease has lapsed.
    func state(of key: Key, at now: NIODeadline) -> State? {
        let state = young[key] ?? old[key]
        if case .held(_, let lapsesAt)? = state, lapsesAt <= now { return nil }
        return state
    }

    /// Notes what is known of a call.
    mutating func set(_ state: State, of key: Key, at now: NIODeadline) {
        old[key] = nil
        young[key] = state
        if case .held(_, let lapsesAt) = state { longestLife = max(longestLife, lapsesAt - now) }
        guard young.count > capacity || now - startedAt >= longestLife else { return }
        (old, young, startedAt) = (young, [:], now)
    }

    /// Forgets a call, and gives the lease that it had, also one that has lapsed: it can be settled for a while.
    mutating func remove(_ key: Key) -> Lease? {
        let state = young[key] ?? old[key]
        forget(key)
        guard case .held(let lease, _)? = state else { return nil }
        return lease
    }

    /// Forgets a call.
    mutating func forget(_ key: Key) {
        young[key] = nil
        old[key] = nil
    }
}
