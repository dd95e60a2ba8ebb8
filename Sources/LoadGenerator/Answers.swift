import Glibc

/// What an answer says.
enum Outcome: Sendable, Equatable {
    case allowed
    case denied
    case degraded
    case other
}

/// What stands at the front of a connection's received bytes.
enum ScannedAnswer: Sendable, Equatable {
    /// The answer has not arrived whole.
    case incomplete
    /// These bytes begin no answer.
    case malformed
    /// So many bytes that are no part of an answer.
    case passing(length: Int)
    /// An answer of so many bytes.
    case answer(length: Int, outcome: Outcome)
}

/// The kinds of answers, each read just far enough to find its end and its outcome.
///
/// Scanning keeps no state: an answer that arrives in pieces is scanned again from its start. Answers are a few hundred
/// bytes and come whole, so state would cost more than it spares.
enum AnswerFormat: Sendable {
    /// HTTP/1.1 with a Content-Length.
    case http
    /// RESP2, an answer of the check script.
    case redisCheck
    /// RESP2, any answer; all but errors count as allowed.
    case redisAny
    /// Envoy's rate limit service over HTTP/2: the frames of data, one for each answer.
    case rateLimitService

    func scan(_ bytes: UnsafeBufferPointer<UInt8>) -> ScannedAnswer {
        switch self {
        case .http: scanHTTPAnswer(bytes).scanned
        case .redisCheck, .redisAny: scanned(scanRedisAnswer(bytes), in: bytes)
        case .rateLimitService: scanFrame(bytes)
        }
    }

    private func scanned(_ answer: RedisAnswer, in bytes: UnsafeBufferPointer<UInt8>) -> ScannedAnswer {
        guard case .answer(let length, let first) = answer else {
            return answer == .incomplete ? .incomplete : .malformed
        }
        switch first {
        case .error, .none: return .answer(length: length, outcome: .other)
        case .text(let range) where self == .redisCheck:
            // Its first byte is the status, or begins the error of that one check.
            let status = range.isEmpty ? .max : bytes[range.lowerBound]
            return .answer(length: length, outcome: status == 0 ? .allowed : (status <= 3 ? .denied : .other))
        case .integer, .text:
            return .answer(length: length, outcome: self == .redisCheck ? .other : .allowed)
        }
    }
}

/// An HTTP answer and where its body is.
enum HTTPAnswer: Equatable {
    case incomplete
    case malformed
    case answer(status: Int, body: Range<Int>, outcome: Outcome)

    var scanned: ScannedAnswer {
        switch self {
        case .incomplete: .incomplete
        case .malformed: .malformed
        case .answer(_, let body, let outcome): .answer(length: body.upperBound, outcome: outcome)
        }
    }
}

/// Reads the status line and Content-Length of the answer at the front of the bytes.
func scanHTTPAnswer(_ bytes: UnsafeBufferPointer<UInt8>) -> HTTPAnswer {
    guard let base = bytes.baseAddress, bytes.count >= 12 else { return .incomplete }
    guard memcmp(base, "HTTP/1.1 ", 9) == 0, let status = decimal(bytes, 9..<12) else { return .malformed }
    var line = 12
    var length = status == 204 || status == 304 ? 0 : nil
    while let end = memchr(base + line, 0x0a, bytes.count - line) {
        let next = base.distance(to: end.assumingMemoryBound(to: UInt8.self)) + 1
        guard next - line >= 2, bytes[next - 2] == 0x0d else { return .malformed }
        if next - line == 2, line > 12 {
            guard let length, (0...(1 << 20)).contains(length) else { return .malformed }
            guard bytes.count >= next + length else { return .incomplete }
            let body = next..<(next + length)
            return .answer(status: status, body: body, outcome: outcome(status, bytes, body))
        }
        if bytes[line] | 0x20 == UInt8(ascii: "c"), next - line > 17,
            strncasecmp(base + line, "content-length:", 15) == 0
        {
            var digits = line + 15
            while digits < next - 2, bytes[digits] == 0x20 { digits += 1 }
            guard let value = decimal(bytes, digits..<(next - 2)) else { return .malformed }
            length = value
        }
        line = next
    }
    return .incomplete
}

