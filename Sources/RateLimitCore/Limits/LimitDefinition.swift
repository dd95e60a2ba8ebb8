/// One limit of the limits file: who shares it, what it counts, how much of it, until when, and for which calls.
public struct LimitDefinition: Hashable, Sendable {
    /// What it is called.
    public let name: LimitName
    /// Who shares its window.
    public let scope: LimitScope
    /// What it counts.
    public let unit: LimitUnit
    /// The default for all who have no quota of their own, in the unit; nil is unlimited, 0 blocks.
    public let quota: Int?
    /// When what it counts is free again; nil for ``LimitUnit/concurrency`` and for nothing else.
    public let window: LimitWindow?
    /// It applies to calls that meet all of these.
    public let matches: [LabelMatch]
    /// Whether it is only reported, and never denies.
    public let isShadow: Bool
    /// What becomes of a call when Redis cannot decide.
    public let failureAnswer: FailureAnswer
    /// Shares of the quota, in thousandths and ascending, from which on an answer carries a warning.
    public let warnAtPerMille: [Int]
    /// What its window is kept under. Two limits of one set never share one.
    public let id: UInt32

    /// The bounds of a quota: the script keeps sums in 48 bits.
    public static let quotas = Limit.quotas
    /// The bounds of a share for a warning, in thousandths.
    public static let warnings = 1...1000
    /// How many shares a limit may warn at.
    public static let maximumWarnings = 8
    /// How many conditions a limit may have.
    public static let maximumMatches = 16

    /// Makes a limit; values outside the bounds, and a window that does not go with the unit, are programming errors.
    public init(
        name: LimitName, scope: LimitScope, unit: LimitUnit, quota: Int?, window: LimitWindow?,
        matches: [LabelMatch] = [], isShadow: Bool = false, failureAnswer: FailureAnswer = .open,
        warnAtPerMille: [Int] = []
    ) {
        precondition(quota.map(Self.quotas.contains) ?? true)
        precondition((window == nil) == (unit == .concurrency))
        if case .sliding(let milliseconds) = window { precondition(LimitWindow.lengths.contains(milliseconds)) }
        precondition(matches.count <= Self.maximumMatches && warnAtPerMille.count <= Self.maximumWarnings)
        precondition(warnAtPerMille.allSatisfy(Self.warnings.contains))
        self.name = name
        self.scope = scope
        self.unit = unit
        self.quota = quota
        self.window = window
        self.matches = matches
        self.isShadow = isShadow
        self.failureAnswer = failureAnswer
        self.warnAtPerMille = warnAtPerMille.sorted()
        id = Self.id(of: name, in: unit)
    }

    /// The id of the limit that a name and a unit make: what was counted in one unit is nothing in another. It is the
    /// FNV-1a hash of 32 bits of the name, a colon, which no name holds, and the unit.
    public static func id(of name: LimitName, in unit: LimitUnit) -> UInt32 {
        "\(name):\(unit.text)".utf8.reduce(0x811c_9dc5) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    }

    /// The id of the limit that the environment gives: ``LimitName/requests``, in requests.
    public static let requestsID = id(of: .requests, in: .requests)

    /// Whether the limit applies to a call.
    @inlinable
    public func applies(to call: CallAttributes) -> Bool {
        for match in matches where !match.matches(call) { return false }
        return true
    }

    /// The highest share of ``warnAtPerMille`` that `used` of `quota` has reached; nil below all of them.
    public func warning(used: Int, quota: Int) -> Int? {
        // A million millions times a thousand fits in 64 bits.
        warnAtPerMille.last { quota > 0 && min(used, Self.quotas.upperBound) * 1000 >= quota * $0 }
    }
}
