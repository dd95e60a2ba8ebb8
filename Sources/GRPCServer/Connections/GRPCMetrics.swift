package import CoreMetrics

/// What the gRPC connections report. Every series is there from the start.
package final class GRPCMetrics: Sendable {
    /// The names, for a backend that declares its metrics up front.
    package enum Name {
        /// Connections that are open.
        package static let connections = "llm_rate_limit_grpc_connections"
        /// Connections that have ended, by `reason`.
        package static let ended = "llm_rate_limit_grpc_connections_ended_total"
    }

    private let connections: Meter
    private let ends: [ConnectionEndReason: Counter]

    /// Makes every series in `factory`.
    package init(factory: any MetricsFactory) {
        connections = Meter(label: Name.connections, dimensions: [], factory: factory)
        connections.set(0)
        ends = Dictionary(
            uniqueKeysWithValues: ConnectionEndReason.allCases.map {
                ($0, Counter(label: Name.ended, dimensions: [("reason", $0.rawValue)], factory: factory))
            })
    }

    func opened() { connections.increment() }

    func ended(_ reason: ConnectionEndReason) {
        connections.decrement()
        ends[reason]?.increment()
    }
}
