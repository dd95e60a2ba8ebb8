public import RateLimitCore

/// A limit in force that a call is not under, and what of it missed.
public struct UnmetLimit: Hashable, Sendable {
    /// Why a limit does not apply to a call.
    public enum Reason: Hashable, Sendable {
        /// The call does not meet a condition; what it says there, nil where it says nothing.
        case condition(LabelMatch, said: String?)
        /// The call does not say a value of which each has a window of its own.
        case value(CallValue)
        /// The limit is of groups, and the user is in none.
        case noGroup
        /// The limit is of groups, and those of this call do not fit into one decision.
        case groupsLeftOut
        /// The limit counts what is under way, and a check takes no slot.
        case check
    }

    /// The limit.
    public let limit: LimitName
    /// Why it does not apply.
    public let reason: Reason

    /// Names both.
    public init(_ limit: LimitName, because reason: Reason) {
        self.limit = limit
        self.reason = reason
    }

    /// How many of a condition's alternatives are told.
    static let toldAlternatives = 4

    /// What of the call decided it, as limits files write it: `model`, `provider`, `label:route`, `group`, or `operation`.
    public var missed: String {
        switch reason {
        case .condition(let match, _): match.key.value.text
        case .value(let value): value.text
        case .noGroup, .groupsLeftOut: CallValue.group.text
        case .check: "operation"
        }
    }

    /// Why, as a part of a sentence.
    public var text: String {
        switch reason {
        case .condition(let match, let said):
            let start = said.map { "the \(match.key.value.phrase) is \($0)" } ?? "it says no \(match.key.value.phrase)"
            return "\(start), and the limit is for \(Self.text(of: match.alternatives))"
        case .value(let value): return "it says no \(value.phrase), and the limit has a window for each"
        case .noGroup: return "the user is in no group"
        case .groupsLeftOut: return "the limits of the user's groups do not fit into one decision"
        case .check: return "a check takes no slot, a reserve does"
        }
    }

    private static func text(of alternatives: [LabelMatch.Pattern]) -> String {
        let told = alternatives.prefix(toldAlternatives).map(\.text)
        let rest = alternatives.count - told.count
        if rest > 0 { return "\(told.joined(separator: ", ")) and \(rest) others" }
        guard let last = told.last, told.count > 1 else { return told.joined() }
        return "\(told.dropLast().joined(separator: ", ")) or \(last)"
    }
}

extension LabelMatch.Key {
    /// It as a value of which there may be windows.
    fileprivate var value: CallValue {
        switch self {
        case .model: .model
        case .provider: .provider
        case .label(let name): .label(name)
        }
    }
}

extension LabelMatch.Pattern {
    /// As limits files write it.
    fileprivate var text: String {
        switch self {
        case .exact(let text): text
        case .prefix(let text): "\(text)*"
        }
    }
}

extension PlannedCall {
    /// The limits in force that it is not under, in the order of the file.
    func unmet(of limits: LimitSet) -> [UnmetLimit] {
        let met = Set(plan.terms.map(\.limit.id))
        return limits.limits.filter { !met.contains($0.id) }.map { limit in
            UnmetLimit(limit.name, because: reason(not: limit))
        }
    }

    private func reason(not limit: LimitDefinition) -> UnmetLimit.Reason {
        switch limit.miss(of: request.attributes) {
        case .condition(let match): return .condition(match, said: request.attributes.value(of: match.key.value))
        case .value(let value): return .value(value)
        case nil: break
        }
        guard limit.isOfGroups else { return .check }
        if caller.groups.isEmpty { return .noGroup }
        return limit.unit == .concurrency && !plan.kind.operation.takesSlots ? .check : .groupsLeftOut
    }
}
