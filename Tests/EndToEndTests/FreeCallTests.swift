import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Calls that cost nothing, and calls whose cost nobody knows")
    struct FreeCallTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private func start(unknownModel: String = "deny") throws -> Daemon {
            let file = """
                limits:
                  - {name: spend, per: user, unit: spend, quota: $1, window: 1h}
                  - {name: output, per: user, unit: tokens.output, quota: 1000, window: 1h}
                  - {name: calls, per: user, unit: concurrency, quota: 1}
                prices:
                  unknown_model: \(unknownModel)
                  models:
                    big: {input: 1000000, output: 1000000}
                    local: {input: 0, output: 0}
                """
            let path = try folder.write(file, to: "limits.yaml")
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "100000"])
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String) throws -> HTTPResponse {
            try client.request("POST", path, body: #"{"user":"\#(user)"\#(members)}"#)
        }

        private func used(_ client: HTTPConnection) throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        /// Asks by check and by reserve; what was reserved is released.
        private func statuses(_ client: HTTPConnection, _ members: String) throws -> [Int] {
            let check = try post(client, "/v1/check", members)
            let reserve = try post(client, "/v1/reserve", members)
            if let lease = try reserve.json["lease"] as? String {
                #expect(try post(client, "/v1/release", #","lease":"\#(lease)""#).status == 200)
            }
            return [check.status, reserve.status]
        }

        @Test("A spend limit that is used up denies what may cost money, and passes what certainly costs none")
        func spend() throws {
            let daemon = try start()
            let client = try daemon.connect()
            #expect(try post(client, "/v1/usage", #","cost_micros":1000000"#).status == 200)
            for members in [#","model":"big""#, "", #","model":"big","input_tokens":5"#, #","cost_micros":1"#] {
                #expect(try statuses(client, members) == [429, 429], "\(members)")
            }
            let before = try used(client)
            let free = [
                #","model":"local""#, #","model":"local","input_tokens":9000,"output_tokens":5"#,
                #","model":"big","cost_micros":0"#, #","cost_micros":0"#,
                #","model":"big","input_tokens":0,"output_tokens":0"#,
            ]
            for members in free { #expect(try statuses(client, members) == [200, 200], "\(members)") }
            let after = try used(client)
            #expect(after["spend"] == before["spend"] && after["output"] == 5)
            #expect(after["requests"] == (before["requests"] ?? 0) + free.count)
        }

        @Test("Where unknown models are free, a used up spend limit passes them")
        func unknownModelIsFree() throws {
            let daemon = try start(unknownModel: "free")
            let client = try daemon.connect()
            #expect(try post(client, "/v1/usage", #","cost_micros":1000000"#).status == 200)
            #expect(try statuses(client, #","model":"mystery""#) == [200, 200])
            #expect(try statuses(client, #","model":"big""#) == [429, 429])
            #expect(try statuses(client, "") == [429, 429])
        }

        @Test("A limit of tokens that is used up passes what tells 0 of them, and denies what does not tell")
        func tokens() throws {
            let daemon = try start()
            let client = try daemon.connect()
            #expect(try post(client, "/v1/usage", #","model":"local","output_tokens":1000"#).status == 200)
            #expect(try statuses(client, #","model":"local","output_tokens":0"#) == [200, 200])
            #expect(try statuses(client, #","model":"local","input_tokens":7"#) == [429, 429])
            #expect(try statuses(client, #","model":"local""#) == [429, 429])
            #expect(try used(client)["output"] == 1_000)
        }

        @Test("A learned estimate of a free model holds no money, and passes a spend limit that is used up")
        func learned() throws {
            let daemon = try start()
            let client = try daemon.connect()
            for _ in 0..<5 {
                #expect(
                    try post(client, "/v1/usage", #","model":"local","input_tokens":50,"output_tokens":9"#).status
                        == 200)
            }
            #expect(try post(client, "/v1/usage", #","cost_micros":1000000"#).status == 200)
            let reserved = try post(client, "/v1/reserve", #","model":"local""#)
            #expect(reserved.status == 200 && reserved.text.contains(#""source":"learned""#))
            let held = try used(client)
            #expect(held["spend"] == 1_000_000 && held["output"] == 54 && held["calls"] == 1)
        }

        @Test("A quota of 0 blocks a free model too")
        func blocked() throws {
            let daemon = try start()
            let budget = #"{"limits":{"spend":0}}"#
            #expect(try daemon.connectAdmin().request("PUT", "/v1/users/\(user)/budget", body: budget).status == 200)
            let client = try daemon.connect()
            #expect(try eventually(within: 20) { try statuses(client, #","model":"local""#) == [429, 429] })
        }

        @Test("A settle with an empty model is charged at the price of the lease's; a usage that names none says so")
        func settleWithoutModel() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let lease = try #require(try post(client, "/v1/reserve", #","model":"big""#).json["lease"] as? String)
            let settle = #","lease":"\#(lease)","model":"","provider":"","input_tokens":1000000"#
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":true}"#)
            let spent = try #require(try used(client)["spend"])
            #expect(spent > 0)
            let usage = try post(client, "/v1/usage", #","input_tokens":3,"output_tokens":4"#).text
            #expect(usage == #"{"charged":true,"uncounted":[{"unit":"spend","reason":"no_model"}]}"#)
            #expect(try used(client)["spend"] == spent)
            #expect(try daemon.metric(#"llm_rate_limit_uncounted_calls_total{reason="no_model",unit="spend"}"#) == 1)
        }

        @Test("A settle of a model without a price frees the slot, charges what it can, and says what it could not")
        func settleOfUnknownModel() throws {
            let daemon = try start()
            let client = try daemon.connect()
            // The file had a price when the call began.
            let lease = try #require(try post(client, "/v1/reserve", #","model":"big""#).json["lease"] as? String)
            let file = try String(contentsOfFile: folder.file("limits.yaml"), encoding: .utf8)
            _ = try folder.write(file.replacing("big:", with: "other:"), to: "limits.yaml")
            #expect(try eventually(within: 20) { try post(client, "/v1/check", #","model":"big""#).status == 429 })
            let settle = #","lease":"\#(lease)","input_tokens":3,"output_tokens":4"#
            let settled = try post(client, "/v1/settle", settle).text
            #expect(settled == #"{"charged":true,"uncounted":[{"unit":"spend","reason":"unknown_model"}]}"#)
            let state = try used(client)
            #expect(state["calls"] == 0 && state["output"] == 4 && state["spend"] == 0 && (state["requests"] ?? 0) > 0)
            // Told twice it is counted once, in the metric as well.
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":false,"repeated":true}"#)
            let series = #"llm_rate_limit_uncounted_calls_total{reason="unknown_model",unit="spend"}"#
            #expect(try daemon.metric(series) == 1)
        }
    }
}
