import Testing

@testable import RateLimitCore

@Suite("What the next call is to be expected to come to")
struct RecentAmountsTests {
    private func estimate(_ amounts: [Int]) -> Int? {
        var recent = RecentAmounts()
        for amount in amounts { recent.note(amount) }
        return recent.estimate
    }

    @Test(
        "is the most of the last calls but for the largest tenth, and the most of few",
        arguments: [
            ([], nil), ([7], 7), ([7, 9, 8], 9), ([1, 2, 3, 4], 3), ([9, 1, 1, 1], 1),
            (Array(1...10), 9), (Array(1...11), 9), (Array(1...16), 14), ([5, 5, 5, 5, 5], 5), ([0, 0, 0, 0], 0),
        ])
    func table(amounts: [Int], expected: Int?) {
        #expect(estimate(amounts) == expected)
        #expect(estimate(amounts.reversed()) == expected)
    }

    @Test("is not moved by an outlier, wherever it stands")
    func outlier() {
        let ordinary = Array(repeating: 1_000, count: 15)
        for place in 0...15 {
            var amounts = ordinary
            amounts.insert(1_000_000, at: place)
            #expect(estimate(amounts) == 1_000)
        }
    }

    @Test("follows calls that become larger or smaller, and forgets what was before the last sixteen")
    func follows() {
        let small = Array(repeating: 10, count: 100)
        #expect(estimate(small + [90, 90]) == 10)
        #expect(estimate(small + [90, 90, 90]) == 90)
        #expect(estimate(Array(repeating: 90, count: 100) + Array(repeating: 10, count: 13)) == 90)
        #expect(estimate(Array(repeating: 90, count: 100) + Array(repeating: 10, count: 14)) == 10)
        #expect(estimate(Array(1...1_000)) == 998)
    }

    @Test("is the same as sorting says, for any sixteen")
    func sorted() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let count = Int.random(in: 4...40, using: &generator)
            let amounts = (0..<count).map { _ in Int.random(in: 0...30, using: &generator) }
            let last = amounts.suffix(RecentAmounts.capacity).sorted()
            #expect(estimate(amounts) == last[last.count - 1 - (last.count + 9) / 10], "\(amounts)")
        }
    }

    @Test("takes what is beyond its bounds as the bound")
    func bounds() {
        #expect(estimate([Int.max]) == RecentAmounts.amounts.upperBound)
        #expect(estimate([Int.min]) == 0)
    }

    @Test("is known for each kind of tokens on its own, and for costs where they were told")
    func kinds() {
        var recent = RecentUsage()
        #expect(recent.tokens == nil && recent.costMicros == nil && recent.count == 0)
        recent.note(nil, costMicros: 70)
        #expect(recent.tokens == nil && recent.costMicros == 70)
        recent.note(TokenUsage(input: 1, output: 20, cacheRead: 300), costMicros: nil)
        recent.note(TokenUsage(input: 4, output: 10, cacheWrite: 5_000), costMicros: nil)
        #expect(recent.tokens == TokenUsage(input: 4, output: 20, cacheRead: 300, cacheWrite: 5_000))
        #expect(recent.costMicros == 70 && recent.count == 2)
    }
}
