import CoreMetrics
import Synchronization

/// A whole-number sum: one relaxed atomic add for each increment.
final class CounterSeries: CounterHandler {
    private let total = Atomic<UInt64>(0)

    var value: UInt64 { total.load(ordering: .relaxed) }

    /// Adds `amount`; a negative amount is ignored, for a counter that falls reads as a restart of the process.
    func increment(by amount: Int64) {
        guard amount > 0 else { return }
        total.wrappingAdd(UInt64(amount), ordering: .relaxed)
    }

    func reset() {
        total.store(0, ordering: .relaxed)
    }
}

/// A fractional sum, kept as the bits of a `Double`.
final class FloatingCounterSeries: FloatingPointCounterHandler {
    private let total = AtomicDouble()

    var value: Double { total.value }

    /// Adds `amount`; negative amounts, infinities and NaN are ignored.
    func increment(by amount: Double) {
        guard amount > 0, amount.isFinite else { return }
        total.add(amount)
    }

    func reset() {
        total.set(0)
    }
}

/// A value that goes up and down. Whole numbers are exact up to 2^53.
final class GaugeSeries: MeterHandler, RecorderHandler {
    private let current = AtomicDouble()

    var value: Double { current.value }

    func set(_ value: Int64) { current.set(Double(value)) }
    func set(_ value: Double) { current.set(value) }
    func record(_ value: Int64) { current.set(Double(value)) }
    func record(_ value: Double) { current.set(value) }
    func increment(by amount: Double) { current.add(amount) }
    func decrement(by amount: Double) { current.add(-amount) }
}

/// A `Double` that many threads add to.
struct AtomicDouble: ~Copyable {
    private let bits = Atomic<UInt64>(0)

    var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    func set(_ value: Double) {
        bits.store(value.bitPattern, ordering: .relaxed)
    }

    /// Adds without losing an addition. Each round that fails means that another thread's addition succeeded.
    func add(_ amount: Double) {
        var seen = bits.load(ordering: .relaxed)
        while true {
            let sum = Double(bitPattern: seen) + amount
            let (exchanged, original) = bits.weakCompareExchange(
                expected: seen,
                desired: sum.bitPattern,
                ordering: .relaxed
            )
            if exchanged { return }
            seen = original
        }
    }
}
