import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// What people and programs write, as they write it.
    @Suite("What is written to the daemon is read")
    struct ReadingTests {
        let redis: RedisServer
        let folder: TemporaryFolder
        let user = newUser()

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = #"""
            {"limits": [
              {"name": "tokens", "per": "user", "unit": "tokens", "quota": 1e6, "window": "1d"},
              {"name": "cached", "per": "user", "unit": "tokens.cache_read", "quota": 1000000.0, "window": "1d"},
              {"name": "science", "per": "user", "unit": "requests", "quota": 3, "window": "1h",
               "match": {"team": ["Data Science", "\ud83d\ude80"]}, "warn_at": null},
              {"name": "slots", "per": "user"
               , "unit": "concurrency", "quota": 2},
              {"name": "team", "per": "group", "unit": "tokens", "quota": null, "window": {"calendar": "day"}}
            ], "prices": null}
            """#

        private func start(_ file: String = Self.file, _ settings: [String: String] = [:]) throws -> Daemon {
            let path = try folder.write(file, to: "limits-\(UUID().uuidString)")
            return try Daemon(
                redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "1000", "GROUPS": "given"].merging(settings) { $1 })
        }

        private func limit(_ name: String, _ client: HTTPConnection, groups: [String] = []) throws -> [String: Any]? {
            let query = groups.map { "group=\($0)" }.joined(separator: "&")
            let page = try client.request("GET", "/v1/users/\(user)/usage?\(query)").json
            return try #require(page["limits"] as? [[String: Any]]).first { $0["name"] as? String == name }
        }

        private func used(_ name: String, _ client: HTTPConnection, groups: [String] = []) throws -> Int? {
            try limit(name, client, groups: groups)?["used"] as? Int
        }

        private func members(_ names: [String], _ response: HTTPResponse) throws -> Bool {
            let ignored = try response.json["ignored"] as? [[String: String]] ?? []
            return ignored.map { $0["member"] ?? "" } == names && ignored.allSatisfy { $0["reason"]?.isEmpty == false }
        }

        @Test("A file of limits in JSON, with a byte order mark and all that json.dumps writes, is in force")
        func limitsFile() throws {
            let daemon = try start("\u{feff}" + Self.file)
            let client = try daemon.connect()
            for status in [200, 200, 200, 429] {
                let body = #"{"user":"\#(user)","labels":{"team":"🚀"}}"#
                #expect(try client.request("POST", "/v1/check", body: body).status == status)
            }
        }

        @Test("No usage is lost to what no limit looks at, or to what cannot be used, and the answer says what was not")
        func usage() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let labels =
                (0..<40).map { "\"label-\($0)\":\"\(String(repeating: "v", count: 300))\"" } + [#""":1"#, #""a":null"#]
            let groups = (0..<33).map { _ in newUser() }
            let decorated = """
                {"user":"\(user)","model":"\(String(repeating: "m", count: 300))","provider":null,"cost":null,
                 "labels":{\(labels.joined(separator: ","))},"groups":["\(groups.joined(separator: "\",\""))"],
                 "input_tokens":100.0,"output_tokens":1e1,"cache_read_input_tokens":null,"request_id":"once"}
                """
            for isNew in [true, false] {
                let response = try client.request("POST", "/v1/usage?next=100%", body: decorated)
                #expect(try response.status == 200 && response.json["charged"] as? Bool == isNew)
                #expect(try members([], response), "\(response.text)")
            }
            #expect(try used("tokens", client) == 110)
            #expect(try used("team", client, groups: [groups[32]]) == 110)
            let broken = """
                {"user":"\(user)","model":7,"labels":[],"groups":["","\(groups[0])"],"input_tokens":-5,"output_tokens":40,
                 "request_id":"\(String(repeating: "i", count: 200))","ttl":"long","lease":"none"}
                """
            let response = try client.request("POST", "/v1/usage", body: broken)
            #expect(response.status == 200)
            let names = ["model", "labels", "groups", "input_tokens", "request_id", "ttl", "lease"]
            #expect(try members(names, response), "\(response.text)")
            #expect(try used("tokens", client) == 150)
            #expect(try used("team", client, groups: [groups[0]]) == 150)
            for name in names {
                #expect(try daemon.metric("llm_rate_limit_ignored_members_total{member=\"\(name)\"}") == 1, "\(name)")
            }
        }

        @Test("No settle is lost to what cannot be used: it charges what it can, and frees its slot")
        func settle() throws {
            let daemon = try start()
            let client = try daemon.connect()
            for round in 1...5 {
                let reserved = try client.request("POST", "/v1/reserve", body: #"{"user":"\#(user)","ttl":null}"#)
                #expect(reserved.status == 200)
                let lease = try #require(try reserved.json["lease"] as? String)
                let body = """
                    \u{feff}{"user":"\(user)","lease":"\(lease)","model":null,"cost":0,"labels":{"team":["x"]},"groups":5,
                     "output_tokens":"5","input_tokens":1.0e1}
                    """
                let settled = try client.request("POST", "/v1/settle", body: body)
                #expect(try settled.status == 200 && settled.json["charged"] as? Bool == true, "\(settled.text)")
                #expect(try members(["cost", "labels", "groups", "output_tokens"], settled), "\(settled.text)")
                #expect(try used("tokens", client) == 10 * round)
            }
        }

        @Test("A call of 128 groups meets the limits of all of them; of more the first 128, and the answer says so")
        func manyGroups() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let groups = (0..<140).map { _ in newUser() }
            func body(_ count: Int) -> String {
                #"{"user":"\#(user)","groups":["\#(groups[..<count].joined(separator: "\",\""))"],"output_tokens":1}"#
            }
            #expect(try members([], client.request("POST", "/v1/check", body: body(128))))
            #expect(try used("team", client, groups: [groups[127]]) == 1)
            for path in ["/v1/check", "/v1/usage"] {
                let response = try client.request("POST", path, body: body(140))
                #expect(try response.status == 200 && members(["groups"], response), "\(response.text)")
            }
            #expect(try used("team", client, groups: [groups[127]]) == 3)
            #expect(try used("team", client, groups: [groups[128]]) == 0)
            let query = groups.map { "group=\($0)" }.joined(separator: "&")
            #expect(try members(["groups"], client.request("GET", "/v1/users/\(user)/usage?\(query)")))
        }

        @Test(
            "More limits of groups than one decision has room for stop nobody: whole groups are left out, and are told")
        func moreTermsThanFit() throws {
            let limits = (0..<20).map { "  - {name: team-\($0), per: group, unit: tokens, quota: 100, window: 1h}\n" }
            let daemon = try start("limits:\n" + limits.joined())
            let client = try daemon.connect()
            let groups = (0..<128).map { _ in newUser() }
            let call = #""user":"\#(user)","groups":["\#(groups.joined(separator: "\",\""))"],"output_tokens":1"#
            for _ in 0..<3 {
                for path in ["/v1/check", "/v1/usage"] {
                    let response = try client.request("POST", path, body: "{\(call)}")
                    #expect(try response.status == 200 && members(["groups"], response), "\(response.text)")
                }
                let reserved = try client.request("POST", "/v1/reserve", body: "{\(call)}")
                #expect(try reserved.status == 200 && members(["groups"], reserved))
                let lease = try #require(try reserved.json["lease"] as? String)
                for path in ["/v1/renew", "/v1/settle"] {
                    let response = try client.request("POST", path, body: "{\(call),\"lease\":\"\(lease)\"}")
                    #expect(response.status == 200, "\(response.text)")
                }
            }
            #expect(try used("team-19", client, groups: [groups[0]]) == 9)
            #expect(daemon.process.exitCode == nil)
        }

        @Test("In a query a plus sign is a blank, and what nobody reads is not looked at")
        func query() throws {
            let daemon = try start()
            let client = try daemon.connect()
            for left in [2, 1] {
                let query = "user=\(user)&label.team=Data+Science&next=100%&utm=%zz"
                let response = try client.request("GET", "/v1/check?\(query)")
                #expect(try response.json["limit_name"] as? String == "science" && response.number("remaining") == left)
            }
        }

        @Test("A plain daemon reads null, whole numbers, escapes and a byte order mark in a check as well")
        func plainCheck() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "20"])
            let client = try daemon.connect()
            let escaped = user.replacingOccurrences(of: "-", with: #"\u002d"#)
            for (body, left) in [
                (#"{"user":"\#(user)","cost":null}"#, 19), (#"{"user":"\#(user)","cost":2.0}"#, 17),
                (#"{"user":"\#(escaped)","cost":1e0}"#, 16), ("\u{feff}{\"user\":\"\(user)\"}", 15),
            ] {
                let response = try client.request("POST", "/v1/check", body: body)
                #expect(try response.status == 200 && response.number("remaining") == left, "\(body)")
            }
            let missing = try client.request("POST", "/v1/check", body: #"{"user":null}"#)
            #expect(missing.status == 400 && missing.text.contains("No user is named"))
            #expect(try client.request("POST", "/v1/check", body: #"{"user":"\#(user)","cost":1.5}"#).status == 400)
        }

        @Test("The usage objects of the providers are charged as they mean them, and nobody has to subtract")
        func providers() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let objects = [
                #""usage":{"prompt_tokens":2000,"completion_tokens":300,"total_tokens":2300,"prompt_tokens_details":{"cached_tokens":1900}}"#,
                #""usage":{"input_tokens":2000,"input_tokens_details":{"cached_tokens":1900},"output_tokens":300,"total_tokens":2300}"#,
                #""usage":{"input_tokens":100,"cache_read_input_tokens":1900,"cache_creation_input_tokens":null,"output_tokens":300}"#,
                #""usageMetadata":{"promptTokenCount":2000,"cachedContentTokenCount":1900,"candidatesTokenCount":200,"thoughtsTokenCount":100}"#,
            ]
            for (index, object) in objects.enumerated() {
                let response = try client.request("POST", "/v1/usage", body: #"{"user":"\#(user)",\#(object)}"#)
                #expect(response.status == 200)
                #expect(try members([], response), "\(response.text)")
                #expect(try used("tokens", client) == 2_300 * (index + 1))
                #expect(try used("cached", client) == 1_900 * (index + 1))
            }
            let unknown = try client.request("POST", "/v1/usage", body: #"{"user":"\#(user)","usage":{"tokens":5}}"#)
            #expect(try unknown.status == 200 && members(["usage"], unknown))
            #expect(try used("tokens", client) == 2_300 * 4)
        }
    }
}
