import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Budgets on the admin socket")
    struct BudgetTests {
        let redis: RedisServer
        let user = newUser()
        let group = newUser()
        let folder: TemporaryFolder
        /// Under which the budgets here have an effect.
        let limits: [String: String]

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
            let file = """
                limits:
                  - {name: tokens, per: user, unit: tokens, window: 1d}
                  - {name: chat, per: user, unit: requests, window: 1d, match: {route: chat}}
                  - {name: money, per: user, unit: spend, window: 1d}
                """
            limits = ["LIMITS_FILE": try folder.write(file, to: "limits.yaml")]
        }

        private var userPath: String { "/v1/users/\(user)/budget" }
        private var groupPath: String { "/v1/groups/\(group)/budget" }
        private var memberPath: String { "/v1/groups/\(group)/members/\(user)" }

        /// The moment that a member of an answer names, in milliseconds since 1970; fails where it is no RFC 3339 in UTC.
        private func time(_ response: HTTPResponse, _ name: String) throws -> Int {
            let text = try #require(try response.json[name] as? String)
            #expect(text.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil, "\(text)")
            let formatter = ISO8601DateFormatter()
            formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
            let date = try #require(formatter.date(from: text))
            return Int((date.timeIntervalSince1970 * 1_000).rounded())
        }

        @Test("are put, read and deleted; answers say what is kept and since when")
        func lifecycle() throws {
            let daemon = try Daemon(redis: redis.url, limits.merging(["THREADS": "2"]) { $1 })
            let admin = try daemon.connectAdmin()
            for path in [userPath, groupPath, memberPath] {
                let missing = try admin.request("GET", path)
                #expect(missing.status == 404 && missing["Content-Type"] == "application/problem+json")
            }
            let member = try admin.request("PUT", memberPath)
            #expect(try member.status == 200 && member.json["user_id"] as? String == user)
            #expect(try time(member, "created_at") == time(member, "updated_at"))
            let body = #"{"group_id":"\#(group)","spend_limit_micros":50000000,"limits":{"tokens":1000,"chat":0}}"#
            let put = try admin.request("PUT", userPath, body: body)
            #expect(put.status == 200 && put["Content-Type"] == "application/json")
            #expect(
                put.text.hasPrefix(
                    String(body.dropLast(24))
                        + #""chat":0,"tokens":1000},"units":{"chat":"requests","tokens":"tokens"},"created_at":"#),
                "\(put.text)"
            )
            let read = try admin.request("GET", userPath)
            #expect(read.status == 200 && read.body == put.body)
            #expect(try abs(time(read, "created_at") - systemMicroseconds() / 1_000) < 60_000)
            pause(milliseconds: 5)
            // What was answered can be sent back.
            let again = try admin.request("PUT", userPath, body: read.text)
            #expect(try time(again, "created_at") == time(read, "created_at"))
            #expect(try time(again, "updated_at") > time(read, "updated_at"))
            let ofGroup = try admin.request("PUT", groupPath, body: #"{"spend_limit_micros":9}"#)
            #expect(ofGroup.text.hasPrefix(#"{"spend_limit_micros":9,"limits":{},"created_at":""#))
            #expect(try admin.request("GET", groupPath).body == ofGroup.body)
            #expect(try admin.request("HEAD", groupPath).status == 200)

            let left = try admin.request("DELETE", memberPath)
            #expect(left.status == 204 && left.body.isEmpty)
            #expect(try admin.request("GET", userPath).status == 404)
            #expect(try admin.request("DELETE", groupPath).status == 204)
            #expect(try admin.request("DELETE", groupPath).status == 204)
            #expect(try admin.request("GET", groupPath).status == 404)
            #expect(try daemon.connect().check(user).status == 200)
        }

        @Test("are refused where they cannot be: 400 that says why, and nothing is changed")
        func refused() throws {
            let daemon = try Daemon(redis: redis.url, limits)
            let admin = try daemon.connectAdmin()
            let bodies = [
                (#"{"group_id":"\#(group)"}"#, "is not a member of the group \(group)"),
                (#"{"spend_limit_micros":-1}"#, "whole number from 0"),
                (#"{"spend_limit_micros":0.5}"#, "whole number from 0"),
                (#"{"limits":{"x":-1}}"#, "whole number from 0"),
                (#"{"spend":1}"#, "not known"), ("{", "expected"),
            ]
            for (body, words) in bodies {
                let response = try admin.request("PUT", userPath, body: body)
                #expect(response.status == 400 && response.text.contains(words), "\(response.text)")
                #expect(try admin.request("GET", userPath).status == 404)
            }
            #expect(try redis.keys() == [])
            #expect(try admin.request("GET", "/v1/audit").text == #"{"entries":[],"next_cursor":null}"#)
        }

        @Test("are not shown and not changed anywhere else, over TCP neither: 403")
        func adminOnly() throws {
            let port = try freePort()
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "127.0.0.1:\(port)"])
            for address in [Address.unix(daemon.socketPath), .tcp(port)] {
                let client = try HTTPConnection(address)
                for path in [userPath, groupPath, memberPath, "/v1/audit"] {
                    for method in ["GET", "PUT", "DELETE"] {
                        #expect(try client.request(method, path, body: "{}").status == 403)
                    }
                }
            }
            #expect(try redis.keys() == [])
        }

        @Test("are in the log and in the audit: by whom, what, before and after; the user as the log may name users")
        func audit() throws {
            for (logging, isPlain) in [("plain", true), ("hash", false), ("none", false)] {
                let redis = try RedisServer()
                let daemon = try Daemon(
                    redis: redis.url, limits.merging(["LOG_USERS": logging, "LOG_FORMAT": "json"]) { $1 })
                let admin = try daemon.connectAdmin()
                _ = try admin.request("PUT", userPath, body: #"{"group_id":"\#(group)"}"#)
                _ = try admin.request("PUT", memberPath)
                _ = try admin.request(
                    "PUT", userPath, body: #"{"group_id":"\#(group)","spend_limit_micros":7,"limits":{"tokens":3}}"#)
                _ = try admin.request("DELETE", memberPath)
                #expect(eventually(within: 10) { daemon.logLines(containing: "changed a budget").count == 3 })
                let lines = daemon.logLines(containing: "a budget")
                #expect(lines.count == 4)
                let words = [
                    ["put_user_budget", "cannot change", "not_member"], ["put_member", #""before":"none""#, "member"],
                    ["put_user_budget", "spend_limit_micros=7 tokens=3", "group_id=\(group)"],
                    ["delete_member", #""removed":"group_id=\#(group) spend_limit_micros=7 tokens=3""#],
                ]
                for (line, words) in zip(lines, words) {
                    let who = [#""by_uid":"\#(getuid())""#, #""by_pid":"\#(getpid())""#, group]
                    for word in words + who { #expect(line.contains(word), "\(line)") }
                    #expect(line.contains(user) == isPlain && line.contains(#""user":"#) == (logging != "none"))
                }
                try pages(admin)
            }
        }

        private func pages(_ admin: HTTPConnection) throws {
            let first = try admin.request("GET", "/v1/audit?limit=2")
            let entries = try #require(try first.json["entries"] as? [[String: Any]])
            #expect(entries.map { $0["operation"] as? String } == ["delete_member", "put_user_budget"])
            #expect(entries.allSatisfy { $0["by_pid"] as? Int == Int(getpid()) && $0["user_id"] as? String == user })
            let removed = try #require(entries[0]["removed_budget"] as? [String: Any])
            #expect(removed["spend_limit_micros"] as? Int == 7 && removed["limits"] as? [String: Int] == ["tokens": 3])
            #expect(entries[0]["after"] is NSNull && entries[0]["before"] is [String: Any])
            let cursor = try #require(try first.json["next_cursor"] as? String)
            let second = try admin.request("GET", "/v1/audit?limit=2&cursor=\(cursor)")
            let older = try #require(try second.json["entries"] as? [[String: Any]])
            #expect(older.map { $0["operation"] as? String } == ["put_member"])
            #expect(try second.json["next_cursor"] is NSNull)
        }

        @Test("leave no override behind that is attributed to a group the user has left, whichever daemon writes when")
        func race() throws {
            let daemons = [try Daemon(redis: redis.url), try Daemon(redis: redis.url)]
            let statuses = try concurrently(2) { index in
                let admin = try daemons[index].connectAdmin()
                var statuses: [Int: Int] = [:]
                for _ in 0..<400 {
                    let response =
                        index == 0
                        ? try admin.request("PUT", userPath, body: #"{"group_id":"\#(group)"}"#)
                        : try admin.request(Bool.random() ? "PUT" : "DELETE", memberPath)
                    statuses[response.status, default: 0] += 1
                    // Whoever sees an override without its membership has seen the two apart: both are read at once.
                    guard index == 1 else { continue }
                    let both = try redis.connect().command([
                        "EVAL", "return {redis.call('EXISTS', KEYS[1]), redis.call('EXISTS', KEYS[2])}", "2",
                        "{llm-rate:\(user)}:budget", "{llm-rate:\(user)}:groups",
                    ])
                    #expect(both != .array([.integer(1), .integer(0)]))
                }
                return statuses
            }
            print("an override put while its membership came and went: \(statuses)")
            #expect(Set(statuses[0].keys).isSubset(of: [200, 400]) && Set(statuses[1].keys).isSubset(of: [200, 204]))
            #expect(try daemons[1].connectAdmin().request("DELETE", memberPath).status == 204)
            #expect(try daemons[0].connectAdmin().request("GET", userPath).status == 404)
        }

        @Test("cannot be read or changed where Redis is away: 503, and they are there again afterwards")
        func away() throws {
            let daemon = try Daemon(redis: redis.url, limits.merging(["REDIS_TIMEOUT_MS": "200"]) { $1 })
            let admin = try daemon.connectAdmin()
            #expect(try admin.request("PUT", userPath, body: #"{"spend_limit_micros":1}"#).status == 200)
            redis.stop()
            for method in ["GET", "PUT", "DELETE"] {
                let response = try admin.request(method, userPath, body: method == "PUT" ? "{}" : nil)
                #expect(response.status == 503 && response["Retry-After"] == "1", "\(response.text)")
            }
            #expect(try admin.request("GET", "/v1/audit").status == 503)
            redis.resume()
            #expect(try eventually(within: 20) { try admin.request("GET", "/v1/audit").status == 200 })
            withExtendedLifetime(daemon) {}
        }
    }
}
