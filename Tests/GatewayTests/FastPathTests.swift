import RateLimitCore
import TestSupport
import Testing

@testable import Gateway

/// What the fast path makes of bytes, in a form that can be compared.
enum Recognised: Equatable {
    case check(SubjectID, cost: Int, length: Int)
    case incomplete
    case other

    init(_ bytes: some Collection<UInt8>) {
        self =
            switch Array(bytes).withUnsafeBytes({ FastPath.recognise($0) }) {
            case .check(let check, let length, _): .check(check.user, cost: check.cost, length: length)
            case .incomplete: .incomplete
            case .other: .other
            }
    }
}

/// A POST of a check with these header lines.
func post(_ headers: [String], _ body: String = "{\"user\":\"\(someText)\",\"cost\":7}", length: Int? = nil) -> String {
    let lines = headers.map { $0 + "\r\n" }.joined()
    return "POST /v1/check HTTP/1.1\r\n\(lines)Content-Length: \(length ?? body.utf8.count)\r\n\r\n\(body)"
}

/// A GET of a check with these header lines.
func get(_ headers: [String], _ query: String = "user=\(someText)&cost=7") -> String {
    "GET /v1/check?\(query) HTTP/1.1\r\n" + headers.map { $0 + "\r\n" }.joined() + "\r\n"
}

@Suite("The fast path")
struct FastPathTests {
    static let ordinaryRequests = [
        post(["Host: a"]),
        post(["Host:"]),
        post(["Host: localhost:8089", "Content-Type: application/json", "Accept: */*", "User-Agent: curl/8.5.0"]),
        post(["hOST:   a", "content-TYPE: Application/JSON; charset=utf-8", "Connection: Keep-Alive"]),
        post(["X-Any_Thing-1: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ x", "Host: a", "X:", "x-y: z"]),
        post(["Host: a"], " {\"x\":[1,2],\"cost\":7,\"user\":\"\(someText.uppercased())\"}\n"),
        get(["Host: a"]),
        get(["Host: a", "Content-Length: 0", "Content-Type: text/plain"]),
        get(["Host: a"], "cost=7&x=y&user=\(someText)"),
    ]

    @Test("takes an ordinary request", arguments: ordinaryRequests)
    func ordinary(_ text: String) {
        #expect(Recognised(text.utf8) == .check(someUser, cost: 7, length: text.utf8.count))
    }

    @Test("takes no byte more than the request's own", arguments: ordinaryRequests)
    func pipelined(_ text: String) {
        for rest in [text, "G", "\r\n", "\0", "garbage"] {
            #expect(Recognised((text + rest).utf8) == .check(someUser, cost: 7, length: text.utf8.count))
        }
    }

