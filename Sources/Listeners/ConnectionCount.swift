package import CoreMetrics
import Synchronization

/// How many connections are open over all listening sockets, and the bound on them.
package final class ConnectionCount: Sendable {
    private let count = Atomic<Int>(0)
    private let limit: Int
    private let gauge: Gauge
    private let accepted: Counter
    private let refused: Counter

    package init(limit: Int, factory: any MetricsFactory) {
        self.limit = limit
        gauge = Gauge(label: GatewayMetricName.connections, dimensions: [], factory: factory)
        accepted = Counter(
            label: GatewayMetricName.accepted, dimensions: [("result", "accepted")], factory: factory
        )
        refused = Counter(label: GatewayMetricName.accepted, dimensions: [("result", "refused")], factory: factory)
    }

    /// Connections that are open now.
    package var value: Int { count.load(ordering: .relaxed) }

    /// Takes in one more; false where the bound is reached.
    package func open() -> Bool {
        let now = count.add(1, ordering: .relaxed).newValue
        guard now <= limit else {
            count.subtract(1, ordering: .relaxed)
            refused.increment()
            return false
        }
        accepted.increment()
        gauge.record(now)
        return true
    }

    /// Gives the place of one back.
    package func close() {
        gauge.record(count.subtract(1, ordering: .relaxed).newValue)
    }
}

/// The names of what the connections report, for a backend that declares its metrics up front.
public enum GatewayMetricName {
    /// Connections that are open.
    public static let connections = "llm_rate_limit_connections"
    /// Connections that came, by `result`: accepted, refused at the bound, or forbidden to their user.
    public static let accepted = "llm_rate_limit_connections_total"
}
