import RateLimitCore
import TestSupport
import Testing

@testable import HTTPServer

@Suite("The JSON body of a check")
struct JSONCheckBodyTests {
    private static let user = "\"user\":\"\(someText)\""

    private func read(_ text: String) -> Result<CheckRequest, RequestError> { read(Array(text.utf8)) }

    private func read(_ bytes: [UInt8]) -> Result<CheckRequest, RequestError> {
        HTTPServerTests.read(bytes) { (bytes) throws(RequestError) in try JSONCheckBody.read(bytes) }
    }

    @Test(
        "is read in every form that JSON has for it",
        arguments: [
            ("{\(user)}", 1),
            ("{\(user),\"cost\":1}", 1),
            ("{\"cost\":1000000,\(user)}", 1_000_000),
            (" \t\r\n{ \(user) , \"cost\" : 42 } \n", 42),
            ("{\"\\u0075ser\":\"\(someText)\",\"c\\u006Fst\":7}", 7),
            ("{\"\\u0075\\u0073\\u0065\\u0072\":\"\(someText)\"}", 1),
            ("{\(user),\"cost\":2,\"cost\":3}", 3),
            ("{\"user\":\"ffffffff-ffff-ffff-ffff-ffffffffffff\",\(user)}", 1),
            ("{\(user),\"model\":\"x\",\"a\":null,\"b\":true,\"c\":false}", 1),
            ("{\(user),\"a\":[],\"b\":{},\"c\":[1,[2,{\"user\":\"no\",\"cost\":0}]]}", 1),
            ("{\"a\":{\"cost\":\"bad\"},\(user)}", 1),
            ("{\(user),\"n\":[0,-0,-1,1.5,1e9,1E+9,1e-9,-0.0e0,123456789012345678901234567890]}", 1),
            ("{\(user),\"s\":[\"\",\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\",\"é\u{7f}\"]}", 1),
            ("{\(user),\"\":0,\"Cost\":0,\"cost \":0,\"USER\":0,\"cos\":0,\"costs\":0}", 1),
            ("\u{feff}{\(user),\"cost\":2}", 2), ("{\(user),\"cost\":null}", 1), ("{\(user),\"cost\":12.0}", 12),
            ("{\(user),\"cost\":1.2e1}", 12), ("{\(user),\"cost\":120e-1}", 12),
            ("{\(user),\"cost\":5,\"cost\":null}", 1),
            ("{\"user\":\"\(someText.replacing("-", with: "\\u002d"))\",\"cost\":2}", 2),
            ("{\(user),\"c\\u00f6st\":0,\"cos\\t\":0,\"user\\u0000\":0,\"\\u0175ser\":0}", 1),
        ])
    func good(_ text: String, _ cost: Int) {
        #expect(read(text) == .success(CheckRequest(user: someUser, cost: cost)))
    }

    @Test("takes either case of a UUID as the same user")
    func upperCase() {
        #expect(read("{\"user\":\"\(someText.uppercased())\"}") == .success(CheckRequest(user: someUser, cost: 1)))
    }

    @Test(
        "is refused where it is no JSON",
        arguments: [
            "", " ", "{", "}", "[]", "null", "1", "\"x\"", "{\(user)", "{\(user)}}", "{\(user)} x", "{\(user)}{}",
            "{,\(user)}", "{\(user),}", "{\(user) \"cost\":1}", "{\(user);}", "{user:1}", "{'user':1}",
            "{\"user\" \"x\"}", "{\"user\":}", "{\"user\"}", "{\(user),\"a\":}", "{\(user),\"a\":01}",
            "{\(user),\"a\":+1}", "{\(user),\"a\":.5}", "{\(user),\"a\":1.}", "{\(user),\"a\":1e}", "{\(user),\"a\":-}",
            "{\(user),\"a\":1e+}", "{\(user),\"a\":0x1}", "{\(user),\"a\":NaN}", "{\(user),\"a\":Infinity}",
            "{\(user),\"a\":tru}", "{\(user),\"a\":True}", "{\(user),\"a\":nul", "{\(user),\"a\":[1,]}",
            "{\(user),\"a\":[,1]}", "{\(user),\"a\":[1 2]}", "{\(user),\"a\":[}", "{\(user),\"a\":{\"b\"}}",
            "{\(user),\"a\":{\"b\":1,}}", "{\(user),\"a\":{1:1}}", "{\(user),\"a\":[1}}", "{\(user),\"a\":{\"b\":1]}",
            "{\(user),\"a\":\"\\x\"}", "{\(user),\"a\":\"\\u12\"}", "{\(user),\"a\":\"\\u12g4\"}",
            "{\(user),\"a\":\"\\\"}",
            "{\(user),\"a\":\"x", "{\(user),\"a\":\"\n\"}", "{\(user),\"a\":\"\t\"}", "{\(user),\"a\":\"\0\"}",
            " {\(user),\"a\n\":1}", "\u{feff}\u{feff}{\(user)}", " \u{feff}{\(user)}", "\u{feff}",
            "{\(user)}\0", "\u{b}{\(user)}", "{\u{a0}\(user)}",
            "{\(user)/**/}", "{\"\\u007\":1}",
        ])
    func malformed(_ text: String) {
        guard case .failure(.malformedJSON(let reason)) = read(text) else {
            Issue.record("\(read(text))")
            return
        }
        #expect(reason.hasPrefix("expected "))
    }

