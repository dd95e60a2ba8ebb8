import RateLimitCore
import Testing

@testable import LimitsFile

@Suite("The metadata of a descriptor")
struct EnvoyMetadataTests {
    private func file(_ metadata: String) -> String {
        "domain: d\ndescriptors:\n- key: k\n  metadata: \(metadata)\n  rate_limit: {unit: day, requests_per_unit: 1}\n"
    }

    private func read(_ metadata: String) throws -> DescriptorMetadata? {
        try envoyDomain(file(metadata)).rules[0].metadata
    }

    /// The value of the key `k`.
    private func value(_ text: String) throws -> DescriptorMetadata.Value? {
        try read("{k: \(text)}")?.entries.first?.value
    }

    @Test(
        "has the type that YAML gives a plain word, and is a text in quotes",
        arguments: [
            ("7", .number(7)), ("-7", .number(-7)), ("+1_000", .number(1_000)), ("0", .number(0)),
            ("1.5", .number(1.5)),
            (".5", .number(0.5)), ("5.", .number(5)), ("1e3", .number(1_000)), ("1.5E-3", .number(0.0015)),
            ("-0.0", .number(-0.0)), ("true", .flag(true)), ("No", .flag(false)), ("ON", .flag(true)),
            ("off", .flag(false)), ("tRue", .text("tRue")), ("'7'", .text("7")), ("\"true\"", .text("true")),
            ("''", .text("")), ("'~'", .text("~")), ("~", .null), ("null", .null), ("", .null), ("a b", .text("a b")),
            ("1.2.3", .text("1.2.3")), ("1e", .text("1e")), ("-", .text("-")), ("--1", .text("--1")),
            ("2026-11-28", .text("2026-11-28")), ("0xyz", .text("0xyz")), ("e5", .text("e5")), ("1__", .text("1__")),
            ("[]", .list([])), ("{}", .map(DescriptorMetadata())), ("é", .text("é")),
        ] as [(String, DescriptorMetadata.Value)])
    func types(text: String, value: DescriptorMetadata.Value) throws { #expect(try self.value(text) == value) }

    @Test("is read from JSON with JSON's types")
    func json() throws {
        let text =
            #"{"domain":"d","descriptors":[{"key":"k","metadata":{"a":1e2,"b":"1","c":true,"d":"true","e":null}}]}"#
        #expect(
            try envoyDomain(text).rules[0].metadata?.entries == [
                DescriptorMetadata.Entry("a", .number(100)), DescriptorMetadata.Entry("b", .text("1")),
                DescriptorMetadata.Entry("c", .flag(true)), DescriptorMetadata.Entry("d", .text("true")),
                DescriptorMetadata.Entry("e", .null),
            ])
    }

    @Test("is nil where there is none, and empty where an empty map is written")
    func none() throws {
        #expect(try read("null") == nil)
        #expect(try read("{}") == DescriptorMetadata())
        #expect(try envoyDomain("domain: d\ndescriptors: [{key: k}]").rules[0].metadata == nil)
    }

    @Test(
        "refuses numbers that JSON has not and those of another base, with the line",
        arguments: [".inf", "-.Inf", ".NaN", "0x1f", "0o17", "017", "0b1", "1e999", "08"])
    func numbers(text: String) {
        #expect(
            envoyRefusal(file("{a: [1, \(text)]}"))
                == "line 4: metadata of descriptor k has the value \(text): accepted are finite numbers in decimal digits; "
                + "put a text that looks like another one in quotes")
    }

    @Test("may be nested in 16 levels and as long as 4 KiB, and no more")
    func bounds() throws {
        func nested(_ levels: Int) -> String {
            String(repeating: "{a: ", count: levels - 1) + "{}" + String(repeating: "}", count: levels - 1)
        }
        #expect(try read(nested(16))?.levels == 16)
        #expect(
            envoyRefusal(file(nested(17)))
                == "line 4: metadata of descriptor k stands in more than 16 levels")
        let longest = 4_096 - 2 - 8
        #expect(try read("{kk: \(String(repeating: "v", count: longest))}")?.bytes == 4_096)
        #expect(
            envoyRefusal(file("{kk: \(String(repeating: "v", count: longest + 1))}"))
                == "line 4: metadata of descriptor k is longer than 4 KiB, 8 bytes for each value included")
    }
}

@Suite("Metadata of several limits")
struct MergedMetadataTests {
    @Test("keeps the first value of a key, and joins maps of one key")
    func merged() {
        func entry(_ key: String, _ value: DescriptorMetadata.Value) -> DescriptorMetadata.Entry {
            DescriptorMetadata.Entry(key, value)
        }
        let inner = DescriptorMetadata([entry("x", .number(1)), entry("y", .list([.null]))])
        var metadata = DescriptorMetadata([
            entry("a", .text("first")), entry("m", .map(inner)), entry("t", .flag(true)),
        ])
        metadata.merge(
            DescriptorMetadata([
                entry("z", .null), entry("a", .text("second")),
                entry("m", .map(DescriptorMetadata([entry("x", .number(2)), entry("w", .text(""))]))),
                entry("t", .map(inner)),
            ]))
        let joined = DescriptorMetadata(inner.entries + [entry("w", .text(""))])
        #expect(
            metadata.entries == [
                entry("a", .text("first")), entry("m", .map(joined)), entry("t", .flag(true)), entry("z", .null),
            ])
        // Two forms of one letter are two keys, as they are in a proxy.
        metadata = DescriptorMetadata([entry("\u{e9}", .null)])
        metadata.merge(DescriptorMetadata([entry("e\u{301}", .null)]))
        #expect(metadata.entries.count == 2)
    }
}
