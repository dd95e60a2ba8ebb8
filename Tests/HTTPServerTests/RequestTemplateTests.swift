import RateLimitCore
import TestSupport
import Testing

@testable import HTTPServer

extension Recognised {
    /// What is made of bytes by somebody who knows an earlier request.
    init(_ bytes: [UInt8], after known: inout RequestTemplate) {
        self.init(bytes.withUnsafeBytes { FastPath.recognise($0, after: &known) })
    }
}

@Suite("A known request")
struct RequestTemplateTests {
    static let other = "00112233-4455-6677-8899-aabbccddeeff"
    static let requests =
        FastPathTests.ordinaryRequests + [
            // The user's UUID in places from which the user is not read.
            post(["Host: a", "X-User: \(someText)"], "{\"user\":\"\(someText.uppercased())\",\"cost\":7}"),
            post(["Host: a"], "{\"x\":\"\(someText)\",\"user\":\"\(someText.uppercased())\",\"cost\":7}"),
            post(["Host: a"], "{\"user\":\"\(someText)\",\"cost\":7,\"user\":\"\(someText)\"}"),
            post(["Host: a"], "{\"user\":\"\\u0036\(someText.dropFirst())\",\"cost\":7,\"y\":\"\(someText)\"}"),
        ]

    @Test("is told from every other, whatever byte is changed", arguments: requests)
    func changed(_ text: String) {
        let bytes = Array(text.utf8)
        for index in bytes.indices {
            for value in [bytes[index] ^ 1, bytes[index] ^ 0x20, 0x61, 0x30, 0x22] as [UInt8] {
                var known = RequestTemplate()
                _ = Recognised(bytes, after: &known)
                var changed = bytes
                changed[index] = value
                #expect(Recognised(changed, after: &known) == Recognised(changed), "\(index): \(printable(changed))")
            }
        }
    }

    @Test("lends its form to other users", arguments: requests)
    func users(_ text: String) {
        var known = RequestTemplate()
        _ = Recognised(Array(text.utf8), after: &known)
        for other in [Self.other, Self.other.uppercased(), someText.uppercased()] {
            for old in [someText, someText.uppercased()] {
                let bytes = Array(text.replacing(old, with: other).utf8)
                #expect(Recognised(bytes, after: &known) == Recognised(bytes))
            }
        }
    }

    @Test("needs no look at the head and the JSON")
    func isKnown() throws {
        let bytes = Array(post(["Host: a"]).utf8)
        var known = RequestTemplate()
        #expect(bytes.withUnsafeBytes { known.recognise($0) } == nil)
        _ = Recognised(bytes, after: &known)
        let again = Array(post(["Host: a"]).replacing(someText, with: Self.other).utf8)
        let (check, length) = try #require(again.withUnsafeBytes { known.recognise($0) })
        #expect(check == CheckRequest(user: try #require(SubjectID(Self.other)), cost: 7))
        #expect(length == again.count)
        // All but the last byte of it.
        #expect(again.dropLast().withUnsafeBytes { known.recognise($0) } == nil)
    }

    @Test("changes no answer, whatever came before", arguments: 0..<20 as Range<UInt64>)
    func histories(seed: UInt64) {
        var generator = RequestGenerator(seed: seed)
        var known = RequestTemplate()
        for _ in 0..<500 {
            let bytes = generator.connection()
            for again in [bytes, Array(String(decoding: bytes, as: UTF8.self).lowercased().utf8)] {
                #expect(Recognised(again, after: &known) == Recognised(again), "\(printable(again))")
            }
        }
    }

    @Test("is not kept where it is long")
    func long() {
        var known = RequestTemplate()
        let bytes = Array(post(["Host: a", "X: " + String(repeating: "x", count: RequestTemplate.capacity)]).utf8)
        #expect(Recognised(bytes, after: &known) == Recognised(bytes))
        #expect(bytes.withUnsafeBytes { known.recognise($0) } == nil)
    }
}
