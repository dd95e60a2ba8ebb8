import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// A header's value that is no ASCII is left to NIOHTTP1: such a request takes the slow path.
    @Suite("Calls by the fast path and by the slow one")
    struct BothPathsTests {
        private static let limits = """
            limits:
              - {name: hourly, per: user, unit: requests, quota: 9, window: 1h, warn_at: [0.2]}
              - {name: tokens, per: user, unit: tokens, quota: 5000, window: 1h}
              - {name: spend, per: user, unit: spend, quota: $5, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 2}
            prices:
              models:
                gpt-4o: {input: 2500000, output: 10000000}
            """
        private static let call = #","model":"gpt-4o","input_tokens":900,"output_tokens":100"#

        /// What each of some requests in turn is answered, for a user of its own, whose id and leases are taken out.
        private func answers(_ client: HTTPConnection, _ headers: [String: String]) throws -> [String] {
            let user = newUser()
            var leases: [String] = []
            func post(_ target: String, _ members: String = "") throws -> String {
                let response = try client.request("POST", target, headers, body: #"{"user":"\#(user)"\#(members)}"#)
                if let lease = try? response.json["lease"] as? String { leases.append(lease) }
                var text = response.text.replacingOccurrences(of: user, with: "USER")
                for lease in leases { text = text.replacingOccurrences(of: lease, with: "LEASE") }
                // How long until a window is empty, and when its period began, depend on when it was asked.
                text = text.replacing(/"(reset_after|retry_after|retry_after_at_most)":[0-9]+/, with: "SECONDS")
                text = text.replacing(/"period_(start|end)":"[^"]*"/, with: "INSTANT")
                text = text.replacing(/Try again in [a-z0-9 ]*/, with: "WAIT")
                return "\(response.status) \(text)"
            }
            var texts = [
                try post("/v1/check"), try post("/v1/check", Self.call), try post("/v1/check?verbose=1", Self.call),
            ]
            texts.append(try post("/v1/reserve", Self.call))
            texts.append(try post("/v1/reserve?verbose=1", Self.call + #","labels":{"a":"b"},"groups":["g"],"ttl":30"#))
            texts.append(try post("/v1/reserve", Self.call))
            guard leases.count >= 2 else { return texts }
            let held = leases.map { #","lease":"\#($0)""# }
            texts.append(try post("/v1/renew", held[0] + #","ttl":90"#))
            let usage =
                #","usage":{"prompt_tokens":700,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":5}}"#
            for _ in 0..<2 { texts.append(try post("/v1/settle", held[0] + usage)) }
            for _ in 0..<2 { texts.append(try post("/v1/release?verbose=1", held[1])) }
            for _ in 0..<2 { texts.append(try post("/v1/usage", #","request_id":"r","cost":3,"model":5"# + usage)) }
            texts.append(
                try post("/v1/usage?verbose=1", #","m\u006fdel":"none","input_tokens":1e3,"cost_micros":null"#))
            for body in [#","lease":"x""#, #","input_tokens":-1"#, #","input_tokens":01"#, ""] {
                for route in ["check", "reserve", "renew", "settle", "release"] {
                    texts.append(try post("/v1/\(route)", body))
                }
            }
            return texts
        }

        @Test("A sequence of calls over all routes is answered alike by both")
        func alike() throws {
            let redis = try RedisServer()
            let folder = try TemporaryFolder()
            let path = try folder.write(Self.limits, to: "limits.yaml")
            for settings in [["LIMITS_FILE": path, "REQUESTS": "0"], ["REQUESTS": "9"]] {
                let daemon = try Daemon(redis: redis.url, settings)
                let client = try daemon.connect()
                let fast = try answers(client, [:])
                let slow = try answers(client, ["X": "é"])
                #expect(fast.count > 30)
                for (one, other) in zip(fast, slow) { #expect(one == other) }
            }
        }
    }
}
