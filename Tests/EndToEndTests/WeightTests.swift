import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// The example of Limits, "What a token counts for", among them.
    @Suite("Weights and prices of tokens")
    struct WeightTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: plan, per: user, unit: tokens, weights: {cache_read: 0.1, output: 5}, quota: 1000000, window: 5h}
              - {name: thinking, per: user, unit: tokens.output, weights: {reasoning: 0.5}, quota: 100000, window: 1h}
              - {name: day, per: user, unit: spend, quota: $50, window: 1d}
            prices:
              models:
                gemini-2.5-pro:
                  input: $1.25
                  output: $10
                  cache_read: $0.125
                  tiers: [{above: 200000, input: $2.50, output: $15, cache_read: $0.25}]
                gpt-4o-audio: {input: $2.50, output: $10, audio_input: $40, audio_output: $80}
                sonar-deep-research: {input: $2, output: $8, reasoning: $3, per_request: $0.005}
            """

        private func start() throws -> Daemon {
            let path = try folder.write(Self.file, to: "limits.yaml")
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "0", "DENY_CACHE_MS": "0"])
        }

        private func post(
            _ client: HTTPConnection, _ path: String, _ user: String, _ members: String
        ) throws -> HTTPResponse {
            try client.request("POST", path, body: #"{"user":"\#(user)",\#(members)}"#)
        }

        private func used(_ client: HTTPConnection, _ user: String) throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) }, uniquingKeysWith: { $1 })
        }

        @Test("Calls count and cost what the page says")
        func page() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let calls: [(members: String, plan: Int, thinking: Int, micros: Int)] = [
                (
                    #""model":"gemini-2.5-pro","input_tokens":2000,"cache_read_input_tokens":18000,"output_tokens":400"#,
                    2_000 + 1_800 + 2_000, 400, 2_500 + 2_250 + 4_000
                ),
                (
                    #""model":"gemini-2.5-pro","usage":{"promptTokenCount":250000,"cachedContentTokenCount":100000,"#
                        + #""candidatesTokenCount":2000,"thoughtsTokenCount":3000}"#,
                    150_000 + 10_000 + 25_000, 2_000 + 1_500, 375_000 + 25_000 + 75_000
                ),
                (
                    #""model":"gpt-4o-audio","usage":{"prompt_tokens":1000,"completion_tokens":500,"#
                        + #""prompt_tokens_details":{"audio_tokens":800},"completion_tokens_details":{"audio_tokens":400}}"#,
                    1_000 + 2_500, 500, 500 + 32_000 + 1_000 + 32_000
                ),
                (
                    #""model":"sonar-deep-research","output_tokens":1000,"reasoning_tokens":600"#, 5_000, 400 + 300,
                    3_200 + 1_800 + 5_000
                ),
                (#""model":"sonar-deep-research""#, 0, 0, 5_000),
            ]
            for (members, plan, thinking, micros) in calls {
                let user = newUser()
                #expect(try post(client, "/v1/usage", user, members).text == #"{"charged":true}"#)
                let counted = ["plan": plan, "thinking": thinking, "day": micros]
                #expect(try used(client, user) == counted, "\(members)")
                #expect(try post(client, "/v1/usage", user, members + #","refund":true"#).text == #"{"refunded":true}"#)
                #expect(try used(client, user) == ["plan": 0, "thinking": 0, "day": 0])
                // Held as it is charged.
                guard members.contains("tokens") || members.contains("usage") else { continue }
                let lease = try #require(try post(client, "/v1/reserve", user, members).json["lease"] as? String)
                #expect(try used(client, user) == counted)
                #expect(try post(client, "/v1/settle", user, #""lease":"\#(lease)",\#(members)"#).status == 200)
                #expect(try used(client, user) == counted)
            }
        }

        @Test("What is learned is held by its weights and parts, and told")
        func learned() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let call =
                #""model":"sonar-deep-research","cache_read_input_tokens":1000,"output_tokens":10,"reasoning_tokens":4"#
            for _ in 0..<4 { _ = try post(client, "/v1/usage", user, call) }
            let before = try used(client, user)
            let reserved = try post(client, "/v1/reserve", user, #""model":"sonar-deep-research""#)
            let estimate = try #require(try reserved.json["estimate"] as? [String: Any])
            #expect(estimate["reasoning_tokens"] as? Int == 4 && estimate["audio_input_tokens"] == nil)
            let after = try used(client, user)
            func held(_ name: String) throws -> Int {
                let (then, now) = (try #require(before[name]), try #require(after[name]))
                return now - then
            }
            #expect(try held("plan") == 150)
            #expect(try held("thinking") == 8)
            // 1,000 from the cache at $2, 6 at $8, 4 at $3, and the call itself.
            #expect(try held("day") == 7_060)
        }

        @Test("A limit denies by what tokens weigh, and answers and explain tell the weights")
        func denied() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let model = #""model":"gpt-4o-audio""#
            #expect(
                try post(client, "/v1/usage", user, #"\#(model),"output_tokens":1000,"cost_micros":0"#).status == 200)
            #expect(
                try post(client, "/v1/check", user, #"\#(model),"cache_read_input_tokens":9950000,"cost_micros":0"#)
                    .status
                    == 200)
            let denied = try post(client, "/v1/check", user, #"\#(model),"cache_read_input_tokens":11,"cost_micros":0"#)
            #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "plan")
            let page = try client.request("GET", "/v1/users/\(user)/usage").text
            #expect(page.contains(#""unit":"tokens","weights":{"output":5,"cache_read":0.1},"is_limited":true"#))
            #expect(page.contains(#""weights":{"reasoning":0.5}"#))
            let explained = try ChildProcess(Daemon.program, ["explain", user, "--socket", daemon.socketPath])
            _ = try explained.wait()
            let words = explained.output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            #expect(words.contains(", weighed output 5, cache_read 0.1"), "\(words)")
        }
    }
}
