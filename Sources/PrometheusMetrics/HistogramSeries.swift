import CoreMetrics
import Synchronization

/// Whole numbers sorted into fixed buckets: two relaxed atomic adds for each value.
///
/// The bucket is found from the value's bit width: a table gives the first bucket that can hold a number of that
/// width, and from there at most the bounds within one power of two are compared. The number of values is the sum
/// of the buckets, so that `+Inf` and `_count` can never disagree.
final class HistogramSeries: Sendable {
    /// One slot for each bound and one for everything above the last.
    static let slots = HistogramLimits.bounds + 1

    /// The inclusive upper bounds, without `+Inf`.
    let bounds: [Int64]
    private let paddedBounds: InlineArray<32, Int64>
    private let firstSlotByBitWidth: InlineArray<65, UInt8>
    private let counts: InlineArray<32, Atomic<UInt64>>
    private let total = Atomic<Int64>(0)

    /// `bounds` have passed ``MetricDescription/validate()``: ascending, positive, at most 31.
    init(bounds: [Int64]) {
        precondition(bounds.count < Self.slots, "the catalogue admits at most \(HistogramLimits.bounds) bounds")
        self.bounds = bounds
        // No value exceeds Int64.max, so the search ends at the padding without counting slots.
        paddedBounds = InlineArray { $0 < bounds.count ? bounds[$0] : .max }
        firstSlotByBitWidth = InlineArray { width in
            // A bound of this width or more; the sign bit is never set, so width 64 does not occur.
            let lowest: Int64 = width == 0 ? 0 : width == 64 ? .max : 1 << Int64(width - 1)
            return UInt8(bounds.firstIndex { $0 >= lowest } ?? bounds.count)
        }
        counts = InlineArray { _ in Atomic(0) }
    }

    /// Counts `value`; one below 0 counts as 0 (a clock that stepped back must not shrink the sum).
    func observe(_ value: Int64) {
        let value = max(value, 0)
        var slot = Int(firstSlotByBitWidth[64 - value.leadingZeroBitCount])
        while value > paddedBounds[slot] { slot += 1 }
        counts[slot].wrappingAdd(1, ordering: .relaxed)
        total.wrappingAdd(value, ordering: .relaxed)
    }

    /// The values counted in each slot, the one above the last bound at the end.
    var slotCounts: [UInt64] {
        (0...bounds.count).map { counts[$0].load(ordering: .relaxed) }
    }

    /// The sum of all values. Read apart from the counts, so values being recorded now may be in one and not the other.
    var sum: Int64 { total.load(ordering: .relaxed) }
}

extension HistogramSeries: TimerHandler {
    func recordNanoseconds(_ duration: Int64) {
        observe(duration)
    }
}

extension HistogramSeries: RecorderHandler {
    func record(_ value: Int64) {
        observe(value)
    }

    /// Rounds to the nearest whole number; NaN is ignored.
    func record(_ value: Double) {
        guard !value.isNaN else { return }
        observe(Int64(exactly: value.rounded()) ?? (value < 0 ? 0 : .max))
    }
}
