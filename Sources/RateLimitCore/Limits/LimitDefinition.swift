/// One limit of the limits file: who shares it, what it counts, how much of it, until when, and for which calls.
public struct LimitDefinition: Hashable, Sendable {
    /// What it is called.
    public let name: LimitName
    /// Who shares its windows: whose key they have, and whose budgets count for them.
    public let scope: LimitScope
    /// Of which each value has a window of its own, in the order of ``CallValue/isOrdered(_:before:)``; none of one
    /// window for all calls.
    public let values: [CallValue]
    /// What becomes of a call that does not say one of ``values``.
    public let missing: MissingValue
    /// How many windows one user or one group may have of ``values``, those idle the longest forgotten first; nil for
    /// limits without values and for those that all share.
    public let maximumValues: Int?
    /// What it counts.
    public let unit: LimitUnit
    /// How much tokens weigh in it; nil where each counts as one, and for limits of other units.
    public let weights: TokenWeights?
    /// The default for all who have no quota of their own, in the unit; nil is unlimited, 0 blocks.
    public let quota: Int?
    /// The most that a call may say its quota is, in place of ``quota``; nil where calls say none.
    public let maximumCallQuota: Int?
    /// When what it counts is free again; nil for ``LimitUnit/concurrency`` and for nothing else.
    public let window: LimitWindow?
    /// It applies to calls that meet all of these.
    public let matches: [LabelMatch]
    /// What it does about a call that is above the quota.
    public let mode: LimitMode
    /// From where on up an answer says that the limit is over, below the quota and in the unit; nil where only
    /// ``LimitMode/soft`` has that said, of the quota.
    public let softQuota: Int?
    /// What becomes of a call when Redis cannot decide.
    public let failureMode: FailureMode
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
    /// How many thresholds it may have told: those shares, the quota and the soft quota.
    public static let maximumThresholds = maximumWarnings + 2
    /// How many conditions a limit may have.
    public static let maximumMatches = 16

    /// How many windows a limit may let one user or group have.
    public static let valueCounts = 1...100_000
    /// How many it lets them have that does not say it.
    public static let usualMaximumValues = 1_000

    /// Makes a limit; values outside the bounds, and a window that does not go with the unit, are programming errors.
    ///
    /// - Parameters:
    ///   - values: in any order, none twice; ``CallValue/group`` only beside the scope of users.
    ///   - maximumValues: nil for ``usualMaximumValues``; it counts only for values of a user or a group.
    public init(
        name: LimitName, scope: LimitScope, values: [CallValue] = [], missing: MissingValue = .ignore,
        maximumValues: Int? = nil, unit: LimitUnit, weights: TokenWeights? = nil, quota: Int?,
        maximumCallQuota: Int? = nil, window: LimitWindow?,
        matches: [LabelMatch] = [], mode: LimitMode = .enforce, softQuota: Int? = nil,
        failureMode: FailureMode = .open, warnAtPerMille: [Int] = []
    ) {
        precondition(values.count <= CallValue.maximumCount && Set(values).count == values.count)
        precondition(scope == .user || !values.contains(.group))
        precondition(maximumValues.map(Self.valueCounts.contains) ?? true)
        precondition(quota.map(Self.quotas.contains) ?? true)
        precondition(maximumCallQuota.map { Self.quotas.contains($0) && $0 > 0 } ?? true)
        precondition((window == nil) == (unit == .concurrency))
        precondition(softQuota.map { 1..<max(1, quota ?? 1) ~= $0 && mode != .soft } ?? true)
        precondition(unit != .concurrency || mode != .soft && softQuota == nil)
        if weights != nil { precondition(unit.tokenKind != nil) }
        precondition(window?.isUsable ?? true)
        precondition(matches.count <= Self.maximumMatches && warnAtPerMille.count <= Self.maximumWarnings)
        precondition(warnAtPerMille.allSatisfy(Self.warnings.contains))
        self.name = name
        self.scope = scope
        self.values = values.sorted(by: CallValue.isOrdered)
        self.missing = missing
        self.maximumValues =
            values.isEmpty || scope == .global ? nil : maximumValues ?? Self.usualMaximumValues
        self.unit = unit
        self.weights = weights
        self.quota = quota
        self.maximumCallQuota = maximumCallQuota
        self.window = window
        self.matches = matches
        self.mode = mode
        self.softQuota = softQuota
        self.failureMode = failureMode
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

    /// Whether it is only reported, and never denies.
    public var isShadow: Bool { mode == .shadow }

    /// Whether it may deny a call.
    public var denies: Bool { mode == .enforce }

    /// Whether it is told when calls cross its thresholds. Of one that says no share and is not soft a denial tells all.
    public var tellsThresholds: Bool {
        unit != .concurrency && (!warnAtPerMille.isEmpty || softQuota != nil || mode == .soft)
    }

    /// Whose windows it has by ``values``; nil where there are none.
    public var valueWindows: ValueWindows? { ValueWindows(scope, values) }

    /// Whether the windows are of groups: the groups' own, or a user's in each of the user's groups.
    public var isOfGroups: Bool { scope == .group || values.contains(.group) }

    /// Whether the limit applies to a call: it meets every condition and says every value.
    public func applies(to call: CallAttributes) -> Bool { concerns(call) && lacks(in: call) == nil }

    /// Why the limit does not apply to a call: the first condition that it does not meet, else the first value that it does
    /// not say; nil where it applies.
    public func miss(of call: CallAttributes) -> LimitMiss? {
        if let match = matches.first(where: { !$0.matches(call) }) { return .condition(match) }
        return lacks(in: call).map { .value($0) }
    }

    /// Whether a call meets every condition of the limit.
    func concerns(_ call: CallAttributes) -> Bool {
        for match in matches where !match.matches(call) { return false }
        return true
    }

    /// The first of ``values`` that a call does not say; nil where it says all of them.
    func lacks(in call: CallAttributes) -> CallValue? {
        for value in values where value.isSaid && call.value(of: value) == nil { return value }
        return nil
    }

    /// Who shares a window, as the limits file writes it: `user`, or `[user, label:session]`. Names of labels are written
    /// as in keys, and so are harmless wherever they stand.
    public var perText: String {
        // All share what is per value alone.
        let words =
            (scope == .global && !values.isEmpty ? [] : [scope.rawValue]) + values.map { WindowValues.names(of: [$0]) }
        return words.count == 1 ? words[0] : "[\(words.joined(separator: ", "))]"
    }

    /// The highest share of ``warnAtPerMille`` that `used` of `quota` has reached; nil below all of them.
    public func warning(used: Int, quota: Int) -> Int? {
        // A million millions times a thousand fits in 64 bits.
        warnAtPerMille.last { quota > 0 && min(used, Self.quotas.upperBound) * 1000 >= quota * $0 }
    }
}

/// Why a limit does not apply to a call.
public enum LimitMiss: Hashable, Sendable {
    /// The call does not meet this condition.
    case condition(LabelMatch)
    /// The call does not say this value, of which each has a window of its own.
    case value(CallValue)
}
