import TestSupport
import Testing

@testable import RateLimitCore

@Suite("Prices and weights of tokens of several kinds")
struct TokenRateTests {
    private func usage(
        _ input: Int, _ output: Int, read: Int = 0, write: Int = 0, _ parts: [TokenPart: Int] = [:]
    ) throws -> TokenUsage {
        try #require(
            TokenUsage(
                input: input, output: output, cacheRead: read, cacheWrite: write,
                parts: PerTokenPart { parts[$0] ?? 0 }))
    }

    /// Prices as providers list them, in dollars for a million tokens.
    private func price(
        _ input: Double, _ output: Double, read: Double? = nil, write: Double? = nil, _ parts: [TokenPart: Double] = [:]
    ) -> TokenRates {
        func micros(_ dollars: Double) -> Int { Int((dollars * 1_000_000).rounded()) }
        return TokenRates(
            input: micros(input), output: micros(output), cacheRead: read.map(micros), cacheWrite: write.map(micros),
            parts: parts.mapValues(micros))
    }

    @Test("come to what a bill says that was worked out by hand")
    func bills() throws {
        let gemini = try #require(
            ModelPrice(
                price(1.25, 10, read: 0.125), tiers: [.init(above: 200_000, price(2.5, 15, read: 0.25))]))
        let claude = try #require(
            ModelPrice(
                price(3, 15, read: 0.3, write: 3.75),
                tiers: [.init(above: 200_000, price(6, 22.5, read: 0.6, write: 7.5))]))
        let audio = try #require(ModelPrice(price(2.5, 10, [.audioInput: 40, .audioOutput: 80])))
        let research = try #require(ModelPrice(price(2, 8, [.reasoning: 3]), perRequest: 5_000))
        let images = try #require(ModelPrice(price(5, 0, [.imageInput: 10, .imageOutput: 40])))
        let bills: [(ModelPrice, TokenUsage, micros: Int)] = [
            // Up to the line, and one token above it: then all of the call costs the other price.
            (gemini, try usage(100_000, 5_000, read: 100_000), 125_000 + 12_500 + 50_000),
            (gemini, try usage(100_001, 5_000, read: 100_000), 250_003 + 25_000 + 75_000),
            (gemini, try usage(150_000, 5_000, read: 100_000, [.reasoning: 3_000]), 375_000 + 25_000 + 75_000),
            // What is read from a cache and written into one is a part of the length.
            (claude, try usage(10, 1_000, read: 190_000, write: 10_000), 60 + 114_000 + 75_000 + 22_500),
            (claude, try usage(10, 1_000, read: 180_000, write: 10_000), 30 + 54_000 + 37_500 + 15_000),
            (audio, try usage(1_000, 500, [.audioInput: 800, .audioOutput: 400]), 500 + 32_000 + 1_000 + 32_000),
            (research, try usage(0, 1_000, [.reasoning: 600]), 3_200 + 1_800 + 5_000),
            (research, .zero, 5_000),
            (images, try usage(30, 1_056, [.imageInput: 20, .imageOutput: 1_056]), 50 + 200 + 42_240),
        ]
        for (price, usage, micros) in bills { #expect(price.spend(of: usage) == micros, "\(usage)") }
    }

    @Test("count no token twice: a part without a rate counts as its kind, and what is more than its kind is no part")
    func parts() throws {
        let plain = try #require(ModelPrice(input: 2_000_000, output: 8_000_000))
        let told = try usage(10, 100, [.reasoning: 60, .audioInput: 4])
        #expect(told.count(of: .total) == 110)
        #expect(plain.spend(of: told) == plain.spend(of: try usage(10, 100)))
        let more = try usage(10, 100, [.reasoning: 70, .audioOutput: 50, .imageInput: 99])
        #expect(more.count(of: .reasoning) == 70 && more.count(of: .audioOutput) == 30)
        #expect(more.count(of: .imageInput) == 10 && more.count(of: .total) == 110)
        let free = try #require(ModelPrice(price(0, 0, [.reasoning: 1])))
        #expect(free.spend(of: more) == 70)
        #expect(try usage(5, 5).hasParts == false)
        #expect(TokenUsage(output: 1, parts: PerTokenPart { _ in -1 }) == nil)
    }

    /// A price and a usage, small enough that plain integers are an independent reckoning.
    private func random(_ random: inout SeededGenerator, above least: TokenRates? = nil) -> TokenRates {
        func rate(_ least: Int?) -> Int { (least ?? 0) + Int(random.next() % 50_000_000) }
        let parts = TokenPart.allCases.filter { _ in random.next() % 2 == 0 }
        return TokenRates(
            input: rate(least?.input), output: rate(least?.output), cacheRead: rate(least?.cacheRead),
            cacheWrite: rate(least?.cacheWrite),
            parts: Dictionary(uniqueKeysWithValues: parts.map { ($0, rate(least?.parts[$0])) }))
    }

    @Test("cost what the fraction is, rounded up by less than a micro-dollar, and never less for more tokens")
    func exact() throws {
        var generator = SeededGenerator(seed: 13)
        for _ in 0..<50_000 {
            let base = random(&generator)
            // A tier is dearer in each kind and part, as those of providers are.
            var dearer = random(&generator, above: base)
            dearer = TokenRates(
                input: dearer.input, output: dearer.output, cacheRead: dearer.cacheRead, cacheWrite: dearer.cacheWrite,
                parts: Dictionary(
                    uniqueKeysWithValues: TokenPart.allCases.map { ($0, max(dearer.parts[$0], base.parts[$0])) }))
            let above = 1 + Int(generator.next() % 2_000)
            let price = try #require(ModelPrice(base, perRequest: 7, tiers: [.init(above: above, dearer)]))
            let numbers = (0..<4).map { _ in Int(generator.next() % 1_000) }
            let reasoning = Int(generator.next() % UInt64(numbers[1] + 1))
            let audio = Int(generator.next() % UInt64(numbers[0] + 1))
            let parts: [TokenPart: Int] = [.reasoning: reasoning, .audioInput: audio]
            let used = try usage(numbers[0], numbers[1], read: numbers[2], write: numbers[3], parts)
            let rates = numbers[0] + numbers[2] + numbers[3] > above ? dearer : base
            let millionths =
                (numbers[0] - audio) * rates.input + audio * rates.parts[.audioInput]
                + (numbers[1] - reasoning) * rates.output + reasoning * rates.parts[.reasoning]
                + numbers[2] * rates.cacheRead + numbers[3] * rates.cacheWrite
            let spend = price.spend(of: used)
            #expect(0..<1_000_000 ~= (spend - 7) * 1_000_000 - millionths)
            for kind in 0..<4 {
                var more = numbers
                more[kind] += 1 + Int(generator.next() % 500)
                let longer = try usage(more[0], more[1], read: more[2], write: more[3], parts)
                #expect(price.spend(of: longer) >= spend)
            }
        }
    }

    @Test("weigh in thousandths, rounded up once for each call, of one kind or of all")
    func weights() throws {
        let weights = try #require(TokenWeights([.cacheRead: 100, .output: 5_000], parts: [.reasoning: 500]))
        #expect(weights.weight(of: try usage(10, 3, read: 25), .total) == 28)
        #expect(weights.weight(of: try usage(0, 0, read: 1), .total) == 1)
        #expect(weights.weight(of: try usage(0, 0, read: 10), .total) == 1)
        #expect(weights.weight(of: try usage(0, 0, read: 11), .total) == 2)
        #expect(weights.weight(of: try usage(7, 10, read: 90, [.reasoning: 4]), .output) == 6 * 5 + 2)
        #expect(weights.weight(of: try usage(7, 10, read: 90), .input) == 7)
        #expect(weights.weight(of: .zero, .total) == 0)
        let most = 1_000_000_000_000
        let heaviest = try #require(TokenWeights([.input: 1_000_000]))
        #expect(heaviest.weight(of: try usage(most, 0), .total) == most)
        #expect(TokenWeights([.input: 1_000_001]) == nil && TokenWeights([:], parts: [.reasoning: -1]) == nil)
        #expect(weights.told.map(\.name) == ["output", "cache_read", "reasoning"])
        #expect(
            [100, 2_500, 3_000, 0, 1, 1_010].map(shareText(perMille:)) == ["0.1", "2.5", "3", "0", "0.001", "1.01"])
    }

    @Test("certainly come to nothing only where each kind and part that may come counts for nothing")
    func nothing() throws {
        let cached = try #require(TokenWeights([.cacheRead: 0]))
        #expect(cached.isCertainlyNothing(.total, for: .zero, told: [.input, .output]))
        #expect(!cached.isCertainlyNothing(.total, for: .zero, told: .input))
        #expect(cached.isCertainlyNothing(.cacheRead, for: try usage(0, 0, read: 9), told: []))
        let thinking = try #require(TokenWeights([.output: 0], parts: [.reasoning: 1]))
        #expect(!thinking.isCertainlyNothing(.output, for: .zero, told: []))
        #expect(thinking.isCertainlyNothing(.output, for: .zero, told: .output))
        let tokens = TokenRates(input: 0, output: 0)
        let tiered = try #require(ModelPrice(tokens, tiers: [.init(above: 9, TokenRates(input: 1, output: 0))]))
        #expect(!tiered.isCertainlyNothing(for: .zero, told: []))
        #expect(tiered.isCertainlyNothing(for: .zero, told: [.input]))
        #expect(try !#require(ModelPrice(tokens, perRequest: 1)).isCertainlyNothing(for: .zero, told: .all))
    }

    @Test("make no price with too many tiers, two of one beginning, or a number outside its bounds")
    func bounds() {
        let rates = TokenRates(input: 1, output: 1)
        let tiers = (1...9).map { ModelPrice.Tier(above: $0, rates) }
        #expect(ModelPrice(rates, tiers: Array(tiers.prefix(8))) != nil && ModelPrice(rates, tiers: tiers) == nil)
        #expect(ModelPrice(rates, tiers: [tiers[0], tiers[0]]) == nil)
        #expect(ModelPrice(rates, tiers: [.init(above: 0, rates)]) == nil)
        #expect(ModelPrice(rates, perRequest: -1) == nil)
        #expect(ModelPrice(TokenRates(input: 0, output: 0, parts: [.reasoning: 1_000_000_000_001])) == nil)
    }
}
