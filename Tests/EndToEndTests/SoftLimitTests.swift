import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// The worked example of the docs: a team with a soft and a hard line, and members who make many calls.
    @Suite("A soft and a hard line")
    struct SoftLimitTests {
        static let file = """
            limits:
              - {name: team-day, per: group, unit: spend, quota: $50, soft_quota: $40, window: {calendar: day}, warn_at: [0.5]}
              - {name: busy, per: user, unit: requests, quota: 100, window: 1h, mode: soft}
            prices:
              models:
                gpt-4o: {input: 2500000, output: 10000000}
            """

        private let redis: RedisServer
        private let daemon: Daemon
        private let folder: TemporaryFolder
        private let team = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
            let path = try folder.write(Self.file, to: "limits.yaml")
            daemon = try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "0", "GROUPS": "given"])
        }

        private func ask(_ route: String, _ user: String, _ members: String) throws -> HTTPResponse {
            let body = #"{"user":"\#(user)","groups":["\#(team)"],"model":"gpt-4o"\#(members)}"#
            return try daemon.connect().request("POST", route, body: body)
        }

        private func over(_ response: HTTPResponse) throws -> [String] {
            let told = try response.json["over"] as? [String] ?? []
            #expect((response["X-Rate-Limit-Over"] ?? "") == told.joined(separator: ", "))
            return told
        }

        @Test("What the team and its members see, as the page has it")
        func example() throws {
            let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
            let page = readFile("/\(root)/Sources/llm-rate-limit/LLMRateLimit.docc/Limits.md")
            for line in Self.file.split(separator: "\n").dropFirst().prefix(2) {
                #expect(page.contains(line.trimmingCharacters(in: .whitespaces)), "\(line)")
            }
            let (member, other) = (newUser(), newUser())
            func spend(_ micros: Int) throws -> HTTPResponse {
                try ask("/v1/usage", other, #","cost_micros":\#(micros)"#)
            }
            let half = #""warnings":[{"limit_name":"team-day","share":0.500}]"#
            try #require(try spend(24_000_000).status == 200)
            var answer = try ask("/v1/check", member, "")
            #expect(try answer.status == 200 && !answer.text.contains("warnings") && over(answer).isEmpty)
            #expect(try spend(2_000_000).text.contains(half))
            answer = try ask("/v1/check", member, "")
            #expect(try answer.status == 200 && answer.text.contains(half) && over(answer).isEmpty)
            #expect(try over(spend(15_000_000)) == ["team-day"])
            answer = try ask("/v1/check", member, "")
            #expect(try answer.status == 200 && answer.text.contains(half) && over(answer) == ["team-day"])
            // What a lease holds is used, and its settle says the same.
            let reserved = try ask("/v1/reserve", member, #","cost_micros":9000000"#)
            #expect(try reserved.status == 200 && over(reserved) == ["team-day"])
            let lease = try #require(try reserved.json["lease"] as? String)
            let settled = try ask("/v1/settle", member, #","lease":"\#(lease)","cost_micros":9100000"#)
            #expect(try settled.status == 200 && over(settled) == ["team-day"])
            answer = try ask("/v1/check", member, "")
            #expect(try answer.status == 429 && answer.json["limit_name"] as? String == "team-day")
            #expect(try over(answer) == ["team-day"])
            let used = try daemon.connect().request("GET", "/v1/users/\(member)/usage?group=\(team)")
            #expect(used.text.contains(#""mode":"enforce","denied":false,"soft_limit":40000000,"over":true"#))
        }

        @Test("A soft limit admits and counts all there is, says so, and is counted as over")
        func soft() throws {
            let member = newUser()
            func check(_ cost: Int) throws -> HTTPResponse { try ask("/v1/check", member, #","cost":\#(cost)"#) }
            #expect(try over(check(100)).isEmpty)
            let passed = try check(1)
            #expect(try passed.status == 200 && over(passed) == ["busy"])
            #expect(passed["RateLimit-Policy"] == nil)
            #expect(try over(check(1_000)) == ["busy"])
            let used = try daemon.connect().request("GET", "/v1/users/\(member)/usage").text
            #expect(used.contains(#""limit":100,"used":1101,"remaining":0"#) && used.contains(#""mode":"soft""#))
            let explained = try ChildProcess(Daemon.program, ["explain", member, "--socket", daemon.socketPath])
            #expect(try explained.wait() == 0)
            #expect(explained.output.hasPrefix("\(member) is not limited now\n"))
            #expect(explained.outputInOneLine.contains("; soft: it denies nobody; it is over"), "\(explained.output)")
            let page = try daemon.connect().request("GET", "/metrics").text
            #expect(page.contains(#"llm_rate_limit_limit_decisions_total{decision="over",limit="busy"} 2"#), "\(page)")
        }
    }
}
