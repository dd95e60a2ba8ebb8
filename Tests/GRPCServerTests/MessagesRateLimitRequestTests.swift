import RateLimitCore
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

@Suite("A RateLimitRequest")
struct RateLimitRequestTests {
    private func read(_ bytes: [UInt8]) throws -> DescriptorRequest {
        try withBytes(bytes) { try DescriptorRequest(protobuf: $0) }
    }

    private func problem(_ bytes: [UInt8]) -> GRPCError? {
        do { _ = try read(bytes) } catch { return error as? GRPCError }
        return nil
    }

    private func encode(_ text: String) throws -> [UInt8] {
        try #require(Protoc.encode([text], as: "RateLimitRequest").first)
    }

    @Test("is read as protoc writes it, whatever it says")
    func random() throws {
        var generator = SeededGenerator(seed: 1)
        let requests = (0..<300).map { _ in RandomRequest(using: &generator) }
        let messages = try Protoc.encode(requests.map(\.text), as: "RateLimitRequest")
        #expect(messages.count == requests.count)
        for (message, request) in zip(messages, requests) {
            #expect(try read(message) == request.request, "\(request.text)")
        }
    }

    @Test("is read past fields that are not known, of every type and at every depth")
    func unknownFields() throws {
        var generator = SeededGenerator(seed: 2)
        let requests = (0..<100).map { _ in RandomRequest(hasLaterFields: true, using: &generator) }
        for (message, request) in zip(try Protoc.encode(requests.map(\.text), as: "RateLimitRequest"), requests) {
            #expect(try read(message) == request.request, "\(request.text)")
        }
    }

    @Test("is none where it ends within a field, at whichever byte")
    func truncated() throws {
        var generator = SeededGenerator(seed: 3)
        let requests = (0..<40).map { _ in RandomRequest(hasLaterFields: true, using: &generator) }
        for message in try Protoc.encode(requests.map(\.text), as: "RateLimitRequest") {
            let ends = try fieldEnds(message)
            #expect(ends.last == message.count)
            for length in 0..<message.count {
                let isTruncated = problem(Array(message.prefix(length)))?.code == .internalError
                #expect(isTruncated == (length > 0 && !ends.contains(length)), "\(length) of \(message)")
            }
        }
    }

    /// Where the fields of a message end that stand in no other.
    private func fieldEnds(_ message: [UInt8]) throws -> [Int] {
        var ends: [Int] = []
        for end in 1...message.count {
            let isWhole = withBytes(Array(message[(ends.last ?? 0)..<end])) { bytes in
                var reader = ProtobufReader(bytes)
                return (try? reader.next()).flatMap { $0 }.map { field in (try? reader.skip(field)) != nil } ?? false
            }
            if isWhole { ends.append(end) }
        }
        return ends
    }

    @Test("counts for 1 where it says nothing or 0, and what a descriptor says is the descriptor's")
    func hits() throws {
        let descriptor = "descriptors { entries { key: 'k' } "
        for (text, hits, own) in [
            ("\(descriptor)}", 0, nil), ("\(descriptor)} hits_addend: 0", 0, nil),
            ("\(descriptor)} hits_addend: 4294967295", 4_294_967_295, nil),
            ("\(descriptor) hits_addend {} }", 0, 0), ("\(descriptor) hits_addend { value: 0 } } hits_addend: 7", 7, 0),
            ("\(descriptor) hits_addend { value: 1000000000001 } }", 0, 1_000_000_000_000),
            ("\(descriptor) hits_addend { value: 18446744073709551615 } }", 0, 1_000_000_000_000),
        ] as [(String, Int, Int?)] {
            let request = try read(try encode("domain: 'd' \(text)"))
            #expect(request.hits == hits && request.descriptors[0].hits == own, "\(text)")
        }
    }

