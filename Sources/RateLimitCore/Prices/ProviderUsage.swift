/// The usage object of a provider's answer, as the provider returns it, and what it comes to in ``TokenUsage``.
///
/// What one provider calls input contains what came from the cache, and what another calls so does not:
///
/// | | input | read from a cache | written into one | output |
/// |---|---|---|---|---|
/// | OpenAI chat | `prompt_tokens`, cached ones among them | `prompt_tokens_details.cached_tokens` | | `completion_tokens` |
/// | OpenAI responses | `input_tokens`, cached ones among them | `input_tokens_details.cached_tokens` | | `output_tokens` |
/// | Anthropic | `input_tokens`, without what follows | `cache_read_input_tokens` | `cache_creation_input_tokens` | `output_tokens` |
/// | Gemini | `promptTokenCount`, cached ones among them, and `toolUsePromptTokenCount` | `cachedContentTokenCount` | | `candidatesTokenCount` and `thoughtsTokenCount` |
///
/// Reasoning is in OpenAI's output already. Gemini's names are also known as its SDKs write them, `prompt_token_count`.
public struct ProviderUsage: Hashable, Sendable {
    /// Whose object it is.
    public enum Format: String, CaseIterable, Hashable, Sendable {
        case openAIChat
        case openAIResponses
        case anthropic
        case gemini
    }

    /// The objects within a usage object that hold counts.
    public static let containers: Set<String> = [
        "prompt_tokens_details", "input_tokens_details", "cache_creation",
    ]

    private var counts: [String: Int] = [:]

    /// An object without counts.
    public init() {}

    /// Takes a count, named as in the object, with a point behind a container's name; the last of a name counts. One that
    /// nobody knows is passed over.
    ///
    /// - Parameter count: within ``TokenUsage/counts``.
    public mutating func set(_ name: String, _ count: Int) {
        guard Self.knows(name) else { return }
        counts[Self.plain(name)] = count
    }

    /// Whether a count of this name is looked at.
    public static func knows(_ name: String) -> Bool { names.contains(plain(name)) }

    /// Whose object it is, told apart by its members; nil where it is none that is known.
    public var format: Format? {
        if has(Self.geminiNames) { return .gemini }
        if has(["prompt_tokens", "completion_tokens"]) { return .openAIChat }
        guard has(["input_tokens", "output_tokens"]) else { return nil }
        // Without a count of cached tokens the two say the same.
        return has(["input_tokens_details.cached_tokens"]) ? .openAIResponses : .anthropic
    }

    /// What the object says; nil where it is none that is known.
    public var tokens: TokenUsage? {
        switch format {
        case .openAIChat:
            // Gateways that put other providers into this form tell caches in Anthropic's words, or in DeepSeek's.
            let cached =
                counts["prompt_tokens_details.cached_tokens"] ?? counts["prompt_cache_hit_tokens"]
                ?? count("cache_read_input_tokens")
            return usage(
                inputWithCaches: count("prompt_tokens"), cached: cached, written: written,
                output: count("completion_tokens"))
        case .openAIResponses:
            return usage(
                inputWithCaches: count("input_tokens"), cached: count("input_tokens_details.cached_tokens"),
                output: count("output_tokens"))
        case .anthropic:
            return usage(
                input: count("input_tokens"), cached: count("cache_read_input_tokens"), written: written,
                output: count("output_tokens"))
        case .gemini:
            let output = count("candidatesTokenCount") + count("responseTokenCount") + count("thoughtsTokenCount")
            return usage(
                inputWithCaches: count("promptTokenCount"), cached: count("cachedContentTokenCount"), output: output,
                furtherInput: count("toolUsePromptTokenCount"))
        case nil: return nil
        }
    }

    /// What was written into a cache: the sum that is told, else its parts by how long they are kept.
    private var written: Int {
        counts["cache_creation_input_tokens"]
            ?? count("cache_creation.ephemeral_5m_input_tokens") + count("cache_creation.ephemeral_1h_input_tokens")
    }

    /// Takes what came from caches out of the input; never more than the input is.
    private func usage(
        inputWithCaches: Int, cached: Int, written: Int = 0, output: Int, furtherInput: Int = 0
    ) -> TokenUsage? {
        let cached = min(cached, inputWithCaches)
        let written = min(written, inputWithCaches - cached)
        let input = inputWithCaches - cached - written + furtherInput
        return usage(input: input, cached: cached, written: written, output: output)
    }

    private func usage(input: Int, cached: Int, written: Int, output: Int) -> TokenUsage? {
        let most = TokenUsage.counts.upperBound
        return TokenUsage(
            input: min(input, most), output: min(output, most), cacheRead: cached, cacheWrite: min(written, most))
    }

    private func count(_ name: String) -> Int { counts[name] ?? 0 }

    private func has(_ names: some Sequence<String>) -> Bool { names.contains { counts[$0] != nil } }

    /// Gemini's names in one form, others as they are.
    private static func plain(_ name: String) -> String { geminiWords[name] ?? name }

    private static let geminiWords = [
        "prompt_token_count": "promptTokenCount", "cached_content_token_count": "cachedContentTokenCount",
        "candidates_token_count": "candidatesTokenCount", "response_token_count": "responseTokenCount",
        "thoughts_token_count": "thoughtsTokenCount", "tool_use_prompt_token_count": "toolUsePromptTokenCount",
        "total_token_count": "totalTokenCount",
    ]
    private static let geminiNames = Set(geminiWords.values)
    private static let names = geminiNames.union([
        "prompt_tokens", "completion_tokens", "prompt_tokens_details.cached_tokens", "prompt_cache_hit_tokens",
        "input_tokens", "output_tokens", "input_tokens_details.cached_tokens", "cache_read_input_tokens",
        "cache_creation_input_tokens", "cache_creation.ephemeral_5m_input_tokens",
        "cache_creation.ephemeral_1h_input_tokens",
    ])
}
