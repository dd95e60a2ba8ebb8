import Foundation
import TestSupport
import Testing

/// Users and groups that are no UUIDs, with what their keys are called behind the prefix.
private let subjects: [(text: String, key: String)] = [
    ("alice@example.com", "user:alice@example.com"), ("Alice@example.com", "user:Alice@example.com"),
    ("88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b", ""),
    ("tenant/αβγ", "user:tenant/%CE%B1%CE%B2%CE%B3"), ("global", "user:global"), ("group:x", "user:group:x"),
    ("user:x", "user:user:x"), ("{a}", "user:%7Ba%7D"), ("%41", "user:%2541"), ("A", "user:A"),
    ("~" + String(repeating: "0", count: 64), "user:%7E" + String(repeating: "0", count: 64)),
    ("heartbeat:0", "user:heartbeat:0"), ("a b\n\"\u{1b}[2J", "user:a%20b%0A%22%1B%5B2J"),
    (
        String(repeating: "k", count: 256),
        "user:~ce16fe78208a4e93f7158e62393680e025b2ad584f4e875ce903a654bb74cf93"
    ),
].map { ($0, $1.isEmpty ? "user:" + $0 : $1) }

extension EndToEnd {
    @Suite("Users and groups that are any text")
    struct SubjectTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private func limitsFile() throws -> String {
            let file = """
                limits:
                  - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
                  - {name: team, per: group, unit: tokens, quota: 1000, window: 1h}
                  - {name: all, per: global, unit: tokens, quota: 1000000, window: 1h}
                """
            return try folder.write(file, to: "limits.yaml")
        }

        /// The keys of users and groups that are no UUIDs, but for those of the heartbeat.
        private func windows() throws -> [String] {
            let keys = try ["user", "group"].flatMap {
                try redis.command("KEYS", "llm-rate:\($0):*").elements.compactMap(\.text)
            }
            return keys.filter { !$0.contains(":~:heartbeat:") }
        }

        /// A text as JSON, and percent-encoded.
        private func json(_ text: String) throws -> String {
            String(decoding: try JSONEncoder().encode(text), as: UTF8.self)
        }

        private func encoded(_ text: String) throws -> String {
            try #require(text.addingPercentEncoding(withAllowedCharacters: .alphanumerics))
        }

        @Test("Each has a window of its own, by body, query and path alike, under the key that Limits tells")
        func checks() throws {
            let daemon = try Daemon(redis: redis.url)
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            for (text, key) in subjects {
                let body = #"{"user":\#(try json(text)),"cost":3}"#
                #expect(try client.request("POST", "/v1/check", body: body).number("remaining") == 17, "\(text)")
                let query = "/v1/check?cost=2&user=\(try encoded(text))"
                #expect(try client.request("GET", query).number("remaining") == 15, "\(text)")
                let status = try client.request("GET", "/v1/users/\(try encoded(text))")
                #expect(try status.number("used") == 5 && status.json["user"] as? String == text)
                #expect(try windows() == ["llm-rate:\(key)"])
                #expect(try admin.request("DELETE", "/v1/users/\(try encoded(text))").status == 204)
                #expect(try windows() == [])
                #expect(try client.request("GET", query).number("remaining") == 18, "\(text)")
                try redis.command("FLUSHALL")
            }
        }

        @Test("None shares a window with another, or with a group or all of a limits file")
        func apart() throws {
            let daemon = try Daemon(
                redis: redis.url, ["LIMITS_FILE": try limitsFile(), "REQUESTS": "0", "GROUPS": "given"])
            let client = try daemon.connect()
            for (index, (text, _)) in subjects.enumerated() {
                let group = try json(subjects[(index + 1) % subjects.count].text)
                let body = #"{"user":\#(try json(text)),"groups":[\#(group)],"output_tokens":7}"#
                let answer = try client.request("POST", "/v1/check?verbose=1", body: body)
                let limits = try #require(try answer.json["limits"] as? [[String: Any]])
                #expect(limits.compactMap { $0["used"] as? Int } == [7, 7, 7 * (index + 1)], "\(text)")
                let told = limits.compactMap { $0["group_id"] as? String }
                #expect(told == [subjects[(index + 1) % subjects.count].text])
            }
            #expect(try windows().count == 2 * subjects.count)
        }

        @Test("A lease of each is settled by its text alone, and frees what it holds")
        func leases() throws {
            let daemon = try Daemon(
                redis: redis.url, ["LIMITS_FILE": try limitsFile(), "REQUESTS": "0", "GROUPS": "given"])
            let client = try daemon.connect()
            for (text, _) in subjects {
                let user = try json(text)
                let body = #"{"user":\#(user),"groups":[\#(user)],"output_tokens":900}"#
                let reserved = try client.request("POST", "/v1/reserve", body: body)
                let lease = try #require(try reserved.json["lease"] as? String)
                #expect(try client.request("POST", "/v1/check", body: body).status == 429, "\(text)")
                let settle = #"{"user":"somebody","lease":"\#(lease)","output_tokens":50}"#
                let settled = try client.request("POST", "/v1/settle?verbose=1", body: settle)
                #expect(try settled.status == 200 && settled.json["user"] as? String == text)
                #expect(try client.request("POST", "/v1/check", body: body).status == 200)
            }
        }

