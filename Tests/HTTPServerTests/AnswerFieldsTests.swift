import NIOCore
import RateLimitCore
import Testing

@testable import HTTPServer
@testable import RateLimitService

/// How a limit stands of which `used` is used: `quota` is 100, where it is not said.
private func standing(
    _ name: String, _ unit: LimitUnit = .requests, used: Int, quota: Int? = 100, window: LimitWindow? = hour,
    subject: CallSubject = .user, isShadow: Bool = false, period: CalendarPeriod? = nil, resetAfter: Int = 30_001
) -> LimitStanding {
    let limit = LimitDefinition(
        name: LimitName(name)!, scope: .user, unit: unit, quota: quota,
        window: unit == .concurrency ? nil : window, mode: isShadow ? .shadow : .enforce)
    return LimitStanding(
        limit: limit, subject: subject, quota: Quota(amount: quota, rule: .default),
        state: LimitState(used: used, resetAfterMilliseconds: resetAfter), period: period)
}

private let hour = LimitWindow.sliding(milliseconds: 3_600_000)
private let day = LimitWindow.calendar(.day, .utc)
private let today = CalendarPeriod(start: 0, nextStart: 86_400)

private func outcome(
    _ verdict: Outcome.Verdict, _ standings: [LimitStanding], decider: Int? = nil
) -> Outcome {
    Outcome(verdict, source: .redis).with(OutcomeDetails(standings: standings, decider: decider))
}

/// The lines of an answer, the last one its body.
private func lines(_ outcome: Outcome) -> [String] {
    var buffer = ByteBuffer()
    AnswerWriter(limitName: "requests").write(outcome, AnswerForm(), to: &buffer)
    return withoutDate(buffer.readableBytesView).components("\r\n")
}

/// The fields of an answer's head, one text each.
private func fields(_ outcome: Outcome) -> [String] {
    lines(outcome).filter { $0.hasPrefix("RateLimit") || $0.hasPrefix("Retry-After") }
}

