import NIOCore
import RateLimitCore
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

@Suite("The dynamic metadata of a RateLimitResponse")
struct DynamicMetadataTests {
    private func limit(
        _ metadata: DescriptorMetadata?, isShadow: Bool = false, isQuotaMode: Bool = false
    ) -> DescriptorLimit {
        var definition = DescriptorLimit.Definition(domain: "d", path: "k", quota: DescriptorQuota(5, per: .hour))
        definition.metadata = metadata
        definition.isShadow = isShadow
        definition.isQuotaMode = isQuotaMode
        return DescriptorLimit(definition)
    }

    private func name(_ name: String) -> DescriptorMetadata {
        DescriptorMetadata([DescriptorMetadata.Entry("name", .text(name))])
    }

    /// What protoc reads of the field behind the overall code and the statuses.
    private func text(_ request: DescriptorRequest, _ standings: [DescriptorStanding]) throws -> String {
        var outcome = outcome(.allowed, standings)
        outcome.details?.described = DescribedRequest(request)
        var message = ByteBuffer()
        RateLimitResponse.write(outcome, to: &message)
        let text = try #require(
            Protoc.decode([Array(message.readableBytesView)], as: "RateLimitResponse").first)
        let start = try #require(text.firstRange(of: "dynamic_metadata {"))
        return String(text[start.lowerBound...])
    }

    private func field(_ key: String, _ value: String) -> String { "fields { key: \"\(key)\" value { \(value) } }" }

    private func entries(_ texts: String...) -> String {
        let values = texts.map { "values { string_value: \"\($0)\" }" }.joined(separator: " ")
        return field("entries", "list_value { \(values) }")
    }

    @Test("says what was asked: domain, hits, and of each descriptor entries, hits and its own limit")
    func asked() throws {
        var request = DescriptorRequest(
            domain: "d",
            descriptors: [
                Descriptor([DescriptorEntry("a", "b=c"), DescriptorEntry("e", "")]),
                Descriptor([DescriptorEntry("f", "g")], quota: DescriptorQuota(10, per: .hour, times: 6), hits: 0),
                Descriptor([DescriptorEntry("f", "h")], quota: DescriptorQuota(0, per: .second), hits: 3),
            ], hits: 7)
        let standings = Array(repeating: DescriptorStanding(limit(DescriptorMetadata())), count: 3)
        let descriptors = [
            entries("a=b=c", "e="),
            entries("f=g") + " "
                + field("limit", #"string_value: "requests_per_unit:10 unit:HOUR unit_multiplier:{value:6}""#)
                + " " + field("hitsAddend", "number_value: 0"),
            entries("f=h") + " " + field("limit", #"string_value: "unit:SECOND""#) + " "
                + field("hitsAddend", "number_value: 3"),
        ]
        let list = descriptors.map { "values { struct_value { \($0) } }" }.joined(separator: " ")
        // Protoc sorts the keys.
        let said =
            field("descriptors", "list_value { \(list) }") + " " + field("domain", #"string_value: "d""#)
        let hits = field("hitsAddend", "number_value: 7")
        #expect(try sorted(text(request, standings)) == sorted("dynamic_metadata { \(said) \(hits) }"))
        // A request that says no hits is told without them, though it counts for 1.
        request.hits = 0
        #expect(try sorted(text(request, standings)) == sorted("dynamic_metadata { \(said) }"))
    }

    /// Its words in order: a map's entries may stand in any.
    private func sorted(_ text: String) -> [Substring] { text.split(separator: " ").sorted() }

    @Test("has the metadata of the limits that are not over, those before it first")
    func passed() throws {
        let request = DescriptorRequest(
            domain: "d", descriptors: (0..<4).map { Descriptor([DescriptorEntry("k", "\($0)")]) })
        func over(_ limit: DescriptorLimit) -> DescriptorStanding { DescriptorStanding(limit, isOver: true) }
        let (one, two) = (limit(name("one"), isQuotaMode: true), limit(name("two"), isQuotaMode: true))
        func told(_ standings: DescriptorStanding...) throws -> String? {
            let text = try text(request, standings)
            let metadata = text.firstMatch(of: /key: "name" value { string_value: "(\w+)" }/)
            #expect((metadata != nil) == text.contains("key: \"metadata\""))
            return metadata.map { String($0.1) }
        }
        #expect(try told(DescriptorStanding(one), DescriptorStanding(two)) == "one")
        #expect(try told(over(one), DescriptorStanding(two)) == "two")
        #expect(try told(DescriptorStanding(nil), over(one), DescriptorStanding(limit(nil))) == nil)
        // Over, and let pass: the proxy is told that it is not.
        #expect(try told(over(limit(name("shadow"), isShadow: true)), DescriptorStanding(two)) == "shadow")
    }

    @Test("has values of every type, the least of each too, and Envoy may read as deep as they are")
    func values() throws {
        let request = DescriptorRequest(domain: "d", descriptors: [Descriptor([DescriptorEntry("k", "v")])])
        let values: [(DescriptorMetadata.Value, String)] = [
            (.null, "null_value: NULL_VALUE"), (.flag(false), "bool_value: false"), (.flag(true), "bool_value: true"),
            (.number(0), "number_value: 0"), (.number(-1.5), "number_value: -1.5"), (.text(""), #"string_value: """#),
            (.text("a\"b"), #"string_value: "a\"b""#), (.list([]), "list_value { }"),
            (
                .list([.null, .number(2)]),
                "list_value { values { null_value: NULL_VALUE } values { number_value: 2 } }"
            ),
            (.map(DescriptorMetadata()), "struct_value { }"),
            (.map(name("n")), #"struct_value { fields { key: "name" value { string_value: "n" } } }"#),
        ]
        for (value, expected) in values {
            let metadata = DescriptorMetadata([DescriptorMetadata.Entry("k", value)])
            let text = try text(request, [DescriptorStanding(limit(metadata))])
            let written = field("metadata", "struct_value { \(field("k", expected)) }")
            #expect(words(text).contains(words(written)), "\(text)")
        }
        var deep = DescriptorMetadata.Value.null
        for _ in 1...DescriptorMetadata.mostLevels { deep = .map(DescriptorMetadata([.init("k", deep)])) }
        guard case .map(let metadata) = deep else { return }
        #expect(metadata.levels == DescriptorMetadata.mostLevels)
        #expect(try text(request, [DescriptorStanding(limit(metadata))]).contains("NULL_VALUE"))
    }

    /// Without the spaces, which protoc's empty messages have more of or fewer.
    private func words(_ text: String) -> String { text.filter { $0 != " " } }

    @Test("is not there where no limit that was met has metadata")
    func none() throws {
        var message = ByteBuffer()
        RateLimitResponse.write(outcome(.allowed, [DescriptorStanding(limit(nil))]), to: &message)
        let text = try #require(Protoc.decode([Array(message.readableBytesView)], as: "RateLimitResponse").first)
        #expect(text == "overall_code: OK statuses { code: OK }")
    }
}
