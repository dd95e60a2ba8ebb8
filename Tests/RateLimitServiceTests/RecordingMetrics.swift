import CoreMetrics
import Synchronization

/// A metrics backend that adds up counters, by `name{label="value",…}`; gauges keep their last value.
final class RecordingMetrics: MetricsFactory {
    private let values = Mutex<[String: Double]>([:])

    /// What has been counted, series that stand at 0 left out.
    var counted: [String: Double] { values.withLock { $0.filter { $0.value != 0 } } }

    /// Every series there is.
    var series: [String] { values.withLock { Array($0.keys) } }

    private func key(_ label: String, _ dimensions: [(String, String)]) -> String {
        guard !dimensions.isEmpty else { return label }
        return "\(label){\(dimensions.map { "\($0.0)=\($0.1)" }.joined(separator: ","))}"
    }

    private func make(_ label: String, _ dimensions: [(String, String)], adds: Bool) -> Series {
        let key = key(label, dimensions)
        values.withLock { $0[key] = 0 }
        return Series { [self] value in
            values.withLock { $0[key, default: 0] = (adds ? $0[key, default: 0] : 0) + value }
        }
    }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        make(label, dimensions, adds: true)
    }

    func makeFloatingPointCounter(label: String, dimensions: [(String, String)]) -> any FloatingPointCounterHandler {
        make(label, dimensions, adds: true)
    }

    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        make(label, dimensions, adds: aggregate)
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        make(label, dimensions, adds: true)
    }

    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
}

private final class Series: CounterHandler, FloatingPointCounterHandler, RecorderHandler, TimerHandler {
    private let take: @Sendable (Double) -> Void

    init(_ take: @escaping @Sendable (Double) -> Void) { self.take = take }

    func increment(by amount: Int64) { take(Double(amount)) }
    func increment(by amount: Double) { take(amount) }
    func record(_ value: Int64) { take(Double(value)) }
    func record(_ value: Double) { take(value) }
    func recordNanoseconds(_ duration: Int64) { take(Double(duration)) }
    func reset() {}
}
