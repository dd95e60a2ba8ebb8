import Glibc
public import RateLimitCore

/// Why a grant cannot be made, whoever asks for it.
public enum GrantRefusal: Error, Hashable, Sendable {
    /// There are no limits but that of checks, which has one quota for all.
    case noOtherLimits
    /// No limit in force has this name; those that could be granted to the subject are told.
    case unknownLimit(LimitName, known: [LimitName])
    /// The limit's windows are not the subject's, but those of this scope.
    case otherScope(LimitName, LimitScope)
    /// The limit has no window, and so no window's end.
    case noWindow(LimitName)
}

extension LimitsInForce {
    /// The order of a grant to a user or a group, with the end that the limit's window gives it.
    public func grant(
        _ amount: Int, of name: LimitName, to subject: BudgetSubject, requestID: [UInt8]?, atUnixSeconds now: Int
    ) throws(GrantRefusal) -> GrantOrder {
        guard !isEmpty else { throw .noOtherLimits }
        let scope: LimitScope = if case .user = subject { .user } else { .group }
        guard let index = set.index(of: name) else {
            let known = definitions.filter { $0.scope == scope && $0.window != nil }
            throw .unknownLimit(name, known: known.map(\.name))
        }
        let limit = definitions[index]
        guard limit.scope == scope else { throw .otherScope(name, limit.scope) }
        guard let end = limit.grantEnd(aroundUnixSeconds: now) else { throw .noWindow(name) }
        return GrantOrder(limit: name, unit: limit.unit, amount: amount, end: end, requestID: requestID)
    }
}

/// The time of day here, in milliseconds since 1970.
package func unixMilliseconds() -> Int {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}
