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

    /// It as a sentence writes it: `label session`.
    public var phrase: String {
        switch self {
        case .group, .model, .provider: text
        case .label(let name): "label \(name)"
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
