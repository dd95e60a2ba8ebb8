import Testing

@testable import RateLimitCore

@Suite("What a call told of its tokens")
struct ToldTokensTests {
    private func usage(_ input: Int, _ output: Int, read: Int = 0, write: Int = 0) throws -> TokenUsage {
        try #require(TokenUsage(input: input, output: output, cacheRead: read, cacheWrite: write))
    }

    /// The kinds of which a call certainly uses none.
    private func none(_ told: ToldTokens, _ usage: TokenUsage) -> [TokenKind] {
        TokenKind.allCases.filter { told.isCertainlyNone(of: $0, in: usage) }
    }

    @Test("is certainly none of a kind that was told as 0, and of no kind that was left out")
    func kinds() throws {
        #expect(none([], .zero) == [])
        #expect(none(.output, .zero) == [.output])
        #expect(none(.cacheRead, .zero) == [.cacheRead])
        #expect(none(.all, .zero) == TokenKind.allCases)
        #expect(none(.all, try usage(0, 3)) == [.input, .cacheRead, .cacheWrite])
        #expect(none(.all, try usage(3, 0, read: 1)) == [.output, .cacheWrite])
        #expect(none([.input, .output], try usage(3, 0)) == [.output])
    }

    @Test("is certainly nothing from a cache where the input is told as 0, unless the call says otherwise")
    func emptyPrompt() throws {
        #expect(none(.input, .zero) == [.input, .cacheRead, .cacheWrite])
        #expect(none([.input, .output], .zero) == TokenKind.allCases)
        #expect(none([.input, .output, .cacheRead], try usage(0, 0, read: 5)) == [.input, .output, .cacheWrite])
    }

    @Test("certainly costs nothing where each kind is free or was told as 0")
    func price() throws {
        let output = try #require(ModelPrice(input: 0, output: 5))
        #expect(ModelPrice.free.isCertainlyNothing(for: .zero, told: []))
        #expect(ModelPrice.free.isCertainlyNothing(for: try usage(9, 9, read: 9, write: 9), told: .all))
        #expect(!output.isCertainlyNothing(for: .zero, told: []))
        #expect(!output.isCertainlyNothing(for: .zero, told: .input))
        #expect(output.isCertainlyNothing(for: .zero, told: .output))
        #expect(output.isCertainlyNothing(for: try usage(9, 0), told: [.input, .output]))
        // A token costs at least a micro-dollar: what is told as 1 is never nothing.
        #expect(!output.isCertainlyNothing(for: try usage(0, 1), told: .all))
        let cached = try #require(ModelPrice(input: 0, output: 0, cacheRead: 1))
        #expect(!cached.isCertainlyNothing(for: try usage(9, 0), told: [.input, .output]))
        #expect(cached.isCertainlyNothing(for: try usage(9, 0), told: [.input, .output, .cacheRead]))
    }
}
