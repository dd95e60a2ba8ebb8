import Logging
import RateLimitCore
import Synchronization

/// Something that was given at run time and counts for nothing under the limits in force.
enum UselessAmount: Hashable {
    /// It was set or granted of a limit of this name when that counted another unit.
    case otherUnit(String, LimitUnit, now: LimitUnit)
    /// No limit of this name is in force here.
    case unknownLimit(String)

    /// What the log says of it.
    var text: String {
        switch self {
        case .otherUnit(let name, let unit, let now):
            "a budget or grant of limit \(name) is in \(unit.text), and the limit counts \(now.text): it counts for nothing"
        case .unknownLimit(let name):
            "a budget or grant names the limit \(name), which is not in force here: it counts for nothing"
        }
    }
}

/// An amount that somebody was given of a limit, without the amount.
struct GivenAmount: Hashable {
    var limit: String
    var unit: LimitUnit?
}

/// A limit that goes on under its name and begins anew.
enum LimitRestart: Hashable {
    /// It counts another unit.
    case unit(LimitName, before: LimitUnit, now: LimitUnit)
    /// It counts in other windows.
    case windows(LimitName, before: String, now: String)

    /// What the log says of it.
    var text: String {
        switch self {
        case .unit(let name, let before, let now):
            "limit \(name) counts \(now.text) now, not \(before.text): what was counted, held, granted and budgeted begins "
                + "anew"
        case .windows(let name, let before, let now):
            "limit \(name) is per \(now) now, not per \(before): what was counted and held begins anew"
        }
    }
}

extension LimitSet {
    /// Why an amount of a limit counts for nothing under these; nil where it counts.
    func uselessness(of given: GivenAmount) -> UselessAmount? {
        guard let limit = limits.first(where: { $0.name.text == given.limit }) else {
            return .unknownLimit(given.limit)
        }
        guard let unit = given.unit, unit != limit.unit else { return nil }
        return .otherUnit(given.limit, unit, now: limit.unit)
    }

    /// The limits that had another unit or other windows among earlier ones.
    func restarts(since earlier: LimitSet) -> [LimitRestart] {
        limits.compactMap { limit in
            guard let before = earlier.limits.first(where: { $0.name == limit.name }) else { return nil }
            if before.unit != limit.unit { return .unit(limit.name, before: before.unit, now: limit.unit) }
            guard before.scope != limit.scope || before.values != limit.values else { return nil }
            return .windows(limit.name, before: before.perText, now: limit.perText)
        }
    }
}

/// Says in the log, once each, what begins anew because its limit became another, and what counts for nothing.
///
/// The lock is taken where limits are put in force and where a budget has been read from Redis, never by a decision.
final class LimitNotices: Sendable {
    /// How many different things are told of budgets, until a restart: there is no end to the names they can have.
    static let capacity = 256

    private struct State {
        var limits: LimitSet
        /// What budgets that were read have given: it may come to count for nothing under other limits.
        var given: Set<GivenAmount> = []
        var told: Set<UselessAmount> = []

        /// What of some amounts counts for nothing, and has not been told.
        mutating func news(_ amounts: some Sequence<GivenAmount>) -> [UselessAmount] {
            var news: [UselessAmount] = []
            for amount in amounts {
                guard let useless = limits.uselessness(of: amount), told.count < LimitNotices.capacity else { continue }
                if told.insert(useless).inserted { news.append(useless) }
            }
            return news
        }
    }

    private let logger: Logger
    private let state: Mutex<State>

    init(_ limits: LimitSet, logger: Logger) {
        self.logger = logger
        state = Mutex(State(limits: limits))
    }

    /// Puts limits in force.
    func setLimits(_ limits: LimitSet) {
        let (restarts, useless) = state.withLock { state in
            let restarts = limits.restarts(since: state.limits)
            state.limits = limits
            return (restarts, state.news(state.given.sorted { $0.limit < $1.limit }))
        }
        for restart in restarts { logger.warning("\(restart.text)") }
        for useless in useless { logger.warning("\(useless.text)") }
    }

    /// Looks at what somebody was given, as it was read from Redis.
    func read(_ amounts: [String: BudgetAmount], _ grants: [String: Grant]) {
        guard !amounts.isEmpty || !grants.isEmpty else { return }
        let given =
            amounts.map { GivenAmount(limit: $0.key, unit: $0.value.unit) }
            + grants.map { GivenAmount(limit: $0.key, unit: $0.value.unit) }
        let new = state.withLock { state in
            for amount in given where state.given.count < Self.capacity { state.given.insert(amount) }
            return state.news(given)
        }
        for useless in new { logger.warning("\(useless.text)") }
    }
}
