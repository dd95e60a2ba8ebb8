import RateLimitCore
import Testing

@Suite("An amount of a limit in words")
struct AmountTextTests {
    @Test(
        "has the unit of its limit, and money to the last digit that counts",
        arguments: [
            (LimitUnit.requests, 0, "0 requests"), (.requests, 1, "1 request"), (.tokens(.total), 500, "500 tokens"),
            (.tokens(.input), 1, "1 input token"), (.tokens(.output), 2, "2 output tokens"),
            (.tokens(.cacheRead), 2, "2 cache-read tokens"), (.tokens(.cacheWrite), 1, "1 cache-write token"),
            (.concurrency, 1, "1 slot"), (.concurrency, 3, "3 slots"),
            (.spend, 0, "$0.00"), (.spend, 1, "$0.000001"), (.spend, 975_000, "$0.975"), (.spend, 980_000, "$0.98"),
            (.spend, 5_000_000, "$5.00"), (.spend, 1_000_000_000_000, "$1000000.00"),
        ])
    func amount(_ unit: LimitUnit, _ amount: Int, _ text: String) {
        #expect(unit.text(of: amount) == text)
    }

    @Test("of another has the unit once")
    func share() {
        #expect(LimitUnit.spend.text(of: 975_000, outOf: 5_000_000) == "$0.975 of $5.00")
        #expect(LimitUnit.concurrency.text(of: 1, outOf: 1) == "1 of 1 slot")
        #expect(LimitUnit.tokens(.input).text(of: 1, outOf: 20) == "1 of 20 input tokens")
    }
}
