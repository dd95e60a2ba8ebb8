/// How many tokens a call used. The kinds do not overlap: what came from a cache is no input here. Of input and output some
/// may be known to be of a ``TokenPart``.
public struct TokenUsage: Hashable, Sendable {
    /// Tokens sent to the model that came from no cache.
    public let input: Int
    /// Tokens the model wrote.
    public let output: Int
    /// Tokens read from the provider's cache.
    public let cacheRead: Int
    /// Tokens written into the provider's cache.
    public let cacheWrite: Int
    private let parts: PerTokenPart<UInt32>

    /// The bounds of each.
    public static let counts = 0...1_000_000_000_000

    /// No tokens.
    public static let zero = TokenUsage(checkedInput: 0, output: 0, cacheRead: 0, cacheWrite: 0, nil)

    /// Makes a usage; nil where a number is outside ``counts``.
    public init?(input: Int = 0, output: Int = 0, cacheRead: Int = 0, cacheWrite: Int = 0) {
        self.init(input: input, output: output, cacheRead: cacheRead, cacheWrite: cacheWrite, parts: nil)
    }

    /// Makes a usage of which some tokens are of parts; nil where a number is outside ``counts``.
    ///
    /// - Parameter parts: of the input and the output. What is more than these are, is no part: no token counts twice. Nor is
    ///   what is more than 4,294,967,295.
    public init?(
        input: Int = 0, output: Int = 0, cacheRead: Int = 0, cacheWrite: Int = 0, parts: PerTokenPart<Int>?
    ) {
        guard Self.counts.contains(input), Self.counts.contains(output), Self.counts.contains(cacheRead),
            Self.counts.contains(cacheWrite)
        else { return nil }
        if let parts, !TokenPart.allCases.allSatisfy({ Self.counts.contains(parts[$0]) }) { return nil }
        self.init(checkedInput: input, output: output, cacheRead: cacheRead, cacheWrite: cacheWrite, parts)
    }

    private init(
        checkedInput input: Int, output: Int, cacheRead: Int, cacheWrite: Int, _ parts: PerTokenPart<Int>?
    ) {
        self.input = input
        self.output = output
        self.cacheRead = cacheRead
        self.cacheWrite = cacheWrite
        var left = (input: input, output: output)
        var kept = PerTokenPart<UInt32> { _ in 0 }
        if let parts {
            for part in TokenPart.allCases {
                let count = min(parts[part], part.kind == .input ? left.input : left.output, Int(UInt32.max))
                if part.kind == .input { left.input -= count } else { left.output -= count }
                kept[part] = UInt32(count)
            }
        }
        self.parts = kept
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

    /// Whether some tokens are known to be of a part.
    public var hasParts: Bool { TokenPart.allCases.contains { parts[$0] > 0 } }

    /// How many tokens of the input or output are of a part.
    public func count(of part: TokenPart) -> Int { Int(parts[part]) }
}
