import RateLimitCore
import RateLimitService

/// The headers that say how a quota stands: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers,
/// version 11, and the three `X-RateLimit-…` that gateways have sent before there was a draft.
///
/// The draft registers requests and concurrent requests as units, and takes a policy without a unit for one of requests.
/// So limits of tokens and spend are not announced here at all: the body tells how they stand. The older headers have no
/// unit, and are about the limit of `RateLimit`.
enum RateLimitFields {
    /// Writes one limit as an item of `RateLimit-Policy`.
    ///
    /// - Parameter unit: nil for requests, which the draft takes for granted.
    static func writePolicy(
        _ name: String, quota: Int, unit: StaticString?, windowSeconds: Int?, to text: inout ByteWriter
    ) {
        text.write("\"")
        text.write(text: name)
        text.write("\";q=")
        text.write(decimal: quota)
        if let unit {
            text.write(";qu=\"")
            text.write(unit)
            text.write("\"")
        }
        if let windowSeconds {
            text.write(";w=")
            text.write(decimal: windowSeconds)
        }
    }

    /// Writes an item of `RateLimit` up to the number remaining.
    static func writeStateStart(_ name: String, to text: inout ByteWriter) {
        text.write("\"")
        text.write(text: name)
        text.write("\";r=")
    }

    /// Writes those of the three older headers that differ from answer to answer, each as a line.
    static func writeXState(remaining: Int, resetAfterMilliseconds: Int, to text: inout ByteWriter) {
        text.write("X-RateLimit-Remaining: ")
        text.write(decimal: remaining)
        text.write("\r\nX-RateLimit-Reset: ")
        text.write(decimal: wholeSeconds(resetAfterMilliseconds))
        text.write("\r\n")
    }

    /// Writes the quota headers of the answer to a call, each as a line; `RateLimit` is about the announced limit of which
    /// the least share is left.
    ///
    /// A denial speaks of the limit that denied; where that one is not announced, the answer has no `RateLimit`, because
    /// what is left of the others would contradict its Retry-After.
    ///
    /// - Parameter wait: how many seconds a denial lasts; nil where no wait helps, and in what is no denial.
    static func write(
        _ headers: QuotaHeaders, about details: OutcomeDetails, isDenied: Bool, wait: Int?, to text: inout ByteWriter
    ) {
        guard headers != .none else { return }
        let decider = details.decider
        var least: Int?
        for index in 0..<details.limitCount {
            guard let place = announced(index, of: details, decider) else { continue }
            let (term, state) = details.told(place)
            if headers.hasDraft {
                text.write(least == nil ? "RateLimit-Policy: " : ", ")
                term.writePolicy(to: &text)
            }
            if let other = least.map({ details.told($0) }), !term.hasLessLeft(state, than: other.term, other.state) {
                continue
            }
            least = place
        }
        guard let least else { return }
        if headers.hasDraft { text.write("\r\n") }
        guard let binding = isDenied ? decider : least else { return }
        let (term, state) = details.told(binding)
        guard term.isAnnounced else { return }
        let remaining = term.remaining(state) ?? 0
        if headers.hasDraft {
            text.write("RateLimit: ")
            writeStateStart(term.limit.name.text, to: &text)
            text.write(decimal: remaining)
            if let span = wait ?? term.secondsToPeriodEnd(state) {
                text.write(";t=")
                text.write(decimal: span)
            }
            text.write("\r\n")
        }
        guard headers.hasX else { return }
        text.write("X-RateLimit-Limit: ")
        text.write(decimal: term.quota.amount ?? 0)
        text.write("\r\n")
        writeXState(remaining: remaining, resetAfterMilliseconds: state.resetAfterMilliseconds, to: &text)
    }

    /// Writes which limits count more than their soft line, as a line; nothing where none does.
    static func writeOver(_ details: OutcomeDetails, to text: inout ByteWriter) {
        let names = details.overLimits
        guard !names.isEmpty else { return }
        text.write(text: "\(AnswerHeader.over.rawValue): ")
        for (index, name) in names.enumerated() {
            if index > 0 { text.write(", ") }
            text.write(text: name.text)
        }
        text.write("\r\n")
    }

    /// Which place is announced of the limit of the one at `first`: the one that decided, else the one with the least share
    /// left. A limit of groups has several where the user is in several; nil where an earlier one spoke of it, and where
    /// none is announced.
    private static func announced(_ first: Int, of details: OutcomeDetails, _ decider: Int?) -> Int? {
        let limit = details.told(first).term
        guard limit.isAnnounced else { return nil }
        func isAlike(_ other: CallTerm) -> Bool { other.limit.id == limit.limit.id && other.isAnnounced }
        for earlier in 0..<first where isAlike(details.told(earlier).term) { return nil }
        var place = first
        for index in first + 1..<details.limitCount where place != decider {
            let (term, state) = details.told(index)
            guard isAlike(term) else { continue }
            let other = details.told(place)
            if index == decider || term.hasLessLeft(state, than: other.term, other.state) { place = index }
        }
        return place
    }
}

extension CallTerm {
    fileprivate var isAnnounced: Bool { limit.denies && quota.amount != nil && limit.unit.isAnnounced }

    fileprivate func writePolicy(to text: inout ByteWriter) {
        RateLimitFields.writePolicy(
            limit.name.text, quota: quota.amount ?? 0, unit: limit.unit == .concurrency ? "concurrent-requests" : nil,
            windowSeconds: windowSeconds, to: &text)
    }

    /// How long no more than what remains can be used, where the window's end says it: a lifetime ends later than that where
    /// it is used. A sliding window frees its next part at a time that Redis does not tell.
    fileprivate func secondsToPeriodEnd(_ state: LimitState) -> Int? {
        switch limit.window {
        case nil, .sliding: return nil
        case .calendar, .lifetime: break
        }
        return state.resetAfterMilliseconds > 0 ? wholeSeconds(state.resetAfterMilliseconds) : nil
    }

    /// The window's length in seconds; nil for concurrency and for a lifetime.
    private var windowSeconds: Int? {
        switch limit.window {
        case nil, .lifetime: nil
        case .sliding(let milliseconds): milliseconds / 1000
        case .calendar: period.map { $0.nextStart - $0.start }
        }
    }
}

extension LimitUnit {
    /// Whether the draft has a unit for it.
    fileprivate var isAnnounced: Bool {
        switch self {
        case .requests, .concurrency: true
        case .tokens, .spend: false
        }
    }
}
