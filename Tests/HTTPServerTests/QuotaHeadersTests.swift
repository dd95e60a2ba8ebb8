import NIOCore
import RateLimitCore
import Testing

@testable import HTTPServer
@testable import RateLimitService

private let hourly = Limit.Numbers(quota: 20, windowMilliseconds: 3_600_000)

/// The quota headers of an answer and its Retry-After, a line each.
private func fields(
    _ outcome: Outcome, _ headers: QuotaHeaders, as topic: AnswerTopic = .decision(isVerbose: false),
    _ form: AnswerForm = AnswerForm(), by writer: AnswerWriter? = nil
) -> [String] {
    var buffer = ByteBuffer()
    let writer = writer ?? AnswerWriter(limitName: "requests", quotaHeaders: headers)
    writer.write(outcome, as: topic, form, to: &buffer)
    let head = withoutDate(buffer.readableBytesView).components("\r\n\r\n")
    #expect(head.count == 2, "the head ends once, and the body is whole")
    let lines = head[0].components("\r\n")
    #expect(lines.allSatisfy { !$0.isEmpty })
    return lines.filter { line in
        ["RateLimit", "X-RateLimit", "Retry-After"].contains { line.hasPrefix($0) }
    }
}

private func check(_ verdict: Decision.Verdict, used: Int) -> Outcome {
    let decision = Decision(verdict: verdict, quota: 20, used: used, resetAfterMilliseconds: 3_599_001)
    return Outcome(isAllowed: verdict == .allowed, decision: decision, source: .redis, under: hourly)
}

@Suite("The headers that say how a quota stands")
struct QuotaHeadersTests {
    private static let draft = [#"RateLimit-Policy: "requests";q=20;w=3600"#, #"RateLimit: "requests";r=7"#]
    private static let older = ["X-RateLimit-Limit: 20", "X-RateLimit-Remaining: 7", "X-RateLimit-Reset: 3600"]

    /// The lines in any order: a header's place says nothing.
    private static func expected(_ headers: QuotaHeaders) -> Set<String> {
        switch headers {
        case .ietf: Set(draft)
        case .x: Set(older)
        case .both: Set(draft + older)
        case .none: []
        }
    }

    @Test(
        "of an admitted check are those chosen, each once, by the prepared answer and by the general one",
        arguments: QuotaHeaders.allCases)
    func admitted(headers: QuotaHeaders) {
        for form in [AnswerForm(), AnswerForm(closes: true)] {
            let lines = fields(check(.allowed, used: 13), headers, form)
            #expect(Set(lines) == Self.expected(headers) && lines.count == Set(lines).count)
        }
    }

    @Test("of a denial are the same about what is left, beside its Retry-After", arguments: QuotaHeaders.allCases)
    func denied(headers: QuotaHeaders) {
        let expected = Self.expected(headers).map { $0 == Self.draft[1] ? $0 + ";t=725" : $0 } + ["Retry-After: 725"]
        let denial = check(.denied(retryAfterMilliseconds: 725_000), used: 13)
        #expect(Set(fields(denial, headers)) == Set(expected))
        #expect(Set(fields(denial, headers, as: .authorization(.tooManyRequests))) == Set(expected))
    }

    @Test("of a call under a limits file are about the limit of RateLimit, whatever tokens have left")
    func calls() {
        let standings = [
            standing("slow", used: 50), standing("fast", used: 3, quota: 4, window: .calendar(.day, .utc)),
            standing("tokens", .tokens(.total), used: 99),
        ]
        let outcome = Outcome(.allowed, source: .redis).with(OutcomeDetails(standings: standings, decider: nil))
        let older = ["X-RateLimit-Limit: 4", "X-RateLimit-Remaining: 1", "X-RateLimit-Reset: 31"]
        #expect(fields(outcome, .x) == older)
        #expect(fields(outcome, .both).filter { $0.hasPrefix("X-") } == older)
        #expect(fields(outcome, .both).contains(#"RateLimit: "fast";r=1;t=31"#))
        #expect(fields(outcome, .none) == [])
        let denied = Outcome(.denied(retryAfterMilliseconds: 9_000), source: .redis)
            .with(OutcomeDetails(standings: standings, decider: 2))
        #expect(fields(denied, .x) == ["Retry-After: 9"])
        #expect(fields(denied, .none) == ["Retry-After: 9"])
    }

    @Test("are none where Redis did not decide", arguments: QuotaHeaders.allCases)
    func degraded(headers: QuotaHeaders) {
        let outcome = Outcome(
            isAllowed: true, decision: nil, source: .failureMode, degradedReason: .redisTimeout, under: hourly)
        #expect(fields(outcome, headers) == [])
    }

    @Test("are others from the next answer on where the choice changes, under the same limit and second")
    func change() {
        let writer = AnswerWriter(limitName: "requests")
        let outcome = check(.allowed, used: 13)
        for headers in QuotaHeaders.allCases + QuotaHeaders.allCases.reversed() {
            writer.quotaHeaders = headers
            #expect(Set(fields(outcome, headers, by: writer)) == Self.expected(headers))
        }
    }
}

/// How a limit stands; its full quota is free in 31 seconds.
private func standing(
    _ name: String, _ unit: LimitUnit = .requests, used: Int, quota: Int = 100,
    window: LimitWindow = .sliding(milliseconds: 3_600_000)
) -> LimitStanding {
    let limit = LimitDefinition(
        name: LimitName(name)!, scope: .user, unit: unit, quota: quota, window: window)
    return LimitStanding(
        limit: limit, subject: .user, quota: Quota(amount: quota, rule: .default),
        state: LimitState(used: used, resetAfterMilliseconds: 30_001),
        period: CalendarPeriod(start: 0, nextStart: 86_400)
    )
}
