import LoadGenerator
import TestSupport
import Testing

/// Limits of Envoy's rate limit service, asked over gRPC.
@Suite("Descriptors of two releases", .serialized, .needsReleases)
struct DescriptorTests {
    @Test(
        "Under load over both a descriptor's window is filled and never exceeded, and one begins it anew for both",
        arguments: [[Release.last, .current], [.current, .last]])
    func shared(order: [Release]) throws {
        let (redis, folder) = (try RedisServer(), try TemporaryFolder())
        let file = """
            domain: bench
            descriptors:
              - key: user
                rate_limit: {unit: hour, requests_per_unit: 60}
            """
        let envoy = try folder.write(file, to: "envoy.yaml")
        let daemons = try order.enumerated().map { number, release in
            let settings = [
                "ENVOY_CONFIG": envoy, "GRPC_SOCKET": folder.file("grpc-\(number)"), "DENY_CACHE_MS": "60000",
            ]
            return try Daemon(redis: redis.url, settings, program: release.program)
        }
        try redis.waitUntilSubscribed()
        let users = try Users(count: 1)
        let key = "llm-rate:descriptor:bench:user=\(users[0])"
        @Sendable func ask(_ number: Int, _ calls: Int) throws {
            let report = try LoadGenerator.Load(
                target: Endpoint(folder.file("grpc-\(number)")), traffic: .rateLimitService(CheckMix(users: users)),
                connections: 2, warmUpMilliseconds: 0, length: .checks(calls)
            ).run()
            #expect(report.tally.other == 0 && report.lostConnections == 0)
        }
        func charged() throws -> Int {
            guard case .bulk(let bytes) = try redis.command("GET", key) else { return 0 }
            return try StoredWindow(bytes).entries.reduce(0) { $0 + $1.cost }
        }
        func reset(_ number: Int) throws {
            let path = "/v1/descriptors?domain=bench&key=user&value=\(users[0])"
            let answer = try daemons[number].connectAdmin().request("DELETE", path)
            #expect(answer.status == 204, "\(answer.text)")
        }
        // Each alone asks for less than there is, and both for more.
        for round in 0..<2 {
            _ = try concurrently(2) { try ask($0, 50) }
            for number in 0..<2 { try ask(number, 60) }
            #expect(try charged() == 60)
            try reset(round)
            // The other has forgotten its denials too.
            #expect(
                try eventually(within: 20) {
                    try ask(1 - round, 1)
                    return try charged() > 0
                })
            try reset(round)
        }
    }
}
