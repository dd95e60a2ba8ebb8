/// The limits of a file, in its order: at most 64, no two of one name or of one id.
public struct LimitSet: Hashable, Sendable {
    /// The limits.
    public let limits: [LimitDefinition]
    /// The place of the per-user limit that `spend_limit_micros` sets: the one named `spend`, else the only one of
    /// spend; nil where there is none, or several and none named so.
    public let userSpendIndex: Int?

    private let unconditional: UInt64
    private let conditional: [Int]

    /// How many limits there may be.
    public static let maximumCount = 64

    /// No limits.
    public static let empty = LimitSet(checked: [])

    /// Makes a set of limits.
    public init(_ limits: [LimitDefinition]) throws(LimitSetError) {
        guard limits.count <= Self.maximumCount else { throw .tooMany }
        for (index, limit) in limits.enumerated() {
            for (earlierIndex, earlier) in limits[..<index].enumerated() where earlier.name.id == limit.name.id {
                throw earlier.name == limit.name
                    ? .sameName(earlierIndex, index) : .sameID(earlierIndex, index)
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
            if limit.matches.isEmpty { unconditional |= 1 << UInt64(index) } else { conditional.append(index) }
        }
        self.unconditional = unconditional
        self.conditional = conditional
        let spend = limits.indices.filter { limits[$0].scope == .user && limits[$0].unit == .spend }
        userSpendIndex = spend.first { limits[$0].name == .spend } ?? (spend.count == 1 ? spend[0] : nil)
    }

    /// Which limits apply to a call; allocates nothing.
    public func applicable(to call: CallAttributes) -> LimitIndices {
        var bits = unconditional
        for index in conditional where limits[index].applies(to: call) { bits |= 1 << UInt64(index) }
        return LimitIndices(bits: bits)
    }

    /// The place of the limit of a name; nil where there is none.
    public func index(of name: LimitName) -> Int? {
        limits.firstIndex { $0.name.id == name.id && $0.name == name }
    }
}

/// Places in a ``LimitSet``, ascending, as one bit for each.
public struct LimitIndices: Hashable, Sendable, Sequence, IteratorProtocol {
    // Bit `n` stands for the limit at place `n`.
    @usableFromInline
    var bits: UInt64

    /// Makes places from their bits.
    @inlinable
    public init(bits: UInt64) { self.bits = bits }

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
    /// Two have different names with one id, so that their windows could not be told apart.
    case sameID(Int, Int)
}
