import RateLimitCore
import RateLimitService

// What the members of a body are called, and how those are read that other bodies have not.
extension JSONReader {
    /// The member of a call that a name stands for; nil for one that is not known.
    func member(_ name: Range<Int>) -> IgnoredMember.Name? {
        let bytes = UnsafeRawBufferPointer(rebasing: bytes[name])
        guard !bytes.containsEscape else { return resolved(name) { IgnoredMember.Name(ofMember: $0) } }
        return IgnoredMember.Name(ofMember: bytes)
    }

    mutating func lease() throws(RequestError) -> Lease {
        let start = position
        guard position < bytes.count, bytes[position] == 0x22 else { throw .invalidCall("lease is no string") }
        if let lease = Lease(UnsafeRawBufferPointer(rebasing: bytes[try string()])) { return lease }
        // One that is written with escapes, or none.
        position = start
        guard let lease = Lease(try text("lease")) else { throw .invalidCall("lease is none that was given here") }
        return lease
    }

    mutating func boolean(_ name: String) throws(RequestError) -> Bool {
        if skipWord("true") { return true }
        if skipWord("false") { return false }
        throw .invalidCall("\(name) is neither true nor false")
    }

    mutating func subject(_ error: RequestError) throws(RequestError) -> SubjectID {
        guard let subject = try subject() else { throw error }
        return subject
    }
}

extension IgnoredMember.Name {
    /// The member of a name in UTF-8; nil for one that is not known.
    init?(ofMember name: UnsafeRawBufferPointer) {
        for spelling in Self.spellings where name.equals(spelling.text) {
            self = spelling.member
            return
        }
        return nil
    }

    /// The commonest first; Gemini calls its object otherwise.
    private static let spellings: [(text: StaticString, member: IgnoredMember.Name)] = [
        ("cost", .cost), ("model", .model), ("input_tokens", .inputTokens), ("output_tokens", .outputTokens),
        ("lease", .lease), ("provider", .provider), ("labels", .labels), ("groups", .groups), ("usage", .usage),
        ("quotas", .quotas),
        ("cache_read_input_tokens", .cacheReadTokens), ("cache_write_input_tokens", .cacheWriteTokens),
        ("cost_micros", .costMicros), ("ttl", .timeToLive), ("request_id", .requestID), ("refund", .refund),
        ("usageMetadata", .usage), ("usage_metadata", .usage), ("reasoning_tokens", .reasoningTokens),
        ("audio_input_tokens", .audioInputTokens), ("image_input_tokens", .imageInputTokens),
        ("audio_output_tokens", .audioOutputTokens), ("image_output_tokens", .imageOutputTokens),
        ("dry_run", .dryRun), ("candidates", .candidates),
    ]
}
