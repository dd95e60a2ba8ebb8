/// How much there is of one limit for the call that says so, as of a customer's plan that the gateway knows: in place of what
/// the limits file gives all.
public struct CallQuota: Hashable, Sendable {
    /// The id of the limit.
    public let limitID: UInt32
    /// The quota, in the limit's unit.
    public let amount: Int

    /// Makes a quota; nil where the amount is outside ``LimitDefinition/quotas``.
    public init?(of limitID: UInt32, _ amount: Int) {
        guard LimitDefinition.quotas.contains(amount) else { return nil }
        self.limitID = limitID
        self.amount = amount
    }

    /// Why a quota that a call says does not count, or not as it says it.
    public enum Problem: Hashable, Sendable, CustomStringConvertible {
        /// It is of no limit in force.
        case unknownLimit
        /// The limit takes none from calls.
        case notFromCalls(LimitName)
        /// It is above the most that the limit takes, which counts.
        case aboveMaximum(LimitName, Int)

        /// What is wrong, as a part of a sentence.
        public var description: String {
            switch self {
            case .unknownLimit: "one is of a limit that is not in force"
            case .notFromCalls(let name): "limit \(name) takes none from calls: it has no quota_from_call"
            case .aboveMaximum(let name, let most):
                "that of limit \(name) is above the max of its quota_from_call, \(most), which counts"
            }
        }
    }
}

extension LimitSet {
    /// The quota that a call says of the limit of a name, and what is wrong with it.
    ///
    /// - Parameter amount: within ``LimitDefinition/quotas``.
    public func callQuota(named name: String, _ amount: Int) -> (quota: CallQuota?, problem: CallQuota.Problem?) {
        guard let place = LimitName(name).flatMap({ index(of: $0) }) else { return (nil, .unknownLimit) }
        let limit = limits[place]
        guard let most = limit.maximumCallQuota else { return (nil, .notFromCalls(limit.name)) }
        return (CallQuota(of: limit.id, min(amount, most)), amount > most ? .aboveMaximum(limit.name, most) : nil)
    }

    /// Those of a call's quotas that count for limits at some places, as these take them now.
    public func countedQuotas(_ quotas: [CallQuota], at places: LimitIndices) -> [CallQuota] {
        guard !quotas.isEmpty else { return [] }
        return places.compactMap { place in
            guard let most = limits[place].maximumCallQuota,
                let quota = quotas.first(where: { $0.limitID == limits[place].id })
            else { return nil }
            return CallQuota(of: quota.limitID, min(quota.amount, most))
        }
    }
}
