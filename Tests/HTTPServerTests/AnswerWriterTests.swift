import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import HTTPServer
@testable import RateLimitService

private let hourly = Limit.Numbers(quota: 20, windowMilliseconds: 3_600_000)

/// An answer to a check as its lines, Date taken out.
private func written(_ outcome: Outcome, isHead: Bool = false, closes: Bool = false) -> [String] {
    var buffer = ByteBuffer()
    let writer = AnswerWriter(limitName: "requests")
    writer.write(outcome, AnswerForm(isHead: isHead, closes: closes), to: &buffer)
    return withoutDate(buffer.readableBytesView).components("\r\n")
}

private func decision(_ verdict: Decision.Verdict, quota: Int = 20, used: Int, reset: Int) -> Decision {
    Decision(verdict: verdict, quota: quota, used: used, resetAfterMilliseconds: reset)
}

@Suite("The answer to a check")
struct AnswerWriterTests {
    private let policy = "RateLimit-Policy: \"requests\";q=20;w=3600"

    private func head(_ status: String, _ body: String) -> [String] {
        ["HTTP/1.1 \(status)", "Content-Type: application/json", "Content-Length: \(body.utf8.count)"]
    }

    @Test("that is allowed is just as the contract has it")
    func allowed() {
        let body =
            #"{"allowed":true,"limit_name":"requests","#
            + #""limit":20,"remaining":19,"retry_after":0,"reset_after":3600,"degraded":false}"#
        let outcome = Outcome(
            isAllowed: true, decision: decision(.allowed, used: 1, reset: 3_600_000), source: .redis, under: hourly
        )
        #expect(written(outcome) == head("200 OK", body) + [policy, "RateLimit: \"requests\";r=19", "", body])
    }

