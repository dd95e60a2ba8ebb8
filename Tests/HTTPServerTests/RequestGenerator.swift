import RateLimitCore
import TestSupport

@testable import HTTPServer

/// Requests to `/v1/check` and about calls, from ordinary to broken, the same ones for the same seed.
struct RequestGenerator {
    var random: SeededGenerator
    private let users: [String]

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        var generator = random
        users = (0..<3).map { _ in "\(SubjectID(high: generator.next(), low: generator.next()))" }
    }

    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: elements.indices, using: &random)]
    }

    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    /// The bytes of a connection: some requests one after the other, with or without damage.
    mutating func connection() -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            var request = chance(30) ? call() : chance(60) ? post() : get()
            if chance(35) { damage(&request) }
            bytes += request
        }
        return bytes
    }

    /// Cuts bytes at some places.
    mutating func cuts(_ bytes: [UInt8]) -> [[UInt8]] {
        guard chance(50) else { return [bytes] }
        var parts: [[UInt8]] = []
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + Int.random(in: 1...max(2, bytes.count / 3), using: &random))
            parts.append(Array(bytes[start..<end]))
            start = end
        }
        return parts
    }

    private mutating func call() -> [UInt8] {
        let names = CallRoute.allCases.map { "/v1/\($0.name)" }
        let odd = [
            "?verbose=true", "?verbose=0", "?verbose=1&x", "?", "/", "x", "?user=\(someText)", "?model=m&group=g",
        ]
        let query = chance(70) ? "" : chance(60) ? "?verbose=1" : pick(odd)
        return post(to: pick(names) + query, callBody())
    }

    private mutating func post() -> [UInt8] {
        let target =
            chance(92) ? "/v1/check" : pick(["/v1/check?", "/v1/check?cost=2", "http://a/v1/check", "/v1/check#x"])
        return post(to: target, body())
    }

    private mutating func post(to target: String, _ body: String) -> [UInt8] {
        var length = body.utf8.count
        if chance(6) { length = max(0, length + pick([-1, 1, -2, 5, -length])) }
        let name = pick(["Content-Length", "content-length", "CONTENT-LENGTH"])
        var lines = headers()
        let lengthLine =
            "\(name):\(pick([" ", "", "  ", " 0"]))\(length)\(chance(3) ? pick([" ", "\t", ",1", ";"]) : "")"
        lines.insert(lengthLine, at: Int.random(in: 0...lines.count, using: &random))
        if chance(3) { lines.append("Content-Length: \(pick([length, length + 1]))") }
        return request(chance(96) ? "POST" : pick(["post", "PUT", "Post"]), target, lines, body)
    }

    private mutating func get() -> [UInt8] {
        var lines = headers()
        if chance(8) { lines.append("Content-Length: \(pick(["0", "00", "1", "-0"]))") }
        let user = "user=\(chance(25) ? pick(Self.encodedTexts) : user())"
        let query = pick([
            user, user, "\(user)&cost=\(cost())", "cost=\(cost())&\(user)", "\(user)&a=b", "\(user)&cost=1&cost=2",
            "\(user)&&",
            "\(user)&cost=%31", "\(user)#f", "\(user)&x=\(String(repeating: "a", count: 130))", "cost=1", "",
            "\(user)&a=é",
            "\(user)&a=\"", "\(user)&a=b c",
        ])
        let target = (chance(95) ? "/v1/check?" : pick(["http://h/v1/check?", "//v1/check?", "/v1/check??"])) + query
        return request(chance(92) ? "GET" : pick(["HEAD", "DELETE", "get", "CONNECT"]), target, lines, "")
    }

    private mutating func request(_ method: String, _ target: String, _ lines: [String], _ body: String) -> [UInt8] {
        let version = chance(96) ? "HTTP/1.1" : pick(["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/2.0", ""])
        let end = chance(97) ? "\r\n" : "\n"
        let head = "\(method) \(target) \(version)\(end)" + lines.map { $0 + end }.joined() + end
        return Array((head + body).utf8)
    }

    mutating func user() -> String {
        let user = pick(users)
        if chance(10) { return user.uppercased() }
        return chance(5) ? pick([String(user.dropLast()), user + "0", "x", ""]) : user
    }

    /// Users that are no UUIDs, as they stand in a query.
    private static let encodedTexts = [
        "alice@example.com", "alice%40example.com", "tenant/%CE%B1", "tenant/α", "a+b", "a%2Bb", "%41", "%2541", "%ff",
        "%",
        "a:b,c~d_e.f-g", String(repeating: "k", count: 64), String(repeating: "%CE", count: 30), "{a}", "%00", "a=b",
        String(repeating: "k", count: 256), String(repeating: "k", count: 257),
    ]
    /// Users that are no UUIDs, as they stand in JSON.
    private static let jsonTexts = [
        "alice@example.com", "tenant\\/αβγ", "\\u0041", "\\ud83d\\ude00", "\\ud83d", "a b", "%41", "a\\n\\u0000",
        String(repeating: "k", count: 64), String(repeating: "é", count: 128), String(repeating: "é", count: 129),
        "{a}",
    ]

    private mutating func cost() -> String {
        chance(90)
            ? "\(Int.random(in: 1...25, using: &random))"
            : pick(["0", "-1", "01", "1000001", "1.0", "1e1", "\"1\"", ""])
    }

    private mutating func body() -> String {
        let user = "\"user\":\"\(chance(25) ? pick(Self.jsonTexts) : user())\""
        return pick([
            "{\(user)}", "{\(user)}", "{\(user),\"cost\":\(cost())}", " {\"cost\":\(cost()) , \(user)}\n", "{}", "[]",
            "",
            "{\(user),\"a\":[{},null,\"\\u0041\"]}", "{\"\\u0075ser\":\"\(users[0])\"}", "{\(user)}x",
            "{\(user),\"request_id\":\(pick(["\"a\"", "\"b\"", "null", "7", "\"\""]))}",
            "{\"request\\u005fid\":\"a\",\(user)}",
        ])
    }

    private mutating func headers() -> [String] {
        var lines = chance(96) ? [pick(["Host: a", "Host: localhost", "host:a", "Host:", "HOST: [::1]:80"])] : []
        for _ in 0..<Int.random(in: 0...4, using: &random) where chance(60) {
            lines.append(
                pick([
                    "User-Agent: probe/1.0", "Accept: */*", "Accept-Encoding: gzip, br", "X-Request-Id: 7",
                    "Content-Type: application/json", "Content-Type: application/json; charset=utf-8", "X:",
                    "X-Y_Z:  a  b",
                    "Connection: keep-alive", "Connection: Keep-Alive", "Authorization: Bearer a.b-c_d~e+f/g=",
                    "Idempotency-Key: \(pick(["a", "b", "\"c\""]))",
                ]))
        }
        if chance(20) {
            lines.append(
                pick([
                    "Content-Type: text/plain", "Content-Type:", "content-type: APPLICATION/JSON", "Connection: close",
                    "Connection: keep-alive, close", "Connection: x", "Connection:", "Keep-Alive: timeout=5",
                    "TE: trailers",
                    "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Upgrade: websocket", "Upgrade: h2c",
                    "Connection: upgrade", "Expect: 100-continue", "Expect: x", "Proxy-Connection: close",
                    "Proxy-Connection: keep-alive", "Host: b", "X : y", "X\t:y", " folded", "\tfolded", "X: a\tb",
                    "X: a ",
                    "X: é", "X: \u{1}", "X: \0", "X: \u{7f}", "X: a\rb", "no colon", ": empty", "X(y): z", "X.y: z",
                    "é: x",
                    "Cookie: \(String(repeating: "c", count: 9_000))",
                    "Cookie: \(String(repeating: "c", count: 17_000))",
                    "HTTP2-Settings: x", "Trailer: x", "Content-Encoding: gzip",
                    "Idempotency-Key:", "idempotency-KEY: \(String(repeating: "k", count: 257))",
                ]))
        }
        if chance(1) { lines += (0..<pick([100, 255, 257, 400])).map { "X-\($0): y" } }
        return chance(30) ? lines.shuffled(using: &random) : lines
    }

    /// Changes, adds or takes away a byte or two, in the head more often than behind it.
    private mutating func damage(_ bytes: inout [UInt8]) {
        let letters = Array("\r\n\t :,;%?#&=aZ09-_\"{}\u{7f}".utf8) + [0, 1, 0x0b, 0x80, 0xa0, 0xff]
        for _ in 0..<Int.random(in: 1...2, using: &random) where !bytes.isEmpty {
            let index = Int.random(in: bytes.indices, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: bytes[index] = pick(letters)
            case 1: bytes.insert(pick(letters), at: index)
            case 2: bytes.remove(at: index)
            default: bytes[index] ^= 0x20
            }
        }
    }
}
