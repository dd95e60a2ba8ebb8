import TestSupport

/// What parses bytes from outside, each with the properties that no input may break.
///
/// libFuzzer runs one of them on inputs it makes up (`scripts/fuzz`); the ordinary tests run all of them on the inputs
/// that are kept in `Corpus`.
enum FuzzTarget: String, CaseIterable {
    case fastPath = "fast-path"
    case jsonBody = "json-body"
    case query
    case router
    case differential
    case replies
    case scriptReply = "script-reply"
    case redisURL = "redis-url"
    case environmentFile = "environment-file"
    case configuration
    case loadAnswers = "load-answers"
    case callBody = "call-body"
    case lease
    case limitsFile = "limits-file"
    case envoyFile = "envoy-file"
    case timeZone = "time-zone"
    case subject
    case http2
    case rlsMessage = "rls-message"
    case doors

    /// Runs the parser on one input.
    /// - Throws: ``FuzzFinding`` where a property does not hold; a trap or a sanitizer's report is a finding as well.
    func run(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
        switch self {
        case .fastPath: try fuzzFastPath(bytes)
        case .jsonBody: try fuzzJSONBody(bytes)
        case .query: try fuzzQuery(bytes)
        case .router: try fuzzRouter(bytes)
        case .differential: try fuzzDifferential(bytes)
        case .replies: try fuzzReplies(bytes)
        case .scriptReply: try fuzzScriptReply(bytes)
        case .redisURL: try fuzzRedisURL(bytes)
        case .environmentFile: try fuzzEnvironmentFile(bytes)
        case .configuration: try fuzzConfiguration(bytes)
        case .loadAnswers: try fuzzLoadAnswers(bytes)
        case .callBody: try fuzzCallBody(bytes)
        case .lease: try fuzzLease(bytes)
        case .limitsFile: try fuzzLimitsFile(bytes)
        case .envoyFile: try fuzzEnvoyFile(bytes)
        case .timeZone: try fuzzTimeZone(bytes)
        case .subject: try fuzzSubject(bytes)
        case .http2: try fuzzHTTP2(bytes)
        case .rlsMessage: try fuzzGRPCMessage(bytes)
        case .doors: try fuzzDoors(bytes)
        }
    }
}

/// A property that an input breaks, in words.
struct FuzzFinding: Error, CustomStringConvertible {
    var description: String
}

/// Throws where a property does not hold.
func hold(_ condition: Bool, _ what: @autoclosure () -> String) throws(FuzzFinding) {
    if !condition { throw FuzzFinding(description: what()) }
}

/// Gives `body` a copy in memory of its very own size, so that the address sanitizer sees a read past its end.
func withExactCopy<Value>(
    _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws(FuzzFinding) -> Value
) throws(FuzzFinding) -> Value {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyMemory(from: bytes)
    return try body(UnsafeRawBufferPointer(copy))
}

extension UnsafeRawBufferPointer {
    /// The first byte, which says how the others are to be used, and those.
    var headAndRest: (head: UInt8, rest: UnsafeRawBufferPointer) {
        guard let first else { return (0, self) }
        return (first, UnsafeRawBufferPointer(rebasing: dropFirst()))
    }
}

/// Where the bytes of a stream are cut into parts, the same for the same seed; 0 leaves them whole.
func cuts(_ bytes: UnsafeRawBufferPointer, seed: UInt8) -> [UnsafeRawBufferPointer] {
    guard seed > 0 else { return [bytes] }
    var random = SeededGenerator(seed: UInt64(seed))
    var parts: [UnsafeRawBufferPointer] = []
    var start = 0
    let longest = seed < 64 ? 3 : max(2, bytes.count / 3)
    while start < bytes.count {
        let end = min(bytes.count, start + Int.random(in: 1...longest, using: &random))
        parts.append(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
        start = end
    }
    return parts
}
