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

    /// The hashes of `requests:requests` and `a:spend`, by another implementation.
    @Test("a limit's id is the FNV-1a hash of name and unit, and another one in each unit")
    func id() throws {
        #expect(LimitDefinition.requestsID == 0x5281_8a05)
        let name = try #require(LimitName("a"))
        #expect(LimitDefinition.id(of: name, in: .spend) == 0x380b_d7ce)
        #expect(Set(LimitUnit.all.map { LimitDefinition.id(of: name, in: $0) }).count == LimitUnit.all.count)
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
