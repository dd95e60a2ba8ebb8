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
/// Reasoning is in OpenAI's output already, and of both it is told as a part of the output; so are sound and pictures of
/// input and output, by OpenAI's details and Gemini's lists by modality. Gemini's names are also known as its SDKs write them, `prompt_token_count`.
public struct ProviderUsage: Sendable {
    /// Whose object it is.
    public enum Format: String, CaseIterable, Hashable, Sendable {
        case openAIChat
        case openAIResponses
        case anthropic
        case gemini
    }

    /// An object within a usage object that holds counts.
    public enum Container: CaseIterable, Hashable, Sendable {
        case promptDetails
        case completionDetails
        case inputDetails
        case outputDetails
        case cacheCreation

        /// The one of a name in UTF-8; nil for any other.
        public init?(_ name: UnsafeRawBufferPointer) {
            guard let container = Self.allCases.first(where: { name.isText($0.name) }) else { return nil }
            self = container
        }

        private var name: StaticString {
            switch self {
            case .promptDetails: "prompt_tokens_details"
            case .completionDetails: "completion_tokens_details"
            case .inputDetails: "input_tokens_details"
            case .outputDetails: "output_tokens_details"
            case .cacheCreation: "cache_creation"
            }
        }
    }

    /// A list within a usage object of Gemini's that says how many tokens were of which modality.
    public enum ModalityList: CaseIterable, Hashable, Sendable {
        case prompt
        case cache
        case candidates

        /// The one of a name in UTF-8; nil for any other.
        public init?(_ name: UnsafeRawBufferPointer) {
            guard let list = Self.allCases.first(where: { $0.names.contains(where: name.isText) }) else { return nil }
            self = list
        }

        private var names: [StaticString] {
            switch self {
            case .prompt: ["promptTokensDetails", "prompt_tokens_details"]
            case .cache: ["cacheTokensDetails", "cache_tokens_details"]
            case .candidates:
                [
                    "candidatesTokensDetails", "candidates_tokens_details", "responseTokensDetails",
                    "response_tokens_details",
                ]
            }
        }

        /// What is counted of a modality, by its name in UTF-8; nil for text, and for what is priced as text is.
        public func count(ofModality modality: UnsafeRawBufferPointer) -> Count? {
            if modality.isText("AUDIO") {
                switch self {
                case .prompt: .audioInput
                case .cache: .geminiCachedAudio
                case .candidates: .audioOutput
                }
            } else if modality.isText("IMAGE") {
                switch self {
                case .prompt: .imageInput
                case .cache: .geminiCachedImage
                case .candidates: .imageOutput
                }
            } else {
                nil
            }
        }
    }

    /// A count that is looked at.
    public enum Count: Int, CaseIterable, Hashable, Sendable {
        case prompt
        case completion
        case promptCached
        case promptCacheHit
        case input
        case output
        case inputCached
        case cacheRead
        case cacheCreation
        case cacheCreationFiveMinutes
        case cacheCreationOneHour
        case geminiPrompt
        case geminiCached
        case geminiCandidates
        case geminiResponse
        case geminiThoughts
        case geminiToolUse
        case geminiTotal
        case reasoning
        case audioInput
        case imageInput
        case audioOutput
        case imageOutput
        case geminiCachedAudio
        case geminiCachedImage

        /// The count of a name in UTF-8, within a container where it stands in one; nil for one that nobody knows.
        public init?(_ name: UnsafeRawBufferPointer, in container: Container? = nil) {
            for spelling in Self.spellings where spelling.container == container && name.isText(spelling.name) {
                self = spelling.count
                return
            }
            return nil
        }

