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
    /// Room for the head of an answer about a call, apart from the fields of many limits: with room to spare.
    private static let headBytes = 512
    /// Room for the whole of the commonest answer, likewise.
    private static let admittedBytes = 1_152

    let limitName: String
    /// The limit that the prepared parts speak of.
    private(set) var limit = Limit.Numbers(quota: 0, windowMilliseconds: 0)
    /// Which headers say how the quota stands, from the next answer on.
    var quotaHeaders: QuotaHeaders {
        didSet { if quotaHeaders != oldValue { prepare(for: limit) } }
    }
    /// What is the same in the quota headers of each answer: the policy, and `RateLimit` up to the number remaining.
    private var fields: [UInt8] = []
    private var date = HTTPDate()
    private let admitted = AdmittedAnswer()
    /// The body of the answer that is being written, and behind it the fields about many limits.
    var text = ByteWriter()

    /// Makes a writer of answers about the one limit of checks, which keeps its name whatever its numbers become.
    init(limitName: String, quotaHeaders: QuotaHeaders = .ietf) {
        self.limitName = limitName
        self.quotaHeaders = quotaHeaders
        prepare(for: limit)
    }

    /// Answers differ in their limit for a moment after a change; most speak of the same as the one before.
    func prepare(for limit: Limit.Numbers) {
        self.limit = limit
        text.removeAll()
        if quotaHeaders.hasX {
            text.write("X-RateLimit-Limit: ")
            text.write(decimal: limit.quota)
            text.write("\r\n")
        }
        if quotaHeaders.hasDraft {
            text.write("RateLimit-Policy: ")
            RateLimitFields.writePolicy(
                limitName, quota: limit.quota, unit: nil, windowSeconds: limit.windowMilliseconds / 1000, to: &text)
            text.write("\r\nRateLimit: ")
            RateLimitFields.writeStateStart(limitName, to: &text)
        }
        fields = Array(text.bytes)
        admitted.setBody(
            "{\"allowed\":true,\"limit_name\":\"\(limitName)\",\"limit\":\(limit.quota),\"remaining\":")
    }

    /// Writes the answer to a request, as its route has it.
    func write(
        _ outcome: Outcome, as topic: AnswerTopic = .decision(isVerbose: false), _ form: AnswerForm,
        to buffer: inout ByteBuffer
    ) {
        switch topic {
        case .decision(let isVerbose): writeDecision(outcome, form, isVerbose: isVerbose, to: &buffer)
        case .authorization(let denial): writeAuthorization(outcome, denial, form, to: &buffer)
        case .status(let user): write(Answer.status(of: user, outcome), form, to: &buffer)
        case .usage(let user):
            if let reason = outcome.degradedReason { return write(Answer.unavailable(reason), form, to: &buffer) }
            let details = outcome.details ?? OutcomeDetails()
            text.removeAll()
            text.writeUsage(of: user, details)
            writeDone(details, form, to: &buffer)
        case .done(let deed, let owner, let isVerbose):
            if let reason = outcome.degradedReason { return write(Answer.unavailable(reason), form, to: &buffer) }
            switch (outcome.verdict, deed) {
            case (.unknownLease, _), (.tooLate, .released): return write(Answer.unknownLease, form, to: &buffer)
            default: break
            }
            let details = outcome.details ?? OutcomeDetails()
            text.removeAll()
            text.write(deed, outcome.verdict, details, owner: owner, isVerbose: isVerbose)
            writeDone(details, form, to: &buffer)
        }
    }

    /// Writes the answer to a check or a reservation, in head and body about the limit that it was decided under.
    private func writeDecision(_ outcome: Outcome, _ form: AnswerForm, isVerbose: Bool, to buffer: inout ByteBuffer) {
        if let own = outcome.limit, own != limit { prepare(for: own) }
        if outcome.verdict == .refused, !outcome.isShadowDenied {
            return write(Answer.closed(reason: outcome.degradedReason?.rawValue ?? ""), form, to: &buffer)
        }
        if outcome.limit != nil, outcome.verdict == .allowed, let state = outcome.binding,
            outcome.degradedReason == nil, form == AnswerForm(), writeAdmitted(state, to: &buffer)
        {
            return
        }
        let isAllowed = outcome.isAllowed
        let details = outcome.details
        let wait = outcome.verdict.retryAfterSeconds
        let told = isAllowed ? nil : wait
        text.removeAll()
        writeBody(outcome, details, wait: wait, isVerbose: isVerbose)
        let bodyCount = text.count
        if let details, outcome.degradedReason == nil {
            RateLimitFields.write(quotaHeaders, about: details, isDenied: !isAllowed, wait: told, to: &text)
            RateLimitFields.writeOver(details, to: &text)
        }
        let status: StaticString =
            if isAllowed {
                "HTTP/1.1 200 OK\r\n"
            } else if case .atCapacity = outcome.verdict {
                "HTTP/1.1 503 Service Unavailable\r\n"
            } else {
                "HTTP/1.1 429 Too Many Requests\r\n"
            }
        let state = outcome.limit != nil && outcome.degradedReason == nil ? outcome.binding : nil
        writeText(status, bodyCount: bodyCount, form, state: state, wait: told, to: &buffer)
    }

    /// Writes an answer that says what was done, of which ``text`` is the body.
    private func writeDone(_ details: OutcomeDetails, _ form: AnswerForm, to buffer: inout ByteBuffer) {
        let bodyCount = text.count
        RateLimitFields.writeOver(details, to: &text)
        writeText("HTTP/1.1 200 OK\r\n", bodyCount: bodyCount, form, state: nil, wait: nil, to: &buffer)
    }

    /// Writes a head and, from ``text``, a body of so many bytes; what stands behind it are fields of the head.
    ///
    /// - Parameters:
    ///   - state: how the limit of checks stands, where the fields of the draft are about it.
    ///   - wait: how many seconds to wait, where the answer denies.
    func writeText(
        _ status: StaticString, bodyCount: Int, _ form: AnswerForm, state: BindingState?, wait: Int?,
        to buffer: inout ByteBuffer
    ) {
        let date = date.line(at: HTTPDate.currentSecond())
        let ownFields = UnsafeRawBufferPointer(rebasing: text.bytes[bodyCount...])
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.headBytes + text.count) { target in
            var answer = ByteWriter(target)
            answer.write(status)
            if bodyCount > 0 { answer.write("Content-Type: application/json\r\n") }
            answer.write("Content-Length: ")
            answer.write(decimal: bodyCount)
            answer.write("\r\n")
            answer.write(date)
            answer.write(ownFields)
            if let state { writeFields(state, wait: wait, to: &answer) }
            if let wait {
                answer.write("Retry-After: ")
                answer.write(decimal: wait)
                answer.write("\r\n")
            }
            if form.closes { answer.write("Connection: close\r\n") }
            answer.write("\r\n")
            if !form.isHead { answer.write(UnsafeRawBufferPointer(rebasing: text.bytes[..<bodyCount])) }
            return answer.count
        }
    }

    /// Writes the quota headers about the limit of checks.
    private func writeFields(_ state: BindingState, wait: Int?, to head: inout ByteWriter) {
        head.write(fields)
        if quotaHeaders.hasDraft {
            head.write(decimal: state.remaining)
            // Where it is admitted the window frees its next part at a time that Redis does not tell.
            if let wait {
                head.write(";t=")
                head.write(decimal: wait)
            }
            head.write("\r\n")
        }
        if quotaHeaders.hasX {
            RateLimitFields.writeXState(
                remaining: state.remaining, resetAfterMilliseconds: state.resetAfterMilliseconds, to: &head)
        }
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
            admitted.setHead(head, quotaHeaders: quotaHeaders, second: second)
        }
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.admittedBytes) { target in
            admitted.write(remaining: remaining, reset: reset, to: target)
        }
        return true
    }

    /// Writes the body of a decision: the same members in the same order whatever limits there are.
    func writeBody(_ outcome: Outcome, _ details: OutcomeDetails?, wait: Int?, isVerbose: Bool) {
        let isAllowed = outcome.isAllowed
        text.write(isAllowed ? "{\"allowed\":true" : "{\"allowed\":false")
        if case .atCapacity = outcome.verdict, !isAllowed { text.write(",\"at_capacity\":true") }
        let state = outcome.binding
        let quota = quota(in: outcome)
        let name = name(in: outcome)
        text.write(",\"limit_name\":")
        if let name {
            text.write("\"")
            text.write(text: name)
            text.write("\"")
        } else {
            text.write("null")
        }
        text.write(",\"limit\":")
        text.write(decimalOrNull: quota)
        text.write(",\"remaining\":")
        text.write(decimalOrNull: state?.remaining)
        text.write(",\"retry_after\":")
        text.write(decimalOrNull: wait)
        // Where leases hold what is asked for the wait is a forecast, and this is certain.
        if let most = details?.retryAfterAtMostMilliseconds.map(wholeSeconds), let wait, most > wait {
            text.write(",\"retry_after_at_most\":")
            text.write(decimal: most)
        }
        text.write(",\"reset_after\":")
        let isUnlimited = outcome.source == .off && isAllowed
        text.write(decimalOrNull: state.map { wholeSeconds($0.resetAfterMilliseconds) } ?? (isUnlimited ? 0 : nil))
        if let reason = outcome.degradedReason {
            text.write(",\"degraded\":true,\"reason\":\"")
            text.write(text: reason.rawValue)
            text.write("\"")
        } else {
            text.write(",\"degraded\":false")
        }
        if outcome.isShadowDenied { text.write(",\"shadow_denied\":true") }
        if outcome.verdict == .repeated { text.write(",\"repeated\":true") }
        if let details {
            let report = details.report
            let isVerbose = isVerbose || report?.isDryRun == true
            text.writeMembers(of: details, isVerbose: isVerbose)
            if let report { write(report, isVerbose: isVerbose) }
        }
        if !isAllowed {
            text.write(",\"message\":\"")
            writeMessage(outcome, wait: wait)
            text.write("\"")
        }
        text.write("}")
    }

    /// A check that nobody could decide is told the limit that it would have met.
    private func quota(in outcome: Outcome) -> Int? {
        outcome.binding?.quota ?? (outcome.source == .off ? nil : outcome.limit?.quota)
    }

    func name(in outcome: Outcome) -> String? {
        outcome.details?.bindingTerm?.limit.name.text ?? outcome.details?.lacking?.limit.text
            ?? (quota(in: outcome) == nil ? nil : limitName)
    }

    /// Writes why a call may not go on, for people: in ASCII, and with nothing that JSON or a header would have to escape.
    func writeMessage(_ outcome: Outcome, wait: Int?) {
        let details = outcome.details
        if outcome.verdict == .unknownModel {
            text.write("The model has no price, and calls of unknown models are denied.")
        } else if let lacking = details?.lacking {
            text.write(text: "The call does not say \(lacking.value.phrase), which limit \(lacking.limit) needs.")
        } else if let wait {
            text.write("Try again in ")
            text.write(waitOfSeconds: wait)
            text.write(".")
        } else {
            let unit = details?.bindingTerm?.limit.unit ?? .requests
            let quota = unit.text(of: outcome.binding?.quota ?? 0)
            text.write(text: "The cost is above the quota of \(quota) of \(name(in: outcome) ?? "limit").")
        }
    }

    /// Writes any other answer.
    func write(_ answer: Answer, _ form: AnswerForm, to buffer: inout ByteBuffer) {
        buffer.writeString("HTTP/1.1 \(answer.status.rawValue) \(answer.status.phrase)\r\n")
        if !answer.body.isEmpty { buffer.writeString("Content-Type: \(answer.contentType)\r\n") }
        if answer.status != .noContent { buffer.writeString("Content-Length: \(answer.body.count)\r\n") }
        buffer.writeBytes(date.line(at: HTTPDate.currentSecond()))
        for header in answer.headers { buffer.writeString("\(header.name): \(header.value)\r\n") }
        if form.closes { buffer.writeString("Connection: close\r\n") }
        buffer.writeString("\r\n")
        if !form.isHead { buffer.writeBytes(answer.body) }
    }
}

extension Outcome.Verdict {
    /// For how many seconds to wait; 0 where nothing denies, nil where no wait helps.
    var retryAfterSeconds: Int? {
        switch self {
        case .allowed, .refused, .unknownLease, .repeated, .tooLate: 0
        case .denied(let milliseconds), .atCapacity(let milliseconds): max(1, wholeSeconds(milliseconds))
        case .deniedForGood, .unknownModel, .missingValue: nil
        }
    }
}
