/// How long to tell somebody to wait for what leases hold.
///
/// A lease ends when its call does, which nobody knows beforehand. Certain is only the last moment, when the leases have
/// lapsed; to tell that is to send a client away for a day where a slot is free in a second. So the wait is a forecast,
/// from how long leases have lasted lately.
public enum LeaseWait {
    /// The longest wait that a forecast may tell, in milliseconds.
    public static let longestMilliseconds = 60_000
    /// How long a lease is taken to last while none has ended yet, in milliseconds.
    public static let assumedMilliseconds = 10_000

    /// In how many milliseconds so many of the leases under way will have ended, at the rate at which leases that last so
    /// long end.
    ///
    /// - Parameters:
    ///   - durationMilliseconds: how long leases have lasted lately; nil where none has ended yet.
    ///   - ending: how many have to end, 1 or more.
    ///   - underWay: how many there are, 1 or more.
    public static func forecastMilliseconds(durationMilliseconds: Int?, ending: Int, of underWay: Int) -> Int {
        let duration = min(max(0, durationMilliseconds ?? assumedMilliseconds), RecentAmounts.amounts.upperBound)
        let all = max(1, underWay)
        let ending = min(max(1, ending), all)
        // 32 bits times the 40 of a quota stay within 128.
        return Int((Int128(duration) * Int128(ending) + Int128(all) - 1) / Int128(all))
    }

    /// The wait to tell, in milliseconds.
    ///
    /// - Parameters:
    ///   - forecast: what leases need; it counts as ``longestMilliseconds`` at most.
    ///   - least: what has been charged leaves its window only after this long, whatever leases do. As long as this the
    ///     told wait is at least.
    ///   - most: after this long the call certainly passes. The told wait is never longer.
    public static func toldMilliseconds(forecast: Int, least: Int, most: Int) -> Int {
        min(most, max(least, min(forecast, longestMilliseconds), 1))
    }
}
