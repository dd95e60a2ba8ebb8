import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Calls with candidates")
    struct CandidateTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: large, per: user, unit: requests, quota: 1, window: 1h, match: {model: large}}
              - {name: small, per: user, unit: requests, quota: 2, window: 1m, match: {model: small}}
              - {name: spend, per: user, unit: spend, quota: $1, window: 1d}
              - {name: slots, per: user, unit: concurrency, quota: 1, match: {model: slow}}
            prices:
              unknown_model: deny
              models:
                large: {input: 10000000, output: 10000000}
                "*": {input: 1000000, output: 1000000}
            """

        private func start(_ settings: [String: String] = [:], file: String = Self.file) throws -> Daemon {
            let path = try folder.write(file, to: "limits.yaml")
            return try Daemon(
                redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "0", "GROUPS": "given"].merging(settings) { $1 })
        }

        private static let both = #","candidates":[{"model":"large"},{"model":"small","provider":"p"}]"#

        private func post(_ client: HTTPConnection, _ path: String, _ members: String = "") throws -> HTTPResponse {
            try client.request("POST", path, body: #"{"user":"\#(user)"\#(members)}"#)
        }

        private func candidate(_ response: HTTPResponse) throws -> Int? {
            (try response.json["candidate"] as? [String: Any])?["index"] as? Int
        }

        private func used(_ client: HTTPConnection) throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        @Test("The first that all its limits admit is charged and named, and nothing of one that was passed over")
        func first() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let tokens = Self.both + #","input_tokens":1000"#
            let one = try post(client, "/v1/check", tokens)
            #expect(try one.status == 200 && candidate(one) == 0 && one.json["limit_name"] as? String == "large")
            #expect(try used(client) == ["large": 1, "small": 0, "spend": 10_000, "slots": 0])
            let two = try post(client, "/v1/check?verbose=1", tokens)
            #expect(two.status == 200 && two.text.contains(#""candidate":{"index":1,"model":"small","provider":"p"}"#))
            let passed = try #require(try two.json["passed_over"] as? [[String: Any]], "\(two.text)")
            #expect(passed.count == 1 && passed[0]["index"] as? Int == 0 && passed[0]["model"] as? String == "large")
            #expect(passed[0]["limit_name"] as? String == "large" && passed[0]["retry_after"] as? Int == 3600)
            #expect(passed[0]["reason"] as? String == "Try again in 1 hour.")
            // At the price of its own model.
            #expect(try used(client) == ["large": 1, "small": 1, "spend": 11_000, "slots": 0])
            #expect(try candidate(post(client, "/v1/check", tokens)) == 1)
            #expect(try used(client) == ["large": 1, "small": 2, "spend": 12_000, "slots": 0])
        }

        @Test(
            "Where each is denied the answer is that of the shortest wait, from memory too; for good only where all are"
        )
        func denied() throws {
            let daemon = try start(["DENY_CACHE_MS": "10000"])
            let client = try daemon.connect()
            for _ in 0..<3 { #expect(try post(client, "/v1/check", Self.both).status == 200) }
            for asked in 0..<3 {
                let denied = try post(client, "/v1/check?verbose=1", Self.both)
                #expect(try denied.status == 429 && candidate(denied) == 1, "\(denied.text)")
                #expect(try denied.json["limit_name"] as? String == "small")
                #expect(try (1...60).contains(denied.number("retry_after") ?? 0))
                let passed = try #require(try denied.json["passed_over"] as? [[String: Any]])
                #expect(passed.map { $0["index"] as? Int } == [0])
                // The first was remembered when the second was admitted.
                let memory = try daemon.metric(#"llm_rate_limit_checks_total{decision="denied",source="memory"}"#)
                #expect(memory == Double(asked))
            }
            // Each denial is remembered as if it had been asked about alone.
            #expect(try post(client, "/v1/check", #","model":"large""#).status == 429)
            #expect(try daemon.metric(#"llm_rate_limit_checks_total{decision="denied",source="memory"}"#) == 3)
            let never = #","cost":3,"candidates":[{"model":"large"},{"model":"small"}]"#
            let forGood = try post(client, "/v1/check", never)
            #expect(try forGood.status == 429 && forGood.json["retry_after"] is NSNull && candidate(forGood) == 0)
            let mixed = try post(client, "/v1/check", #","cost":2,"candidates":[{"model":"large"},{"model":"small"}]"#)
            #expect(try candidate(mixed) == 1 && mixed.json["limit_name"] as? String == "small")
        }

        @Test(
            "A reserve gives the lease of the one that is admitted alone, and a settle is charged as a call of its model"
        )
        func reserve() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let candidates = #","ttl":60,"input_tokens":1000,"candidates":[{"model":"slow"},{"model":"large"}]"#
            let first = try post(client, "/v1/reserve", candidates)
            #expect(try first.status == 200 && candidate(first) == 0)
            #expect(try used(client) == ["large": 0, "small": 0, "spend": 1_000, "slots": 1])
            let second = try post(client, "/v1/reserve", candidates)
            #expect(try second.status == 200 && candidate(second) == 1)
            let lease = try #require(try second.json["lease"] as? String)
            #expect(try used(client) == ["large": 1, "small": 0, "spend": 11_000, "slots": 1])
            #expect(
                try post(client, "/v1/settle", #","lease":"\#(lease)","input_tokens":2000"#).text
                    == #"{"charged":true}"#)
            #expect(try used(client) == ["large": 1, "small": 0, "spend": 21_000, "slots": 1])
            let third = try post(client, "/v1/reserve", candidates)
            // The large one has no request left for an hour; of the slow one a slot may come back with its lease.
            #expect(try third.status == 503 && candidate(third) == 0 && third.json["at_capacity"] as? Bool == true)
        }

        @Test("With an id it is admitted once, and a repeated one names the candidate that was admitted")
        func once() throws {
            let daemon = try start()
            let client = try daemon.connect()
            #expect(try post(client, "/v1/check", #","model":"large""#).status == 200)
            let call = Self.both + #","request_id":"a""#
            let admitted = try post(client, "/v1/check", call)
            #expect(try admitted.status == 200 && candidate(admitted) == 1)
            for path in ["/v1/check", "/v1/check?verbose=1"] {
                let again = try post(client, path, call)
                #expect(try again.json["repeated"] as? Bool == true && candidate(again) == 1, "\(again.text)")
            }
            #expect(try used(client)["small"] == 1)
        }

        @Test(
            "A model without a price is passed over, and one under no limit is taken where those before it are denied")
        func withoutLimits() throws {
            let file = """
                limits:
                  - {name: large, per: user, unit: requests, quota: 2, window: 1h, match: {model: large}}
                  - {name: spend, per: user, unit: spend, quota: $1, window: 1d, match: {model: odd}}
                prices: {unknown_model: deny, models: {large: {input: 1, output: 1}}}
                """
            let daemon = try start(file: file)
            let client = try daemon.connect()
            // Nobody was asked about the one behind, though it is known to be denied.
            let first = try post(
                client, "/v1/check?verbose=1", #","candidates":[{"model":"large"},{"model":"odd"}]"#)
            #expect(try candidate(first) == 0 && (first.json["passed_over"] as? [Any] ?? []).isEmpty, "\(first.text)")
            let all = #","candidates":[{"model":"odd"},{"model":"large"},{"model":"free"},{"model":"large2"}]"#
            #expect(try [1, 2, 2].map { try candidate(post(client, "/v1/check", all)) == $0 } == [true, true, true])
            let verbose = try post(client, "/v1/check?verbose=1", all)
            let passed = try #require(try verbose.json["passed_over"] as? [[String: Any]], "\(verbose.text)")
            #expect(passed.map { $0["index"] as? Int } == [0, 1])
            #expect(passed[0]["retry_after"] is NSNull && passed[1]["limit_name"] as? String == "large")
        }

        @Test("A dry run names the candidate that would be taken, and charges none")
        func dryRun() throws {
            let daemon = try start()
            let client = try daemon.connect()
            #expect(try post(client, "/v1/check", #","model":"large""#).status == 200)
            let before = try used(client)
            for _ in 0..<3 {
                let dry = try post(client, "/v1/check", Self.both + #","dry_run":true"#)
                #expect(try candidate(dry) == 1 && dry.text.contains(#""passed_over":[{"index":0"#))
                #expect(dry.text.contains(#"{"limit_name":"large","missed":"model""#))
            }
            #expect(try used(client) == before)
        }

        @Test("While Redis is away the failure mode of the first one's limits answers, and names the first")
        func away() throws {
            let file = """
                limits:
                  - {name: large, per: user, unit: requests, quota: 1, window: 1h, match: {model: large}}
                  - {name: small, per: user, unit: requests, quota: 1, window: 1h, match: {model: small}, on_redis_failure: closed}
                """
            let daemon = try start(file: file)
            let client = try daemon.connect()
            #expect(try post(client, "/v1/check", Self.both).status == 200)
            redis.end()
            #expect(try eventually(within: 20) { try post(client, "/v1/check", Self.both).isDegraded })
            let open = try post(client, "/v1/check", Self.both)
            #expect(try open.status == 200 && candidate(open) == 0)
            let closed = try post(client, "/v1/check", #","candidates":[{"model":"small"},{"model":"large"}]"#)
            #expect(closed.status == 503)
        }

        @Test("In shadow mode the first is taken, whatever denies it")
        func shadow() throws {
            let daemon = try start(["SHADOW": "true"])
            let client = try daemon.connect()
            for _ in 0..<4 {
                let answer = try post(client, "/v1/check", Self.both)
                #expect(try answer.status == 200 && candidate(answer) == 0)
            }
            #expect(try used(client)["small"] == 0)
        }

        @Test("Four daemons, 64 clients: no window above its quota, and as much is charged as was admitted")
        func contention() throws {
            let file = """
                limits:
                  - {name: first, per: group, unit: requests, quota: 40, window: 1h, match: {model: first}}
                  - {name: second, per: group, unit: requests, quota: 30, window: 1h, match: {model: second}}
                  - {name: own, per: user, unit: requests, quota: 5, window: 1h, match: {model: [first, second]}}
                """
            let path = try folder.write(file, to: "limits.yaml")
            let daemons = try (0..<4).map { _ in
                try Daemon(
                    redis: redis.url,
                    ["LIMITS_FILE": path, "REQUESTS": "0", "GROUPS": "given", "REDIS_TIMEOUT_MS": "5000"])
            }
            let users = (0..<32).map { _ in newUser() }
            let admitted = try concurrently(64) { index -> [Int] in
                let client = try daemons[index % 4].connect()
                var counts = [0, 0]
                for turn in 0..<24 {
                    let order = (index + turn) % 2 == 0 ? ["first", "second"] : ["second", "first"]
                    let candidates = order.map { #"{"model":"\#($0)"}"# }.joined(separator: ",")
                    let body =
                        #"{"user":"\#(users[index % 32])","groups":["g"],"candidates":[\#(candidates)]}"#
                    let response = try client.request("POST", "/v1/check", body: body)
                    guard response.status == 200, !response.isDegraded else { continue }
                    let named = try response.json["candidate"] as? [String: Any]
                    counts[named?["model"] as? String == "first" ? 0 : 1] += 1
                }
                return counts
            }
            let sums = admitted.reduce([0, 0]) { [$0[0] + $1[0], $0[1] + $1[1]] }
            #expect(sums == [40, 30])
            let client = try daemons[0].connect()
            func used(_ user: String) throws -> [String: Int] {
                let page = try client.request("GET", "/v1/users/\(user)/usage?group=g&model=first").json
                let limits = try #require(page["limits"] as? [[String: Any]])
                return Dictionary(
                    uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
            }
            let own = try users.map { try #require(try used($0)["own"]) }
            #expect(own.reduce(0, +) == 70 && own.allSatisfy { $0 <= 5 })
            #expect(try used(users[0])["first"] == 40 && used(users[0])["second"] == 30)
        }

        @Test("Two models with a fall-back, as the page Limits has them")
        func example() throws {
            let file = """
                limits:
                  - {name: large, per: user, unit: requests, quota: 2, window: 1h, match: {model: large-1}}
                  - {name: small, per: user, unit: requests, quota: 5, window: 1m, match: {model: small-1}}
                """
            let daemon = try start(file: file)
            let client = try daemon.connect()
            let call = #","candidates":[{"model":"large-1"},{"model":"small-1","provider":"acme"}]"#
            let taken = try (0..<7).map { _ in try candidate(post(client, "/v1/check", call)) }
            #expect(taken == [0, 0, 1, 1, 1, 1, 1])
            let eighth = try post(client, "/v1/check", call)
            #expect(try eighth.status == 429 && eighth.json["limit_name"] as? String == "small")
            #expect(try (1...60).contains(eighth.number("retry_after") ?? 0))
        }

        @Test(
            "Candidates that cannot be used are refused with what is accepted, and one that is named twice is asked about once"
        )
        func refused() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let many = (0..<17).map { #"{"model":"m\#($0)"}"# }.joined(separator: ",")
            for (members, reason) in [
                (#","candidates":[]"#, "candidates has 0 of them: accepted are 1 to 16"),
                (#","candidates":[\#(many)]"#, "candidates has 17 of them: accepted are 1 to 16"),
                (#","candidates":{"model":"x"}"#, "candidates is no array"),
                (#","candidates":["x"]"#, "candidate 0 is no object"),
                (#","candidates":[{"model":"large"},{}]"#, "candidate 1 names neither model nor provider"),
                (#","candidates":[{"model":7}]"#, "the model of candidate 0"),
                (#","model":"x","candidates":[{"model":"large"}]"#, "model stands beside candidates: say it in each"),
                (#","provider":"x","candidates":[{"model":"large"}]"#, "provider stands beside candidates"),
            ] {
                for path in ["/v1/check", "/v1/reserve"] {
                    let response = try post(client, path, members)
                    #expect(response.status == 400 && response.text.contains(reason), "\(members): \(response.text)")
                }
            }
            let twice = #","candidates":[{"model":"large"},{"model":"large"},{"model":"small"}]"#
            #expect(try candidate(post(client, "/v1/check", twice)) == 0)
            let answer = try post(client, "/v1/check?verbose=1", twice)
            #expect(try candidate(answer) == 2 && (answer.json["passed_over"] as? [Any])?.count == 1)
            #expect(answer.text.contains("candidate 1 is candidate 0 again"))
            let usage = try post(
                client, "/v1/usage", #","model":"large","input_tokens":5,"candidates":[{"model":"small"}]"#)
            #expect(usage.text.contains(#""charged":true"#) && usage.text.contains(#""member":"candidates""#))
        }
    }
}