private func outcome(_ status: Int, _ bytes: UnsafeBufferPointer<UInt8>, _ body: Range<Int>) -> Outcome {
    switch status {
    case 200:
        return firstOffset(of: #"degraded":true"#, in: bytes, body) == nil ? .allowed : .degraded
    case 429: return .denied
    default: return .other
    }
}

/// Where a text first stands in a part of the bytes; nil where it does not.
func firstOffset(of text: StaticString, in bytes: UnsafeBufferPointer<UInt8>, _ part: Range<Int>) -> Int? {
    guard let base = bytes.baseAddress else { return nil }
    var offset = part.lowerBound
    let last = part.upperBound - text.utf8CodeUnitCount
    while offset <= last, let found = memchr(base + offset, Int32(text.utf8Start[0]), last - offset + 1) {
        let place = base.distance(to: found.assumingMemoryBound(to: UInt8.self))
        if memcmp(found, text.utf8Start, text.utf8CodeUnitCount) == 0 { return place }
        offset = place + 1
    }
    return nil
}

/// A whole RESP2 answer: its length, and the first element that is not an array.
enum RedisAnswer: Equatable {
    case incomplete
    case malformed
    case answer(length: Int, first: First?)

    enum First: Equatable {
        case integer(Int)
        case text(Range<Int>)
        case error(Range<Int>)
    }
}

/// Walks one RESP2 answer, arrays of any depth flattened, so that nothing recurses and every step moves forward.
func scanRedisAnswer(_ bytes: UnsafeBufferPointer<UInt8>) -> RedisAnswer {
    guard let base = bytes.baseAddress else { return .incomplete }
    var offset = 0
    var pending = 1
    var first: RedisAnswer.First?
    while pending > 0 {
        guard offset < bytes.count, let end = memchr(base + offset, 0x0a, bytes.count - offset) else {
            return .incomplete
        }
        let next = base.distance(to: end.assumingMemoryBound(to: UInt8.self)) + 1
        guard next - offset >= 3, bytes[next - 2] == 0x0d else { return .malformed }
        let line = (offset + 1)..<(next - 2)
        let element: RedisAnswer.First?
        pending -= 1
        switch bytes[offset] {
        case UInt8(ascii: "+"): element = .text(line)
        case UInt8(ascii: "-"): element = .error(line)
        case UInt8(ascii: ":"):
            guard let value = decimal(bytes, line) else { return .malformed }
            element = .integer(value)
        case UInt8(ascii: "$"):
            guard let length = decimal(bytes, line), (-1...(1 << 20)).contains(length) else { return .malformed }
            element = length < 0 ? nil : .text(next..<(next + length))
            offset = length < 0 ? next : next + length + 2
        case UInt8(ascii: "*"):
            guard let count = decimal(bytes, line), (-1...4_096).contains(count) else { return .malformed }
            element = nil
            pending += max(count, 0)
        default: return .malformed
        }
        if offset < next { offset = next }
        guard offset <= bytes.count else { return .incomplete }
        if first == nil { first = element }
    }
    return .answer(length: offset, first: first)
}

/// A decimal number of at most 18 digits, with or without a minus; nil for anything else.
func decimal(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Int? {
    var digits = range
    let negative = !range.isEmpty && bytes[range.lowerBound] == UInt8(ascii: "-")
    if negative { digits = (range.lowerBound + 1)..<range.upperBound }
    guard (1...18).contains(digits.count) else { return nil }
    var value = 0
    for index in digits {
        let digit = bytes[index] &- UInt8(ascii: "0")
        guard digit < 10 else { return nil }
        value = value * 10 + Int(digit)
    }
    return negative ? -value : value
}
