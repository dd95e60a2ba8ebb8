/// The limits of a file, in its order: at most 64, no two of one name or of one id, and no two that share keys and bound
/// their number otherwise.
public struct LimitSet: Hashable, Sendable {
    /// The limits.
    public let limits: [LimitDefinition]
    /// The place of the per-user limit that `spend_limit_micros` sets: the one named `spend`, else the only one of
    /// spend; nil where there is none, or several and none named so. One with a window for each value is none.
    public let userSpendIndex: Int?
    /// The place of the per-group limit that a group's `spend_limit_micros` sets, where no limit per user counts spend: the
    /// one named `spend`, else the only one; nil where there is none, or several and none named so.
    public let groupSpendIndex: Int?
    /// The names of the labels that some limit looks at: by a condition, or for a window of each value.
    public let labelNames: Set<String>

    private let unconditional: UInt64
    private let conditional: [Int]
    private let denying: [Int]

    /// How many limits there may be.
    public static let maximumCount = 64

    /// No limits.
    public static let empty = LimitSet(checked: [])

    /// Makes a set of limits.
    public init(_ limits: [LimitDefinition]) throws(LimitSetError) {
        guard limits.count <= Self.maximumCount else { throw .tooMany }
        for (index, limit) in limits.enumerated() {
            for (earlierIndex, earlier) in limits[..<index].enumerated() {
                if earlier.name == limit.name { throw .sameName(earlierIndex, index) }
                if earlier.id == limit.id { throw .sameID(earlierIndex, index) }
                guard earlier.scope == limit.scope, earlier.values == limit.values,
                    earlier.maximumValues != limit.maximumValues
                else { continue }
                throw .otherMaximum(earlierIndex, index)
            }
        }
        self.init(checked: limits)
    }

    /// Makes a set of one limit.
    public init(_ limit: LimitDefinition) { self.init(checked: [limit]) }

    private init(checked limits: [LimitDefinition]) {
        self.limits = limits
        var unconditional: UInt64 = 0
        var conditional: [Int] = []
        for (index, limit) in limits.enumerated() {
            let isConditional = !limit.matches.isEmpty || limit.values.contains(where: \.isSaid)
            if isConditional { conditional.append(index) } else { unconditional |= 1 << UInt64(index) }
        }
        self.unconditional = unconditional
        self.conditional = conditional
        denying = conditional.filter { limits[$0].missing == .deny && limits[$0].values.contains(where: \.isSaid) }
        // A budget over all is none of a window for each value, of which there may be any number.
        func places(_ scope: LimitScope) -> [Int] {
            limits.indices.filter {
                limits[$0].scope == scope && limits[$0].unit == .spend && limits[$0].values.isEmpty
            }
        }
        func only(_ places: [Int]) -> Int? {
            places.first { limits[$0].name == .spend } ?? (places.count == 1 ? places[0] : nil)
        }
        userSpendIndex = only(places(.user))
        groupSpendIndex = places(.user).isEmpty ? only(places(.group)) : nil
        let matched = limits.flatMap(\.matches).compactMap { match in
            if case .label(let name) = match.key { name } else { nil }
        }
        let counted = limits.flatMap(\.values).compactMap { if case .label(let name) = $0 { name } else { nil } }
        labelNames = Set(matched).union(counted)
    }

    /// Which limits apply to a call; allocates nothing.
    public func applicable(to call: CallAttributes) -> LimitIndices {
        var bits = unconditional
        for index in conditional where limits[index].applies(to: call) { bits |= 1 << UInt64(index) }
        return LimitIndices(bits: bits)
    }

    /// Which limits there is something to show of: all but those with windows for values that the call does not say.
    public func shown(to call: CallAttributes) -> LimitIndices {
        var bits: UInt64 = 0
        for (index, limit) in limits.enumerated() where limit.lacks(in: call) == nil { bits |= 1 << UInt64(index) }
        return LimitIndices(bits: bits)
    }

    /// What a call lacks that limits with ``MissingValue/deny`` need, one value for each of them, in the limits' order.
    public func lacking(in call: CallAttributes) -> [LackingValue] {
        var lacking: [LackingValue] = []
        for index in denying where limits[index].concerns(call) {
            if let value = limits[index].lacks(in: call) {
                lacking.append(LackingValue(limitIndex: index, value: value))
            }
        }
        return lacking
    }

    /// The place of the limit of a name; nil where there is none.
    public func index(of name: LimitName) -> Int? {
        limits.firstIndex { $0.name == name }
    }
}

/// A value that a call does not say, and without which a limit denies it.
public struct LackingValue: Hashable, Sendable {
    /// The place of the limit in its ``LimitSet``.
    public let limitIndex: Int
    /// What the call does not say.
    public let value: CallValue
}

/// Places in a ``LimitSet``, ascending, as one bit for each.
public struct LimitIndices: Hashable, Sendable, Sequence, IteratorProtocol {
    /// Bit `n` stands for the limit at place `n`.
    public var bits: UInt64

    /// Makes places from their bits.
    @inlinable
    public init(bits: UInt64) { self.bits = bits }

    /// Those of some places that are as `isIncluded` says.
    public init(_ places: LimitIndices, where isIncluded: (Int) -> Bool) {
        self.init(bits: places.reduce(0) { isIncluded($1) ? $0 | 1 << UInt64($1) : $0 })
    }

    /// How many there are.
    public var count: Int { bits.nonzeroBitCount }

    /// Whether there are none.
    public var isEmpty: Bool { bits == 0 }

    /// Whether a place is among them.
    public func contains(_ index: Int) -> Bool { (0..<64).contains(index) && bits & (1 << UInt64(index)) != 0 }

    /// The lowest that has not been taken yet.
    public mutating func next() -> Int? {
        guard bits != 0 else { return nil }
        let index = bits.trailingZeroBitCount
        bits &= bits - 1
        return index
    }
}

/// Why limits make no set; the numbers are places in what was given, from 0.
public enum LimitSetError: Error, Hashable, Sendable {
    /// There are more than ``LimitSet/maximumCount``.
    case tooMany
    /// Two have one name.
    case sameName(Int, Int)
    /// Two of different names have one id, so that their windows could not be told apart.
    case sameID(Int, Int)
    /// Two have windows for the same values, which share keys, and other ``LimitDefinition/maximumValues``.
    case otherMaximum(Int, Int)
}