    @Test("that says a field twice means the last one, and of a message the last of each field")
    func repeated() throws {
        let entry = Protoc.field(1, Protoc.field(1, Array("a".utf8)) + Protoc.field(1, Array("k".utf8)))
        let limit =
            Protoc.field(2, Protoc.field(1, 5) + Protoc.field(2, 1)) + Protoc.field(2, Protoc.field(2, 3))
        let hits = Protoc.field(3, Protoc.field(1, 9)) + Protoc.field(3, [])
        let message =
            Protoc.field(1, Array("first".utf8)) + Protoc.field(3, 4) + Protoc.field(2, entry + limit + hits)
            + Protoc.field(1, Array("d".utf8)) + Protoc.field(3, 6)
        let request = try read(message)
        #expect(request.domain == "d" && request.hits == 6)
        let quota = DescriptorQuota(5, per: .hour)
        #expect(request.descriptors == [Descriptor([DescriptorEntry("k", "")], quota: quota, hits: 9)])
    }

    @Test("reads a field of another type than it should have as one that is not known")
    func otherTypes() throws {
        let text = Protoc.field(1, Array("d".utf8)) + Protoc.field(2, Protoc.field(1, Protoc.field(1, Array("k".utf8))))
        let other = Protoc.field(1, 5) + Protoc.field(2, 1) + Protoc.field(3, [1, 2]) + [3 << 3 | 5, 1, 2, 3, 4]
        #expect(try read(text + other) == read(text))
    }

    @Test("is none with a group, a number of more than 64 bits, no field number, no type, or text that is no UTF-8")
    func malformed() {
        let start = Protoc.field(1, Array("d".utf8))
        let long = [UInt8](repeating: 0xff, count: 9)
        for (bytes, error) in [
            ([0x2b, 0x2c], .group), ([0x2c], .group), ([0x18] + long + [2], .longNumber),
            ([0x18] + long + [0x81, 0], .longNumber), ([0, 0], .invalidField), ([0x0e], .invalidField),
            ([0x0f], .invalidField), (long + [1], .invalidField), ([0x0a, 0x7f], .truncated),
            ([0x0a] + long + [1], .truncated), ([0x2d, 1, 2, 3], .truncated),
            ([0x29, 1, 2, 3, 4, 5, 6, 7], .truncated),
            ([0x0a, 1, 0xff], .notUTF8), ([0x0a, 2, 0xc0, 0x80], .notUTF8), ([0x0a, 3, 0xed, 0xa0, 0x80], .notUTF8),
        ] as [([UInt8], ProtobufError)] {
            #expect(problem(start + bytes) == .malformed("RateLimitRequest", error), "\(bytes)")
        }
        // The largest number of all.
        #expect(problem(start + [0x18] + long + [1])?.code == .invalidArgument)
    }

    @Test("needs a domain and a descriptor, and has at most 64 with 32 entries each")
    func bounds() throws {
        let entry = "entries { key: 'k' value: 'v' }"
        func descriptors(_ count: Int, _ entries: Int = 1) -> String {
            let one = "descriptors { \((0..<entries).map { _ in entry }.joined(separator: " ")) }"
            return (0..<count).map { _ in one }.joined(separator: " ")
        }
        for (text, message) in [
            (descriptors(1), "cannot decide without a domain: the domain of a request must not be empty"),
            ("domain: 'd'", "cannot decide without a descriptor: the list of descriptors must not be empty"),
            ("domain: 'd' \(descriptors(65))", "cannot decide for so many descriptors: accepted are at most 64"),
            (
                "domain: 'd' \(descriptors(1)) \(descriptors(1, 33))",
                "cannot decide for descriptor 2: it has too many entries; accepted are at most 32"
            ),
        ] {
            #expect(problem(try encode(text)) == .invalid(message))
        }
        #expect(try read(try encode("domain: 'd' \(descriptors(64, 32))")).descriptors.count == 64)
    }

