import TestSupport
import Testing

@testable import RateLimitCore

@Suite("Prices")
struct PriceTests {
    private let dollar = 1_000_000

    private func price(_ input: Int, _ output: Int, read: Int? = nil, write: Int? = nil) throws -> ModelPrice {
        try #require(ModelPrice(input: input, output: output, cacheRead: read, cacheWrite: write))
    }

    private func usage(_ input: Int, _ output: Int = 0, read: Int = 0, write: Int = 0) throws -> TokenUsage {
        try #require(TokenUsage(input: input, output: output, cacheRead: read, cacheWrite: write))
    }

    @Test("of 2.5 dollars and 10 dollars for a million tokens come to what a bill says")
    func bill() throws {
        let price = try price(2_500_000, 10_000_000, read: 1_250_000)
        #expect(price.spend(of: try usage(1_000_000, 1_000_000)) == 12_500_000)
        #expect(price.spend(of: try usage(1_000, 500, read: 2_000)) == 2_500 + 5_000 + 2_500)
        #expect(price.spend(of: .zero) == 0)
    }

    @Test("are rounded up once, and not for each kind")
    func rounding() throws {
        let tenth = try price(100_000, 100_000, read: 100_000, write: 100_000)
        #expect(tenth.spend(of: try usage(1)) == 1)
        #expect(tenth.spend(of: try usage(1, 1, read: 1, write: 1)) == 1)
        #expect(tenth.spend(of: try usage(3, 3, read: 3, write: 1)) == 1)
        #expect(tenth.spend(of: try usage(3, 3, read: 3, write: 2)) == 2)
        #expect(try price(1, 0).spend(of: try usage(1)) == 1)
        #expect(try price(1, 0).spend(of: try usage(1_000_000)) == 1)
        #expect(try price(1, 0).spend(of: try usage(1_000_001)) == 2)
    }

    @Test("are clamped at the bound where they would pass it")
    func clamped() throws {
        let most = 1_000_000_000_000
        let dearest = try price(most, most, read: most, write: most)
        #expect(dearest.spend(of: try usage(most, most, read: most, write: most)) == most)
        #expect(dearest.spend(of: try usage(1_000_000)) == most)
        #expect(dearest.spend(of: try usage(999_999)) == most - dollar)
        #expect(dearest.spend(of: try usage(1_000_001)) == most)
    }

    @Test("take no number outside their bounds")
    func bounds() {
        #expect(ModelPrice(input: -1, output: 0) == nil)
        #expect(ModelPrice(input: 0, output: 1_000_000_000_001) == nil)
        #expect(ModelPrice(input: 0, output: 0, cacheRead: -1) == nil)
        #expect(TokenUsage(input: -1) == nil)
        #expect(TokenUsage(cacheWrite: 1_000_000_000_001) == nil)
    }

    @Test("of cached tokens are those of input where none are given")
    func cached() throws {
        let price = try price(7_000_000, 0, write: 9_000_000)
        #expect(price.spend(of: try usage(0, read: 3)) == 21)
        #expect(price.spend(of: try usage(0, write: 3)) == 27)
    }

    @Test("of a model are those of its name, else of the longest prefix, else what unknown models cost")
    func table() throws {
        let prices = try (1...5).map { try price($0 * dollar, 0) }
        let entries: [PriceTable.Entry] = [
            .init(.prefix("gpt-"), prices[0]), .init(.exact("gpt-4o"), prices[1]), .init(.prefix("gpt-4"), prices[2]),
            .init(.exact("gpt-"), prices[3]),
        ]
        let one = try usage(1)
        let denying = try PriceTable(entries, unknownModel: .deny)
        #expect(denying.spend(of: one, model: "gpt-3") == 1)
        #expect(denying.spend(of: one, model: "gpt-4o") == 2)
        #expect(denying.spend(of: one, model: "gpt-4o-mini") == 3)
        #expect(denying.spend(of: one, model: "gpt-") == 4)
        #expect(denying.spend(of: one, model: "claude") == nil)
        #expect(denying.spend(of: one, model: nil) == nil)
        let free = try PriceTable(entries, unknownModel: .free)
        #expect(free.spend(of: one, model: "claude") == 0)
        #expect(free.spend(of: one, model: nil) == 0)
        let priceOf = try PriceTable(entries, unknownModel: .priceOf("gpt-4-turbo"))
        #expect(priceOf.spend(of: one, model: "claude") == 3)
        #expect(PriceTable.free.spend(of: one, model: "any") == 0)
    }

