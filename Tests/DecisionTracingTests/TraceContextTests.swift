import Testing

@testable import DecisionTracing

@Suite("traceparent")
struct TraceContextTests {
    private static let trace = "12345678901234567890123456789012"
    private static let parent = "1234567890123456"

    private func context(_ text: String) -> TraceContext? {
        Array(text.utf8).withUnsafeBytes { TraceContext(traceparent: $0) }
    }

    @Test("of the standard's own examples is read, with the flag that the caller records its span")
    func examples() {
        let sampled = context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        #expect(sampled?.trace == TraceID(high: 0x4bf9_2f35_77b3_4da6, low: 0xa3ce_929d_0e0e_4736))
        #expect(sampled?.parent == 0x00f0_67aa_0ba9_02b7 && sampled?.isSampled == true)
        #expect(context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")?.isSampled == false)
        // Flags that this version does not know are no reason to drop it.
        #expect(context("00-\(Self.trace)-\(Self.parent)-ff")?.isSampled == true)
        #expect(context("00-\(Self.trace)-\(Self.parent)-02")?.isSampled == false)
    }

    @Test(
        "of a later version is read as far as it is known, and no further",
        arguments: [
            ("cc-\(trace)-\(parent)-01", true), ("cc-\(trace)-\(parent)-01-what-the-future-will-be-like", true),
            ("cc-\(trace)-\(parent)-01-", true), ("cc-\(trace)-\(parent)-01.what-the-future-will-not-be-like", false),
            ("ff-\(trace)-\(parent)-01", false), ("FE-\(trace)-\(parent)-01", false),
        ])
    func versions(text: String, isRead: Bool) {
        #expect((context(text) != nil) == isRead)
    }

    @Test(
        "that breaks the standard is none",
        arguments: [
            "", "00", "00-", "00-\(trace)-\(parent)-1", "00-\(trace)-\(parent)-001", "00-\(trace)-\(parent)-01-",
            "00-\(trace)-\(parent)-01.", "00-\(trace)-\(parent)-01-x", "00-\(trace)-\(parent)-.0",
            "00-\(trace)-\(parent)-0.", "00-\(trace)-\(parent)", "00-\(trace)_\(parent)-01", "00_\(trace)-\(parent)-01",
            "0-\(trace)-\(parent)-01", "000-\(trace)-\(parent)-01", ".0-\(trace)-\(parent)-01",
            "0.-\(trace)-\(parent)-01",
            "00-00000000000000000000000000000000-\(parent)-01", "00-\(trace)-0000000000000000-01",
            "00-1234567890123456789012345678901.-\(parent)-01", "00-\(trace)-123456789012345.-01",
            "00-\(trace)0-\(parent)-01", "00-\(trace)-\(parent)0-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-\(parent)-01",
            "00-\(trace)-00F067AA0BA902B7-01", " 00-\(trace)-\(parent)-01", "00-\(trace)-\(parent)-01 ",
        ])
    func broken(text: String) {
        #expect(context(text) == nil)
    }

    @Test("in a request's head is found by its name in any case, and is none where it stands twice or in the body")
    func heads() {
        let value = "00-\(Self.trace)-\(Self.parent)-01"
        func found(_ lines: String) -> Bool {
            Array("POST /v1/check HTTP/1.1\r\nHost: a\r\n\(lines)".utf8).withUnsafeBytes {
                TraceContext(requestHead: $0) != nil
            }
        }
        #expect(found("traceparent: \(value)\r\n\r\n") && found("TraceParent:\(value)\r\n\r\n"))
        #expect(found("TRACEPARENT:   \(value)\r\nX: y\r\n\r\n{}"))
        #expect(!found("X-traceparent: \(value)\r\n\r\n") && !found("traceparent-x: \(value)\r\n\r\n"))
        #expect(!found("traceparent: \(value)\r\ntraceparent: \(value)\r\n\r\n"))
        #expect(!found("traceparent: \(value)\r\ntraceparent: x\r\n\r\n"))
        #expect(!found("\r\ntraceparent: \(value)\r\n\r\n") && !found("traceparent:\r\n\r\n"))
        #expect(!found("") && !found("traceparent") && !found("\n\n"))
    }
}

@Suite("A sampler")
struct TraceSamplerTests {
    private func parent(_ isSampled: Bool) -> TraceContext? {
        let text = "00-12345678901234567890123456789012-1234567890123456-0\(isSampled ? 1 : 0)"
        return Array(text.utf8).withUnsafeBytes { TraceContext(traceparent: $0) }
    }

    @Test("that follows the caller does so whatever else it says; one that does not never looks")
    func parents() {
        for root in [TraceSampler.Root.always, .never, .share(0)] {
            let following = TraceSampler(root, followsParent: true)
            #expect(following.samples(parent(true), low: .max) && !following.samples(parent(false), low: 0))
            let own = TraceSampler(root, followsParent: false)
            #expect(own.samples(parent(true), low: 7) == (root == .always))
            #expect(own.samples(parent(false), low: 7) == (root == .always))
        }
    }

    @Test("takes its share of all traces, and the traces of a smaller share among those of a larger")
    func shares() {
        var random = SystemRandomNumberGenerator()
        let shares = [0, 1, 1_000, 250_000, 999_999, 1_000_000].map { TraceSampler.Root(millionths: $0) }
        var taken = shares.map { _ in 0 }
        for _ in 0..<100_000 {
            let low = random.next()
            let isTaken = shares.map { TraceSampler($0, followsParent: true).samples(nil, low: low) }
            for (less, more) in zip(isTaken, isTaken.dropFirst()) { #expect(more || !less) }
            for (place, isTaken) in isTaken.enumerated() where isTaken { taken[place] += 1 }
        }
        #expect(taken[0] == 0 && taken[5] == 100_000)
        // Ten standard deviations to either side.
        #expect((23_600...26_400).contains(taken[3]) && (1...300).contains(taken[2]))
    }
}