    @Test(
        "is refused where the user is none",
        arguments: [
            "{\"user\":1}", "{\"user\":[]}", "{\"user\":{\"a\":1}}", "{\"user\":true}",
            "{\"user\":\"\"}", "{\"user\":\"\\ud800\"}", "{\"user\":\"\\udc00\\ud800\"}",
            "{\"user\":\"\(String(repeating: "x", count: 257))\"}",
            "{\"user\":\"\(String(repeating: "\\u00e9", count: 129))\"}",
        ])
    func badUser(_ text: String) {
        #expect(read(text) == .failure(.invalidUser))
    }

    @Test("is refused where the user is no UTF-8", arguments: [[0xff], [0xc3], [0xed, 0xa0, 0x80]] as [[UInt8]])
    func userOfOtherBytes(_ bytes: [UInt8]) {
        let body = Array("{\"user\":\"".utf8) + bytes + Array("\"}".utf8)
        let result = HTTPServerTests.read(body) { (bytes) throws(RequestError) in try JSONCheckBody.read(bytes) }
        #expect(result == .failure(.invalidUser))
    }

    @Test(
        "names any text as a user, with escapes or without",
        arguments: [
            ("x", "x"), ("alice@example.com", "alice@example.com"), ("tenant/αβγ", "tenant/αβγ"),
            ("tenant\\/\\u03b1\\u03B2γ", "tenant/αβγ"), ("\\ud83d\\ude00", "😀"), ("\\u0000", "\0"),
            ("a\\n\\\"", "a\n\""),
            ("{\(someText)}", "{\(someText)}"), ("\(someText) ", "\(someText) "), ("%41", "%41"),
            ("\\u0030" + someText.dropFirst(), someText), ("\(someText)0", "\(someText)0"),
        ])
    func texts(_ json: String, _ text: String) throws {
        let user = try #require(SubjectID(text))
        #expect(read("{\"user\":\"\(json)\"}") == .success(CheckRequest(user: user, cost: 1)))
    }

    @Test(
        "is refused where no user is named", arguments: ["{}", "{\"cost\":1}", "{\"User\":\"x\"}", "{\"user\":null}"])
    func noUser(_ text: String) {
        #expect(read(text) == .failure(.missingUser))
    }

    @Test(
        "is refused where the cost is no whole number from 1 to 1,000,000",
        arguments: [
            "0", "-1", "-0", "0.0", "1.5", "1e-1", "1E7", "1e99999999999", "1000001", "9999999", "10000000",
            "18446744073709551617",
            "99999999999999999999999999", "\"1\"", "\"null\"", "true", "[]", "[1]", "{}",
        ])
    func badCost(_ cost: String) {
        #expect(read("{\(Self.user),\"cost\":\(cost)}") == .failure(.invalidCost))
    }

