import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Estimates that are learned")
    struct EstimateTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000000, window: 1h}
              - {name: output, per: user, unit: tokens.output, quota: 1000000, window: 1h}
              - {name: spend, per: user, unit: spend, quota: $100, window: 1h}
            prices:
              models:
                "gpt-*": {input: 1000000, output: 10000000}
            """

        private func start(_ file: String = Self.file) throws -> Daemon {
            let path = try folder.write(file, to: "limits.yaml")
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "100000"])
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String) throws -> HTTPResponse {
            try client.request("POST", path, body: "{\(members)}")
        }

        private func used(_ client: HTTPConnection, _ user: String) throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        /// Reserves without an estimate, says what was held, and releases.
        private func held(
            _ client: HTTPConnection, _ user: String, model: String = "gpt-4o"
        ) throws -> (estimate: [String: Any], tokens: Int, output: Int, spend: Int) {
            let before = try used(client, user)
            let response = try post(client, "/v1/reserve", #""user":"\#(user)","model":"\#(model)""#)
            #expect(response.status == 200, "\(response.text)")
            let after = try used(client, user)
            let lease = try #require(try response.json["lease"] as? String)
            #expect(try post(client, "/v1/release", #""user":"\#(user)","lease":"\#(lease)""#).status == 200)
            func difference(_ name: String) -> Int { (after[name] ?? 0) - (before[name] ?? 0) }
            return (
                try #require(try response.json["estimate"] as? [String: Any]), difference("tokens"),
                difference("output"), difference("spend")
            )
        }

        @Test("A reservation without an estimate holds what the user's calls of the model really used, not the worst")
        func learned() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let first = try held(client, user)
            #expect(first.estimate["source"] as? String == "none" && first.tokens == 0)
            for _ in 0..<10 {
                let members = #""user":"\#(user)","model":"gpt-4o","input_tokens":9000,"output_tokens":9000"#
                let response = try post(client, "/v1/reserve", members)
                let lease = try #require(try response.json["lease"] as? String)
                #expect((try response.json["estimate"] as? [String: Any])?["source"] as? String == "given")
                let real = #""user":"\#(user)","lease":"\#(lease)","input_tokens":400,"output_tokens":600"#
                for isNew in [true, false] {
                    #expect(try post(client, "/v1/settle", real).text.hasPrefix(#"{"charged":\#(isNew)"#))
                }
            }
            let second = try held(client, user)
            #expect(second.estimate["source"] as? String == "learned")
            #expect(second.estimate["learned_from"] as? String == "user")
            #expect(second.estimate["input_tokens"] as? Int == 400 && second.estimate["output_tokens"] as? Int == 600)
            #expect(second.estimate["cost_micros"] as? Int == 6_400)
            #expect(second.tokens == 1_000 && second.output == 600 && second.spend == 6_400)

            // One call that is far larger is no measure for the next; told twice it is still one.
            let outlier = #""user":"\#(user)","model":"gpt-4o","request_id":"big","output_tokens":500000"#
            for _ in 0..<5 { #expect(try post(client, "/v1/usage", outlier).status == 200) }
            #expect(try held(client, user).tokens == 1_000)
        }

        @Test("Who was never seen holds what others' calls of that model used; of another model nobody knows")
        func model() throws {
            let daemon = try start()
            let client = try daemon.connect()
            for number in 0..<10 {
                let members = #""user":"\#(newUser())","model":"gpt-4o","output_tokens":\#(990 + number)"#
                #expect(try post(client, "/v1/usage", members).status == 200)
            }
            let other = try held(client, newUser())
            #expect(other.estimate["learned_from"] as? String == "model" && other.tokens == 998)
            #expect(try held(client, newUser(), model: "gpt-4").estimate["source"] as? String == "none")
        }

        @Test("What is learned holds no more than a quota, so that it denies nobody for good; a quota of 0 denies it")
        func bounded() throws {
            let small = Self.file.replacing("tokens, quota: 1000000", with: "tokens, quota: 100")
            for (file, status) in [(small, 200), (small.replacing("quota: 100,", with: "quota: 0,"), 429)] {
                let daemon = try start(file)
                let client = try daemon.connect()
                let members = #""user":"\#(newUser())","model":"gpt-4o","output_tokens":500"#
                for _ in 0..<4 { #expect(try post(client, "/v1/usage", members).status == 200) }
                let user = newUser()
                let body = #""user":"\#(user)","model":"gpt-4o""#
                #expect(try post(client, "/v1/reserve", body).status == status)
                let used = try used(client, user)
                #expect(used["tokens"] == (status == 200 ? 100 : 0) && used["output"] == (status == 200 ? 500 : 0))
                // All of the quota is held by then.
                #expect(try post(client, "/v1/reserve", body).status == 429)
                daemon.kill()
            }
        }

        @Test("Each daemon has learned for itself, from its own calls, and forgets with its end")
        func forgotten() throws {
            let daemons = try (0..<2).map { _ in try start() }
            let client = try daemons[0].connect()
            let members = #""user":"\#(user)","model":"gpt-4o","cost_micros":700,"input_tokens":5"#
            for _ in 0..<4 { #expect(try post(client, "/v1/usage", members).status == 200) }
            let known = try held(client, user)
            #expect(known.estimate["cost_micros"] as? Int == 700 && known.spend == 700 && known.tokens == 5)
            #expect(try held(daemons[1].connect(), user).estimate["source"] as? String == "none")
            daemons[0].kill()
            try daemons[0].restart()
            #expect(try held(daemons[0].connect(), user).estimate["source"] as? String == "none")
        }
    }
}
