import RateLimitCore
import TestSupport
import Testing

@testable import HTTPServer

/// What the fast path makes of bytes, in a form that can be compared.
enum Recognised: Equatable {
    case check(SubjectID, cost: Int, length: Int)
    case call(CallRoute, isVerbose: Bool, body: Range<Int>)
    case incomplete
    case other

    init(_ recognition: FastPath.Recognition) {
        self =
            switch recognition {
            case .check(let check, let length, _): .check(check.user, cost: check.cost, length: length)
            case .call(let route, let isVerbose, let body): .call(route, isVerbose: isVerbose, body: body)
            case .incomplete: .incomplete
            case .other: .other
            }
    }

    init(_ bytes: some Collection<UInt8>, checksAreCalls: Bool = false) {
        self.init(
            Array(bytes).withUnsafeBytes { FastPath.recognise($0, checksAreCalls: checksAreCalls) })
    }
}

/// A POST of a check, or to another target, with these header lines.
func post(
    _ headers: [String], _ body: String = "{\"user\":\"\(someText)\",\"cost\":7}", length: Int? = nil,
    to target: String = "/v1/check"
) -> String {
    let lines = headers.map { $0 + "\r\n" }.joined()
    return "POST \(target) HTTP/1.1\r\n\(lines)Content-Length: \(length ?? body.utf8.count)\r\n\r\n\(body)"
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

    @Test("leaves a check with an id to the slow path, where one limit decides and where the file's do")
    func checkIDs() {
        let body = #"{"user":"\#(someText)","request_id":"a"}"#
        #expect(Recognised(post(["Host: a"], body).utf8) == .other)
        #expect(Recognised(post(["Host: a"], #"{"request_\u0069d":"a","user":"\#(someText)"}"#).utf8) == .other)
        for name in ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"] {
            for checksAreCalls in [false, true] {
                for text in [post(["Host: a", "\(name): a"]), get(["\(name):", "Host: a"])] {
                    #expect(Recognised(text.utf8, checksAreCalls: checksAreCalls) == .other, "\(text)")
                }
            }
        }
        for text in [post(["Host: a", "Idempotency-Kez: a"]), get(["Host: a", "Idempotency_Key: a"])] {
            #expect(Recognised(text.utf8) == .check(someUser, cost: 7, length: text.utf8.count), "\(text)")
        }
        let null = post(["Host: a"], #"{"user":"\#(someText)","cost":7,"request_id":null}"#)
        #expect(Recognised(null.utf8) == .check(someUser, cost: 7, length: null.utf8.count))
    }

    static let callTargets = CallRoute.allCases.flatMap { ["/v1/\($0.name)", "/v1/\($0.name)?verbose=1"] }

    @Test("takes an ordinary request about a call to its last byte, wherever it is cut", arguments: callTargets)
    func calls(_ target: String) throws {
        let body = #"{"user":"\#(someText)","model":"m","input_tokens":5}"#
        let text = post(["Host: a", "Content-Type: application/json"], body, to: target)
        let bytes = Array(text.utf8)
        let route = try #require(CallRoute.allCases.first { target.prefix { $0 != "?" } == "/v1/\($0.name)" })
        let expected = Recognised.call(
            route, isVerbose: target.hasSuffix("=1"), body: bytes.count - body.utf8.count..<bytes.count)
        for rest in ["", text, "G", "\0"] {
            #expect(Recognised((text + rest).utf8, checksAreCalls: true) == expected)
        }
        for checksAreCalls in [false, true] {
            for count in 0..<bytes.count {
                let part = Recognised(bytes[..<count], checksAreCalls: checksAreCalls)
                #expect(part == .incomplete, "cut at \(count)")
            }
        }
        // Where the file has no limits a check is none, and may say what it likes.
        let check = Recognised.check(someUser, cost: 1, length: bytes.count)
        #expect(Recognised(bytes) == (route == .check ? check : expected))
    }

    @Test(
        "leaves other targets and methods to the slow path",
        arguments: [
            "POST /v1/reserv HTTP/1.1\r\n", "POST /v1/reserves HTTP/1.1\r\n", "POST /v1/ HTTP/1.1\r\n",
            "POST /v1/Settle HTTP/1.1\r\n", "POST /v1/settle/ HTTP/1.1\r\n", "POST /v1/settle?verbose=0 HTTP/1.1\r\n",
            "POST /v1/settle?verbose=1& HTTP/1.1\r\n", "POST /v1/usage? HTTP/1.1\r\n", "POST /v2/usage HTTP/1.1\r\n",
            "POST /v1/usage  HTTP/1.1\r\n", "POST /v1/usage HTTP/1.0\r\n", "POST /v1/renew\r\n",
            "GET /v1/usage HTTP/1.1\r\n", "PUT /v1/release HTTP/1.1\r\n", "POST /v1/checkreserve HTTP/1.1\r\n",
            "POST /v1/aaaaaaaaaaaaaaaaaaaaaa", "POST /v1/x",
        ])
    func otherTargets(_ line: String) {
        let text = post(["Host: a"]).replacing("POST /v1/check HTTP/1.1\r\n", line)
        for bytes in [line, text] {
            for checksAreCalls in [false, true] {
                #expect(Recognised(bytes.utf8, checksAreCalls: checksAreCalls) == .other)
            }
        }
    }

    @Test("keeps as the request that the next may be like a check alone that says user and cost alone")
    func remembered() throws {
        func known(after text: String) -> RequestTemplate {
            var known = RequestTemplate()
            let bytes = Array(text.utf8)
            bytes.withUnsafeBytes { bytes in
                guard
                    case .call(let route, let isVerbose, let body) = FastPath.recognise(
                        bytes, after: &known, checksAreCalls: true)
                else { return }
                _ = FastPath.read(
                    route, isVerbose: isVerbose, body: body, of: bytes, under: lookingLimits, remembering: &known)
            }
            return known
        }
        let plain = post(["Host: a"])
        let bytes = Array(plain.utf8)
        let (check, length) = try #require(bytes.withUnsafeBytes { known(after: plain).recognise($0) })
        #expect(check == CheckRequest(user: someUser, cost: 7) && length == bytes.count)
        for other in [
            post(["Host: a"], to: "/v1/check?verbose=1"), post(["Host: a"], to: "/v1/reserve"),
            post(["Host: a"], #"{"user":"\#(someText)","cost":7,"model":null}"#),
            post(["Host: a"], #"{"user":"\#(someText)","cost":7,"x":1}"#),
            post(["Host: a"], #"{"user":"a","cost":7}"#),
        ] {
            let known = known(after: other)
            #expect(Array(other.utf8).withUnsafeBytes { known.recognise($0) } == nil, "\(other)")
        }
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

    @Test("leaves everything else to the slow path", arguments: otherRequests)
    func others(_ text: String) {
        #expect(Recognised(text.utf8) == .other, "\(printable(text.utf8))")
    }

    @Test("never takes a part of what it leaves to the slow path", arguments: otherRequests)
    func cutOthers(_ text: String) {
        let bytes = Array(text.utf8)
        for count in 0...bytes.count {
            let part = Recognised(bytes[..<count])
            #expect(part == .other || part == .incomplete, "cut at \(count): \(printable(bytes))")
        }
    }

    @Test("leaves a head without end to the slow path, and one of very many lines")
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
