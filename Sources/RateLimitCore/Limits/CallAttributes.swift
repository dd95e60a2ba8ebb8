/// What a call says about itself, besides its user: what limits are chosen by, and whose windows it meets.
public struct CallAttributes: Hashable, Sendable {
    /// A name and a value of the gateway's choice.
    public struct Label: Hashable, Sendable {
        /// The name, 1 to 64 bytes.
        public let name: String
        /// The value, at most 256 bytes.
        public let value: String

        /// Makes a label; ``CallAttributes/init(model:provider:labels:groups:)`` checks it.
        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// The model's name, if the call gives one.
    public private(set) var model: String?
    /// The provider's name, if the call gives one.
    public private(set) var provider: String?
    /// At most 16, no two of one name.
    public private(set) var labels: [Label]
    /// The groups given in the call, at most 32 and no one twice.
    public private(set) var groups: [UserID]

    /// How many labels a call may have.
    public static let maximumLabels = 16
    /// How many bytes a label's name has.
    public static let nameLengths = 1...64
    /// How many bytes a label's value, a model or a provider may have.
    public static let maximumValueLength = 256
    /// How many groups a call may have.
    public static let maximumGroups = 32

    /// A call that says nothing.
    public static let none = CallAttributes()

    private init() {
        model = nil
        provider = nil
        labels = []
        groups = []
    }

    /// Makes the attributes of a call. A group that is named twice counts once, since it is one window.
    public init(
        model: String? = nil, provider: String? = nil, labels: [Label] = [], groups: [UserID] = []
    ) throws(CallAttributesError) {
        if let model, model.utf8.count > Self.maximumValueLength { throw .modelTooLong }
        if let provider, provider.utf8.count > Self.maximumValueLength { throw .providerTooLong }
        guard labels.count <= Self.maximumLabels else { throw .tooManyLabels }
        for (index, label) in labels.enumerated() {
            guard Self.nameLengths.contains(label.name.utf8.count) else { throw .labelNameLength }
            guard label.value.utf8.count <= Self.maximumValueLength else { throw .labelValueTooLong }
            guard !labels[..<index].contains(where: { $0.name == label.name }) else { throw .labelTwice }
        }
        guard groups.count <= Self.maximumGroups else { throw .tooManyGroups }
        self.model = model
        self.provider = provider
        self.labels = labels
        var distinct: [UserID] = []
        for group in groups where !distinct.contains(group) { distinct.append(group) }
        self.groups = distinct
    }

    /// The same call, with other groups: the first ``maximumGroups``, each once.
    public func counted(for groups: [UserID]) -> CallAttributes {
        var call = self
        call.groups = []
        for group in groups where call.groups.count < Self.maximumGroups && !call.groups.contains(group) {
            call.groups.append(group)
        }
        return call
    }

    /// The same call, where another one says by which model and provider it was served; what that leaves out stays.
    public func served(as other: CallAttributes) -> CallAttributes {
        var call = self
        if let model = other.model { call.model = model }
        if let provider = other.provider { call.provider = provider }
        return call
    }

    /// The value of a label, or nil where the call has none of that name.
    @inlinable
    public func value(ofLabel name: String) -> String? {
        for label in labels where label.name == name { return label.value }
        return nil
    }
}

/// Why what a call says about itself cannot be used.
public enum CallAttributesError: Error, Hashable, Sendable, CaseIterable {
    /// The model's name is too long.
    case modelTooLong
    /// The provider's name is too long.
    case providerTooLong
    /// There are more labels than a call may have.
    case tooManyLabels
    /// A label's name is empty or too long.
    case labelNameLength
    /// A label's value is too long.
    case labelValueTooLong
    /// Two labels have one name.
    case labelTwice
    /// There are more groups than a call may have.
    case tooManyGroups
}

extension CallAttributesError: CustomStringConvertible {
    /// What is wrong and what is accepted.
    public var description: String {
        switch self {
        case .modelTooLong: "the model has more than \(CallAttributes.maximumValueLength) bytes"
        case .providerTooLong: "the provider has more than \(CallAttributes.maximumValueLength) bytes"
        case .tooManyLabels: "there are more than \(CallAttributes.maximumLabels) labels"
        case .labelNameLength: "the name of a label does not have 1 to \(CallAttributes.nameLengths.upperBound) bytes"
        case .labelValueTooLong: "the value of a label has more than \(CallAttributes.maximumValueLength) bytes"
        case .labelTwice: "two labels have one name"
        case .tooManyGroups: "there are more than \(CallAttributes.maximumGroups) groups"
        }
    }
}