    @Test("that is denied says when to come again, rounded up, in each place", arguments: [724_001, 725_000])
    func denied(_ milliseconds: Int) {
        let body =
            #"{"allowed":false,"limit_name":"requests","#
            + #""limit":20,"remaining":0,"retry_after":725,"reset_after":3600,"degraded":false,"#
            + #""message":"Try again in 12 minutes 5 seconds."}"#
        let denial = decision(.denied(retryAfterMilliseconds: milliseconds), used: 20, reset: 3_599_001)
        for source in [DecisionSource.redis, .memory] {
            #expect(
                written(Outcome(isAllowed: false, decision: denial, source: source, under: hourly))
                    == head("429 Too Many Requests", body) + [
                        policy, "RateLimit: \"requests\";r=0;t=725", "Retry-After: 725", "", body,
                    ])
        }
    }

    @Test("that is denied for less than a second says one second")
    func shortest() {
        let denial = decision(.denied(retryAfterMilliseconds: 1), used: 19, reset: 1)
        let lines = written(Outcome(isAllowed: false, decision: denial, source: .redis, under: hourly))
        #expect(lines.contains("Retry-After: 1"))
        #expect(lines.contains("RateLimit: \"requests\";r=1;t=1"))
        #expect(lines.last?.contains(#""retry_after":1,"reset_after":1,"#) == true)
        #expect(lines.last?.contains("Try again in 1 second.") == true)
    }

    @Test("that is denied for good has no time to come again")
    func deniedForGood() {
        let body =
            #"{"allowed":false,"limit_name":"requests","#
            + #""limit":20,"remaining":17,"retry_after":null,"reset_after":60,"degraded":false,"#
            + #""message":"The cost is above the quota of 20 requests of requests."}"#
        let denial = decision(.deniedForGood, used: 3, reset: 60_000)
        #expect(
            written(Outcome(isAllowed: false, decision: denial, source: .redis, under: hourly))
                == head("429 Too Many Requests", body) + [policy, "RateLimit: \"requests\";r=17", "", body])
    }

    @Test("in shadow mode allows, and says what it would have done")
    func shadow() {
        let body =
            #"{"allowed":true,"limit_name":"requests","#
            + #""limit":20,"remaining":0,"retry_after":725,"reset_after":3600,"degraded":false,"#
            + #""shadow_denied":true}"#
        let denial = decision(.denied(retryAfterMilliseconds: 725_000), used: 20, reset: 3_600_000)
        #expect(
            written(Outcome(isAllowed: true, decision: denial, source: .redis, under: hourly))
                == head("200 OK", body) + [policy, "RateLimit: \"requests\";r=0", "", body])
    }

    @Test("without Redis is degraded, gives the reason and no RateLimit header", arguments: FailureReason.allCases)
    func degraded(_ reason: FailureReason) {
        let body =
            #"{"allowed":true,"limit_name":"requests","#
            + #""limit":20,"remaining":null,"retry_after":0,"reset_after":null,"degraded":true,"#
            + "\"reason\":\"\(reason.rawValue)\"}"
        let outcome = Outcome(
            isAllowed: true, decision: nil, source: .failureMode, degradedReason: reason, under: hourly)
        #expect(written(outcome) == head("200 OK", body) + ["", body])
    }

    @Test("in failure mode closed is a problem, not a denial")
    func closed() {
        let body =
            #"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","#
            + #""title":"Service Unavailable","status":503,"#
            + #""detail":"No decision can be had (redis_timeout), and the failure mode is closed."}"#
        let outcome = Outcome(
            isAllowed: false, decision: nil, source: .failureMode, degradedReason: .redisTimeout, under: hourly)
        #expect(
            written(outcome) == [
                "HTTP/1.1 503 Service Unavailable", "Content-Type: application/problem+json",
                "Content-Length: \(body.utf8.count)", "Retry-After: 1", "", body,
            ])
    }

    @Test("in failure mode local decides, and says that it is degraded")
    func local() {
        let allowed =
            #"{"allowed":true,"limit_name":"requests","#
            + #""limit":5,"remaining":4,"retry_after":0,"reset_after":3600,"degraded":true,"#
            + #""reason":"redis_unreachable"}"#
        let denied =
            #"{"allowed":false,"limit_name":"requests","#
            + #""limit":5,"remaining":0,"retry_after":60,"reset_after":3600,"degraded":true,"#
            + #""reason":"redis_unreachable","message":"Try again in 1 minute."}"#
        let admission = decision(.allowed, quota: 5, used: 1, reset: 3_600_000)
        let denial = decision(.denied(retryAfterMilliseconds: 60_000), quota: 5, used: 5, reset: 3_600_000)
        #expect(
            written(
                Outcome(
                    isAllowed: true, decision: admission, source: .local, degradedReason: .redisUnreachable,
                    under: hourly))
                == head("200 OK", allowed) + ["", allowed])
        #expect(
            written(
                Outcome(
                    isAllowed: false, decision: denial, source: .local, degradedReason: .redisUnreachable, under: hourly
                ))
                == head("429 Too Many Requests", denied) + ["Retry-After: 60", "", denied])
    }

    @Test("where the limit is off has no limit and no RateLimit header")
    func off() {
        let body =
            #"{"allowed":true,"limit_name":null,"limit":null,"remaining":null,"retry_after":0,"reset_after":0,"degraded":false}"#
        let outcome = Outcome(isAllowed: true, decision: nil, source: .off, under: hourly)
        #expect(written(outcome) == head("200 OK", body) + ["", body])
    }

    @Test("to HEAD has the same head and no body, and the last one of a connection says that it closes")
    func forms() {
        let outcome = Outcome(
            isAllowed: true, decision: decision(.allowed, used: 1, reset: 3_600_000), source: .redis, under: hourly
        )
        let whole = written(outcome)
        #expect(written(outcome, isHead: true) == whole.dropLast() + [""])
        var closing = whole
        closing.insert("Connection: close", at: whole.count - 2)
        #expect(written(outcome, closes: true) == closing)
    }

    @Test("has room for the largest numbers there are")
    func largest() {
        let limit = Limit.Numbers(quota: Limit.quotas.upperBound, windowMilliseconds: Limit.windows.upperBound)
        let most = 1 << 53
        let denial = Decision(
            verdict: .denied(retryAfterMilliseconds: most), quota: limit.quota, used: 0, resetAfterMilliseconds: most
        )
        let outcome = Outcome(
            isAllowed: false, decision: denial, source: .local, degradedReason: .redisUnreachable, under: limit)
        let lines = written(outcome, closes: true)
        #expect(lines.contains("Retry-After: 9007199254741"))
        #expect(lines.last?.contains("\"remaining\":1000000000000,\"retry_after\":9007199254741,") == true)
        #expect(lines[2] == "Content-Length: \(lines.last?.utf8.count ?? 0)")
        let exact = written(Outcome(isAllowed: false, decision: denial, source: .redis, under: limit), closes: true)
        #expect(exact.contains("RateLimit-Policy: \"requests\";q=1000000000000;w=31536000"))
        #expect(exact.contains("RateLimit: \"requests\";r=1000000000000;t=9007199254741"))
    }

    @Test("speaks in head and body of the limit it was decided under, whichever the answer before spoke of")
    func ownLimit() {
        let writer = AnswerWriter(limitName: "requests")
        func text(_ verdict: Decision.Verdict, _ quota: Int, _ windowMilliseconds: Int) -> String {
            let outcome = Outcome(
                isAllowed: verdict == .allowed, decision: decision(verdict, quota: quota, used: 1, reset: 1_000),
                source: .redis, under: Limit.Numbers(quota: quota, windowMilliseconds: windowMilliseconds))
            var buffer = ByteBuffer(string: "before")
            writer.write(outcome, AnswerForm(), to: &buffer)
            return String(buffer: buffer)
        }
        for verdict in [Decision.Verdict.allowed, .denied(retryAfterMilliseconds: 1), .deniedForGood] {
            for (quota, window) in [(20, 60), (30, 60), (30, 3600), (20, 60), (1_000_000_000, 1)] {
                let text = text(verdict, quota, window * 1_000)
                #expect(text.hasPrefix("beforeHTTP/1.1 "))
                #expect(text.contains("\r\nRateLimit-Policy: \"requests\";q=\(quota);w=\(window)\r\n"))
                #expect(text.contains("\r\nRateLimit: \"requests\";r=\(quota - 1)"))
                #expect(text.contains(#","limit":\#(quota),"remaining":\#(quota - 1),"#))
            }
        }
    }

    @Test("that the failure mode gave names the limit that was in force then")
    func ownLimitWithoutRedis() {
        let limit = Limit.Numbers(quota: 7, windowMilliseconds: 1_000)
        let lines = written(
            Outcome(isAllowed: true, decision: nil, source: .failureMode, degradedReason: .overloaded, under: limit))
        #expect(lines.last?.contains(#""limit":7,"remaining":null"#) == true)
    }

    @Test("writes numbers as their decimal text")
    func decimals() {
        var memory = [UInt8](repeating: 0, count: 64)
        let powers = (0...18).map { power in (0..<power).reduce(1) { value, _ in value * 10 } }
        for value in [0, 7, .max] + powers.flatMap({ [$0 - 1, $0, $0 + 1] }) {
            let text = memory.withUnsafeMutableBytes { bytes in
                var writer = ByteWriter(bytes)
                writer.write(decimal: value)
                return String(decoding: bytes[..<writer.count], as: UTF8.self)
            }
            #expect(text == String(value))
        }
    }
}