    @Test("is refused for a limit of an unknown unit, and for one whose window is no second to 365 days long")
    func limits() throws {
        func request(_ limit: String) throws -> [UInt8] { try encode("domain: 'd' descriptors { limit { \(limit) } }") }
        for (limit, reason) in [
            ("", "has the unit 0"), ("unit: UNKNOWN", "has the unit 0"), ("unit: 9", "has the unit 9"),
            ("unit: -1", "has the unit 18446744073709551615"),
            ("unit: YEAR unit_multiplier { value: 2 }", "is 2 times year; accepted are 1 to 1 times year"),
            ("unit: DAY unit_multiplier { value: 366 }", "is 366 times day; accepted are 1 to 365 times day"),
            ("unit: DAY unit_multiplier {}", "is 0 times day"),
            ("unit: MONTH unit_multiplier { value: 4294967295 }", "accepted are 1 to 12 times month"),
        ] {
            let problem = problem(try request(limit))
            #expect(problem?.code == .invalidArgument && problem?.message.contains(reason) == true, "\(problem as Any)")
        }
        for (limit, quota) in [
            ("unit: SECOND", DescriptorQuota(0, per: .second)),
            ("requests_per_unit: 4294967295 unit: YEAR", DescriptorQuota(4_294_967_295, per: .year)),
            ("requests_per_unit: 1 unit: 7", DescriptorQuota(1, per: .week)),
            (
                "requests_per_unit: 1 unit: DAY unit_multiplier { value: 365 }",
                DescriptorQuota(1, per: .day, times: 365)
            ),
        ] {
            let read = try read(try request(limit)).descriptors[0].quota
            #expect(read != nil && read == quota, "\(limit)")
        }
    }
}

/// A request and its text, both at random.
private struct RandomRequest {
    var request: DescriptorRequest
    var text: String

    init(hasLaterFields: Bool = false, using generator: inout some RandomNumberGenerator) {
        request = DescriptorRequest(domain: "d" + Self.word(using: &generator), descriptors: [], hits: 0)
        text = "domain: \(Protoc.quoted(request.domain)) \(Self.later(hasLaterFields, using: &generator))"
        if Bool.random(using: &generator) {
            request.hits = Int.random(in: 1...Int(UInt32.max), using: &generator)
            text += " hits_addend: \(request.hits)"
        }
        if hasLaterFields { text += " later_number: 7" }
        for _ in 0...Int.random(in: 0...4, using: &generator) {
            var descriptor = Descriptor([])
            text += " descriptors { \(Self.later(hasLaterFields, using: &generator))"
            for _ in 0..<Int.random(in: 0...4, using: &generator) {
                let entry = DescriptorEntry(Self.word(using: &generator), Self.word(using: &generator))
                descriptor.entries.append(entry)
                text +=
                    " entries { key: \(Protoc.quoted(entry.key)) value: \(Protoc.quoted(entry.value)) \(Self.later(hasLaterFields, using: &generator)) }"
            }
            if Bool.random(using: &generator) {
                let hits = Int.random(in: 0...1_000_000, using: &generator)
                descriptor.hits = hits
                text += " hits_addend { value: \(hits) }"
            }
            if Bool.random(using: &generator) {
                descriptor.isRefund = true
                text += " is_negative_hits: true"
            }
            if Bool.random(using: &generator), let quota = Self.quota(using: &generator) {
                descriptor.quota = quota
                text += " limit { requests_per_unit: \(quota.requestsPerUnit) unit: \(quota.unit.rawValue)"
                text +=
                    " unit_multiplier { value: \(quota.multiplier) } \(Self.later(hasLaterFields, using: &generator)) }"
            }
            if hasLaterFields { text += " later_numbers: [1, 2]" }
            text += " }"
            request.descriptors.append(descriptor)
        }
    }

    private static func quota(using generator: inout some RandomNumberGenerator) -> DescriptorQuota? {
        let unit = DescriptorUnit.allCases.randomElement(using: &generator) ?? .day
        let most = LimitWindow.lengths.upperBound / unit.milliseconds
        let count = Int.random(in: 0...Int(UInt32.max), using: &generator)
        return DescriptorQuota(count, per: unit, times: .random(in: 1...most, using: &generator))
    }

    private static func word(using generator: inout some RandomNumberGenerator) -> String {
        let characters: [Character] = ["a", "0", "-", "_", " ", "\"", "\\", "\0", "é", "€", "😀", "\n"]
        let count = [0, 1, 3, 8, 15, 16, 40, 130].randomElement(using: &generator) ?? 0
        return String((0..<count).map { _ in characters.randomElement(using: &generator) ?? "a" })
    }

    private static func later(_ isThere: Bool, depth: Int = 0, using generator: inout some RandomNumberGenerator)
        -> String
    {
        guard isThere, Bool.random(using: &generator) else { return "" }
        let nested =
            depth < 3 ? later(true, depth: depth + 1, using: &generator).replacing("later {", with: "nested {") : ""
        return "later { truth: true number: -1 long: 3 bytes: 'xyz' short: 4 \(nested) }"
    }
}
