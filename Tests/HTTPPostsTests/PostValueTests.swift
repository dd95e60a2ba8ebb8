import Testing

@testable import HTTPPosts

@Suite("A URL to post to")
struct PostURLTests {
    @Test("is taken apart into scheme, host, port and what is asked for")
    func parts() throws {
        let url = try PostURL("HTTPS://Collector.example:4318/a%20b/?x=1")
        #expect(url.isEncrypted && url.host == "Collector.example" && url.port == 4_318 && url.target == "/a%20b/?x=1")
        let plain = try PostURL("http://[::1]")
        #expect(!plain.isEncrypted && plain.host == "::1" && plain.port == 80 && plain.target == "/")
        #expect(plain.hostHeader == "[::1]" && url.hostHeader == "Collector.example:4318")
        #expect(try PostURL("https://a?b").target == "/?b" && PostURL("https://a").port == 443)
    }

    @Test("gets a further path behind its own, with one slash between", arguments: ["", "/"])
    func appending(slash: String) throws {
        #expect(try PostURL("http://a\(slash)").appending(path: "v1/traces").target == "/v1/traces")
        #expect(try PostURL("http://a/otlp\(slash)?k=1").appending(path: "v1/traces").target == "/otlp/v1/traces")
    }

    @Test(
        "is refused with the reason where nothing can be posted to it",
        arguments: [
            ("localhost:4318", PostURLError.noScheme), ("grpc://a", .noScheme), ("http:/a", .noScheme),
            ("http://", .noHost), ("http:///x", .noHost), ("http://:80", .noHost), ("http://[::1", .noHost),
            ("http://a:0", .port), ("http://a:65536", .port), ("http://a:+80", .port), ("http://a:", .port),
            ("http://[::1]80", .port), ("http://u:p@a", .credentials), ("http://a/#b", .fragment),
            ("http://a/\r\nX: y", .notASCII), ("http://ä", .notASCII), ("http://a b", .notASCII),
            ("http://a/" + String(repeating: "x", count: 2_048), .tooLong),
        ])
    func refused(text: String, error: PostURLError) {
        #expect(throws: error) { try PostURL(text) }
        #expect(!error.description.isEmpty)
    }

    @Test("shows neither path nor query, which may be a secret")
    func secret() throws {
        let url = try PostURL("https://hooks.example/T000/SECRET?token=SECRET")
        #expect("\(url)" == "https://hooks.example:443")
        var text = String(reflecting: url)
        dump(url, to: &text)
        #expect(!text.contains("SECRET"))
    }
}

@Suite("A header to send")
struct PostHeaderTests {
    @Test("has a token for its name and can add no line to the request")
    func bounds() throws {
        #expect(try PostHeader(name: "X-Api_Key", value: "a\tb c=").name == "x-api_key")
        for name in ["", "a b", "a:", "ä", "a\r\n"] {
            #expect(throws: PostHeaderError.name) { try PostHeader(name: name, value: "") }
        }
        for value in ["a\r\nb", "a\nb", "ä", "\u{7f}", String(repeating: "a", count: 8_193)] {
            #expect(throws: PostHeaderError.value) { try PostHeader(name: "a", value: value) }
        }
        for name in ["Host", "content-length", "Transfer-Encoding"] {
            #expect(throws: PostHeaderError.reserved) { try PostHeader(name: name, value: "a") }
        }
    }

    @Test("shows its name and never its value")
    func secret() throws {
        let header = try PostHeader(name: "api-key", value: "SECRET")
        var text = "\(header)" + String(reflecting: header)
        dump([header], to: &text)
        #expect(text.contains("api-key") && !text.contains("SECRET"))
    }
}

@Suite("Retry-After")
struct RetryAfterTests {
    @Test(
        "is a number of seconds or a date, and nothing else",
        arguments: [
            ("0", 0), (" 120 ", 120), ("99999999999999999999", nil), ("-1", nil), ("1.5", nil), ("", nil),
            ("soon", nil),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 37), ("Sun, 06 Nov 1994 08:48:59 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 CET", nil), ("Sun, 06 Foo 1994 08:49:37 GMT", nil),
            ("Sun, 32 Nov 1994 08:49:37 GMT", nil), ("Sun, 06 Nov 1994 24:00:00 GMT", nil),
        ] as [(String, Int?)])
    func forms(text: String, seconds: Int?) {
        // 06 Nov 1994 08:49:00 GMT
        #expect(retryAfterSeconds(text, now: 784_111_740) == seconds)
    }
}
