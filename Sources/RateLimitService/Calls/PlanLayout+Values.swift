import RateLimitCore

// Windows for values: which of them a plan has.
extension PlanLayout {
    /// The most terms of a decision with windows for values. Twice as many subjects fit into one, and so do as many beside
    /// all whose plain windows a lease may be held in: a user, the most groups and all.
    static let largestCountWithValues = min(
        (DecisionCall.largestCount - 2) / 2, DecisionCall.largestCount - CallAttributes.maximumGroups - 3)

    /// Adds the windows that are of what the call says, for limits that apply.
    mutating func addValues(_ places: LimitIndices) {
        let all = limits.definitions
        var left = places
        while let first = left.next() {
            guard let windows = all[first].valueWindows else { preconditionFailure("a limit has values here") }
            let same = LimitIndices(places) { all[$0].valueWindows == windows }
            left.bits &= ~same.bits
            for (owner, group) in owners(of: windows, groups: countedGroups) {
                let values = PlanValues(windows: windows, group: group, maximum: all[first].maximumValues ?? 0)
                let subject = PlanSubject.values(self.values.count, of: owner)
                let terms = terms(same, of: subject, inGroup: group)
                guard !terms.isEmpty else { continue }
                self.values.append(values)
                subjects.append((subject, terms))
            }
        }
    }

    /// Adds the windows in which the lease that the call is about is held, but for those that are there already.
    mutating func addHeldValues() {
        let all = limits.definitions
        for windows in kind.heldValues {
            let maximum = all.first { $0.valueWindows == windows }?.maximumValues ?? 0
            let isSame = !kind.saysOtherwise(windows.values)
            for (owner, group) in owners(of: windows, groups: Array(groups.indices)) {
                let isThere = subjects.contains { subject, _ in
                    guard case .values(let place, of: owner) = subject else { return false }
                    return values[place].windows == windows && values[place].group == group
                }
                // More than fit no decision has held: what remains lapses by itself.
                guard !(isSame && isThere), subjects.count < DecisionCall.largestCount - 1 else { continue }
                subjects.append((.values(values.count, of: owner), []))
                values.append(PlanValues(windows: windows, group: group, isOfLease: true, maximum: maximum))
            }
        }
    }

    /// Whose keys windows have, and which group is among their values.
    private func owners(of windows: ValueWindows, groups: [Int]) -> [(owner: PlanOwner, group: Int?)] {
        switch windows.scope {
        case .user where windows.values.contains(.group): groups.map { (.user, $0) }
        case .user: [(.user, nil)]
        case .group: groups.map { (.group($0), nil) }
        case .global: [(.global, nil)]
        }
    }

    /// How much there is of a limit in a window of an owner, whatever was granted.
    ///
    /// - Parameter group: the group that is one of the window's values: that one gives the user's quota there.
    func quota(ofLimitAt index: Int, of owner: PlanOwner, inGroup group: Int?) -> Quota {
        let given = givenQuota(ofLimitAt: index, of: owner, inGroup: group)
        guard !quotas.isEmpty, given.rule == .default || given.rule == .unlimited,
            let said = quotas.first(where: { $0.limitID == limits.definitions[index].id })
        else { return given }
        return Quota(amount: said.amount, rule: .call)
    }

    /// The same, whatever the call says.
    private func givenQuota(ofLimitAt index: Int, of owner: PlanOwner, inGroup group: Int?) -> Quota {
        switch owner {
        case .user:
            let own = caller.budget?.terms ?? .none
            guard let group, limits.definitions[index].values.contains(.group) else {
                return limits.rules.quota(
                    ofLimitAt: index, user: own, attributedTo: caller.budget?.groupID, groups: groups)
            }
            return limits.rules.quota(
                ofLimitAt: index, user: own, attributedTo: groups[group].id, groups: [groups[group]])
        case .group(let place): return limits.rules.quota(ofLimitAt: index, group: groups[place])
        case .global: return limits.rules.defaultQuota(ofLimitAt: index)
        }
    }

    /// What an owner was granted, by limit.
    func grants(to owner: PlanOwner) -> [String: Grant]? {
        switch owner {
        case .user: caller.budget?.grants
        case .group(let place): caller.groups[place].budget?.grants
        case .global: nil
        }
    }
}

extension PlanOwner {
    /// Which limits are the owner's.
    var scope: LimitScope {
        switch self {
        case .user: .user
        case .group: .group
        case .global: .global
        }
    }
}

extension PlanSubject {
    /// The owner's plain windows.
    init(_ owner: PlanOwner) {
        switch owner {
        case .user: self = .user
        case .group(let place): self = .group(place)
        case .global: self = .global
        }
    }
}
