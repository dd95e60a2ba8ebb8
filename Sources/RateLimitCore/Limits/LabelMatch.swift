/// One condition on what a call says about itself. A call that does not say it does not meet the condition.
public struct LabelMatch: Hashable, Sendable {
    /// What is looked at.
    public enum Key: Hashable, Sendable {
        /// The model's name.
        case model
        /// The provider's name.
        case provider
        /// A label of the gateway's choice, such as `route`.
        case label(String)
    }

    /// What the value is compared with, byte for byte.
    public enum Pattern: Hashable, Sendable {
        /// The whole value.
        case exact(String)
        /// What the value begins with.
        case prefix(String)

        /// Whether `value` is as the pattern says.
        @inlinable
        public func matches(_ value: String) -> Bool {
            switch self {
            case .exact(let text): value.utf8.count == text.utf8.count && value.utf8.elementsEqual(text.utf8)
            case .prefix(let text): value.utf8.starts(with: text.utf8)
            }
        }
    }

    /// What is looked at.
    public let key: Key
    /// The condition is met when any of these matches.
    public let alternatives: [Pattern]

    /// How many alternatives a condition may have.
    public static let alternativeCounts = 1...64

    /// Makes a condition; a number of alternatives outside ``alternativeCounts`` is a programming error.
    public init(_ key: Key, anyOf alternatives: [Pattern]) {
        precondition(Self.alternativeCounts.contains(alternatives.count))
        self.key = key
        self.alternatives = alternatives
    }

    /// Whether a call meets the condition.
    @inlinable
    public func matches(_ call: CallAttributes) -> Bool {
        let value =
            switch key {
            case .model: call.model
            case .provider: call.provider
            case .label(let name): call.value(ofLabel: name)
            }
        guard let value else { return false }
        for pattern in alternatives where pattern.matches(value) { return true }
        return false
    }
}
