import Testing

@testable import RateLimitCore

@Suite("A limit's name and unit")
struct LimitNameTests {
    @Test(
        "are read when they are within the form",
        arguments: ["a", "0", "member-spend", "a.b_c-9", String(repeating: "x", count: 64)])
    func accepted(_ text: String) {
        #expect(LimitName(text)?.text == text)
    }

    @Test(
        "are refused when they are not",
        arguments: ["", "-a", ".a", "_a", "A", "a b", "a:b", "é", "a{b", "a\n", String(repeating: "x", count: 65)])
    func refused(_ text: String) {
        #expect(LimitName(text) == nil)
    }

    /// From the test vectors of the algorithm's authors.
    @Test("a name's id is its FNV-1a hash", arguments: [("a", UInt32(0xe40c_292c)), ("foobar", 0xbf9c_f968)])
    func id(_ text: String, _ expected: UInt32) {
        #expect(LimitName(text)?.id == expected)
    }

    @Test("every unit is read back from its text", arguments: LimitUnit.all)
    func unit(_ unit: LimitUnit) {
        #expect(LimitUnit(unit.text) == unit)
    }

    @Test("tokens alone are the total, and nothing else is a unit")
    func units() {
        #expect(LimitUnit("tokens") == .tokens(.total))
        #expect(LimitUnit("tokens.total") == .tokens(.total))
        #expect(LimitUnit("tokens.cache_read") == .tokens(.cacheRead))
        #expect(LimitUnit("token") == nil)
        #expect(LimitUnit("Tokens") == nil)
        #expect(Set(LimitUnit.all.map(\.text)).count == 8)
    }
}
