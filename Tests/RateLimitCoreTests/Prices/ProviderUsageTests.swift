import Testing

@testable import RateLimitCore

@Suite("A provider's usage object")
struct ProviderUsageTests {
    private func usage(_ counts: KeyValuePairs<String, Int>) -> ProviderUsage {
        var usage = ProviderUsage()
        for (path, number) in counts { if let count = count(path) { usage[count] = number } }
        return usage
    }

    /// The count of a name, before which a point stands behind a container's.
    private func count(_ path: String) -> ProviderUsage.Count? {
        let names = path.split(separator: ".").map { Array($0.utf8) }
        guard names.count == 2 else { return names[0].withUnsafeBytes { ProviderUsage.Count($0) } }
        return names[0].withUnsafeBytes(ProviderUsage.Container.init).flatMap { container in
            names[1].withUnsafeBytes { ProviderUsage.Count($0, in: container) }
        }
    }

    private func tokens(
        _ input: Int, _ output: Int, read: Int = 0, written: Int = 0, thought: Int = 0
    ) -> TokenUsage? {
        TokenUsage(
            input: input, output: output, cacheRead: read, cacheWrite: written,
            parts: PerTokenPart { $0 == .reasoning ? thought : 0 })
    }

    @Test("of OpenAI's chat counts cached tokens in its input, from which they are taken")
    func openAIChat() {
        let usage = usage([
            "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
            "prompt_tokens_details.cached_tokens": 1920, "completion_tokens_details.reasoning_tokens": 120,
        ])
        #expect(usage.format == .openAIChat && usage.tokens == tokens(86, 300, read: 1920, thought: 120))
        #expect(self.usage(["prompt_tokens": 8, "total_tokens": 8]).tokens == tokens(8, 0))
        #expect(self.usage(["completion_tokens": 8]).tokens == tokens(0, 8))
    }

    @Test("of OpenAI's responses counts cached tokens in its input, from which they are taken")
    func openAIResponses() {
        let usage = usage([
            "input_tokens": 2006, "input_tokens_details.cached_tokens": 1920, "output_tokens": 300,
            "total_tokens": 2306,
        ])
        #expect(usage.format == .openAIResponses && usage.tokens == tokens(86, 300, read: 1920))
    }

    @Test("of Anthropic counts what came from a cache, and what went into one, beside its input")
    func anthropic() {
        let usage = usage([
            "input_tokens": 50, "cache_creation_input_tokens": 248, "cache_read_input_tokens": 100_000,
            "output_tokens": 503, "cache_creation.ephemeral_5m_input_tokens": 148,
            "cache_creation.ephemeral_1h_input_tokens": 100,
        ])
        #expect(usage.format == .anthropic && usage.tokens == tokens(50, 503, read: 100_000, written: 248))
        let parts = self.usage([
            "input_tokens": 5, "output_tokens": 6, "cache_creation.ephemeral_5m_input_tokens": 7,
            "cache_creation.ephemeral_1h_input_tokens": 8,
        ])
        #expect(parts.tokens == tokens(5, 6, written: 15))
    }

    @Test("of Gemini counts cached tokens in its prompt, thoughts as output, and what tools prompted as input")
    func gemini() {
        let usage = usage([
            "promptTokenCount": 1000, "cachedContentTokenCount": 900, "candidatesTokenCount": 50,
            "thoughtsTokenCount": 25, "toolUsePromptTokenCount": 10, "totalTokenCount": 1085,
        ])
        #expect(usage.format == .gemini && usage.tokens == tokens(110, 75, read: 900, thought: 25))
        let ofSDK = self.usage([
            "prompt_token_count": 1000, "cached_content_token_count": 900, "thoughts_token_count": 5,
        ])
        #expect(ofSDK.format == .gemini && ofSDK.tokens == tokens(100, 5, read: 900, thought: 5))
    }

    @Test("with input and output alone is the same in either form")
    func plain() {
        #expect(usage(["input_tokens": 5, "output_tokens": 6]).tokens == tokens(5, 6))
    }

    @Test("in OpenAI's form, of a gateway that puts others into it, has all caches in its prompt")
    func unified() {
        let anthropic = usage([
            "prompt_tokens": 1100, "completion_tokens": 10, "cache_read_input_tokens": 800,
            "cache_creation_input_tokens": 200,
        ])
        #expect(anthropic.tokens == tokens(100, 10, read: 800, written: 200))
        #expect(usage(["prompt_tokens": 10, "prompt_cache_hit_tokens": 6]).tokens == tokens(4, 0, read: 6))
    }

    @Test("never comes to less than nothing: what is cached is at most the prompt")
    func clamped() {
        #expect(
            usage(["prompt_tokens": 10, "prompt_tokens_details.cached_tokens": 11]).tokens == tokens(0, 0, read: 10))
        #expect(
            usage(["input_tokens": 10, "input_tokens_details.cached_tokens": 11]).tokens == tokens(0, 0, read: 10))
        #expect(usage(["promptTokenCount": 10, "cachedContentTokenCount": 11]).tokens == tokens(0, 0, read: 10))
        let most = TokenUsage.counts.upperBound
        let thought = usage(["candidatesTokenCount": most, "thoughtsTokenCount": most]).tokens
        #expect(thought == tokens(0, most, thought: most) && thought?.count(of: .reasoning) == Int(UInt32.max))
    }

    @Test("knows each count by the names that a provider's API and its SDKs have, in its own container alone")
    func names() {
        let paths = [
            "prompt_tokens", "completion_tokens", "prompt_tokens_details.cached_tokens", "prompt_cache_hit_tokens",
            "input_tokens", "output_tokens", "input_tokens_details.cached_tokens", "cache_read_input_tokens",
            "cache_creation_input_tokens", "cache_creation.ephemeral_5m_input_tokens",
            "cache_creation.ephemeral_1h_input_tokens", "promptTokenCount", "cachedContentTokenCount",
            "candidatesTokenCount", "responseTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount",
            "totalTokenCount",
        ]
        let details = [
            "completion_tokens_details.reasoning_tokens", "prompt_tokens_details.audio_tokens",
            "input_tokens_details.image_tokens", "output_tokens_details.audio_tokens",
            "completion_tokens_details.image_tokens",
        ]
        // The last two are told by lists alone.
        #expect((paths + details).compactMap(count) == ProviderUsage.Count.allCases.dropLast(2))
        #expect(count("tool_use_prompt_token_count") == .geminiToolUse && count("total_token_count") == .geminiTotal)
        for path in ["prompt_token", "cached_tokens", "prompt_tokens_details", "input_tokens_details.input_tokens"] {
            #expect(count(path) == nil, "\(path)")
        }
    }

    @Test("that has no member of any of them is none")
    func unknown() {
        #expect(usage([:]).tokens == nil && usage([:]).format == nil)
        #expect(usage(["total_tokens": 5, "tokens": 6, "cache_read_input_tokens": 1]).tokens == nil)
    }
}
