import Foundation
import LoadGenerator
import TestSupport

/// Two daemons on one Redis, with limits of every kind, calls that meet them all, and somebody who is told of thresholds
/// and sent spans.
final class MonitoredDaemons {
    let redis: RedisServer
    let folder: TemporaryFolder
    let ports: [UInt16]
    let daemons: [Daemon]
    /// The webhook of events and the collector of spans: it takes all of them.
    let receiver: HTTPReceiver

    /// Limits of requests, tokens, money and calls under way; one of a window for each model; one that is a shadow; and one
    /// that is soft, of which every user's first call tells.
    static let limits = """
        limits:
          - {name: tokens, per: user, unit: tokens, quota: 100000, window: 1h, warn_at: [0.01]}
          - {name: dollars, per: user, unit: spend, quota: $5, window: 1d}
          - {name: calls, per: user, unit: concurrency, quota: 50}
          - {name: model, per: [user, model], unit: requests, quota: 1000, window: 1h, max_values: 2}
          - {name: trial, per: user, unit: requests, quota: 2, window: 1h, mode: shadow}
          - {name: eager, per: user, unit: requests, quota: 1, window: 1h, mode: soft}
        prices:
          unknown_model: deny
          models:
            gpt-4o: {input: 2500000, output: 10000000}

        """

    /// The limit of the load generator's descriptors.
    static let descriptors = """
        domain: bench
        descriptors:
          - key: user
            rate_limit: {unit: hour, requests_per_unit: 10}

        """

    init() throws {
        let redis = try RedisServer()
        let folder = try TemporaryFolder()
        let receiver = try HTTPReceiver { _, _ in .status(200) }
        let ports = [try freePort(), try freePort()]
        let envoy = try folder.write(Self.descriptors, to: "envoy.yaml")
        daemons = try ports.enumerated().map { index, port in
            try Daemon(
                redis: redis.url,
                [
                    "LISTEN": "127.0.0.1:\(port)", "REQUESTS": "20", "MAX_CONNECTIONS": "40",
                    "LIMITS_FILE": try folder.write(Self.limits, to: "limits-\(index).yaml"), "ENVOY_CONFIG": envoy,
                    "GRPC_SOCKET": folder.file("grpc-\(index)"), "EVENTS_WEBHOOK": receiver.url(),
                ], environment: ["OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url("")])
        }
        (self.redis, self.folder, self.ports, self.receiver) = (redis, folder, ports, receiver)
    }

    /// Asks everything there is once: checks of which some are denied, calls that are reserved and end in every way, calls
    /// that name too many models, none, or one without a price, what cannot be used, and descriptors.
    func ask() throws {
        for (index, daemon) in daemons.enumerated() {
            let client = try daemon.connect()
            let user = newUser()
            for _ in 0..<24 { _ = try client.check(user) }
            try call(client, settling: true)
            try call(client, settling: false)
            for model in ["a", "b", "c"] {
                let members = #""user":"\#(newUser())","model":"\#(model)","input_tokens":10,"output_tokens":5"#
                _ = try client.request("POST", "/v1/usage", body: "{\(members)}")
            }
            let users = try Users(count: 2)
            _ = try LoadGenerator.Load(
                target: Endpoint(folder.file("grpc-\(index)")), traffic: .rateLimitService(CheckMix(users: users)),
                connections: 1, warmUpMilliseconds: 0, length: .checks(20)
            ).run()
        }
    }

    /// A reserved call that is settled or released, or neither.
    func call(_ client: HTTPConnection, settling: Bool?) throws {
        let user = newUser()
        let model = #""user":"\#(user)","model":"gpt-4o""#
        let reserved = try client.request("POST", "/v1/reserve", body: "{\(model),\"output_tokens\":2000,\"ttl\":60}")
        guard let lease = try reserved.json["lease"] as? String else { throw TestFailure("no lease: \(reserved.text)") }
        guard let settling else { return }
        let end = settling ? ("/v1/settle", ",\"output_tokens\":1500") : ("/v1/release", "")
        let ended = try client.request("POST", end.0, body: "{\(model),\"lease\":\"\(lease)\"\(end.1)}")
        guard ended.status == 200 else { throw TestFailure("\(end.0): \(ended.text)") }
    }

    /// The names of the metrics that a daemon has.
    func metricNames() throws -> Set<String> {
        Set(matches(of: "^# TYPE ([^ ]+) ", in: try page()))
    }

    func page() throws -> String { try daemons[0].connect().request("GET", "/metrics").text }
}
