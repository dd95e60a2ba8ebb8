import Glibc
import NIOCore
import RateLimitCore
import RateLimitService

/// How a connection must treat one answer.
struct AnswerForm: Hashable {
    /// The request was HEAD: the headers say what the body would be, and no body follows.
    var isHead = false
    /// The connection ends after this answer.
    var closes = false
}

/// Writes answers as HTTP/1.1 into a connection's buffer. One for each event loop: it keeps what answers share.
final class AnswerWriter {
    /// Everything a decision's answer needs apart from a message: with room to spare.
    private static let decisionBytes = 768

    private let limitName: String
    /// The limit that the prepared parts speak of.
    private var limit = Limit.Numbers(quota: 0, windowMilliseconds: 0)
    /// Both fields of the draft up to the number remaining.
    private var fields: [UInt8] = []
    private var date = HTTPDate()
    private let admitted = AdmittedAnswer()

    /// Makes a writer of answers about the one limit of checks, which keeps its name whatever its numbers become.
    init(limitName: String) {
        self.limitName = limitName
        prepare(for: limit)
    }

    /// Answers differ in their limit for a moment after a change; most speak of the same as the one before.
    private func prepare(for limit: Limit.Numbers) {
        self.limit = limit
        let policy = RateLimitFields.policy(
            limitName, quota: limit.quota, unit: nil, windowSeconds: limit.windowMilliseconds / 1000)
        fields = Array(
            "RateLimit-Policy: \(policy)\r\nRateLimit: \(RateLimitFields.stateStart(limitName))".utf8)
        admitted.setBody("{\"allowed\":true,\"limit\":\(limit.quota),\"remaining\":")
    }

    /// Writes the answer to a check, in head and body about the limit that it was decided under.
    func write(_ outcome: Outcome, _ form: AnswerForm, to buffer: inout ByteBuffer) {
        if outcome.limit != limit { prepare(for: outcome.limit) }
        if let reason = outcome.degradedReason, outcome.decision == nil, !outcome.isAllowed {
            return write(Answer.closed(reason: reason.rawValue), form, to: &buffer)
        }
        if let decision = outcome.decision, decision.isAllowed, outcome.degradedReason == nil, form == AnswerForm(),
            writeAdmitted(decision, to: &buffer)
        {
            return
        }
        let date = date.line(at: HTTPDate.currentSecond())
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.decisionBytes) { target in
            // The body comes first, behind the room for the head, since the head says how long it is.
            let headRoom = Self.decisionBytes / 2
            var body = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: target[headRoom...]))
            let retryAfter = writeBody(outcome, to: &body)
            var head = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: target[..<headRoom]))
            head.write(outcome.isAllowed ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 429 Too Many Requests\r\n")
            head.write("Content-Type: application/json\r\nContent-Length: ")
            head.write(decimal: body.count)
            head.write("\r\n")
            head.write(date)
            if let decision = outcome.decision, outcome.degradedReason == nil {
                head.write(fields)
                head.write(decimal: decision.remaining)
                // Where it is admitted the window frees its next part at a time that Redis does not tell.
                if !outcome.isAllowed, let retryAfter {
                    head.write(";t=")
                    head.write(decimal: retryAfter)
                }
                head.write("\r\n")
            }
            if !outcome.isAllowed, let retryAfter {
                head.write("Retry-After: ")
                head.write(decimal: retryAfter)
                head.write("\r\n")
            }
            if form.closes { head.write("Connection: close\r\n") }
            head.write("\r\n")
            guard !form.isHead, let base = target.baseAddress else { return head.count }
            memmove(base + head.count, base + headRoom, body.count)
            return head.count + body.count
        }
    }

    /// Writes the commonest answer of all from its prepared parts, byte for byte as the general way would; false where
    /// a number is too large for it.
    private func writeAdmitted(_ decision: Decision, to buffer: inout ByteBuffer) -> Bool {
        guard let remaining = ShortDecimal(decision.remaining),
            let reset = ShortDecimal(wholeSeconds(decision.resetAfterMilliseconds))
        else { return false }
        let second = HTTPDate.currentSecond()
        if second != admitted.second {
            let head = Array("\r\n".utf8) + date.line(at: second) + fields
            admitted.setHead(head, second: second)
        }
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.decisionBytes) { target in
            admitted.write(remaining: remaining, reset: reset, to: target)
        }
        return true
    }

    /// Writes the body, and says for how many seconds a denial lasts.
    private func writeBody(_ outcome: Outcome, to body: inout ByteWriter) -> Int? {
        var retryAfter: Int?
        body.write(outcome.isAllowed ? "{\"allowed\":true,\"limit\":" : "{\"allowed\":false,\"limit\":")
        if let decision = outcome.decision {
            body.write(decimal: decision.quota)
            body.write(",\"remaining\":")
            body.write(decimal: decision.remaining)
            switch decision.verdict {
            case .allowed: body.write(",\"retry_after\":0")
            case .deniedForGood: body.write(",\"retry_after\":null")
            case .denied(let milliseconds):
                let seconds = max(1, wholeSeconds(milliseconds))
                retryAfter = seconds
                body.write(",\"retry_after\":")
                body.write(decimal: seconds)
            }
            body.write(",\"reset_after\":")
            body.write(decimal: wholeSeconds(decision.resetAfterMilliseconds))
        } else if outcome.source == .off {
            body.write("null,\"remaining\":null,\"retry_after\":0,\"reset_after\":0")
        } else {
            body.write(decimal: outcome.limit.quota)
            body.write(",\"remaining\":null,\"retry_after\":0,\"reset_after\":null")
        }
        if let reason = outcome.degradedReason {
            body.write(",\"degraded\":true,\"reason\":\"")
            body.write(text: reason.rawValue)
            body.write("\"")
        } else {
            body.write(",\"degraded\":false")
        }
        if outcome.isShadowDenied {
            body.write(",\"shadow_denied\":true")
        } else if !outcome.isAllowed {
            body.write(",\"message\":\"")
            let wait = retryAfter.map { "Try again in \(waitText(seconds: $0))." }
            body.write(text: wait ?? "The cost is above the limit of \(outcome.decision?.quota ?? 0).")
            body.write("\"")
        }
        body.write("}")
        return retryAfter
    }

    /// Writes any other answer.
    func write(_ answer: Answer, _ form: AnswerForm, to buffer: inout ByteBuffer) {
        buffer.writeString("HTTP/1.1 \(answer.status.rawValue) \(answer.status.phrase)\r\n")
        if answer.status != .noContent {
            buffer.writeString("Content-Type: \(answer.contentType)\r\nContent-Length: \(answer.body.count)\r\n")
        }
        buffer.writeBytes(date.line(at: HTTPDate.currentSecond()))
        for header in answer.headers { buffer.writeString("\(header.name): \(header.value)\r\n") }
        if form.closes { buffer.writeString("Connection: close\r\n") }
        buffer.writeString("\r\n")
        if !form.isHead { buffer.writeBytes(answer.body) }
    }
}

