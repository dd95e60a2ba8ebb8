/// Counts latencies in steps of at most 1/256 of the value, so that any percentile is known to 0.4 % and recording one
/// costs a few instructions and never memory.
///
/// Below 512 ns every value has a step of its own; above, each power of two has 256 of equal width, as HdrHistogram
/// lays them out. Values above 2^36 ns (68 s) count as that.
public struct LatencyHistogram: Sendable {
    private static let stepBits = 8
    private static let steps = 1 << stepBits
    private static let largest: UInt64 = 1 << 36

    private var counts: [Int]
    /// How many latencies are recorded.
    public private(set) var count = 0
    /// The longest latency recorded, in nanoseconds and exact; 0 while there is none.
    public private(set) var maximumNanoseconds: UInt64 = 0

    /// An empty histogram of 61 KiB.
    public init() {
        counts = [Int](repeating: 0, count: Self.index(of: Self.largest) + 1)
    }

    /// Counts one latency.
    public mutating func record(nanoseconds: UInt64) {
        counts[Self.index(of: min(nanoseconds, Self.largest))] += 1
        count += 1
        if nanoseconds > maximumNanoseconds { maximumNanoseconds = nanoseconds }
    }

    /// The latency, in nanoseconds, that so many of ten thousand recorded ones do not exceed: 5,000 is the median,
    /// 9,990 the 99.9th percentile. 0 while nothing is recorded.
    ///
    /// - Parameter permyriad: 0 to 10,000.
    public func nanoseconds(atPermyriad permyriad: Int) -> UInt64 {
        precondition((0...10_000).contains(permyriad))
        let rank = max(1, (count * permyriad + 9_999) / 10_000)
        var seen = 0
        for (index, number) in counts.enumerated() {
            seen += number
            if seen >= rank { return min(Self.highest(at: index), maximumNanoseconds) }
        }
        return maximumNanoseconds
    }

    private static func index(of value: UInt64) -> Int {
        let shift = max(0, UInt64.bitWidth - value.leadingZeroBitCount - stepBits - 1)
        return shift * steps + Int(value >> UInt64(shift))
    }

    /// The highest value that is counted at an index.
    private static func highest(at index: Int) -> UInt64 {
        let shift = max(0, index / steps - 1)
        return ((UInt64(index - shift * steps) + 1) << UInt64(shift)) - 1
    }
}