    @Test("waits for the rest of an ordinary request, wherever it is cut", arguments: ordinaryRequests)
    func cut(_ text: String) {
        let bytes = Array(text.utf8)
        for count in 0..<bytes.count { #expect(Recognised(bytes[..<count]) == .incomplete, "cut at \(count)") }
    }

    @Test(
        "takes any text as a user, in a body and in a query",
        arguments: [
            "alice@example.com", "x", "tenant/αβγ", "a b", "%41", "{a}", "global", "0",
            String(repeating: "k", count: 64),
        ])
    func texts(_ text: String) throws {
        let user = try #require(SubjectID(text))
        let body = post(["Host: a"], "{\"cost\":3,\"user\":\"\(text)\"}")
        #expect(Recognised(body.utf8) == .check(user, cost: 3, length: body.utf8.count))
        let escaped = post(["Host: a"], "{\"cost\":3,\"user\":\"\\u0061\(text)\"}")
        let other = try #require(SubjectID("a" + text))
        #expect(Recognised(escaped.utf8) == .check(other, cost: 3, length: escaped.utf8.count))
        let query = get(["Host: a"], "user=\(user.encoded.replacing("+", with: "%2B"))&cost=3")
        #expect(Recognised(query.utf8) == .check(user, cost: 3, length: query.utf8.count))
    }

    static let otherRequests = [
        "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", "PUT /v1/check HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n" + ordinaryRequests[0],
        "post /v1/check HTTP/1.1\r\n", "POST /v1/check HTTP/1.0\r\n", "POST  /v1/check HTTP/1.1\r\n",
        "POST /v1/check/ HTTP/1.1\r\n", "POST /v1/check?user=\(someText) HTTP/1.1\r\n", "POST /v1/check HTTP/1.1\n",
        "POST http://a/v1/check HTTP/1.1\r\n", "GET /v1/check HTTP/1.1\r\n", "GET http://a/v1/check?user=x HTTP/1.1",
        // No Host, or more than one.
        post([]), post(["Host: a", "Host: a"]), get([]), get(["Host: a", "host: b"]),
        // Headers with a meaning of their own.
        post(["Host: a", "Connection: close"]), post(["Host: a", "Connection: keep-alive, x"]),
        post(["Host: a", "Connection:"]), post(["Host: a", "Expect: 100-continue"]), post(["Host: a", "Upgrade: h2c"]),
        post(["Host: a", "Transfer-Encoding: chunked"]), post(["Host: a", "Proxy-Connection: close"]),
        get(["Host: a", "Transfer-Encoding: chunked"]), get(["Host: a", "Upgrade: h2c"]),
        get(["Host: a", "Expect: x"]),
        // A body that is not plainly there.
        "POST /v1/check HTTP/1.1\r\nHost: a\r\n\r\n", post(["Host: a", "Content-Length: 3"]),
        post(["Host: a", "Content-Length: 62"]), get(["Host: a", "Content-Length: 1"]) + "x",
        post(["Host: a"]).replacing("Content-Length: ", "Content-Length: +"),
        post(["Host: a"]).replacing("Content-Length: ", "Content-Length: 000"),
        post(["Host: a"]).replacing("Content-Length: ", "Content-Length: 0x"),
        post(["Host: a"]).replacing("Content-Length: ", "Content-Length : "),
        post(["Host: a"]).replacing("Content-Length: ", "Content-Length: 6 "),
        post(["Host: a"], "{}"), post(["Host: a"], ""), post(["Host: a"], "{\"user\":\"\(someText)\",\"cost\":0}"),
        // Another media type, or two.
        post(["Host: a", "Content-Type: text/plain"]), post(["Host: a", "Content-Type: application/jsonx"]),
        post(["Host: a", "Content-Type:"]), post(["Host: a", "Content-Type: application/json-seq"]),
        post(["Host: a", "Content-Type: text/plain", "Content-Type: application/json"]),
        post(["Host: a", "Content-Type: application/json", "Content-Type: application/json"]),
        // Lines that parsers read differently.
        post(["Host: a", " folded"]), post(["Host: a", "\tfolded"]), post(["Host: a", "X"]), post(["Host: a", ": x"]),
        post(["Host: a", "X : y"]), post(["Host: a", "X\t: y"]), post(["Host: a", "X(: y"]),
        post(["Host: a", "X: y "]),
        post(["Host: a", "X: y\t"]), post(["Host: a", "X:\ty"]), post(["Host: a", "X: \0"]), post(["Host: a", "X: é"]),
        post(["Host: a", "X: \u{7f}"]), post(["Host: a", "X: a\rb"]), post(["Host: a\nX: b"]), post(["Host: a\n"]),
        post(["Host: a", "é: x"]),
        // Queries that are no check's, or hold what an ordinary one does not.
        get(["Host: a"], "user=%ff"), get(["Host: a"], "user=%4"), get(["Host: a"], "cost=1"),
        get(["Host: a"], "user=\(someText)#x"), get(["Host: a"], "user=\(someText)?"), get(["Host: a"], "user="),
        get(["Host: a"], "user=a\"b"), get(["Host: a"], "user={a}"), get(["Host: a"], "user=é"),
        get(["Host: a"], "user=a!"),
        get(["Host: a"], "user=\(someText)&cost=0"),
        get(["Host: a"], "user=\(someText)&x=" + String(repeating: "a", count: 256)),
        get(["Host: a"]).replacing(" HTTP/1.1", "  HTTP/1.1"), get(["Host: a"]).replacing(" HTTP/1.1", ""),
        get(["Host: a"]).replacing("HTTP/1.1", "HTTP/1.0"), get(["Host: a"]).replacing("HTTP/1.1", "HTTP/2.0"),
    ]

    @Test("leaves everything else to the other way", arguments: otherRequests)
    func others(_ text: String) {
        #expect(Recognised(text.utf8) == .other, "\(printable(text.utf8))")
    }

    @Test("never takes a part of what it leaves to the other way", arguments: otherRequests)
    func cutOthers(_ text: String) {
        let bytes = Array(text.utf8)
        for count in 0...bytes.count {
            if case .check = Recognised(bytes[..<count]) { Issue.record("cut at \(count): \(printable(bytes))") }
        }
    }

    @Test("leaves a head without end to the other way, and one of very many lines")
    func endless() {
        let start = "POST /v1/check HTTP/1.1\r\nHost: a\r\n"
        for line in ["X: " + String(repeating: "a", count: 60) + "\r\n", "X: y\r\n", String(repeating: "a", count: 64)]
        {
            var text = start
            while text.utf8.count < RequestBounds.headBytes { text += line }
            #expect(Recognised(text.utf8) == .other)
        }
        #expect(Recognised((start + String(repeating: "X: y\r\n", count: 300)).utf8) == .other)
        let query = "GET /v1/check?" + String(repeating: "a", count: 300)
        #expect(Recognised(query.utf8) == .other)
    }

    @Test("takes a body of up to four digits of length, and leaves longer ones")
    func longBodies() {
        for size in [9_999, 10_000] {
            let body = "{\"user\":\"\(someText)\"" + String(repeating: " ", count: size - 47) + "}"
            #expect(body.utf8.count == size)
            let text = post(["Host: a"], body)
            let expected: Recognised = size < 10_000 ? .check(someUser, cost: 1, length: text.utf8.count) : .other
            #expect(Recognised(text.utf8) == expected)
        }
    }
}

extension String {
    func replacing(_ old: String, _ new: String) -> String { components(old).joined(separator: new) }
}