/// Writes bytes one after the other into memory that is known to be large enough.
struct ByteWriter {
    private let target: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(_ target: UnsafeMutableRawBufferPointer) { self.target = target }

    mutating func write(_ text: StaticString) {
        write(UnsafeRawBufferPointer(text))
    }

    mutating func write(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { write($0) }
    }

    mutating func write(text: String) {
        var text = text
        text.withUTF8 { write(UnsafeRawBufferPointer($0)) }
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer) {
        // The bound holds in release builds as well: a text that does not fit must not be written past the end.
        precondition(bytes.count <= target.count - count)
        guard let base = target.baseAddress, let source = bytes.baseAddress else { return }
        memcpy(base + count, source, bytes.count)
        count += bytes.count
    }

    mutating func write(_ decimal: ShortDecimal) {
        precondition(target.count - count >= 8)
        target.storeBytes(of: decimal.digits, toByteOffset: count, as: UInt64.self)
        count += decimal.count
    }

    /// Writes a number of at least 0.
    mutating func write(decimal value: Int) {
        precondition(value >= 0 && target.count - count >= Self.maximumDigits)
        guard let start = target.baseAddress?.advanced(by: count) else { return }
        var length = 1
        var bound = 10
        while length < Self.maximumDigits, value >= bound {
            length += 1
            bound = bound &* 10
        }
        var rest = UInt(bitPattern: value)
        for index in stride(from: length - 1, through: 0, by: -1) {
            start.storeBytes(of: UInt8(truncatingIfNeeded: 0x30 + rest % 10), toByteOffset: index, as: UInt8.self)
            rest /= 10
        }
        count += length
    }

    /// The digits of the largest number there is; the next power of ten would overflow.
    private static let maximumDigits = 19
}

/// The digits of a number below 100,000,000, in one register: the first one lowest.
struct ShortDecimal {
    private(set) var digits: UInt64 = 0
    private(set) var count = 0

    init?(_ value: Int) {
        guard (0..<100_000_000).contains(value) else { return nil }
        var rest = UInt32(truncatingIfNeeded: value)
        repeat {
            digits = digits << 8 | UInt64(0x30 + rest % 10)
            rest /= 10
            count += 1
        } while rest > 0
    }
}

/// The Date header, which every answer carries (RFC 9110, section 6.6.1), made anew once a second.
struct HTTPDate {
    private var second = 0
    private var text: [UInt8] = []

    /// The Unix time, as exact as the header is and cheaper than the exact one.
    static func currentSecond() -> Int {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &now)
        return now.tv_sec
    }

    /// The header's line at a Unix time.
    mutating func line(at second: Int) -> [UInt8] {
        if second != self.second {
            self.second = second
            text = Self.line(at: second)
        }
        return text
    }

    static func line(at second: Int) -> [UInt8] {
        var time = second
        var parts = tm()
        gmtime_r(&time, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let date =
            "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(1900 + parts.tm_year)"
        return Array("Date: \(date) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT\r\n".utf8)
    }
}