    @Test("make no table with two of one name, or with a reference to a model without a price")
    func refused() throws {
        let price = try price(1, 1)
        let twice: [PriceTable.Entry] = [
            .init(.exact("a"), price), .init(.prefix("a"), price), .init(.exact("a"), price),
        ]
        #expect(throws: PriceTableError.samePattern(0, 2)) { try PriceTable(twice, unknownModel: .deny) }
        #expect(throws: PriceTableError.unknownReference) { try PriceTable([], unknownModel: .priceOf("a")) }
        let many = (0..<4097).map { PriceTable.Entry(.exact("\($0)"), price) }
        #expect(throws: PriceTableError.tooMany) { try PriceTable(many, unknownModel: .deny) }
    }

    @Test("add up exactly over two million calls")
    func sums() throws {
        var random = SeededGenerator(seed: 4)
        var sum = 0
        var expected = 0
        for _ in 0..<2_000_000 {
            let numbers = (0..<4).map { _ in Int(random.next() % 3_000_000) }
            let prices = (0..<4).map { _ in Int(random.next() % 100_000_000) }
            sum +=
                ModelPrice(input: prices[0], output: prices[1], cacheRead: prices[2], cacheWrite: prices[3])?.spend(
                    of: try usage(numbers[0], numbers[1], read: numbers[2], write: numbers[3])) ?? .min
            // Below 2^63, so plain integers are an independent reckoning.
            let exact = zip(numbers, prices).reduce(0) { $0 + $1.0 * $1.1 }
            expected += exact / 1_000_000 + (exact % 1_000_000 == 0 ? 0 : 1)
        }
        #expect(sum == expected)
    }

    @Test("agree with long multiplication by hand over the whole range")
    func wide() throws {
        var random = SeededGenerator(seed: 5)
        for _ in 0..<100_000 {
            let numbers = (0..<4).map { _ in magnitude(&random) }
            let prices = (0..<4).map { _ in magnitude(&random) }
            let price = try price(prices[0], prices[1], read: prices[2], write: prices[3])
            let usage = try usage(numbers[0], numbers[1], read: numbers[2], write: numbers[3])
            #expect(price.spend(of: usage) == longMultiplication(numbers, prices))
        }
    }

    /// A number from 0 to 10^12 of any length.
    private func magnitude(_ random: inout SeededGenerator) -> Int {
        let bound = [1, 10, 1_000, 1_000_000, 1_000_000_000, 1_000_000_000_000][Int(random.next() % 6)]
        return Int(random.next() % UInt64(bound + 1))
    }

    /// The sum of products over 10^6, rounded up, in digits of base 10^6; at most 10^12.
    private func longMultiplication(_ numbers: [Int], _ prices: [Int]) -> Int {
        let base = 1_000_000
        var digits = [Int](repeating: 0, count: 6)
        for (number, price) in zip(numbers, prices) {
            let left = [number % base, number / base % base, number / base / base]
            let right = [price % base, price / base % base, price / base / base]
            for one in 0..<3 { for other in 0..<3 { digits[one + other] += left[one] * right[other] } }
        }
        for index in 0..<5 {
            digits[index + 1] += digits[index] / base
            digits[index] %= base
        }
        let whole = digits[1] + base * min(digits[2] + base * digits[3] + (digits[4] > 0 ? base * base : 0), base * 2)
        return min(whole + (digits[0] > 0 ? 1 : 0), 1_000_000_000_000)
    }
}
