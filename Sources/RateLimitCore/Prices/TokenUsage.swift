/// How many tokens a call used. The kinds do not overlap: what came from a cache is no input here.
public struct TokenUsage: Hashable, Sendable {
    /// Tokens sent to the model that came from no cache.
    public let input: Int
    /// Tokens the model wrote.
    public let output: Int
    /// Tokens read from the provider's cache.
    public let cacheRead: Int
    /// Tokens written into the provider's cache.
    public let cacheWrite: Int

    /// The bounds of each.
    public static let counts = 0...1_000_000_000_000

    /// No tokens.
    public static let zero = TokenUsage()

    private init() {
        input = 0
        output = 0
        cacheRead = 0
        cacheWrite = 0
    }

    /// Makes a usage; nil where a number is outside ``counts``.
    public init?(input: Int = 0, output: Int = 0, cacheRead: Int = 0, cacheWrite: Int = 0) {
        guard Self.counts.contains(input), Self.counts.contains(output), Self.counts.contains(cacheRead),
            Self.counts.contains(cacheWrite)
        else { return nil }
        self.input = input
        self.output = output
        self.cacheRead = cacheRead
        self.cacheWrite = cacheWrite
    }

    /// How many tokens of a kind; the total at most the upper bound of ``counts``.
    public func count(of kind: TokenKind) -> Int {
        switch kind {
        case .input: input
        case .output: output
        case .cacheRead: cacheRead
        case .cacheWrite: cacheWrite
        case .total: min(input + output + cacheRead + cacheWrite, Self.counts.upperBound)
        }
    }
}
