/// What a model's tokens cost, in micro-dollars for a million tokens of each kind, and what a call costs besides.
///
/// A dollar for a million tokens is 1,000,000: one micro-dollar for each token.
public struct ModelPrice: Hashable, Sendable {
    /// Other prices for all tokens of a call whose input is long.
    public struct Tier: Hashable, Sendable {
        /// They hold where the input, with what is read from a cache and written into one, is more tokens than this.
        public let above: Int
        /// The prices.
        public let rates: TokenRates

        /// Makes a tier.
        public init(above: Int, _ rates: TokenRates) {
            self.above = above
            self.rates = rates
        }
    }

    /// What the tokens of a call cost that is in no tier.
    public let rates: TokenRates
    /// What each call costs besides, in micro-dollars.
    public let perRequest: Int
    /// The tiers, ascending by where they begin.
    public let tiers: [Tier]

    /// The bounds of each price.
    public static let prices = 0...1_000_000_000_000
    /// The bounds of what one call costs, in micro-dollars; what would cost more costs the upper one.
    public static let spends = 0...1_000_000_000_000
    /// Above how many tokens a tier may begin.
    public static let tierStarts = 1...1_000_000_000_000
    /// How many tiers a model may have.
    public static let maximumTiers = 8

    /// Nothing costs anything.
    public static let free = ModelPrice(checked: TokenRates(input: 0, output: 0), perRequest: 0, tiers: [])

    /// Makes a price without parts and tiers; nil where a number is outside ``prices``. What is read from a cache or written
    /// into one costs as input does where it has no price of its own.
    public init?(input: Int, output: Int, cacheRead: Int? = nil, cacheWrite: Int? = nil) {
        guard [input, output, cacheRead ?? 0, cacheWrite ?? 0].allSatisfy(Self.prices.contains) else { return nil }
        self.init(checked: TokenRates(input: input, output: output, cacheRead: cacheRead, cacheWrite: cacheWrite))
    }

    /// Makes a price; nil where a number is outside its bounds, and where there are too many tiers or two begin at one place.
    public init?(_ rates: TokenRates, perRequest: Int = 0, tiers: [Tier] = []) {
        let starts = Set(tiers.map(\.above))
        guard Self.spends.contains(perRequest), tiers.count <= Self.maximumTiers, starts.count == tiers.count,
            starts.allSatisfy(Self.tierStarts.contains),
            ([rates] + tiers.map(\.rates)).allSatisfy({ $0.all.allSatisfy(Self.prices.contains) })
        else { return nil }
        self.init(checked: rates, perRequest: perRequest, tiers: tiers.sorted { $0.above < $1.above })
    }

    private init(checked rates: TokenRates, perRequest: Int = 0, tiers: [Tier] = []) {
        self.rates = rates
        self.perRequest = perRequest
        self.tiers = tiers
    }

    /// What a usage costs in micro-dollars, rounded up once; at most the upper bound of ``spends``.
    public func spend(of usage: TokenUsage) -> Int {
        var rates = rates
        if !tiers.isEmpty {
            let length = usage.input + usage.cacheRead + usage.cacheWrite
            if let tier = tiers.last(where: { $0.above < length }) { rates = tier.rates }
        }
        // Some products of at most 10^24 each: beyond 64 bits, far within 128.
        let micros = (rates.sum(of: usage) + 999_999) / 1_000_000 + Int128(perRequest)
        return Int(min(micros, Int128(Self.spends.upperBound)))
    }

    /// Whether a call certainly costs nothing at this price, by what it told of its tokens: it costs nothing by itself, and
    /// each kind is free, whichever tier it is in, or was told as 0.
    public func isCertainlyNothing(for usage: TokenUsage, told: ToldTokens) -> Bool {
        guard perRequest == 0, rates.isCertainlyNothing(for: usage, told: told) else { return false }
        return tiers.allSatisfy { $0.rates.isCertainlyNothing(for: usage, told: told) }
    }
}
