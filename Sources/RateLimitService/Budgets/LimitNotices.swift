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

/// A limit that goes on under its name in another unit.
struct UnitChange: Hashable {
    var name: LimitName
    var before: LimitUnit
    var now: LimitUnit

    /// What the log says of it.
    var text: String {
        "limit \(name) counts \(now.text) now, not \(before.text): what was counted, held, granted and budgeted begins anew"
    }
}

extension LimitSet {
    /// What of the amounts that a budget sets or grants counts for nothing under these limits.
    func useless(_ amounts: [String: BudgetAmount], _ grants: [String: Grant]) -> [UselessAmount] {
        let units = amounts.map { ($0.key, $0.value.unit) } + grants.map { ($0.key, $0.value.unit) }
        return units.compactMap { name, unit in
            guard let limit = limits.first(where: { $0.name.text == name }) else { return .unknownLimit(name) }
            guard let unit, unit != limit.unit else { return nil }
            return .otherUnit(name, unit, now: limit.unit)
        }
    }

    /// The limits that had another unit among earlier ones.
    func unitChanges(since earlier: LimitSet) -> [UnitChange] {
        limits.compactMap { limit in
            guard let before = earlier.limits.first(where: { $0.name == limit.name })?.unit, before != limit.unit else {
                return nil
            }
            return UnitChange(name: limit.name, before: before, now: limit.unit)
        }
    }
}

/// Says in the log, once each, what begins anew because its limit counts another unit, and what counts for nothing.
///
/// The lock is taken where limits are put in force and where a budget has been read from Redis, never by a decision.
final class LimitNotices: Sendable {
    /// How many different things are told of budgets, until a restart: there is no end to the names they can have.
    static let capacity = 256

    private struct State {
        var limits: LimitSet
        var told: Set<UselessAmount> = []
    }

    private let logger: Logger
    private let state: Mutex<State>

    init(_ limits: LimitSet, logger: Logger) {
        self.logger = logger
        state = Mutex(State(limits: limits))
    }

    /// Puts limits in force.
    func setLimits(_ limits: LimitSet) {
        let changes = state.withLock { state in
            defer { state.limits = limits }
            return limits.unitChanges(since: state.limits)
        }
        for change in changes { logger.warning("\(change.text)") }
    }

    /// Looks at what somebody was given, as it was read from Redis.
    func read(_ amounts: [String: BudgetAmount], _ grants: [String: Grant]) {
        guard !amounts.isEmpty || !grants.isEmpty else { return }
        let new = state.withLock { state in
            state.limits.useless(amounts, grants).filter { useless in
                state.told.count < Self.capacity && state.told.insert(useless).inserted
            }
        }
        for useless in new { logger.warning("\(useless.text)") }
    }
}
