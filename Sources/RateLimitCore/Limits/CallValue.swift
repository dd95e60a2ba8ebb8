/// Something that a call says, and of which each value has a window of its own under a limit.
public enum CallValue: Hashable, Sendable {
    /// Each of the caller's groups.
    case group
    /// The model's name.
    case model
    /// The provider's name.
    case provider
    /// A label of the gateway's choice, such as `session`.
    case label(String)

    /// How many of them a limit may have.
    public static let maximumCount = 4

    /// It as limits files and keys write it: `label:session`.
    public var text: String {
        switch self {
        case .group: "group"
        case .model: "model"
        case .provider: "provider"
        case .label(let name): "label:\(name)"
        }
    }

    /// It as a sentence writes it: `label session`. A label's name is written as in keys, and so is harmless.
    public var phrase: String {
        switch self {
        case .group, .model, .provider: text
        case .label: "label \(WindowValues.names(of: [self]).dropFirst("label:".count))"
        }
    }

    /// Whether it is said by the call itself, and so may be missing. Who has no group is under no limit of groups.
    public var isSaid: Bool { self != .group }

    /// The order of values wherever they stand together: group, model, provider, then labels by their names' bytes.
    public static func isOrdered(_ one: CallValue, before other: CallValue) -> Bool {
        if case .label(let name) = one, case .label(let otherName) = other {
            return name.utf8.lexicographicallyPrecedes(otherName.utf8)
        }
        return one.rank < other.rank
    }

    private var rank: Int {
        switch self {
        case .group: 0
        case .model: 1
        case .provider: 2
        case .label: 3
        }
    }
}

/// What becomes of a call that does not say a value by which a limit has its windows.
public enum MissingValue: String, CaseIterable, Hashable, Sendable {
    /// It is not under the limit.
    case ignore
    /// It is denied.
    case deny
}

/// Whose windows limits have that have one for each value: those of one are in the same keys.
public struct ValueWindows: Hashable, Sendable {
    /// Whose key they have.
    public let scope: LimitScope
    /// What they are of, in the order of ``CallValue/isOrdered(_:before:)``.
    public let values: [CallValue]

    /// Names them; nil where there are no values, more than ``CallValue/maximumCount``, one of them twice, or groups of
    /// what is no user's.
    public init?(_ scope: LimitScope, _ values: [CallValue]) {
        guard 1...CallValue.maximumCount ~= values.count, Set(values).count == values.count,
            scope == .user || !values.contains(.group)
        else { return nil }
        self.scope = scope
        self.values = values.sorted(by: CallValue.isOrdered)
    }
}

extension CallAttributes {
    /// What the call says of a value; nil where it says nothing, or an empty text, and for ``CallValue/group``.
    public func value(of value: CallValue) -> String? {
        switch value {
        case .group: nil
        case .model: model
        case .provider: provider
        case .label(let name): labels[name].flatMap { $0.isEmpty ? nil : $0 }
        }
    }
}
