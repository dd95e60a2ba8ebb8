import FoundationEssentials

/// The body of a request about a call. What is nil is left out.
struct CallMembers: Encodable {
    var user: String
    var lease: String?
    var cost: Int?
    var model: String?
    var provider: String?
    var groups: [String]?
    var labels: [String: String]?
    var quotas: [String: Int]?
    var inputTokens: Int?
    var outputTokens: Int?
    var cacheReadInputTokens: Int?
    var cacheWriteInputTokens: Int?
    var reasoningTokens: Int?
    var audioInputTokens: Int?
    var imageInputTokens: Int?
    var audioOutputTokens: Int?
    var imageOutputTokens: Int?
    var costMicros: Int?
    var ttl: Int?
    var requestID: String?
    var refund: Bool?
    var candidates: [Candidate]?
    var isDryRun: Bool?

    /// One of several models and providers.
    struct Candidate: Encodable {
        var model: String?
        var provider: String?
    }

    private enum CodingKeys: String, CodingKey {
        case user, lease, cost, model, provider, groups, labels, quotas, ttl, refund, candidates
        case inputTokens = "input_tokens"
        case outputTokens = "output_tokens"
        case cacheReadInputTokens = "cache_read_input_tokens"
        case cacheWriteInputTokens = "cache_write_input_tokens"
        case reasoningTokens = "reasoning_tokens"
        case audioInputTokens = "audio_input_tokens"
        case imageInputTokens = "image_input_tokens"
        case audioOutputTokens = "audio_output_tokens"
        case imageOutputTokens = "image_output_tokens"
        case costMicros = "cost_micros"
        case requestID = "request_id"
        case isDryRun = "dry_run"
    }

    init(_ call: Call) {
        user = call.user
        cost = call.cost == 1 ? nil : call.cost
        model = call.model
        provider = call.provider
        groups = call.groups.isEmpty ? nil : call.groups
        labels = call.labels.isEmpty ? nil : call.labels
        quotas = call.quotas.isEmpty ? nil : call.quotas
        if let estimate = call.estimate { take(estimate) }
        if !call.candidates.isEmpty {
            candidates = call.candidates.map { Candidate(model: $0.model, provider: $0.provider) }
        }
    }

    init(_ lease: Lease) {
        user = lease.user
        self.lease = lease.token
    }

    mutating func take(_ usage: Usage) {
        inputTokens = usage.inputTokens
        outputTokens = usage.outputTokens
        cacheReadInputTokens = usage.cacheReadInputTokens
        cacheWriteInputTokens = usage.cacheWriteInputTokens
        reasoningTokens = usage.reasoningTokens
        audioInputTokens = usage.audioInputTokens
        imageInputTokens = usage.imageInputTokens
        audioOutputTokens = usage.audioOutputTokens
        imageOutputTokens = usage.imageOutputTokens
        costMicros = usage.costMicros
    }

    var json: String {
        // Texts and whole numbers can be written whatever they are.
        guard let bytes = try? JSONEncoder().encode(self) else { preconditionFailure("a call is JSON") }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A text as one segment of a path, or one value of a query.
func encoded(_ text: String) -> String {
    var encoded = ""
    for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            encoded.unicodeScalars.append(Unicode.Scalar(byte))
        default:
            let digits = String(byte, radix: 16, uppercase: true)
            encoded += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
        }
    }
    return encoded
}