        private static let spellings: [(container: Container?, name: StaticString, count: Count)] = [
            (nil, "prompt_tokens", .prompt), (nil, "completion_tokens", .completion),
            (.promptDetails, "cached_tokens", .promptCached), (nil, "prompt_cache_hit_tokens", .promptCacheHit),
            (nil, "input_tokens", .input), (nil, "output_tokens", .output),
            (.inputDetails, "cached_tokens", .inputCached), (nil, "cache_read_input_tokens", .cacheRead),
            (nil, "cache_creation_input_tokens", .cacheCreation),
            (.cacheCreation, "ephemeral_5m_input_tokens", .cacheCreationFiveMinutes),
            (.cacheCreation, "ephemeral_1h_input_tokens", .cacheCreationOneHour),
            (nil, "promptTokenCount", .geminiPrompt), (nil, "prompt_token_count", .geminiPrompt),
            (nil, "cachedContentTokenCount", .geminiCached), (nil, "cached_content_token_count", .geminiCached),
            (nil, "candidatesTokenCount", .geminiCandidates), (nil, "candidates_token_count", .geminiCandidates),
            (nil, "responseTokenCount", .geminiResponse), (nil, "response_token_count", .geminiResponse),
            (nil, "thoughtsTokenCount", .geminiThoughts), (nil, "thoughts_token_count", .geminiThoughts),
            (nil, "toolUsePromptTokenCount", .geminiToolUse), (nil, "tool_use_prompt_token_count", .geminiToolUse),
            (nil, "totalTokenCount", .geminiTotal), (nil, "total_token_count", .geminiTotal),
            (.completionDetails, "reasoning_tokens", .reasoning), (.outputDetails, "reasoning_tokens", .reasoning),
            (.promptDetails, "audio_tokens", .audioInput), (.inputDetails, "audio_tokens", .audioInput),
            (.promptDetails, "image_tokens", .imageInput), (.inputDetails, "image_tokens", .imageInput),
            (.completionDetails, "audio_tokens", .audioOutput), (.outputDetails, "audio_tokens", .audioOutput),
            (.completionDetails, "image_tokens", .imageOutput), (.outputDetails, "image_tokens", .imageOutput),
        ]

        fileprivate static let gemini: [Count] = [
            .geminiPrompt, .geminiCached, .geminiCandidates, .geminiResponse, .geminiThoughts, .geminiToolUse,
            .geminiTotal,
        ]
    }

    /// By the places of ``Count``.
    private var counts = InlineArray<25, Int?>(repeating: nil)

    /// An object without counts.
    public init() {}

    /// A count; nil where the object does not have it, or where it was not within ``TokenUsage/counts``.
    public subscript(_ count: Count) -> Int? {
        get { counts[count.rawValue] }
        set { counts[count.rawValue] = newValue }
    }

    /// Whose object it is, told apart by its members; nil where it is none that is known.
    public var format: Format? {
        if Count.gemini.contains(where: has) { return .gemini }
        if has(.prompt) || has(.completion) { return .openAIChat }
        guard has(.input) || has(.output) else { return nil }
        // Without a count of cached tokens the two say the same.
        return has(.inputCached) ? .openAIResponses : .anthropic
    }

    /// What the object says; nil where it is none that is known.
    public var tokens: TokenUsage? {
        switch format {
        case .openAIChat:
            // Gateways that put other providers into this form tell caches in Anthropic's words, or in DeepSeek's.
            let cached =
                self[.promptCached] ?? self[.promptCacheHit]
                ?? count(.cacheRead)
            return usage(
                inputWithCaches: count(.prompt), cached: cached, written: written,
                output: count(.completion))
        case .openAIResponses:
            return usage(
                inputWithCaches: count(.input), cached: count(.inputCached),
                output: count(.output))
        case .anthropic:
            return usage(
                input: count(.input), cached: count(.cacheRead), written: written,
                output: count(.output))
        case .gemini:
            let output = count(.geminiCandidates) + count(.geminiResponse) + count(.geminiThoughts)
            return usage(
                inputWithCaches: count(.geminiPrompt), cached: count(.geminiCached), output: output,
                furtherInput: count(.geminiToolUse))
        case nil: return nil
        }
    }

    /// What was written into a cache: the sum that is told, else its parts by how long they are kept.
    private var written: Int {
        self[.cacheCreation]
            ?? count(.cacheCreationFiveMinutes) + count(.cacheCreationOneHour)
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
            input: min(input, most), output: min(output, most), cacheRead: cached, cacheWrite: min(written, most),
            parts: parts)
    }

    /// What of input and output is known to be of a part; nil where nothing is told.
    private var parts: PerTokenPart<Int>? {
        let told: [Count] = [.reasoning, .audioInput, .imageInput, .audioOutput, .imageOutput, .geminiThoughts]
        guard told.contains(where: has) else { return nil }
        return PerTokenPart { part in
            switch part {
            case .reasoning: self[.geminiThoughts] ?? count(.reasoning)
            // What came from the cache is no input.
            case .audioInput: max(0, count(.audioInput) - count(.geminiCachedAudio))
            case .imageInput: max(0, count(.imageInput) - count(.geminiCachedImage))
            case .audioOutput: count(.audioOutput)
            case .imageOutput: count(.imageOutput)
            }
        }
    }

    private func count(_ count: Count) -> Int { self[count] ?? 0 }

    private func has(_ count: Count) -> Bool { self[count] != nil }
}

extension UnsafeRawBufferPointer {
    /// Whether these are the bytes of a literal.
    fileprivate func isText(_ text: StaticString) -> Bool {
        count == text.utf8CodeUnitCount
            && elementsEqual(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
}
