import Testing

@testable import RateLimitCore

@Suite("The values of a window in a key")
struct WindowValuesTests {
    private func text(
        _ values: [CallValue], _ call: CallAttributes = .none, group: SubjectID? = nil
    ) throws -> String {
        try #require(WindowValues(values.sorted(by: CallValue.isOrdered), of: call, group: group)).text
    }

    @Test("are written as Limits says, in one order")
    func order() throws {
        let call = CallAttributes(
            model: "openai/gpt-4o", provider: "azure", labels: ["b": "2", "a": "x@y.z", "B": "3", "ab": "4"])
        let group = SubjectID(high: 1, low: 0x23)
        #expect(try text([.model], call) == "model=openai/gpt-4o")
        #expect(
            try text([.label("a"), .provider, .model, .group], call, group: group)
                == "group=00000000-0000-0001-0000-000000000023,model=openai/gpt-4o,provider=azure,label:a=x@y.z")
        #expect(
            try text([.label("ab"), .label("b"), .label("B"), .label("a")], call)
                == "label:B=3,label:a=x@y.z,label:ab=4,label:b=2")
        #expect(WindowValues.names(of: [.group, .model, .label("a b")]) == "group,model,label:a%20b")
    }

    @Test("end no pair and no key")
    func escapes() throws {
        let call = CallAttributes(model: "a=b,c:d{e}~%41 é\n", labels: ["n:,=": "v+-./_@"])
        #expect(try text([.model], call) == "model=a%3Db%2Cc%3Ad%7Be%7D%7E%2541%20%C3%A9%0A")
        #expect(try text([.label("n:,=")], call) == "label:n%3A%2C%3D=v+-./_@")
        // Equal to Unicode, and two windows.
        #expect(
            try text([.model], CallAttributes(model: "e\u{301}")) != text([.model], CallAttributes(model: "\u{e9}")))
    }

    @Test("are a digest above 64 bytes encoded, and not before")
    func digests() throws {
        let longest = String(repeating: "k", count: 64)
        #expect(try text([.model], CallAttributes(model: longest)) == "model=\(longest)")
        #expect(
            try text([.model], CallAttributes(model: longest + "k"))
                == "model=~" + hexadecimal(try #require(SubjectID(longest + "k")).sha256))
        #expect(try text([.model], CallAttributes(model: String(repeating: "é", count: 10))).utf8.count == 6 + 60)
        #expect(try text([.model], CallAttributes(model: String(repeating: "é", count: 11))).utf8.count == 6 + 65)
        let names = (0..<4).map { String(repeating: "\($0):", count: 32) }
        let call = CallAttributes(labels: Dictionary(uniqueKeysWithValues: names.map { ($0, longest + "k") }))
        #expect(try text(names.map { .label($0) }, call).utf8.count == WindowValues.longest)
    }

    @Test("are named in a sentence without anything that could end a text")
    func phrases() {
        #expect(CallValue.label("session").phrase == "label session" && CallValue.model.phrase == "model")
        #expect(CallValue.label("a\"\\\n:é").phrase == "label a%22%5C%0A%3A%C3%A9")
    }

    @Test("are none where a call lacks one of them")
    func missing() {
        #expect(WindowValues([.model], of: .none, group: nil) == nil)
        #expect(WindowValues([.model, .label("a")], of: CallAttributes(model: "m"), group: nil) == nil)
        #expect(WindowValues([.label("a")], of: CallAttributes(labels: ["a": ""]), group: nil) == nil)
        #expect(WindowValues([.group], of: .none, group: nil) == nil)
    }

    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { String(0x100 + Int($0), radix: 16).dropFirst() }.joined()
    }
}
