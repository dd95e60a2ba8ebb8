/// What a model's tokens cost, in micro-dollars for a million tokens of each kind.
///
/// A dollar for a million tokens is 1,000,000: one micro-dollar for each token.
public struct ModelPrice: Hashable, Sendable {
    /// The price of input.
    public let input: Int
    /// The price of output.
    public let output: Int
    /// The price of what is read from a cache.
    public let cacheRead: Int
    /// The price of what is written into a cache.
    public let cacheWrite: Int

    /// The bounds of each price.
    public static let prices = 0...1_000_000_000_000
    /// The bounds of what one call costs, in micro-dollars; what would cost more costs the upper one.
    public static let spends = 0...1_000_000_000_000

    /// Nothing costs anything.
    public static let free = ModelPrice(checkedInput: 0, output: 0, cacheRead: 0, cacheWrite: 0)

    /// Makes a price; nil where a number is outside ``prices``. What is read from a cache or written into one costs as
    /// input does where it has no price of its own.
    public init?(input: Int, output: Int, cacheRead: Int? = nil, cacheWrite: Int? = nil) {
        let cacheRead = cacheRead ?? input
        let cacheWrite = cacheWrite ?? input
        guard [input, output, cacheRead, cacheWrite].allSatisfy(Self.prices.contains) else { return nil }
        self.init(checkedInput: input, output: output, cacheRead: cacheRead, cacheWrite: cacheWrite)
    }

    private init(checkedInput input: Int, output: Int, cacheRead: Int, cacheWrite: Int) {
        self.input = input
        self.output = output
        self.cacheRead = cacheRead
        self.cacheWrite = cacheWrite
    }

    /// What a usage costs in micro-dollars, rounded up once; at most the upper bound of ``spends``.
    public func spend(of usage: TokenUsage) -> Int {
        // Four products of at most 10^24 each: beyond 64 bits, far within 128.
        let exact =
            Int128(usage.input) * Int128(input) + Int128(usage.output) * Int128(output)
            + Int128(usage.cacheRead) * Int128(cacheRead) + Int128(usage.cacheWrite) * Int128(cacheWrite)
        let micros = (exact + 999_999) / 1_000_000
        return Int(min(micros, Int128(Self.spends.upperBound)))
    }
}
