import Testing

@testable import RateLimitCore

@Suite("The wait for what leases hold")
struct LeaseWaitTests {
    @Test(
        "is forecast from how long leases last and how many are under way: the more there are, the sooner one ends",
        arguments: [
            (8_000, 1, 1, 8_000), (8_000, 1, 4, 2_000), (8_000, 3, 4, 6_000), (8_000, 4, 4, 8_000), (1, 1, 1_000, 1),
            (0, 1, 4, 0), (nil, 1, 1, 10_000), (nil, 1, 4, 2_500), (Int.max, 1, 1, Int(UInt32.max)), (-5, 1, 1, 0),
            (8_000, 9, 4, 8_000), (8_000, 0, 0, 8_000),
            (Int.max, 1_000_000_000_000, 1_000_000_000_000, Int(UInt32.max)),
        ] as [(Int?, Int, Int, Int)])
    func forecast(duration: Int?, ending: Int, underWay: Int, expected: Int) {
        #expect(
            LeaseWait.forecastMilliseconds(durationMilliseconds: duration, ending: ending, of: underWay) == expected)
    }

    @Test(
        "is told as forecast, at most a minute, at least what has been charged needs, and never above what is certain",
        arguments: [
            // Leases alone deny.
            (2_000, 0, 86_400_000, 2_000), (600_000, 0, 86_400_000, 60_000), (2_000, 0, 700, 700), (0, 0, 700, 1),
            // What has been charged alone denies: the wait is exact.
            (0, 3_600_000, 3_600_000, 3_600_000), (60_000, 5, 5, 5),
            // Both do.
            (2_000, 3_600_000, 86_400_000, 3_600_000), (2_000, 500, 86_400_000, 2_000),
            (600_000, 30_000, 86_400_000, 60_000),
        ])
    func told(forecast: Int, least: Int, most: Int, expected: Int) {
        #expect(LeaseWait.toldMilliseconds(forecast: forecast, least: least, most: most) == expected)
    }
}
