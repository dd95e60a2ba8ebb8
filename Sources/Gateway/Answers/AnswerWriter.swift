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
    /// Room for the head of a decision's answer, and for its body, apart from what details need: with room to spare.
    private static let headBytes = 384
    private static let bodyBytes = 768

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
        admitted.setBody(
            "{\"allowed\":true,\"limit_name\":\"\(limitName)\",\"limit\":\(limit.quota),\"remaining\":")
    }

    /// Writes the answer to a check or a reservation, in head and body about the limit that it was decided under.
    func write(_ outcome: Outcome, _ form: AnswerForm, isVerbose: Bool = false, to buffer: inout ByteBuffer) {
        if let own = outcome.limit, own != limit { prepare(for: own) }
        if outcome.verdict == .refused, !outcome.isShadowDenied {
            return write(Answer.closed(reason: outcome.degradedReason?.rawValue ?? ""), form, to: &buffer)
        }
        if outcome.limit != nil, outcome.verdict == .allowed, let state = outcome.binding,
            outcome.degradedReason == nil, form == AnswerForm(), writeAdmitted(state, to: &buffer)
        {
            return
        }
        let date = date.line(at: HTTPDate.currentSecond())
        let isAllowed = outcome.isAllowed
        let details = outcome.details
        let wait = outcome.verdict.retryAfterSeconds
        let members = details.map { Answer.detailMembers($0, isVerbose: isVerbose) } ?? []
        let told = isAllowed ? nil : wait
        let ownFields = details.map { Self.fields(of: outcome, $0, wait: told) } ?? []
        // The body comes first, behind the room for the head, since the head says how long it is.
        let headRoom = Self.headBytes + ownFields.count
        let room = headRoom + Self.bodyBytes + members.count
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { target in
            var body = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: target[headRoom...]))
            writeBody(outcome, details, members, wait: wait, to: &body)
            var head = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: target[..<headRoom]))
            if isAllowed {
                head.write("HTTP/1.1 200 OK\r\n")
            } else if case .atCapacity = outcome.verdict {
                head.write("HTTP/1.1 503 Service Unavailable\r\n")
            } else {
                head.write("HTTP/1.1 429 Too Many Requests\r\n")
            }
            head.write("Content-Type: application/json\r\nContent-Length: ")
            head.write(decimal: body.count)
            head.write("\r\n")
            head.write(date)
            head.write(ownFields)
            if outcome.limit != nil, outcome.degradedReason == nil, let state = outcome.binding {
                writeFields(state, wait: told, to: &head)
            }
            if let told {
                head.write("Retry-After: ")
                head.write(decimal: told)
                head.write("\r\n")
            }
            if form.closes { head.write("Connection: close\r\n") }
            head.write("\r\n")
            guard !form.isHead, let base = target.baseAddress else { return head.count }
            memmove(base + head.count, base + headRoom, body.count)
            return head.count + body.count
        }
    }

    /// Writes both fields of the draft about the limit of checks.
    private func writeFields(_ state: BindingState, wait: Int?, to head: inout ByteWriter) {
        head.write(fields)
        head.write(decimal: state.remaining)
        // Where it is admitted the window frees its next part at a time that Redis does not tell.
        if let wait {
            head.write(";t=")
            head.write(decimal: wait)
        }
        head.write("\r\n")
    }

    /// Both fields of the draft about many limits, as lines; none where Redis did not decide.
    private static func fields(of outcome: Outcome, _ details: OutcomeDetails, wait: Int?) -> [UInt8] {
        guard outcome.degradedReason == nil else { return [] }
        let headers = RateLimitFields.headers(of: details, isDenied: !outcome.isAllowed, wait: wait)
        return Array(headers.map { "\($0.name): \($0.value)\r\n" }.joined().utf8)
    }

    /// Writes the commonest answer of all from its prepared parts, byte for byte as the general way would; false where
    /// a number is too large for it.
    private func writeAdmitted(_ state: BindingState, to buffer: inout ByteBuffer) -> Bool {
        guard let remaining = ShortDecimal(state.remaining),
            let reset = ShortDecimal(wholeSeconds(state.resetAfterMilliseconds))
        else { return false }
        let second = HTTPDate.currentSecond()
        if second != admitted.second {
            let head = Array("\r\n".utf8) + date.line(at: second) + fields
            admitted.setHead(head, second: second)
        }
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.headBytes + Self.bodyBytes) { target in
            admitted.write(remaining: remaining, reset: reset, to: target)
        }
        return true
    }

    /// Writes the body of a decision: the same members in the same order whatever limits there are.
    private func writeBody(
        _ outcome: Outcome, _ details: OutcomeDetails?, _ members: [UInt8], wait: Int?, to body: inout ByteWriter
    ) {
        let isAllowed = outcome.isAllowed
        body.write(isAllowed ? "{\"allowed\":true" : "{\"allowed\":false")
        if case .atCapacity = outcome.verdict, !isAllowed { body.write(",\"at_capacity\":true") }
        let state = outcome.binding
        // A check that nobody could decide is told the limit that it would have met.
        let quota = state?.quota ?? (outcome.source == .off ? nil : outcome.limit?.quota)
        let name = details?.binding?.limit.name.text ?? details?.lacking?.limit.text ?? (quota == nil ? nil : limitName)
        body.write(",\"limit_name\":")
        if let name {
            body.write("\"")
            body.write(text: name)
            body.write("\"")
        } else {
            body.write("null")
        }
        body.write(",\"limit\":")
        body.write(decimalOrNull: quota)
        body.write(",\"remaining\":")
        body.write(decimalOrNull: state?.remaining)
        body.write(",\"retry_after\":")
        body.write(decimalOrNull: wait)
        // Where leases hold what is asked for the wait is a forecast, and this is certain.
        if let most = details?.retryAfterAtMostMilliseconds.map(wholeSeconds), let wait, most > wait {
            body.write(",\"retry_after_at_most\":")
            body.write(decimal: most)
        }
        body.write(",\"reset_after\":")
        let isUnlimited = outcome.source == .off && isAllowed
        body.write(decimalOrNull: state.map { wholeSeconds($0.resetAfterMilliseconds) } ?? (isUnlimited ? 0 : nil))
        if let reason = outcome.degradedReason {
            body.write(",\"degraded\":true,\"reason\":\"")
            body.write(text: reason.rawValue)
            body.write("\"")
        } else {
            body.write(",\"degraded\":false")
        }
        if outcome.isShadowDenied { body.write(",\"shadow_denied\":true") }
        body.write(members)
        if !isAllowed {
            body.write(",\"message\":\"")
            body.write(text: message(outcome, details, name ?? "limit", wait: wait))
            body.write("\"")
        }
        body.write("}")
    }

    private func message(_ outcome: Outcome, _ details: OutcomeDetails?, _ name: String, wait: Int?) -> String {
        if outcome.verdict == .unknownModel { return "The model has no price, and calls of unknown models are denied." }
        if let lacking = details?.lacking {
            return "The call does not say \(lacking.value.phrase), which limit \(lacking.limit) needs."
        }
        if let wait { return "Try again in \(waitText(seconds: wait))." }
        let unit = details?.binding?.limit.unit ?? .requests
        return "The cost is above the quota of \(unit.text(of: outcome.binding?.quota ?? 0)) of \(name)."
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

extension Outcome.Verdict {
    /// For how many seconds to wait; 0 where nothing denies, nil where no wait helps.
    fileprivate var retryAfterSeconds: Int? {
        switch self {
        case .allowed, .refused, .unknownLease, .repeated, .tooLate: 0
        case .denied(let milliseconds), .atCapacity(let milliseconds): max(1, wholeSeconds(milliseconds))
        case .deniedForGood, .unknownModel, .missingValue: nil
        }
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

    /// Writes a number of at least 0, or `null`.
    mutating func write(decimalOrNull value: Int?) {
        if let value { write(decimal: value) } else { write("null") }
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
