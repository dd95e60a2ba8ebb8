import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Dry runs")
    struct DryRunTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: minute, per: user, unit: requests, quota: 2, window: 1m}
              - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1d}
              - {name: slots, per: user, unit: concurrency, quota: 1}
              - {name: team, per: group, unit: tokens, quota: 5000, window: 1d}
              - {name: session, per: [user, label:session], unit: requests, quota: 5, window: 1h}
              - {name: opus, per: user, unit: requests, quota: 9, window: 1h, match: {model: ["claude-opus*", o3]}}
            prices:
              unknown_model: free
            """

        private func start(_ settings: [String: String] = [:], file: String = Self.file) throws -> Daemon {
            let path = try folder.write(file, to: "limits.yaml")
            return try Daemon(
                redis: redis.url,
                ["LIMITS_FILE": path, "REQUESTS": "0", "GROUPS": "given"].merging(settings) { $1 })
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String = "") throws -> HTTPResponse {
            try client.request("POST", path, body: #"{"user":"\#(user)"\#(members)}"#)
        }

        /// Every key with its bytes and its expiry, but what a heartbeat writes.
        private func content() throws -> [String: [String]] {
            let connection = try redis.connect()
            var content: [String: [String]] = [:]
            for key in try connection.command("KEYS", "*").elements.compactMap(\.text) where !key.contains("heartbeat")
            {
                let dump = try connection.command("DUMP", key)
                content[key] = ["\(dump)", try connection.command("PEXPIRETIME", key).integer.map(String.init) ?? ""]
            }
            return content
        }

        private func limits(_ response: HTTPResponse) throws -> [String: Int] {
            let limits = try #require(try response.json["limits"] as? [[String: Any]], "\(response.text)")
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        @Test(
            "A dry check or reserve is answered as it would be, and leaves every byte in Redis and every metric as it was"
        )
        func changesNothing() throws {
            let daemon = try start(["DENY_CACHE_MS": "10000"])
            let client = try daemon.connect()
            let call = #","model":"o3","output_tokens":600,"labels":{"session":"s"}"#
            #expect(try post(client, "/v1/reserve", call).status == 200)
            // The hand-over of counts to the page is by the page itself.
            func decisions() throws -> [Double?] {
                try ["allowed", "denied"].map {
                    try daemon.metric("llm_rate_limit_checks_total{decision=\"\($0)\",source=\"redis\"}")
                }
            }
            let (before, counted) = (try content(), try decisions())
            #expect(!before.isEmpty)
            for (path, members, status, binding) in [
                ("/v1/check", #","output_tokens":400"#, 200, nil),
                ("/v1/check", #","output_tokens":401"#, 429, "tokens"),
                ("/v1/check", #","output_tokens":1,"request_id":"a","labels":{"session":"t"}"#, 200, nil),
                ("/v1/reserve", #","output_tokens":1"#, 503, "slots"),
                ("/v1/check", #","output_tokens":1,"cost":3"#, 429, "minute"),
            ] as [(String, String, Int, String?)] {
                for _ in 0..<2 {
                    let response = try post(client, path, members + #","dry_run":true"#)
                    #expect(response.status == status, "\(members): \(response.text)")
                    #expect(try response.json["dry_run"] as? Bool == true && response.json["lease"] == nil)
                    if let binding { #expect(try response.json["limit_name"] as? String == binding) }
                    // As they stand without the call.
                    #expect(try limits(response)["tokens"] == 600 && limits(response)["minute"] == 1)
                }
            }
            #expect(try content() == before)
            #expect(try decisions() == counted)
            // None of the denials was remembered, nor any of the ids.
            #expect(try post(client, "/v1/check", #","output_tokens":1,"request_id":"a""#).json["repeated"] == nil)
        }

        @Test("A dry check says that its id was admitted before")
        func repeated() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let call = #","output_tokens":1,"request_id":"a""#
            #expect(try post(client, "/v1/check", call).status == 200)
            let again = try post(client, "/v1/check", call + #","dry_run":true"#)
            #expect(try again.status == 200 && again.json["repeated"] as? Bool == true)
        }

        @Test("Of a limit that does not apply the answer says the condition that the call misses")
        func unmet() throws {
            let daemon = try start()
            let client = try daemon.connect()
            func unmet(_ path: String, _ members: String) throws -> [String: [String]] {
                let response = try post(client, path, members + #","dry_run":true"#)
                let limits = try #require(try response.json["not_applied"] as? [[String: String]], "\(response.text)")
                return Dictionary(
                    uniqueKeysWithValues: limits.map { limit in
                        (limit["limit_name"] ?? "", [limit["missed"] ?? "", limit["reason"] ?? ""])
                    })
            }
            #expect(
                try unmet("/v1/check", #","model":"gpt-4o\n""#) == [
                    "slots": ["operation", "a check takes no slot, a reserve does"],
                    "team": ["group", "the user is in no group"],
                    "session": ["label:session", "it says no label session, and the limit has a window for each"],
                    "opus": ["model", "the model is gpt-4o\n, and the limit is for claude-opus* or o3"],
                ])
            let said = #","model":"o3","groups":["g"],"labels":{"session":"s"}"#
            #expect(try unmet("/v1/reserve", said).isEmpty)
            #expect(
                try unmet("/v1/reserve", #","groups":["g"],"labels":{"session":"s"}"#) == [
                    "opus": ["model", "it says no model, and the limit is for claude-opus* or o3"]
                ])
        }

        @Test("While Redis is away a dry run says so, and what the failure mode would do, and charges no local window")
        func away() throws {
            let file = """
                limits:
                  - {name: minute, per: user, unit: requests, quota: 2, window: 1m, on_redis_failure: local}
                  - {name: strict, per: user, unit: requests, quota: 2, window: 1m, on_redis_failure: closed, match: {model: x}}
                """
            let daemon = try start(file: file)
            let client = try daemon.connect()
            #expect(try post(client, "/v1/check", #","dry_run":true"#).status == 200)
            redis.end()
            #expect(try eventually(within: 20) { try post(client, "/v1/check", #","dry_run":true"#).isDegraded })
            for _ in 0..<5 {
                let dry = try post(client, "/v1/check", #","dry_run":true"#)
                #expect(try dry.status == 200 && dry.json["degraded"] as? Bool == true)
                #expect(try dry.json["dry_run"] as? Bool == true)
            }
            #expect(try post(client, "/v1/check", #","model":"x","dry_run":true"#).status == 503)
            for status in [200, 200, 429] { #expect(try post(client, "/v1/check").status == status) }
            #expect(try post(client, "/v1/check", #","dry_run":true"#).status == 429)
        }

        @Test("With the limit of checks alone a dry run charges nothing either")
        func checksAlone() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1", "WINDOW": "1h"])
            let client = try daemon.connect()
            for _ in 0..<3 {
                let dry = try post(client, "/v1/check", #","dry_run":true"#)
                #expect(try dry.status == 200 && dry.number("remaining") == 1 && limits(dry) == ["requests": 0])
            }
            #expect(try post(client, "/v1/check", #","dry_run":false"#).status == 200)
            for _ in 0..<2 { #expect(try post(client, "/v1/check", #","dry_run":true"#).status == 429) }
        }

        @Test("What is no boolean is refused; a settle or usage is done all the same, and its answer says so")
        func members() throws {
            let daemon = try start()
            let client = try daemon.connect()
            for (path, value) in [("/v1/check", "1"), ("/v1/reserve", "\"true\""), ("/v1/check", "{}")] {
                let response = try post(client, path, #","dry_run":\#(value)"#)
                #expect(response.status == 400 && response.text.contains("dry_run is neither true nor false"))
            }
            #expect(try post(client, "/v1/check", #","dry_run":null"#).json["dry_run"] == nil)
            let usage = try post(client, "/v1/usage", #","output_tokens":5,"dry_run":true"#)
            #expect(usage.text.contains(#""charged":true"#) && usage.text.contains(#""member":"dry_run""#))
        }

        @Test("explain --call tells it at a terminal, and its exit code is that of a check")
        func command() throws {
            let daemon = try start()
            func run(_ arguments: String...) throws -> (status: Int32, output: String) {
                let process = try ChildProcess(
                    Daemon.program, arguments, environment: ["LLM_RATE_LIMIT_SOCKET": daemon.socketPath])
                return (try process.wait(), process.output)
            }
            let passes = try run("explain", user, "--call", #"{"model":"gpt-4o","output_tokens":5}"#)
            #expect(passes.status == 0 && passes.output.contains("would pass"), "\(passes)")
            #expect(passes.output.contains("does not apply: the model is gpt-4o,"))
            #expect(passes.output.split(separator: "\n").allSatisfy { $0.count <= 80 })
            let denied = try run("explain", user, "--reserve", "--call", #"{"output_tokens":5000}"#)
            #expect(denied.status == 1 && denied.output.contains("would be denied by tokens"), "\(denied)")
            #expect(try run("explain", user, "--call", #"{"modle":"x"}"#).status == 2)
            // What it takes is what the daemon says that a call may say.
            func members(_ value: Any) -> Set<String> {
                if let list = value as? [Any] { return list.reduce(into: []) { $0.formUnion(members($1)) } }
                guard let map = value as? [String: Any] else { return [] }
                let properties = map["properties"] as? [String: Any] ?? [:]
                let own = properties["candidates"] != nil && properties["model"] != nil ? Set(properties.keys) : []
                return map.values.reduce(into: own) { $0.formUnion(members($1)) }
            }
            let described = members(try daemon.connect().request("GET", "/v1/openapi.json").json)
            #expect(described.isSuperset(of: ["quotas", "reasoning_tokens"]))
            for member in described.subtracting(["user", "lease", "refund", "ttl"]) {
                #expect(try run("explain", user, "--call", "{\"\(member)\":null}").status != 2, "\(member)")
            }
        }
    }
}
