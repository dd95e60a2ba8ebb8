import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("A window for each value of what calls say")
    struct ValueWindowTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private func start(_ file: String) throws -> Daemon {
            let path = try folder.write(file, to: "limits.yaml")
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "0", "GROUPS": "given"])
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String) throws -> HTTPResponse {
            try client.request("POST", path, body: "{\(members)}")
        }

        /// How much is used of each limit that is shown, by its name and the values of its window.
        private func used(_ client: HTTPConnection, _ user: String, _ query: String = "") throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage?\(query)").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                limits.map { limit in
                    let values = (limit["values"] as? String).map { " \($0)" } ?? ""
                    return ("\(limit["name"] ?? "")\(values)", limit["used"] as? Int ?? -1)
                }, uniquingKeysWith: +)
        }

        /// The keys of windows for values, and what tells of them.
        private func keys(_ part: String = ":by:") throws -> [String] {
            let keys = try redis.command("KEYS", "*\(part)*").elements.compactMap(\.text)
            return keys.filter { !$0.contains("heartbeat") }.sorted()
        }

        /// The file of the page's example.
        private static let example = """
            limits:
              - {name: session, per: [user, label:session], unit: spend, quota: $2, window: 1d, missing: deny, max_values: 200}
              - {name: team-model, per: [group, model], unit: tokens, quota: 1000000, window: 1d}
              - {name: tenant, per: label:tenant, unit: requests, quota: 600, window: 1m}
            prices:
              models: {gpt-4o: {input: 2500000, output: 10000000}, gpt-5: {input: 2500000, output: 10000000}}
            """

        @Test("Of the page's example each row is as it says")
        func example() throws {
            let daemon = try start(Self.example)
            let client = try daemon.connect()
            let user = #""user":"\#(newUser())""#
            func spend(_ micros: Int, _ session: String) throws {
                let members = #","labels":{"session":"\#(session)"},"cost_micros":\#(micros)"#
                #expect(try post(client, "/v1/usage", user + members).text == #"{"charged":true}"#)
            }
            func check(_ members: String) throws -> (Int, String?) {
                let answer = try post(client, "/v1/check", members)
                return (answer.status, try answer.json["limit_name"] as? String)
            }
            func check(session: String) throws -> (Int, String?) {
                try check(user + #","model":"gpt-4o","labels":{"session":"\#(session)"}"#)
            }
            try spend(1_990_000, "a")
            #expect(try check(session: "a").0 == 200)
            try spend(20_000, "a")
            #expect(try check(session: "a") == (429, "session"))
            #expect(try check(session: "b").0 == 200)

            let used = #""user":"\#(newUser())","groups":["one"],"model":"gpt-4o","labels":{"session":"c"},"#
            #expect(try post(client, "/v1/usage", used + #""input_tokens":1000000,"cost_micros":0"#).status == 200)
            let member = #""user":"\#(newUser())","groups":["two","one"],"labels":{"session":"d"},"model":"#
            #expect(try check(member + #""gpt-4o""#) == (429, "team-model"))
            #expect(try check(member + #""gpt-5""#).0 == 200)

            let tenant = #","labels":{"tenant":"acme","session":"e"}"#
            let all = try post(client, "/v1/check", #""user":"\#(newUser())","cost":600"# + tenant)
            #expect(all.status == 200)
            for _ in 0..<2 { #expect(try check(#""user":"\#(newUser())""# + tenant) == (429, "tenant")) }
            #expect(try check(#""user":"\#(newUser())","labels":{"tenant":"Acme","session":"e"}"#).0 == 200)
            #expect(try check(#""user":"\#(newUser())","labels":{"session":"e"}"#).0 == 200)
        }

        @Test("A call without a value that a limit needs is denied and charged nowhere, and what it came to is charged")
        func missing() throws {
            let daemon = try start(
                """
                limits:
                  - {name: own, per: user, unit: requests, quota: 9, window: 1h}
                  - {name: session, per: [user, label:session], unit: tokens, quota: 100, window: 1h, missing: deny}
                  - {name: trial, per: [user, provider], unit: tokens, quota: 1, window: 1h, missing: deny, mode: shadow}
                """)
            let client = try daemon.connect()
            let user = newUser()
            for path in ["/v1/check", "/v1/reserve"] {
                for labels in ["", #","labels":{"session":"","other":"x"}"#] {
                    let denied = try post(client, path, #""user":"\#(user)""# + labels)
                    #expect(denied.status == 429 && denied["Retry-After"] == nil)
                    #expect(
                        denied.text
                            == #"{"allowed":false,"limit_name":"session","limit":null,"remaining":null,"#
                            + #""retry_after":null,"reset_after":null,"degraded":false,"message":"The call does not say "#
                            + #"label session, which limit session needs."}"#)
                }
            }
            #expect(try client.check(user).status == 429)
            #expect(try client.request("GET", "/v1/check?user=\(user)&label.session=1").status == 200)
            let usage = #""user":"\#(user)","input_tokens":7"#
            #expect(try post(client, "/v1/usage", usage).text == #"{"charged":false}"#)
            let named = usage + #","labels":{"session":"1"}"#
            #expect(try post(client, "/v1/usage", named).text == #"{"charged":true}"#)
            #expect(try used(client, user, "label.session=1") == ["own": 1, "session label:session=1": 7])
            let decisions = #"llm_rate_limit_limit_decisions_total{decision="denied",limit="session"}"#
            #expect(try daemon.metric(decisions) == 5)
            #expect(try daemon.metric(#"llm_rate_limit_checks_total{decision="denied",source="off"}"#) == 5)
        }

        @Test("In shadow mode a call without a value passes, and the answer says that it would not")
        func missingInShadow() throws {
            let path = try folder.write(Self.example, to: "limits.yaml")
            let daemon = try Daemon(
                redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "0", "GROUPS": "given", "SHADOW": "yes"])
            for labels in ["{}", #"{"tenant":"acme"}"#] {
                let answer = try post(daemon.connect(), "/v1/check", #""user":"\#(newUser())","labels":\#(labels)"#)
                #expect(try answer.status == 200 && answer.json["shadow_denied"] as? Bool == true, "\(answer.text)")
            }
        }

        @Test("Each window has the key that Limits tells, in its owner's slot, and a time to live")
        func keysInRedis() throws {
            let daemon = try start(
                """
                limits:
                  - {name: session, per: [user, label:session], unit: requests, quota: 100, window: 10s}
                  - {name: tokens, per: [label:session, user], unit: tokens, quota: 100, window: 1h}
                  - {name: team, per: [group, model, provider], unit: requests, quota: 100, window: 1h}
                  - {name: in-team, per: [user, group], unit: requests, quota: 100, window: 1h}
                  - {name: tenant, per: label:tenant, unit: requests, quota: 100, window: 1h}
                """)
            let client = try daemon.connect()
            let uuid = newUser()
            let users = [(#""\#(uuid)""#, uuid), (#""tenant/αβγ""#, "user:tenant/%CE%B1%CE%B2%CE%B3")]
            let values = [
                ("4711", "4711"), ("a=b,c:d{e}", "a%3Db%2Cc%3Ad%7Be%7D"), (String(repeating: "k", count: 64), nil),
                (String(repeating: "k", count: 65), nil),
            ]
            for (user, userKey) in users {
                for (value, written) in values {
                    try redis.command("FLUSHALL")
                    let members = #""user":\#(user),"groups":["g"],"model":"openai/gpt-4o","provider":"p","#
                    let labels = #""labels":{"session":"\#(value)","tenant":"acme"},"output_tokens":3"#
                    #expect(try post(client, "/v1/check", members + labels).status == 200)
                    let found = try keys()
                    let session = try #require(found.first { $0.contains("label:session=") })
                    let prefix = "{llm-rate:\(userKey)}:by:label:session="
                    if value.utf8.count > 64 {
                        #expect(session.wholeMatch(of: /.*=~[0-9a-f]{64}/) != nil && session.hasPrefix(prefix))
                    } else {
                        #expect(session == prefix + (written ?? value))
                    }
                    #expect(
                        Set(found) == [
                            session, "{llm-rate:\(userKey)}:by:group=g", "llm-rate:by:label:tenant=acme",
                            "{llm-rate:group:g}:by:model=openai/gpt-4o,provider=p",
                        ])
                    for key in try found + keys(":values") {
                        let left = try #require(try redis.command("PTTL", key).integer, "\(key)")
                        #expect(left > 0 && left < 3 * 3_600_000, "\(key)")
                    }
                }
            }
        }

        @Test("A lease is held in the windows of what its reserve said, and charged in those of what its settle names")
        func leases() throws {
            let daemon = try start(
                """
                limits:
                  - {name: slots, per: [user, label:session], unit: concurrency, quota: 1}
                  - {name: model, per: [user, model], unit: tokens, quota: 1000, window: 1h}
                  - {name: team, per: [group, model], unit: tokens, quota: 1000, window: 1h}
                """)
            let client = try daemon.connect()
            let user = newUser()
            func reserve(_ session: String) throws -> HTTPResponse {
                let said = #""user":"\#(user)","groups":["g"],"model":"big","labels":{"session":"\#(session)"}"#
                return try post(client, "/v1/reserve", said + #","output_tokens":100"#)
            }
            func state() throws -> [String: Int] {
                try ["big", "small"].reduce(into: [:]) { all, model in
                    let page = try used(client, user, "group=g&label.session=1&model=\(model)")
                    all.merge(page) { first, _ in first }
                }
            }
            let reserved = try reserve("1")
            let lease = try #require(try reserved.json["lease"] as? String, "\(reserved.text)")
            #expect(try reserve("1").status == 503, "the session has one slot")
            #expect(try reserve("2").status == 200, "the other one has its own")
            let (session, big) = ("slots label:session=1", "model model=big")
            #expect(try state()[session] == 1 && state()[big] == 200 && state()["team model=big"] == 200)
            let settle = #""lease":"\#(lease)","model":"small","output_tokens":30"#
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":true}"#)
            #expect(
                try state() == [
                    session: 0, big: 100, "team model=big": 100, "model model=small": 30, "team model=small": 30,
                ])
            #expect(try post(client, "/v1/settle", settle).text == #"{"charged":false,"repeated":true}"#)

            let second = try #require(try reserve("1").json["lease"] as? String)
            #expect(try post(client, "/v1/renew", #""lease":"\#(second)","ttl":90"#).status == 200)
            #expect(try state()[session] == 1 && state()[big] == 200)
            #expect(try post(client, "/v1/release", #""lease":"\#(second)""#).text == #"{"released":true}"#)
            #expect(try state()[session] == 0 && state()[big] == 100 && state()["model model=small"] == 30)
        }

        @Test("A limit whose per changes begins anew, says so, and frees what leases held before")
        func reload() throws {
            func file(_ per: String) -> String {
                """
                limits:
                  - {name: calls, per: \(per), unit: concurrency, quota: 1}
                  - {name: tokens, per: \(per), unit: tokens, quota: 100, window: 1h}
                """
            }
            let daemon = try start(file("user"))
            let client = try daemon.connect()
            let user = newUser()
            func reserve(_ session: String) throws -> HTTPResponse {
                let said = #""user":"\#(user)","labels":{"session":"\#(session)"},"output_tokens":60"#
                return try post(client, "/v1/reserve", said)
            }
            let first = try #require(try reserve("1").json["lease"] as? String)
            #expect(try reserve("2").status != 200)
            try folder.write(file("[user, label:session]"), to: "limits.yaml")
            try daemon.reload()
            let told =
                "limit tokens is per [user, label:session] now, not per user: what was counted and held begins anew"
            #expect(daemon.logLines(containing: told).count == 1)
            let query = "label.session=1"
            #expect(try used(client, user, query).values.sorted() == [0, 0])
            let second = try #require(try reserve("1").json["lease"] as? String)
            #expect(try reserve("1").status != 200)
            #expect(try reserve("2").status == 200)
            // No limit named the label when the first was reserved, and so its lease does not carry it.
            #expect(
                try post(client, "/v1/settle", #""lease":"\#(first)","output_tokens":10"#).text == #"{"charged":false}"#
            )
            #expect(try used(client, user, query)["tokens label:session=1"] == 60)
            try folder.write(file("[label:session, user]"), to: "limits.yaml")
            try daemon.reload()
            #expect(try used(client, user, query)["tokens label:session=1"] == 60, "the same words in another order")
            try folder.write(file("user"), to: "limits.yaml")
            try daemon.reload()
            #expect(try used(client, user) == ["calls": 0, "tokens": 0])
            #expect(
                try post(client, "/v1/settle", #""lease":"\#(second)","output_tokens":20"#).text == #"{"charged":true}"#
            )
            #expect(try used(client, user) == ["calls": 0, "tokens": 20])
            try folder.write(file("[user, label:session]"), to: "limits.yaml")
            try daemon.reload()
            #expect(try used(client, user, query) == ["calls label:session=1": 0, "tokens label:session=1": 0])
        }

        @Test("Beyond max_values the value idle for longest is forgotten, and counted")
        func maximum() throws {
            let daemon = try start(
                """
                limits:
                  - {name: session, per: [user, label:session], unit: requests, quota: 9, window: 1h, max_values: 3}
                  - {name: model, per: [user, model], unit: requests, quota: 99, window: 1h}
                """)
            let client = try daemon.connect()
            let (user, other) = (newUser(), newUser())
            func call(_ user: String, _ session: String) throws {
                let members = #""user":"\#(user)","model":"m","labels":{"session":"\#(session)"}"#
                #expect(try post(client, "/v1/check", members).status == 200)
                // Uses are told apart by their millisecond.
                Thread.sleep(forTimeInterval: 0.005)
            }
            func forgotten(_ limit: String) throws -> Double? {
                try daemon.metric(#"llm_rate_limit_limit_values_forgotten_total{limit="\#(limit)"}"#)
            }
            #expect(try forgotten("session") == 0 && forgotten("model") == 0)
            for session in ["a", "b", "c", "a"] { try call(user, session) }
            try call(other, "z")
            #expect(try keys(":by:label:session").count == 4 && forgotten("session") == 0)
            try call(user, "d")
            let left = try keys("\(user)}:by:label:session").map { $0.suffix(1) }
            #expect(left == ["a", "c", "d"])
            #expect(try forgotten("session") == 1)
            for session in 0..<20 { try call(user, "\(session)") }
            #expect(try keys("\(user)}:by:label:session").count == 3)
            #expect(try forgotten("session") == 21 && forgotten("model") == 0)
            #expect(
                try used(client, other, "label.session=z&model=m") == [
                    "session label:session=z": 1, "model model=m": 1,
                ])
        }

        @Test("A reset forgets the windows for values with the others, and that of one limit its own alone")
        func reset() throws {
            let daemon = try start(
                """
                limits:
                  - {name: own, per: user, unit: requests, quota: 9, window: 1h}
                  - {name: session, per: [user, label:session], unit: requests, quota: 9, window: 1h}
                  - {name: tokens, per: [user, label:session], unit: tokens, quota: 9, window: 1h}
                  - {name: tenant, per: label:session, unit: requests, quota: 99, window: 1h}
                """)
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            let user = newUser()
            func call() throws {
                for session in ["1", "2"] {
                    let members = #""user":"\#(user)","labels":{"session":"\#(session)"},"output_tokens":2"#
                    #expect(try post(client, "/v1/check", members).status == 200)
                }
            }
            func state(_ session: String) throws -> [Int] {
                let state = try used(client, user, "label.session=\(session)")
                let values = " label:session=\(session)"
                return ["own", "session\(values)", "tokens\(values)", "tenant\(values)"].map { state[$0] ?? -1 }
            }
            try call()
            #expect(try state("1") == [2, 1, 2, 1] && state("2") == [2, 1, 2, 1])
            #expect(try admin.request("DELETE", "/v1/users/\(user)?limit=session").status == 204)
            #expect(try state("1") == [2, 0, 2, 1] && state("2") == [2, 0, 2, 1])
            #expect(try admin.request("DELETE", "/v1/users/\(user)").status == 204)
            #expect(try state("1") == [0, 0, 0, 1] && state("2") == [0, 0, 0, 1])
            #expect(try keys("\(user)}:by:").isEmpty)
            let tenant = try admin.request("DELETE", "/v1/global/usage?limit=tenant")
            #expect(tenant.status == 404, "nobody knows which windows all share by value")
            try call()
            #expect(try state("1") == [2, 1, 2, 2])
        }

        @Test(
            "Groups give their members' quota in windows of that group, and a denial is remembered for its value alone")
        func groupsAndDenials() throws {
            let path = try folder.write(
                """
                limits:
                  - {name: in-team, per: [user, group], unit: requests, quota: 2, window: 1h}
                  - {name: session, per: [user, label:session], unit: requests, quota: 1, window: 1h}
                """, to: "limits.yaml")
            let daemon = try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "0"])
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            let (user, teams) = (newUser(), ["one", "two"])
            for team in teams {
                #expect(try admin.request("PUT", "/v1/groups/\(team)/members/\(user)").status == 200)
            }
            let budget = #"{"limits":{"in-team":5}}"#
            #expect(try admin.request("PUT", "/v1/groups/two/budget", body: budget).status == 200)
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let shown = try #require(page["limits"] as? [[String: Any]])
            #expect(shown.map { $0["values"] as? String } == ["group=one", "group=two"])
            #expect(shown.map { $0["limit"] as? Int } == [2, 5])
            #expect(shown.map { $0["rule"] as? String } == ["default", "group"])
            func check(_ session: String) throws -> HTTPResponse {
                try post(client, "/v1/check", #""user":"\#(user)","labels":{"session":"\#(session)"}"#)
            }
            #expect(try check("1").status == 200)
            for _ in 0..<3 { #expect(try check("1").status == 429) }
            #expect(try daemon.metric(#"llm_rate_limit_checks_total{decision="denied",source="memory"}"#) == 2)
            let denied = try check("1")
            #expect(try denied.json["limit_name"] as? String == "session")
            #expect(try check("2").status == 200)
            #expect(try check("3").json["limit_name"] as? String == "in-team")
        }
    }
}