    @Test("may nest up to the bound, in arrays and objects alike")
    func depth() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            func nested(_ depth: Int) -> String {
                let value = String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
                return "{\"a\":\(value),\(Self.user)}"
            }
            #expect(read(nested(JSONReader.maximumDepth - 1)) == .success(CheckRequest(user: someUser, cost: 1)))
            #expect((try? read(nested(JSONReader.maximumDepth)).get()) == nil)
            #expect((try? read(nested(30_000)).get()) == nil)
        }
    }

    @Test("is never taken for whole before its last brace, and says where it breaks off")
    func prefixes() {
        let text = "{\"a\":[1,{\"b\":\"\\u0041\"}],\(Self.user),\"cost\":12}"
        for count in 0..<text.utf8.count {
            guard case .failure(.malformedJSON) = read(Array(text.utf8.prefix(count))) else {
                Issue.record("\(text.prefix(count))")
                continue
            }
        }
        #expect(read("{\(Self.user),x}") == .failure(.malformedJSON("expected a string at byte 47")))
    }

    @Test("never crashes on mutated bytes, and what it takes holds this user and a cost in bounds")
    func mutated() {
        var random = SeededGenerator(seed: 3)
        let seeds = [
            "{\(Self.user),\"cost\":17,\"a\":[true,null,{\"b\":\"\\n\\u0041\"}]}", "{\"cost\":5,\(Self.user)}",
        ]
        let letters = Array("{}[]\",:\\u0019-+.eE \ntfn".utf8) + [0, 0x80, 0xff]
        for _ in 0..<50_000 {
            var bytes = Array((seeds.randomElement(using: &random) ?? "").utf8)
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let index = Int.random(in: bytes.indices, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[index] = letters.randomElement(using: &random) ?? 0
                case 1: bytes.insert(letters.randomElement(using: &random) ?? 0, at: index)
                default: bytes.remove(at: index)
                }
            }
            if case .success(let check) = read(bytes) { #expect(Limit.costs.contains(check.cost)) }
        }
    }
}

@Suite("The query of a check")
struct CheckQueryTests {
    private func read(_ text: String) -> Result<CheckRequest?, RequestError> {
        HTTPServerTests.read(Array(text.utf8)) { (bytes) throws(RequestError) in try CheckQuery.read(bytes) }
    }

    @Test(
        "is read",
        arguments: [
            ("user=\(someText)", 1), ("user=\(someText.uppercased())&cost=20", 20),
            ("cost=1000000&user=\(someText)", 1_000_000),
            ("user=\(someText)&cost=2&cost=3", 3), ("user=\(someText)&model=x&flag&=&&a=b=c", 1),
            ("&user=\(someText)&", 1),
            ("user=%3\("0" + someText.dropFirst())", 1),
            ("user=01234567%2d89ab%2Dcdef-0123-456789abcdef&cost=%31%32", 12),
            ("user=\(someText)&User=x&costs=0&COST=0", 1),
            ("%75ser=\(someText)&c%6fst=7", 7), ("user=\(someText)&cost=2.0", 2), ("user=\(someText)&cost=1e1", 10),
            ("user=\(someText)&next=100%&%=1&%zz=2&a+b=c+d&=5", 1),
        ])
    func good(_ query: String, _ cost: Int) {
        #expect(read(query) == .success(CheckRequest(user: someUser, cost: cost)))
    }

    @Test("names no user", arguments: ["", "&", "cost=1", "User=\(someText)", "a=b", "xuser=\(someText)", "use=1"])
    func noUser(_ query: String) {
        #expect(read(query) == .success(nil))
    }

    @Test(
        "is refused where the user is none",
        arguments: [
            "user", "user=", "user=%ff", "user=%c3", "user=\(String(repeating: "x", count: 257))",
            "user=\(someText)&user=",
        ])
    func badUser(_ query: String) {
        #expect(read(query) == .failure(.invalidUser))
    }

    @Test(
        "names any text as a user, percent-encoded or not",
        arguments: [
            ("x", "x"), ("alice%40example.com", "alice@example.com"), ("alice@example.com", "alice@example.com"),
            ("tenant/%CE%B1%ce%b2γ", "tenant/αβγ"), ("a+b", "a b"), ("a%2Bb", "a+b"), ("%2541", "%41"), ("%00", "\0"),
            ("\(someText)%20", "\(someText) "), ("a=b", "a=b"),
        ])
    func texts(_ query: String, _ text: String) throws {
        let user = try #require(SubjectID(text))
        #expect(read("user=\(query)") == .success(CheckRequest(user: user, cost: 1)))
    }

    @Test(
        "is refused where the cost is no whole number from 1 to 1,000,000",
        arguments: [
            "", "=", "=0", "=-1", "=+1", "=01", "=1.5", "=1e+1", "=1e-1", "=1000001", "=10000000", "=1%20", "=%", "=a",
        ])
    func badCost(_ cost: String) {
        guard case .failure(let error) = read("user=\(someText)&cost\(cost)") else {
            Issue.record("taken")
            return
        }
        #expect(error.status == .badRequest)
    }

    @Test("is refused where a percent sign is not followed by two digits", arguments: ["%", "%1", "%zz", "%2", "%%41"])
    func badPercent(_ value: String) {
        guard case .failure(.malformedQuery) = read("user=\(value)") else {
            Issue.record("\(read("user=\(value)"))")
            return
        }
    }
}