@Suite("The RateLimit fields of a call's answer")
struct AnswerFieldsTests {
    @Test("announce requests without a unit and concurrency with the draft's, and nothing else")
    func units() {
        let all = LimitUnit.all.enumerated().map { index, unit in standing("l\(index)", unit, used: 10 + index) }
        #expect(
            fields(outcome(.allowed, all)) == [
                #"RateLimit-Policy: "l0";q=100;w=3600, "l7";q=100;qu="concurrent-requests""#,
                #"RateLimit: "l7";r=83"#,
            ])
    }

    @Test("are about the announced limit of which the least share is left, whatever tokens and spend have left")
    func binding() {
        let standings = [
            standing("slow", used: 50), standing("spend", .spend, used: 99), standing("fast", used: 3, quota: 4),
            standing("shadow", used: 100, isShadow: true), standing("free", used: 7, quota: nil),
        ]
        #expect(
            fields(outcome(.allowed, standings)) == [
                #"RateLimit-Policy: "slow";q=100;w=3600, "fast";q=4;w=3600"#, #"RateLimit: "fast";r=1"#,
            ])
    }

    @Test(
        "have no time in an answer that admits where the window slides, and the period's end where it is a calendar's")
    func time() {
        let sliding = standing("a", used: 1)
        let calendar = standing("b", used: 2, window: day, period: today)
        let fresh = standing("b", used: 0, window: day, period: today, resetAfter: 0)
        #expect(fields(outcome(.allowed, [sliding])).last == #"RateLimit: "a";r=99"#)
        #expect(
            fields(outcome(.allowed, [sliding, calendar])) == [
                #"RateLimit-Policy: "a";q=100;w=3600, "b";q=100;w=86400"#, #"RateLimit: "b";r=98;t=31"#,
            ])
        #expect(fields(outcome(.allowed, [fresh])).last == #"RateLimit: "b";r=100"#)
        // A lifetime has no length, and what it is told to end at holds at least so long.
        let session = standing("c", used: 2, window: .lifetime(idleMilliseconds: 604_800_000))
        #expect(
            fields(outcome(.allowed, [session])) == [#"RateLimit-Policy: "c";q=100"#, #"RateLimit: "c";r=98;t=31"#])
    }

    @Test("of a denial are about the limit that denied, and their time is the wait")
    func denial() {
        let standings = [standing("a", used: 100), standing("b", used: 98), standing("c", .concurrency, used: 100)]
        let denied = outcome(.denied(retryAfterMilliseconds: 1_001), standings, decider: 1)
        #expect(fields(denied).dropFirst() == [#"RateLimit: "b";r=2;t=2"#, "Retry-After: 2"])
        let full = outcome(.atCapacity(retryAfterMilliseconds: 1), standings, decider: 2)
        #expect(fields(full).dropFirst() == [#"RateLimit: "c";r=0;t=1"#, "Retry-After: 1"])
        #expect(fields(outcome(.deniedForGood, standings, decider: 1)).dropFirst() == [#"RateLimit: "b";r=2"#])
    }

    @Test(
        "of a denial by tokens or spend say nothing of what is left of requests, and it has its Retry-After",
        arguments: LimitUnit.all.filter { $0 != .requests && $0 != .concurrency })
    func denialByAnother(unit: LimitUnit) {
        let standings = [standing("requests", used: 1), standing("other", unit, used: 100)]
        #expect(
            fields(outcome(.denied(retryAfterMilliseconds: 9_000), standings, decider: 1)) == [
                #"RateLimit-Policy: "requests";q=100;w=3600"#, "Retry-After: 9",
            ])
        #expect(fields(outcome(.deniedForGood, standings, decider: 1)).count == 1)
        let alone = [standing("other", unit, used: 100)]
        #expect(
            fields(outcome(.denied(retryAfterMilliseconds: 9_000), alone, decider: 0)) == ["Retry-After: 9"])
        #expect(fields(outcome(.allowed, alone)) == [])
    }

    @Test("name a limit once, where several groups have it: the group that decided, else that with the least left")
    func groups() {
        let groups = (0..<3).map { CallSubject.group(SubjectID(high: 0, low: UInt64($0))) }
        let standings = [
            standing("team", used: 50, subject: groups[0]), standing("team", used: 9, quota: 10, subject: groups[1]),
            standing("team", used: 60, subject: groups[2]),
        ]
        #expect(
            fields(outcome(.allowed, standings)) == [
                #"RateLimit-Policy: "team";q=10;w=3600"#, #"RateLimit: "team";r=1"#,
            ])
        #expect(
            fields(outcome(.denied(retryAfterMilliseconds: 1_000), standings, decider: 2)) == [
                #"RateLimit-Policy: "team";q=100;w=3600"#, #"RateLimit: "team";r=40;t=1"#, "Retry-After: 1",
            ])
    }

    @Test("are left out where Redis did not decide, and where a model without a price was the reason")
    func absent() {
        var degraded = outcome(.allowed, [standing("a", used: 1)])
        degraded.degradedReason = .redisTimeout
        #expect(fields(degraded) == [])
        #expect(fields(outcome(.unknownModel, [])) == [])
    }

    @Test("say which value a call lacks, and which limit needs it")
    func lacking() throws {
        var details = OutcomeDetails()
        details.lacking = LackingLimit(try #require(LimitName("per-session")), lacks: .label("ses\"sion"))
        var denied = Outcome(.missingValue, source: .off)
        denied.details = details
        #expect(lines(denied).first == "HTTP/1.1 429 Too Many Requests")
        #expect(!lines(denied).contains { $0.hasPrefix("Retry-After") })
        #expect(
            lines(denied).last
                == #"{"allowed":false,"limit_name":"per-session","limit":null,"remaining":null,"retry_after":null,"#
                + #""reset_after":null,"degraded":false,"message":"The call does not say label ses%22sion, which limit "#
                + #"per-session needs."}"#)
        denied.isShadowDenied = true
        #expect(lines(denied).last?.contains(#""shadow_denied":true"#) == true)
    }

    @Test("leave the cost above a quota to the message, which has its unit")
    func message() {
        let denied = outcome(.deniedForGood, [standing("day", .spend, used: 0, quota: 975_000)], decider: 0)
        #expect(lines(denied).last?.contains(#""message":"The cost is above the quota of $0.975 of day.""#) == true)
    }
}
