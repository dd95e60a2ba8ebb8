import RateLimitCore
import Testing

@testable import HTTPServer
@testable import RateLimitService

@Suite("An event's JSON")
struct EventAnswerTests {
    private func event(
        _ owner: WindowOwner, values: WindowValues? = nil, _ threshold: LimitThreshold, quota: Int? = 50,
        mode: LimitMode = .enforce, period: CalendarPeriod? = nil, windowMilliseconds: Int? = nil
    ) throws -> ThresholdEvent {
        ThresholdEvent(
            ThresholdCrossing(
                limit: try #require(LimitName("team-spend")), unit: .tokens(.input), mode: mode, owner: owner,
                values: values, threshold: threshold, amount: 40, quota: quota, used: 41, period: period,
                windowMilliseconds: windowMilliseconds, unixMilliseconds: 1_795_860_000_123),
            id: "0f6c2d8f5b1e4c7a9d3e2b1f0a9c8d7e")
    }

    private func json(_ event: ThresholdEvent) -> String { String(decoding: event.json, as: UTF8.self) }

    private let start =
        #"{"id":"0f6c2d8f5b1e4c7a9d3e2b1f0a9c8d7e","at":"2026-11-28T10:00:00.123Z","limit_name":"team-spend","#
        + #""unit":"tokens.input","mode":"#

    @Test("has what there is of it, and leaves out what there is not")
    func members() throws {
        let group = try #require(SubjectID("a \"b\"\n\u{9b}"))
        let month = CalendarPeriod(start: 1_793_491_200, nextStart: 1_796_083_200)
        #expect(
            json(try event(.group(group), .share(perMille: 800), period: month)) == start
                + #""enforce","per":"group","group_id":"a \"b\"\n\u009b","threshold":"warning","share":0.8,"amount":40,"#
                + #""quota":50,"used":41,"period_start":"2026-11-01T00:00:00.000Z","period_end":"2026-12-01T00:00:00.000Z"}"#
        )
        let call = CallAttributes(model: "gpt-4o")
        let values = try #require(WindowValues([.model], of: call, group: nil))
        let user = try #require(SubjectID("ada"))
        #expect(
            json(
                try event(.user(user), values: values, .share(perMille: 1_000), mode: .soft, windowMilliseconds: 60_000)
            )
                == start
                + #""soft","per":"user","user_id":"ada","values":"model=gpt-4o","threshold":"quota","share":1,"amount":40,"#
                + #""quota":50,"used":41,"window_seconds":60}"#)
        #expect(
            json(try event(.global, .softQuota, quota: nil)) == start
                + #""enforce","per":"global","threshold":"soft_quota","amount":40,"used":41}"#)
    }

    @Test(
        "writes shares in thousandths as the shortest decimal",
        arguments: [
            (1, "0.001"), (10, "0.01"), (55, "0.055"), (100, "0.1"), (333, "0.333"), (950, "0.95"), (999, "0.999"),
        ])
    func shares(perMille: Int, text: String) throws {
        #expect(json(try event(.global, .share(perMille: perMille))).contains(#","share":\#(text),"#))
    }

    @Test("stands in a page with its cursor, beside where to go on")
    func page() throws {
        var page = EventPage(behind: StreamCursor("5-1"))
        #expect(
            String(decoding: Answer.events(page).body, as: UTF8.self)
                == #"{"events":[],"next_cursor":"5-1","more":false,"trimmed":false}"#)
        let event = try event(.global, .softQuota)
        for cursor in ["6-0", "7-0"] {
            page.entries.append(EventPage.Entry(cursor: try #require(StreamCursor(cursor)), event: event))
        }
        page.next = try #require(StreamCursor("7-0"))
        (page.hasMore, page.isTrimmed) = (true, true)
        let rest = json(event).dropFirst()
        #expect(
            String(decoding: Answer.events(page).body, as: UTF8.self)
                == #"{"events":[{"cursor":"6-0",\#(rest),{"cursor":"7-0",\#(rest)],"next_cursor":"7-0","more":true,"trimmed":true}"#
        )
    }
}
