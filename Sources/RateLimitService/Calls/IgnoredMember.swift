package import RateLimitCore

/// Something that a call says and that was passed over, so that the rest of the call counts.
public struct IgnoredMember: Hashable, Sendable {
    /// What was passed over, as the members of a call's body are called; a metric has it as its label.
    public enum Name: String, CaseIterable, Hashable, Sendable {
        case cost
        case model
        case provider
        case labels
        case groups
        case quotas
        case inputTokens = "input_tokens"
        case outputTokens = "output_tokens"
        case cacheReadTokens = "cache_read_input_tokens"
        case cacheWriteTokens = "cache_write_input_tokens"
        case reasoningTokens = "reasoning_tokens"
        case audioInputTokens = "audio_input_tokens"
        case imageInputTokens = "image_input_tokens"
        case audioOutputTokens = "audio_output_tokens"
        case imageOutputTokens = "image_output_tokens"
        case costMicros = "cost_micros"
        case usage
        case timeToLive = "ttl"
        case lease
        case requestID = "request_id"
        case refund
        case dryRun = "dry_run"
        case candidates
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

extension IgnoredMember.Name {
    /// The member that tells of a part of the tokens.
    package init(_ part: TokenPart) {
        self =
            switch part {
            case .reasoning: .reasoningTokens
            case .audioInput: .audioInputTokens
            case .imageInput: .imageInputTokens
            case .audioOutput: .audioOutputTokens
            case .imageOutput: .imageOutputTokens
            }
    }

    /// The part of the tokens that the member tells of; nil for any other member.
    package var part: TokenPart? { TokenPart.allCases.first { Self($0) == self } }
}
