import RateLimitCore

/// How long leases have lasted lately on one event loop, from reserve to settle or release, by limit: those used last, as
/// a value.
struct LeaseDurations {
    /// How many pairs of a user and a limit are remembered.
    static let userCapacity = 4_096
    /// How many limits are remembered.
    static let limitCapacity = LimitSet.maximumCount

    private struct UserLimit: Hashable {
        var user: SubjectID
        var limit: UInt32
    }

    private var users: LeastRecentlyUsed<UserLimit, RecentAmounts>
    private var limits: LeastRecentlyUsed<UInt32, RecentAmounts>

    init(userCapacity: Int = Self.userCapacity, limitCapacity: Int = Self.limitCapacity) {
        users = LeastRecentlyUsed(capacity: userCapacity)
        limits = LeastRecentlyUsed(capacity: limitCapacity)
    }

    /// How many pairs and how many limits are remembered.
    var counts: (users: Int, limits: Int) { (users.count, limits.count) }

    /// Notes that a user's lease under a limit has ended after so long.
    mutating func note(_ user: SubjectID, limit: UInt32, milliseconds: Int) {
        users.update(UserLimit(user: user, limit: limit), from: RecentAmounts()) { $0.note(milliseconds) }
        limits.update(limit, from: RecentAmounts()) { $0.note(milliseconds) }
    }

    /// How long the leases that hold some of a limit are to be expected to last, in milliseconds; nil where none has ended.
    ///
    /// In a user's own window those are the user's, which are known well enough from a few on; in a window that is shared
    /// they are anybody's.
    mutating func expectedMilliseconds(of limit: UInt32, _ subject: PlanSubject, _ user: SubjectID) -> Int? {
        if subject.owner == .user, let own = users.value(for: UserLimit(user: user, limit: limit)),
            own.count >= RecentAmounts.fewest
        {
            return own.estimate
        }
        return limits.value(for: limit)?.estimate
    }
}

extension CheckEngine {
    /// Learns how long a lease has lasted that has just ended, under the limits in force that its call falls under. A lease
    /// whose time is yet to come, by a clock that is ahead, teaches nothing.
    func learnDuration(from request: CallRequest, atUnixMilliseconds now: Int) {
        switch request.operation {
        case .settle(let lease), .release(let lease):
            guard lease.instants.givenAtMilliseconds <= now, !lease.holdsNothing else { return }
            let limits = callLimits.set
            for index in limits.applicable(to: lease.attributes) {
                let lasted = now - lease.instants.givenAtMilliseconds
                durations.note(lease.owner, limit: limits.limits[index].id, milliseconds: lasted)
            }
        case .check, .checkOnce, .reserve, .renew, .usage, .refund, .look: break
        }
    }

    /// The wait that is told of the one that Redis said, in milliseconds: that of what has been charged is exact, that of
    /// what leases hold a forecast.
    ///
    /// - Parameters:
    ///   - mostMilliseconds: the wait after which the call certainly passes.
    ///   - leastMilliseconds: how much of it what has been charged needs.
    ///   - details: how the limits stand.
    func toldWait(
        _ mostMilliseconds: Int, least leastMilliseconds: Int, _ details: OutcomeDetails, _ call: PlannedCall
    ) -> Int {
        var forecast = 0
        details.forEachTerm { term, state in
            guard state.isDenied, state.isHeld else { return }
            let duration = durations.expectedMilliseconds(of: term.limit.id, term.subject, call.request.user)
            // A lease holds one slot. How many leases hold tokens or money Redis does not say: as if it were one.
            let isSlot = term.kind == .concurrency
            let missing = state.used + call.cost(of: term).amount - (term.quota.amount ?? .max)
            let needed = LeaseWait.forecastMilliseconds(
                durationMilliseconds: duration, ending: isSlot ? missing : 1, of: isSlot ? state.used : 1)
            forecast = max(forecast, needed)
        }
        return LeaseWait.toldMilliseconds(
            forecast: forecast, least: leastMilliseconds, most: mostMilliseconds)
    }

    /// The wait that is told of a check where leases hold some of what it lacks, in milliseconds.
    func toldWait(_ mostMilliseconds: Int, _ decided: DecidedCheck, _ user: SubjectID) -> Int {
        let duration = durations.expectedMilliseconds(of: LimitDefinition.requestsID, .user, user)
        let forecast = LeaseWait.forecastMilliseconds(durationMilliseconds: duration, ending: 1, of: 1)
        return LeaseWait.toldMilliseconds(
            forecast: forecast, least: decided.certainMilliseconds, most: mostMilliseconds)
    }
}
