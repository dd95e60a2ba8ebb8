/// Something that a call says and that was passed over, so that the rest of the call counts.
public struct IgnoredMember: Hashable, Sendable {
    /// What was passed over, as the members of a call's body are called; a metric has it as its label.
    public enum Name: String, CaseIterable, Hashable, Sendable {
        case cost
        case model
        case provider
        case labels
        case groups
        case inputTokens = "input_tokens"
        case outputTokens = "output_tokens"
        case cacheReadTokens = "cache_read_input_tokens"
        case cacheWriteTokens = "cache_write_input_tokens"
        case costMicros = "cost_micros"
        case usage
        case timeToLive = "ttl"
        case lease
        case requestID = "request_id"
        case refund
    }

    /// Which one.
    public var name: Name
    /// Why, as a part of a sentence.
    public var reason: String

    /// Names what was passed over.
    public init(_ name: Name, _ reason: String) {
        self.name = name
        self.reason = reason
    }
}
