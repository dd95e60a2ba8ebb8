import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Pages and sockets")
    struct PageTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        @Test("A user's status consumes nothing and creates nothing")
        func status() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            let user = newUser()
            let fresh = try client.request("GET", "/v1/users/\(user)")
            #expect(fresh.text == #"{"user":"\#(user)","limit":20,"used":0,"remaining":20,"reset_after":0}"#)
            #expect(try redis.keys().count == 0)
            _ = try client.check(user)
            for _ in 0..<5 {
                let used = try client.request("GET", "/v1/users/\(user)")
                #expect(used.status == 200)
                #expect(
                    used.text.hasPrefix(#"{"user":"\#(user)","limit":20,"used":1,"remaining":19,"reset_after":3"#))
                // The check was a moment ago.
                let seconds = try #require(try used.number("reset_after"))
                #expect((3_500...3_600).contains(seconds))
            }
        }

        @Test("A reset is answered on the admin socket alone: 204 there, 403 elsewhere")
        func reset() throws {
            let port = try freePort()
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "127.0.0.1:\(port)"])
            let client = try daemon.connect()
            let user = newUser()
            for _ in 0..<21 { _ = try client.check(user) }
            #expect(try client.check(user).status == 429)
            for listener in [client, try HTTPConnection(.tcp(port))] {
                let refused = try listener.request("DELETE", "/v1/users/\(user)")
                #expect(refused.status == 403 && refused["Content-Type"] == "application/problem+json")
            }
            #expect(try client.check(user).status == 429)
            let done = try daemon.connectAdmin().request("DELETE", "/v1/users/\(user.uppercased())")
            #expect(done.status == 204 && done.body.isEmpty)
            #expect(try redis.keys().count == 0)
            #expect(try client.check(user).number("remaining") == 19)
            // The admin socket serves everything else as well.
            #expect(try daemon.connectAdmin().check(user).number("remaining") == 18)
        }

        @Test("The sockets have the modes that were asked for")
        func modes() throws {
            let daemon = try Daemon(redis: redis.url, ["SOCKET_MODE": "0622"])
            #expect(access(of: daemon.socketPath)?.mode == 0o622)
            #expect(access(of: daemon.adminSocketPath)?.mode == 0o600)
            let plain = try Daemon(redis: redis.url)
            #expect(access(of: plain.socketPath)?.mode == 0o660)
        }

        @Test("The check socket has the group that was asked for", .enabled(if: isRoot, "only root may give it away"))
        func group() throws {
            // By name: every Debian has this group, and its number is 1.
            let daemon = try Daemon(redis: redis.url, ["SOCKET_GROUP": "daemon"])
            #expect(access(of: daemon.socketPath)?.group == 1)
            #expect(access(of: daemon.adminSocketPath)?.group != 1)
        }

        @Test("Probes: livez, readyz with and without Redis, healthz and version")
        func probes() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            #expect(try client.request("GET", "/livez").status == 200)
            #expect(try client.request("GET", "/readyz").status == 200)
            #expect(try client.request("GET", "/readyz?require=redis").status == 200)
            let version = try #require(try client.request("GET", "/v1/version").json["version"] as? String)
            let health = try client.request("GET", "/healthz")
            #expect(health["Content-Type"] == "application/json")
            #expect(try health.json["status"] as? String == "ok" && health.json["version"] as? String == version)
            #expect(try health.number("uptime_seconds") != nil)
            #expect(try (health.json["redis"] as? [String: Any])?["state"] as? String == "available")

            redis.end()
            #expect(
                try eventually(within: 10) { try client.request("GET", "/readyz?require=redis").status == 503 }
            )
            let ready = try client.request("GET", "/readyz")
            #expect(ready.status == 200 && ready.text.contains(#""degraded":true"#))
            #expect(try client.request("GET", "/livez").status == 200)
            let degraded = try client.request("GET", "/healthz")
            #expect(try degraded.status == 200 && degraded.json["status"] as? String == "degraded")
            let redisState = try #require(try degraded.json["redis"] as? [String: Any])
            #expect(redisState["state"] as? String == "away" && redisState["reason"] as? String == "redis_unreachable")
        }

        @Test("/v1/config has every option with its value, default, source and description, and masks secrets")
        func configuration() throws {
            let url = redis.url(user: "default", password: "s3cret-in-url")
            let daemon = try Daemon(
                redis: url, ["REQUESTS": "7"], arguments: ["--window", "30m"]
            )
            let page = try daemon.connect().request("GET", "/v1/config")
            let options = try #require(try page.json["options"] as? [[String: Any]])
            #expect(options.count >= 26)
            for option in options {
                for member in ["name", "value", "default", "source", "description"] {
                    #expect(option[member] is String, "\(option)")
                }
            }
            func option(_ name: String) -> [String: String] {
                let found = options.first { $0["name"] as? String == "LLM_RATE_LIMIT_\(name)" }
                return (found ?? [:]).compactMapValues { $0 as? String }
            }
            #expect(option("REQUESTS")["value"] == "7" && option("REQUESTS")["source"] == "environment")
            #expect(option("REQUESTS")["default"] == "20")
            #expect(option("WINDOW")["source"] == "flag --window")
            #expect(option("SHADOW")["source"] == "default")
            #expect(!page.text.contains("s3cret") && option("REDIS_URL")["value"]?.contains("***") == true)
            #expect(!daemon.process.errors.contains("s3cret"))
        }

        @Test("/v1/openapi.json is the same on every socket, and keeps the connection")
        func description() throws {
            let port = try freePort()
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "127.0.0.1:\(port)"])
            let clients = [try daemon.connect(), try daemon.connectAdmin(), try HTTPConnection(.tcp(port))]
            let pages = try clients.map { try $0.request("GET", "/v1/openapi.json") }
            #expect(pages.allSatisfy { $0.status == 200 && $0["Content-Type"] == "application/json" })
            #expect(Set(pages.map(\.text)).count == 1)
            #expect(try pages[0].json["openapi"] as? String == "3.1.0")
            let version = try clients[0].request("GET", "/v1/version").json["version"] as? String
            #expect(try (pages[0].json["info"] as? [String: Any])?["version"] as? String == version)
            let head = try clients[0].request("HEAD", "/v1/openapi.json")
            #expect(head["Content-Length"] == "\(pages[0].body.count)" && head.body.isEmpty)
            #expect(try clients[0].request("POST", "/v1/openapi.json", body: "{}").status == 405)
        }

        @Test("/metrics has every series from the start, and counts checks by decision and source")
        func metrics() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "2", "WINDOW": "60"])
            let client = try daemon.connect()
            let first = try client.request("GET", "/metrics")
            #expect(first["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8")
            for series in [
                #"checks_total{decision="allowed",source="redis"} 0"#, #"degraded_checks_total{reason="overloaded"} 0"#,
                "breaker_open 0", "limit_requests 2", "window_seconds 60", "queue_depth_checks 0",
                "decision_duration_seconds_count 0", "redis_duration_seconds_count 0",
            ] {
                #expect(first.text.contains("\nllm_rate_limit_\(series)\n"), "\(series)")
            }
            #expect(first.text.contains("\nllm_rate_limit_build_info{version="))
            let user = newUser()
            for _ in 0..<5 { _ = try client.check(user) }
            let checks = "llm_rate_limit_checks_total"
            #expect(try daemon.metric(checks + #"{decision="allowed",source="redis"}"#) == 2)
            #expect(try daemon.metric(checks + #"{decision="denied",source="redis"}"#) == 1)
            #expect(try daemon.metric(checks + #"{decision="denied",source="memory"}"#) == 2)
            #expect(try daemon.metric("llm_rate_limit_decision_duration_seconds_count") == 3)
            #expect(try !client.request("GET", "/metrics").text.contains(user))
        }

        @Test("/metrics has the series of each limit in force and of no other, and counts what each says")
        func limitMetrics() throws {
            let folder = try TemporaryFolder()
            let file = """
                limits:
                  - {name: tokens, per: user, unit: tokens, quota: 10, window: 1h, warn_at: [0.5]}
                  - {name: trial, per: user, unit: tokens, quota: 5, window: 1h, mode: shadow}
                  - {name: team, per: group, unit: tokens, window: {calendar: day}}
                """
            let path = try folder.write(file, to: "limits.yaml")
            let daemon = try Daemon(redis: redis.url, ["LIMITS_FILE": path, "GROUPS": "given", "REQUESTS": "1000"])
            let client = try daemon.connect()
            func series(_ page: String, _ name: String) -> [String] {
                page.split(separator: "\n").filter { $0.hasPrefix("llm_rate_limit_limit_\(name){") }.map {
                    String($0.dropFirst("llm_rate_limit_limit_\(name)".count))
                }
            }
            let first = try client.request("GET", "/metrics").text
            let decisions = series(first, "decisions_total")
            #expect(decisions.count == 4 * 5 && decisions.allSatisfy { $0.hasSuffix("} 0") }, "\(decisions)")
            #expect(
                series(first, "quota") == [
                    #"{limit="requests"} 1000"#, #"{limit="team"} +Inf"#, #"{limit="tokens"} 10"#,
                    #"{limit="trial"} 5"#,
                ])
            #expect(series(first, "window_seconds").count == 3)
            for line in first.split(separator: "\n") where !line.hasPrefix("#") {
                let form = /[a-z_]+(\{[a-z_]+="[^"\\]*"(,[a-z_]+="[^"\\]*")*\})? ([0-9.e+-]+|\+Inf)/
                #expect(line.wholeMatch(of: form) != nil, "\(line)")
            }

            let (user, groups) = (newUser(), #"["\#(newUser())","\#(newUser())"]"#)
            for _ in 0..<4 {
                let body = #"{"user":"\#(user)","groups":\#(groups),"output_tokens":3}"#
                _ = try client.request("POST", "/v1/check", body: body)
            }
            // A look and a usage are no decisions.
            _ = try client.request("GET", "/v1/users/\(user)/usage")
            _ = try client.request("POST", "/v1/usage", body: #"{"user":"\#(user)","output_tokens":1}"#)
            func count(_ limit: String, _ decision: String) throws -> Double? {
                try daemon.metric(#"llm_rate_limit_limit_decisions_total{decision="\#(decision)",limit="\#(limit)"}"#)
            }
            // 3, 6 and 9 of 10; the fourth is denied by tokens alone. Of 5 the trial has 3, and would not have more.
            #expect(try count("tokens", "allowed") == 1 && count("tokens", "warned") == 2)
            #expect(try count("tokens", "denied") == 1 && count("tokens", "shadow_denied") == 0)
            #expect(try count("trial", "allowed") == 1 && count("trial", "shadow_denied") == 3)
            #expect(try count("team", "allowed") == 8 && count("requests", "allowed") == 4)

            let other = "limits:\n  - {name: tokens, per: user, unit: tokens, quota: 20, window: {calendar: day}}\n"
            try folder.write(
                other + "  - {name: new, per: user, unit: tokens, quota: 1, window: 1h}\n", to: "limits.yaml")
            let isReloaded = try eventually(within: 20) {
                let page = try client.request("GET", "/metrics").text
                return series(page, "decisions_total").count == 3 * 5 && page.contains(#"quota{limit="tokens"} 20"#)
                    && series(page, "window_seconds").count == 2 && !page.contains(#"limit="team""#)
            }
            #expect(isReloaded)
            #expect(try count("tokens", "warned") == 2 && count("new", "denied") == 0)
            #expect(try daemon.metric("llm_rate_limit_metric_series_dropped_total") == 0)
        }

        @Test("The same routes answer on TCP where that is asked for")
        func tcp() throws {
            let port = try freePort()
            let daemon = try Daemon(redis: redis.url, ["LISTEN": "127.0.0.1:\(port)"])
            let client = try HTTPConnection(.tcp(port))
            let user = newUser()
            #expect(try client.check(user).number("remaining") == 19)
            #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 1)
            #expect(try daemon.connect().check(user).number("remaining") == 18)
            for path in ["/livez", "/readyz", "/healthz", "/metrics", "/v1/config", "/v1/version"] {
                #expect(try client.request("GET", path).status == 200, "\(path)")
            }
        }
    }
}
