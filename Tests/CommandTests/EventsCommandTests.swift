import ArgumentParser
import LLMRateLimitClient
import Testing

@testable import RateLimitService
@testable import llm_rate_limit

@Suite("events")
struct EventsCommandTests {
    private let ofUser =
        #"{"cursor":"6-0","id":"0f","at":"2026-11-28T10:00:00.123Z","limit_name":"calls","unit":"requests","#
        + #""mode":"enforce","per":"user","user_id":"a]}\"{[","threshold":"warning","share":0.8,"amount":4,"quota":5,"#
        + #""used":4,"window_seconds":3600}"#
    private let ofGroup =
        #"{"cursor":"7-0","id":"1f","at":"2026-11-28T10:00:01.000Z","limit_name":"spend","unit":"spend","mode":"soft","#
        + #""per":"group","group_id":"research","values":"model=gpt-4o","threshold":"quota","share":1,"amount":5000000,"#
        + #""quota":5000000,"used":5012500,"period_start":"2026-11-01T00:00:00.000Z","period_end":"2026-12-01T00:00:00.000Z"}"#

    private func page(_ events: [String], more: Bool = false, trimmed: Bool = false) -> DaemonResponse {
        DaemonResponse(
            status: 200,
            body:
                #"{"events":[\#(events.joined(separator: ","))],"next_cursor":"7-0","more":\#(more),"trimmed":\#(trimmed)}"#
        )
    }

    @Test("tells each event in words that fit 80 columns")
    func words() {
        var reader = EventReader(cursor: nil, json: false)
        #expect(reader.uri == "/v1/events?limit=100")
        let report = reader.report(.success(page([ofUser, ofGroup])))
        #expect(
            report
                == CommandReport(output: [
                    "2026-11-28 10:00:00 UTC  calls: 80% of the quota crossed, 4 of 5 requests used",
                    #"    by user a]}"{[ in 1 hour"#,
                    "2026-11-28 10:00:01 UTC  spend: the quota crossed, $5.0125 of $5.00 used by",
                    "    group research with model=gpt-4o, until 2026-12-01 00:00:00 UTC; soft: it",
                    "    denies nobody",
                ]))
        #expect(report.output.allSatisfy { $0.count <= 80 })
        #expect(reader.uri == "/v1/events?limit=100&cursor=7-0" && !reader.hasMore)
    }

    @Test("prints each event as it came, one a line, with --json")
    func json() {
        var reader = EventReader(cursor: StreamCursor("1-0"), json: true)
        #expect(
            reader.report(.success(page([ofUser, ofGroup], more: true))) == CommandReport(output: [ofUser, ofGroup]))
        #expect(reader.hasMore)
        #expect(reader.report(.success(page([]))) == CommandReport() && !reader.hasMore)
        #expect(EventReader.objects(in: #"{"a":[{"b":{"c":[1]}},{}],"d":[{"e":1}]}"#) == [#"{"b":{"c":[1]}}"#, "{}"])
        for other in ["", "{}", "[]", "[[", #"{"a":["#, "}}]]"] { #expect(EventReader.objects(in: other) == []) }
    }

    @Test("says where events have gone before they were read")
    func trimmed() {
        var reader = EventReader(cursor: nil, json: true)
        let report = reader.report(.success(page([ofUser], trimmed: true)))
        #expect(report.output == [ofUser] && report.exitCode == .success)
        #expect(report.errors == ["Events before the next one have gone: the stream keeps some 10000."])
    }

    @Test("ends with why there is no answer; following says it once, and goes on where it was")
    func trouble() {
        let away = DaemonResponse(
            status: 503,
            body:
                #"{"title":"Service Unavailable","status":503,"detail":"What is kept cannot be read: redis_timeout."}"#)
        let gone = RateLimitClientError.closed(address: .unixSocket(path: "/a"))
        var reader = EventReader(cursor: nil, json: false)
        #expect(reader.report(.success(away)).exitCode == .denied)
        #expect(reader.report(.failure(gone)).exitCode == .failedRequest)
        _ = reader.follow(.success(page([ofUser])))
        for result in [Result<DaemonResponse, RateLimitClientError>.failure(gone), .success(away)] {
            let report = reader.follow(result)
            #expect(report.exitCode == .success && report.errors.count == 1 && report.output.isEmpty)
            #expect(reader.follow(result) == CommandReport())
            #expect(reader.uri == "/v1/events?limit=100&cursor=7-0")
        }
        // Told again where it was over in between; a request that is not taken ends it.
        _ = reader.follow(.success(page([])))
        #expect(reader.follow(.success(away)).errors.count == 1)
        let refused = DaemonResponse(status: 403, body: #"{"title":"Forbidden","status":403,"detail":"No."}"#)
        #expect(reader.follow(.success(refused)).exitCode == .failedRequest)
    }

    @Test("takes a cursor of an event, and nothing else for one")
    func usage() throws {
        #expect(try EventsCommand.parse(["--cursor", "5-1", "--follow"]).cursor == StreamCursor("5-1"))
        for text in ["5", "x", "", "5-", "5-1-2"] {
            #expect(throws: (any Error).self) { try EventsCommand.parse(["--cursor", text]) }
        }
    }
}
