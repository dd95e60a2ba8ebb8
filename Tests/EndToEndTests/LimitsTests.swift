import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Limits of a file")
    struct LimitsTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let three = """
            limits:
              - {name: minute, per: user, unit: requests, quota: 10, window: 60s}
              - {name: member-tokens, per: user, unit: tokens, quota: 1000, window: 1d}
              - {name: team-spend, per: group, unit: spend, quota: $2, window: {calendar: month}, warn_at: [0.5, 0.9]}
              - {name: gpt, per: user, unit: requests, quota: 3, window: 1h, match: {model: "gpt-4*"}}
            prices:
              unknown_model: deny
              models:
                gpt-4o: {input: 2500000, output: 10000000}
                "claude-*": {input: 3000000, output: 15000000}
            """

        private func start(_ file: String, _ settings: [String: String] = [:]) throws -> Daemon {
            let path = try folder.write(file, to: "limits.yaml")
            return try Daemon(
                redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "100", "GROUPS": "given"].merging(settings) { $1 })
        }

        private func post(_ client: HTTPConnection, _ path: String, _ body: String) throws -> HTTPResponse {
            try client.request("POST", path, body: body)
        }

        /// How much of a limit a user has used, from the page that says it.
        private func used(_ name: String, _ user: String, _ client: HTTPConnection) throws -> Int? {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return limits.first { $0["name"] as? String == name }?["used"] as? Int
        }

        @Test("The one that denies is named, with its wait, and none of the others is charged")
        func chargesNothingOnDenial() throws {
            let daemon = try start(Self.three)
            let client = try daemon.connect()
            let user = newUser()
            let call = #"{"user":"\#(user)","model":"gpt-4o"}"#
            for left in [2, 1, 0] {
                let response = try post(client, "/v1/check", call)
                #expect(response.status == 200)
                #expect(try response.json["limit_name"] as? String == "gpt" && response.number("remaining") == left)
            }
            for _ in 0..<5 {
                let response = try post(client, "/v1/check", call)
                #expect(response.status == 429)
                #expect(try response.json["limit_name"] as? String == "gpt")
                let wait = try #require(try response.number("retry_after"))
                #expect((3_500...3_600).contains(wait) && response["Retry-After"] == "\(wait)")
            }
            #expect(try used("minute", user, client) == 3)
            #expect(try used("gpt", user, client) == 3)
            // Another model is not under that limit.
            #expect(try post(client, "/v1/check", #"{"user":"\#(user)","model":"claude-4"}"#).status == 200)
            #expect(try used("minute", user, client) == 4)
        }

        @Test("A check without anything but a user meets the limits that have no condition")
        func plainCheck() throws {
            let daemon = try start(Self.three)
            let client = try daemon.connect()
            let user = newUser()
            for left in (0..<10).reversed() {
                let response = try client.check(user)
                #expect(response.status == 200)
                #expect(try response.number("limit") == 10 && response.number("remaining") == left)
                #expect(response["RateLimit"] == "\"minute\";r=\(left)")
            }
            #expect(try client.check(user).status == 429)
            // The window of `requests` is the one that a daemon without a file would go on with.
            let plain = try Daemon(redis: redis.url, ["REQUESTS": "100"])
            #expect(try plain.connect().request("GET", "/v1/users/\(user)").number("used") == 10)
            #expect(try plain.connect().check(user).number("remaining") == 89)
            #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 11)
        }

        @Test("Usage is charged once for each request id, may pass the limit, and then denies")
        func usage() throws {
            let daemon = try start(Self.three)
            let client = try daemon.connect()
            let (user, group) = (newUser(), newUser())
            let usage = #"""
                {"user":"\#(user)","groups":["\#(group)"],"model":"claude-4","request_id":"a","input_tokens":400,\#
                "output_tokens":700}
                """#
            #expect(try post(client, "/v1/usage", usage).text.hasPrefix(#"{"charged":true"#))
            #expect(try post(client, "/v1/usage", usage).text.hasPrefix(#"{"charged":false"#))
            #expect(try used("member-tokens", user, client) == 1_100)
            let denied = try client.check(user)
            #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "member-tokens")
            // 400 tokens at 3 dollars and 700 at 15 a million: 11,700 micro-dollars of the group's 2,000,000.
            let other = try post(
                client, "/v1/check?verbose=1", #"{"user":"\#(newUser())","groups":["\#(group)"],"model":"claude-4"}"#)
            let limits = try #require(try other.json["limits"] as? [[String: Any]])
            let team = try #require(limits.first { $0["name"] as? String == "team-spend" })
            #expect(team["used"] as? Int == 11_700 && team["group_id"] as? String == group)
            #expect(team["period"] as? String == "month" && team["rule"] as? String == "default")
        }

        @Test("Where groups are given, the page and the command that explain show those that are asked for")
        func givenGroups() throws {
            let daemon = try start(Self.three)
            let client = try daemon.connect()
            let (user, groups) = (newUser(), [newUser(), newUser()])
            for (group, micros) in zip(groups, [700_000, 2_500_000]) {
                let usage = #"{"user":"\#(newUser())","groups":["\#(group)"],"cost_micros":\#(micros)}"#
                #expect(try post(client, "/v1/usage", usage).status == 200)
            }
            let path = "/v1/users/\(user)/usage"
            #expect(try !client.request("GET", path).text.contains("team-spend"))
            // One that is named twice is one window.
            let query = "?group=\(groups[0])&group=\(groups[1].uppercased())&group=\(groups[0])"
            let page = try client.request("GET", path + query).json
            let limits = try #require(page["limits"] as? [[String: Any]])
            let teams = limits.filter { $0["name"] as? String == "team-spend" }
            #expect(teams.map { $0["group_id"] as? String } == groups)
            #expect(teams.map { $0["used"] as? Int } == [700_000, 2_500_000])
            #expect(try client.request("GET", path + "?group=").status == 400)

            let arguments = ["explain", user, "--socket", daemon.socketPath]
            let options = groups.flatMap { ["--group", $0] }
            let explained = try ChildProcess(Daemon.program, arguments + options)
            #expect(try explained.wait() == 0)
            #expect(explained.output.hasPrefix("\(user) is limited by team-spend\n"), "\(explained.output)")
            #expect(explained.outputInOneLine.contains("$0.70 of $2.00 used of group \(groups[0]) this month"))
            #expect(explained.outputInOneLine.contains("$2.50 of $2.00 used of group \(groups[1]) this month"))
            #expect(try ChildProcess(Daemon.program, arguments + ["--group", ""]).wait() == 2)
        }

        @Test("From a share of the quota on, answers warn")
        func warnings() throws {
            let daemon = try start(Self.three)
            let client = try daemon.connect()
            let (user, group) = (newUser(), newUser())
            let call = #"{"user":"\#(user)","groups":["\#(group)"],"model":"claude-4"}"#
            func charge(_ micros: Int) throws -> HTTPResponse {
                try post(
                    client, "/v1/usage", #"{"user":"\#(newUser())","groups":["\#(group)"],"cost_micros":\#(micros)}"#)
            }
            #expect(try !post(client, "/v1/check", call).text.contains("warnings"))
            _ = try charge(1_000_000)
            #expect(try post(client, "/v1/check", call).text.contains(#"[{"limit_name":"team-spend","share":0.500}]"#))
            _ = try charge(800_000)
            #expect(try post(client, "/v1/check", call).text.contains(#"[{"limit_name":"team-spend","share":0.900}]"#))
            _ = try charge(300_000)
            let denied = try post(client, "/v1/check", call)
            #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "team-spend")
        }

        @Test("A model without a price is denied where unknown models are, and its usage counted as far as it can be")
        func unknownModel() throws {
            let daemon = try start(Self.three)
            let client = try daemon.connect()
            let (user, group) = (newUser(), newUser())
            let groups = #""groups":["\#(group)"]"#
            let denied = try post(client, "/v1/check", #"{"user":"\#(user)","model":"mystery",\#(groups)}"#)
            #expect(try denied.status == 429 && denied.json["retry_after"] is NSNull)
            #expect(try used("minute", user, client) == 0)
            // Where no limit counts money, nobody asks what it costs.
            #expect(try post(client, "/v1/check", #"{"user":"\#(newUser())","model":"mystery"}"#).status == 200)
            let usage = #"{"user":"\#(user)","model":"mystery","input_tokens":5,\#(groups)"#
            #expect(
                try post(client, "/v1/usage", usage + "}").text
                    == #"{"charged":true,"uncounted":[{"unit":"spend","reason":"unknown_model"}]}"#)
            #expect(try post(client, "/v1/usage", usage + #","cost_micros":7}"#).text == #"{"charged":true}"#)
            #expect(try used("member-tokens", user, client) == 10)
            let series = #"llm_rate_limit_uncounted_calls_total{reason="unknown_model",unit="spend"}"#
            #expect(try daemon.metric(series) == 1)
        }

        @Test("In shadow mode a model without a price passes, and the answer says that it would not have")
        func unknownModelInShadow() throws {
            let daemon = try start(Self.three, ["SHADOW": "yes"])
            let client = try daemon.connect()
            let (user, group) = (newUser(), newUser())
            func members(_ model: String) -> String {
                #"{"user":"\#(user)","groups":["\#(group)"],"model":"\#(model)""#
            }
            for path in ["/v1/check", "/v1/reserve"] {
                let passed = try post(client, path, members("mystery") + "}")
                #expect(try passed.status == 200 && passed.json["allowed"] as? Bool == true)
                #expect(try passed.json["shadow_denied"] as? Bool == true)
                #expect(try post(client, path, members("gpt-4o") + "}").json["shadow_denied"] == nil)
            }
            // All that can be counted is, though nobody knows the price.
            #expect(try used("minute", user, client) == 4)
            let usage = try post(client, "/v1/usage", members("mystery") + #","input_tokens":5}"#)
            #expect(try usage.status == 200 && usage.json["uncounted"] != nil)
            #expect(try used("member-tokens", user, client) == 5)
            let page = try client.request("GET", "/metrics").text
            #expect(page.contains(#"llm_rate_limit_checks_total{decision="shadow_denied",source="redis"} 2"#))
        }

        @Test("A shadow limit denies nobody, and reports what enforcing it would have done")
        func shadow() throws {
            let file = """
                limits:
                  - {name: trial, per: user, unit: requests, quota: 2, window: 1h, mode: shadow}
                """
            let daemon = try start(file)
            let client = try daemon.connect()
            let user = newUser()
            for number in 1...5 {
                let response = try client.request("POST", "/v1/check?verbose=1", body: #"{"user":"\#(user)"}"#)
                #expect(response.status == 200)
                let limits = try #require(try response.json["limits"] as? [[String: Any]])
                let trial = try #require(limits.first { $0["name"] as? String == "trial" })
                #expect(trial["denied"] as? Bool == (number > 2) && trial["used"] as? Int == min(number, 2))
            }
        }

        @Test("A changed file holds within moments, and a bad one is refused with its line and changes nothing")
        func reload() throws {
            let daemon = try start("limits:\n  - {name: a, per: user, unit: requests, quota: 2, window: 1h}\n")
            let client = try daemon.connect()
            #expect(try client.check(newUser()).number("limit") == 2)
            try folder.write(
                "limits:\n  - {name: a, per: user, unit: requests, quota: 7, window: 1h}\n", to: "limits.yaml")
            #expect(try eventually(within: 20) { try client.check(newUser()).number("limit") == 7 })
            try folder.write(
                "limits:\n  - {name: a, per: user, unit: requests, quota: -7, window: 1h}\n", to: "limits.yaml")
            #expect(eventually(within: 20) { daemon.logLines(containing: "configuration kept as it was").count == 1 })
            #expect(daemon.logLines(containing: "line 2").count == 1)
            #expect(try client.check(newUser()).number("limit") == 7)
            #expect(try daemon.terminate() == 0)
        }

        @Test("A bad file stops the start with 78, and says where and why")
        func badFile() throws {
            let path = try folder.write(
                "limits:\n  - {name: a, per: user, unit: request, quota: 2, window: 1h}\n", to: "bad")
            let variables = Daemon.variables(folder, ["REDIS_URL": redis.url, "LIMITS_FILE": path])
            let process = try ChildProcess(Daemon.program, ["serve"], environment: variables)
            #expect(try process.wait() == 78)
            #expect(process.errors.contains("LLM_RATE_LIMIT_LIMITS_FILE") && process.errors.contains("line 2"))
            #expect(process.errors.split(separator: "\n").count == 1)
        }

        @Test("Per-second limits are one more window")
        func perSecond() throws {
            let daemon = try Daemon(redis: redis.url, ["PER_SECOND": "3", "REQUESTS": "1000"])
            let client = try daemon.connect()
            let user = newUser()
            var admitted: [(sentAt: Double, answeredAt: Double)] = []
            while admitted.count < 9 {
                let sentAt = monotonicMilliseconds()
                if try client.check(user).status == 200 {
                    admitted.append((sentAt, monotonicMilliseconds()))
                } else {
                    pause(milliseconds: 5)
                }
            }
            // The fourth is counted before its answer, a window later than the first, which was counted after it was sent.
            for index in 3..<9 { #expect(admitted[index].answeredAt - admitted[index - 3].sentAt > 999) }
        }
    }
}