@Suite("Any other answer")
struct OtherAnswerTests {
    private func written(_ answer: Answer, _ form: AnswerForm = AnswerForm()) -> String {
        var buffer = ByteBuffer()
        AnswerWriter(limitName: "requests").write(
            answer, form, to: &buffer)
        return withoutDate(buffer.readableBytesView)
    }

    @Test("to a bad request is problem details")
    func problem() {
        let body =
            #"{"title":"Method Not Allowed","status":405,"#
            + #""detail":"The method is not one that this path takes: GET, HEAD."}"#
        #expect(
            written(.problem(.methodNotAllowed(allowed: "GET, HEAD")), AnswerForm(closes: true))
                == "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/problem+json\r\n"
                + "Content-Length: \(body.utf8.count)\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n\(body)")
    }

    @Test("without content has neither type nor length")
    func noContent() {
        #expect(written(Answer(status: .noContent)) == "HTTP/1.1 204 No Content\r\n\r\n")
    }

    @Test("to HEAD has the length of the body that does not follow")
    func head() {
        #expect(
            written(.json("{}"), AnswerForm(isHead: true))
                == "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n")
    }

    @Test("writes a user's status")
    func status() {
        let outcome = Outcome(
            isAllowed: true, decision: decision(.allowed, used: 1, reset: 3_599_001), source: .redis, under: hourly)
        let answer = Answer.status(of: someUser, outcome)
        #expect(
            String(decoding: answer.body, as: UTF8.self)
                == "{\"user\":\"\(someText)\",\"limit\":20,\"used\":1,\"remaining\":19,\"reset_after\":3600}")
    }

    @Test(
        "writes a text as JSON",
        arguments: [
            ("", "\"\""), ("a\"b\\c", #""a\"b\\c""#), ("\n\r\t", #""\n\r\t""#),
            ("\0\u{1f}\u{b}", #""\u0000\u001f\u000b""#),
            ("é/😀\u{a0}", "\"é/😀\u{a0}\""), ("\u{7f}\u{80}\u{9f}", #""\u007f\u0080\u009f""#), ("\r\n", #""\r\n""#),
            ("e\u{301}", "\"e\u{301}\""),
        ])
    func json(_ text: String, _ json: String) {
        #expect(Array(jsonText(text).utf8) == Array(json.utf8))
    }
}

@Suite("The Date header")
struct HTTPDateTests {
    @Test(
        "is written as HTTP has it",
        arguments: [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (1_709_164_799, "Wed, 28 Feb 2024 23:59:59 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"), (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ])
    func line(_ second: Int, _ text: String) {
        #expect(String(decoding: HTTPDate.line(at: second), as: UTF8.self) == "Date: \(text)\r\n")
    }

    @Test("is that of now")
    func now() {
        var date = HTTPDate()
        for _ in 0..<3 {
            let before = systemMicroseconds() / 1_000_000
            let line = date.line(at: HTTPDate.currentSecond())
            // The coarse clock may lag behind by some milliseconds.
            #expect((before - 1...systemMicroseconds() / 1_000_000).contains { HTTPDate.line(at: $0) == line })
        }
    }
}
