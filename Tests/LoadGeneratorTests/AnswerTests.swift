import Testing

@testable import LoadGenerator

private func scan(_ format: AnswerFormat, _ text: some StringProtocol) -> ScannedAnswer {
    Array(text.utf8).withUnsafeBufferPointer { format.scan($0) }
}

private func http(_ status: String, _ body: String, headers: String = "") -> String {
    "HTTP/1.1 \(status)\r\nContent-Type: application/json\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}

private let allowedBody =
    #"{"allowed":true,"limit_name":"requests","#
    + #""limit":20,"remaining":19,"retry_after":0,"reset_after":3600,"degraded":false}"#
private let degradedBody =
    #"{"allowed":true,"limit_name":"requests","#
    + #""limit":20,"remaining":null,"degraded":true,"reason":"redis_timeout"}"#

@Suite struct AnswerTests {
    @Test(
        "An HTTP answer is counted by its status, and a 200 by whether it is degraded",
        arguments: [
            ("200 OK", allowedBody, Outcome.allowed), ("200 OK", degradedBody, .degraded),
            ("429 Too Many Requests", "{}", .denied), ("503 Service Unavailable", degradedBody, .other),
            ("200 OK", "", .allowed), ("200 OK", #"degraded":tru"#, .allowed),
            ("200 OK", #"dddegraded":true"#, .degraded),
        ])
    func httpOutcome(status: String, body: String, outcome: Outcome) {
        let answer = http(status, body)
        #expect(scan(.http, answer) == .answer(length: answer.utf8.count, outcome: outcome))
    }

    @Test("An HTTP answer that is cut anywhere is incomplete, and bytes after it are left alone")
    func httpInPieces() {
        let answer = http("200 OK", allowedBody, headers: "RateLimit: \"default\";r=19;t=3600\r\n")
        for length in 0..<answer.utf8.count {
            let cut = String(decoding: Array(answer.utf8)[..<length], as: UTF8.self)
            #expect(scan(.http, cut) == .incomplete, "cut after \(length)")
        }
        let whole = ScannedAnswer.answer(length: answer.utf8.count, outcome: .allowed)
        #expect(scan(.http, answer + "HTTP/1.1 429") == whole)
    }

    @Test("The name of a header may be in any case, and 204 needs no length")
    func httpHeaders() {
        #expect(scan(.http, "HTTP/1.1 429 x\r\ncontent-LENGTH:2\r\n\r\n{}") == .answer(length: 38, outcome: .denied))
        #expect(scan(.http, "HTTP/1.1 204 No Content\r\n\r\n") == .answer(length: 27, outcome: .other))
    }

    @Test(
        "Bytes that are no HTTP answer are malformed",
        arguments: [
            "SSH-2.0-OpenSSH_9.2p1", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        ])
    func httpMalformed(bytes: String) {
        #expect(scan(.http, bytes) == .malformed)
    }

    @Test(
        "An answer of the script is counted by its status",
        arguments: [
            ("*1\r\n$3\r\n\u{0}\u{1}\u{0}\r\n", Outcome.allowed), ("*1\r\n$3\r\n\u{1}\u{1}\u{0}\r\n", .denied),
            ("*1\r\n$3\r\n\u{2}\u{1}\u{0}\r\n", .denied), ("*1\r\n$8\r\n!ERR bad\r\n", .other),
            ("*1\r\n$0\r\n\r\n", .other), ("*1\r\n:0\r\n", .other),
            ("-NOSCRIPT No matching script.\r\n", .other), ("*0\r\n", .other), ("$-1\r\n", .other),
        ])
    func redisCheckOutcome(answer: String, outcome: Outcome) {
        #expect(scan(.redisCheck, answer) == .answer(length: answer.utf8.count, outcome: outcome))
    }

    @Test("Of any other command, all answers but errors are good")
    func redisAnyOutcome() {
        #expect(scan(.redisAny, "+PONG\r\n") == .answer(length: 7, outcome: .allowed))
        #expect(scan(.redisAny, ":1\r\n") == .answer(length: 4, outcome: .allowed))
        #expect(scan(.redisAny, "-ERR no\r\n") == .answer(length: 9, outcome: .other))
    }

    @Test("A Redis answer that is cut anywhere is incomplete, arrays in arrays and CR LF in a text included")
    func redisInPieces() {
        let answer = "*3\r\n*2\r\n:1\r\n$6\r\na\r\nb\r\n\r\n$-1\r\n*0\r\n"
        for length in 0..<answer.utf8.count {
            let cut = String(decoding: Array(answer.utf8)[..<length], as: UTF8.self)
            #expect(scan(.redisAny, cut) == .incomplete, "cut after \(length)")
        }
        let whole = ScannedAnswer.answer(length: answer.utf8.count, outcome: .allowed)
        #expect(scan(.redisAny, answer + "+PO") == whole)
    }

    @Test(
        "Bytes that are no Redis answer are malformed, and so are lengths beyond reason",
        arguments: ["HTTP/1.1 400\r\n", ":1x\r\n", ":\r\n", "$-2\r\n", "$9999999999\r\n", "*4097\r\n", "+OK\n", "\r\n"])
    func redisMalformed(bytes: String) {
        #expect(scan(.redisCheck, bytes) == .malformed)
    }

    @Test("The budget that is left is read from an answer's body")
    func remaining() {
        #expect(DaemonSession.remaining(in: allowedBody) == 19)
        #expect(DaemonSession.remaining(in: degradedBody) == nil)
        #expect(DaemonSession.remaining(in: "{}") == nil)
    }
}