        @Test("Budgets, memberships, grants and the audit name each as it was named")
        func budgets() throws {
            let daemon = try Daemon(
                redis: redis.url, ["LIMITS_FILE": try limitsFile(), "REQUESTS": "0", "LOG_USERS": "plain"])
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            for (index, (text, _)) in subjects.enumerated() {
                let group = subjects[(index + 1) % subjects.count].text
                let (userPath, groupPath) = ("/v1/users/\(try encoded(text))", "/v1/groups/\(try encoded(group))")
                let member = try admin.request("PUT", "\(groupPath)/members/\(try encoded(text))")
                #expect(try member.json["user_id"] as? String == text && member.json["group_id"] as? String == group)
                let budget = #"{"group_id":\#(try json(group)),"limits":{"tokens":\#(100 + index)}}"#
                let put = try admin.request("PUT", "\(userPath)/budget", body: budget)
                #expect(try put.status == 200 && put.json["group_id"] as? String == group, "\(text): \(put.text)")
                let grant = #"{"limit":"tokens","amount":5}"#
                #expect(try admin.request("POST", "\(userPath)/grants", body: grant).status == 200)
                let usage = try client.request("GET", "\(userPath)/usage")
                let limits = try #require(try usage.json["limits"] as? [[String: Any]])
                #expect(limits.first?["limit"] as? Int == 105 + index)
                #expect(limits.compactMap { $0["group_id"] as? String } == [group])
                let audit = try admin.request("GET", "/v1/audit?limit=3").json["entries"] as? [[String: Any]]
                #expect(audit?.compactMap { $0["user_id"] as? String } == [text, text, text])
                let before = audit?[1]["after"] as? [String: Any]
                #expect(before?["group_id"] as? String == group)
            }
            // One line for each change, whatever is in a text.
            let lines = daemon.logLines(containing: "changed a budget")
            #expect(lines.count == 3 * subjects.count)
            #expect(lines.allSatisfy { !$0.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f } })
        }

        @Test("Another daemon forgets a denial when one of them resets the user")
        func resetElsewhere() throws {
            let daemons = try (0..<2).map { _ in try Daemon(redis: redis.url, ["DENY_CACHE_MS": "60000"]) }
            let clients = try daemons.map { try $0.connect() }
            for text in ["alice@example.com", "a b\n", String(repeating: "k", count: 256)] {
                let path = "/v1/check?cost=20&user=\(try encoded(text))"
                #expect(try clients[0].request("GET", path).status == 200)
                #expect(try clients[0].request("GET", path).status == 429)
                let admin = try daemons[1].connectAdmin()
                #expect(try admin.request("DELETE", "/v1/users/\(try encoded(text))").status == 204)
                #expect(try eventually(within: 20) { try clients[0].request("GET", path).status == 200 })
            }
        }

        @Test("A line about a user has the text with its controls escaped, its digest, or nothing, as LOG_USERS says")
        func log() throws {
            let text = "eve\n2026-01-01T00:00:00Z notice forged\u{1b}[2J\u{9b}"
            for (value, expected) in [
                ("plain", #"eve\n2026-01-01T00:00:00Z notice forged\u001b[2J\u009b"#), ("none", ""),
            ] {
                let daemon = try Daemon(redis: redis.url, ["LOG_USERS": value])
                let path = "/v1/users/\(try encoded(text))"
                #expect(try daemon.connectAdmin().request("DELETE", path).status == 204)
                let lines = daemon.logLines(containing: "reset a user")
                #expect(lines.count == 1 && daemon.logLines(containing: "forged").count == (value == "plain" ? 1 : 0))
                #expect(lines.first?.contains(expected) == true || value == "none", "\(lines)")
                #expect(lines.first?.contains("eve\\n") == (value == "plain"))
            }
        }

        @Test("The command line takes each, and tells it without control characters")
        func commands() throws {
            let daemon = try Daemon(redis: redis.url)
            for (text, key) in subjects {
                func run(_ arguments: [String]) throws -> String {
                    let environment = [
                        "LLM_RATE_LIMIT_SOCKET": daemon.socketPath,
                        "LLM_RATE_LIMIT_ADMIN_SOCKET": daemon.adminSocketPath,
                    ]
                    let process = try ChildProcess(Daemon.program, arguments + [text], environment: environment)
                    _ = try process.wait()
                    return process.output
                }
                #expect(try run(["check"]).contains("19 of 20"), "\(text)")
                #expect(try windows() == ["llm-rate:\(key)"])
                #expect(try run(["status"]).contains("1 of 20"))
                #expect(try run(["explain"]).contains("1 of 20"))
                let reset = try run(["reset"])
                #expect(reset.hasPrefix("reset: ") && reset.unicodeScalars.count { $0.value < 0x20 } == 1, "\(reset)")
                #expect(try windows() == [])
            }
        }
    }
}
