import Foundation
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("Limits of a file")
    struct LimitsTests {
        let cluster: ClusterDeployment
        let folder: TemporaryFolder

        init() throws {
            cluster = try ClusterSuite.cluster()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: own, per: user, unit: tokens, quota: 100, window: 1h}
              - {name: team, per: group, unit: tokens, quota: 150, window: 1h}
              - {name: all, per: global, unit: requests, quota: 1000000, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 1}
            """

        private func start(_ count: Int) throws -> [Daemon] {
            let path = try folder.write(Self.file, to: "limits.yaml")
            let settings = ["LIMITS_FILE": path, "GROUPS": "given", "REQUESTS": "100000"]
            return try (0..<count).map { _ in try Daemon(redis: cluster.url(), settings) }
        }

        /// How much of each limit is used, as a look at them says.
        private func used(_ client: HTTPConnection, _ user: String, _ group: String) throws -> [String: Int] {
            // A check of no tokens is charged none, and tells how all stand.
            let body = #"{"user":"\#(user)","groups":["\#(group)"]}"#
            let page = try client.request("POST", "/v1/check?verbose=1", body: body).json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) }, uniquingKeysWith: { $1 })
        }

        @Test("Over several slots everything is charged or nothing is, and leases are held in all of them")
        func acrossSlots() throws {
            let daemons = try start(2)
            let clients = try daemons.map { try $0.connect() }
            for round in 0..<6 {
                let (client, other) = (clients[round % 2], clients[(round + 1) % 2])
                let (user, member, group) = (newUser(), newUser(), newUser())
                func post(_ path: String, _ user: String, _ members: String) throws -> HTTPResponse {
                    try client.request(
                        "POST", path, body: #"{"user":"\#(user)","groups":["\#(group)"],\#(members)}"#)
                }
                #expect(try post("/v1/check", user, #""output_tokens":90"#).status == 200)
                // The group would have room for these, the user has not: the group is not charged.
                let denied = try post("/v1/check", user, #""output_tokens":20"#)
                #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "own")
                // And the other way round.
                let other2 = try post("/v1/check", member, #""output_tokens":70"#)
                #expect(try other2.status == 429 && other2.json["limit_name"] as? String == "team")
                #expect(try eventually(within: 20) { try used(other, member, group)["own"] == 0 })
                #expect(try eventually(within: 20) { try used(other, member, group)["team"] == 90 })

                let reserved = try post("/v1/reserve", member, #""output_tokens":60"#)
                let lease = try #require(try reserved.json["lease"] as? String)
                #expect(try used(other, member, group)["team"] == 150)
                let full = try post("/v1/reserve", member, #""output_tokens":0"#)
                #expect(full.status == 429 || full.status == 503)
                let settle = #""lease":"\#(lease)","output_tokens":10"#
                #expect(try post("/v1/settle", member, settle).text.hasPrefix(#"{"charged":true"#))
                #expect(try post("/v1/settle", member, settle).text.hasPrefix(#"{"charged":false"#))
                #expect(try used(other, member, group)["team"] == 100)
                #expect(try used(other, member, group)["own"] == 10)
                let usage = #""request_id":"r","output_tokens":45"#
                #expect(try post("/v1/usage", member, usage).text.hasPrefix(#"{"charged":true"#))
                #expect(try post("/v1/usage", member, usage).text.hasPrefix(#"{"charged":false"#))
                #expect(try used(other, member, group)["team"] == 145)
                // The same id: those of usages and of refunds are apart.
                let refund = usage + #","refund":true"#
                #expect(try post("/v1/usage", member, refund).text.hasPrefix(#"{"refunded":true"#))
                #expect(try post("/v1/usage", member, refund).text == #"{"refunded":false,"repeated":true}"#)
                #expect(try used(other, member, group)["team"] == 100 && used(other, member, group)["own"] == 10)
                // What the user has not, its group has: each gives back what it counts at most.
                let more = #""output_tokens":40,"refund":true"#
                #expect(try post("/v1/usage", member, more).text == #"{"refunded":true}"#)
                #expect(try used(other, member, group)["team"] == 60 && used(other, member, group)["own"] == 0)
            }
        }

        @Test("A refund over several slots ends what its daemon remembers of denials in each of them")
        func refundedDenials() throws {
            let daemon = try start(1)[0]
            let client = try daemon.connect()
            let (user, other, group) = (newUser(), newUser(), newUser())
            func post(_ path: String, _ user: String, _ members: String) throws -> HTTPResponse {
                try client.request("POST", path, body: #"{"user":"\#(user)","groups":["\#(group)"],\#(members)}"#)
            }
            #expect(try post("/v1/usage", user, #""output_tokens":150"#).status == 200)
            for _ in 0..<2 { #expect(try post("/v1/check", other, #""output_tokens":10"#).status == 429) }
            // The denial is of a member of the group, and the refund of another one.
            #expect(try post("/v1/usage", user, #""output_tokens":10,"refund":true"#).text == #"{"refunded":true}"#)
            #expect(try post("/v1/check", other, #""output_tokens":10"#).status == 200)
        }

        @Test("A check with an id is charged once over several slots, wherever it is asked again")
        func checkIDs() throws {
            let daemons = try start(2)
            let clients = try daemons.map { try $0.connect() }
            for _ in 0..<4 {
                let (user, member, group) = (newUser(), newUser(), newUser())
                func check(_ daemon: Int, _ user: String, _ id: String, _ tokens: Int) throws -> HTTPResponse {
                    let members = #""groups":["\#(group)"],"request_id":"\#(id)","output_tokens":\#(tokens)"#
                    return try clients[daemon].request("POST", "/v1/check", body: #"{"user":"\#(user)",\#(members)}"#)
                }
                func isRepeated(_ response: HTTPResponse) throws -> Bool {
                    try response.status == 200 && response.json["repeated"] as? Bool == true
                }
                let first = try check(0, user, "a", 60)
                #expect(try first.status == 200 && first.json["repeated"] == nil)
                for daemon in [0, 1, 0] { #expect(try isRepeated(check(daemon, user, "a", 60))) }
                let all = ["own": 60, "team": 60]
                func holds(_ user: String, _ expected: [String: Int]) throws -> Bool {
                    try eventually(within: 20) {
                        try used(clients[1], user, group).filter { expected[$0.key] != nil } == expected
                    }
                }
                #expect(try holds(user, all))
                // The team has no room for these: one denies, and the other was admitted before.
                #expect(try check(1, member, "a", 91).status == 429)
                // What was held for that is given back a moment later.
                #expect(try eventually(within: 20) { try check(0, member, "b", 90).status == 200 })
                #expect(try isRepeated(check(1, user, "a", 60)) && isRepeated(check(0, member, "b", 90)))
                #expect(try check(1, member, "a", 1).status == 429)
                #expect(try holds(member, ["own": 90, "team": 150]))
            }
        }

        @Test("Windows for values are in the slot of whoever's they are, and are charged and freed with all others")
        func values() throws {
            let file = """
                limits:
                  - {name: session, per: [user, label:session], unit: tokens, quota: 100, window: 1h, max_values: 2}
                  - {name: team, per: [group, model], unit: tokens, quota: 150, window: 1h}
                  - {name: tenant, per: label:tenant, unit: concurrency, quota: 1}
                """
            let path = try folder.write(file, to: "values.yaml")
            let daemon = try Daemon(redis: cluster.url(), ["LIMITS_FILE": path, "REQUESTS": "0", "GROUPS": "given"])
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            for round in 0..<4 {
                let (user, group, tenant) = (newUser(), newUser(), newUser())
                func post(_ path: String, _ session: Int, _ model: String, _ members: String) throws -> HTTPResponse {
                    let said = #""user":"\#(user)","groups":["\#(group)"],"model":"\#(model)","#
                    let labels = #""labels":{"session":"\#(session)","tenant":"\#(tenant)"},"#
                    return try client.request("POST", path, body: "{\(said)\(labels)\(members)}")
                }
                func used(_ session: Int, _ model: String) throws -> [Int] {
                    let query = "group=\(group)&label.session=\(session)&label.tenant=\(tenant)&model=\(model)"
                    let page = try client.request("GET", "/v1/users/\(user)/usage?\(query)").json
                    return try #require(page["limits"] as? [[String: Any]]).map { $0["used"] as? Int ?? -1 }
                }
                #expect(try post("/v1/check", 1, "m", #""output_tokens":90"#).status == 200)
                let denied = try post("/v1/check", 1, "m", #""output_tokens":20"#)
                #expect(try denied.status == 429 && denied.json["limit_name"] as? String == "session")
                let team = try post("/v1/check", 2, "m", #""output_tokens":70"#)
                #expect(try team.status == 429 && team.json["limit_name"] as? String == "team")
                #expect(try eventually(within: 20) { try used(1, "m") == [90, 90, 0] && used(2, "m") == [0, 90, 0] })

                let reserved = try post("/v1/reserve", 2, "m", #""output_tokens":60"#)
                let lease = try #require(try reserved.json["lease"] as? String, "round \(round): \(reserved.text)")
                #expect(try used(2, "m") == [60, 150, 1])
                #expect(try post("/v1/reserve", 2, "n", #""output_tokens":1"#).status == 503)
                let settle = #"{"lease":"\#(lease)","model":"n","output_tokens":10}"#
                #expect(try client.request("POST", "/v1/settle", body: settle).text == #"{"charged":true}"#)
                #expect(try used(2, "m") == [10, 90, 0] && used(2, "n") == [10, 10, 0])
                let again = try client.request("POST", "/v1/settle", body: settle).text
                #expect(again == #"{"charged":false,"repeated":true}"#)

                // A third session takes the place of the one that was idle for longest.
                #expect(try post("/v1/check", 3, "n", #""output_tokens":5"#).status == 200)
                #expect(try eventually(within: 20) { try used(1, "n")[0] == 0 && used(3, "n") == [5, 15, 0] })
                #expect(try admin.request("DELETE", "/v1/users/\(user)").status == 204)
                #expect(try used(2, "n") == [0, 15, 0] && used(3, "n") == [0, 15, 0])
                let keys = try cluster.masters().flatMap { master in
                    try master.server.connect().command("KEYS", "*\(user)*").elements.compactMap(\.text)
                }
                // Which leases have been ended stays known, and here each check was one for a moment.
                #expect(keys.count { $0.contains(":by:label:session") } <= 2, "\(keys)")
            }
            #expect(daemon.logLines(containing: "CROSSSLOT").isEmpty)
            #expect(daemon.logLines(containing: "MOVED").isEmpty)
        }

        @Test(
            "While a slot is on its way checks and reservations of its users are exact, and so is all behind it"
        )
        func slotOnItsWay() throws {
            let file = """
                limits:
                  - {name: own, per: user, unit: tokens, quota: 100, window: 1h}
                  - {name: calls, per: user, unit: concurrency, quota: 5}
                """
            let settings = ["LIMITS_FILE": try folder.write(file, to: "own.yaml"), "REQUESTS": "0"]
            let daemon = try Daemon(redis: cluster.url(), settings)
            let client = try daemon.connect()
            let slots = 5_000...5_015
            let user = newUsers(1, in: slots)[0]
            func post(_ path: String, _ tokens: Int) throws -> HTTPResponse {
                try client.request("POST", path, body: #"{"user":"\#(user)","output_tokens":\#(tokens)}"#)
            }
            func own() throws -> [String: Any]? {
                let page = try client.request("GET", "/v1/users/\(user)/usage").json
                return (page["limits"] as? [[String: Any]])?.first { $0["name"] as? String == "own" }
            }
            #expect(try post("/v1/check", 10).status == 200)
            let home = try cluster.master(of: slots.lowerBound)
            let target = try cluster.masters().first { $0.port != home.port } ?? home
            for slot in slots { try cluster.beginMove(of: slot, to: target) }
            // Redis finds no key that is missing in such a slot; a lease needs none.
            let reserved = try post("/v1/reserve", 10)
            #expect(try reserved.status == 200 && reserved.json["degraded"] as? Bool == false)
            #expect(try post("/v1/check", 10).json["degraded"] as? Bool == false)
            #expect(try own()?["used"] as? Int == 30)
            for slot in slots {
                while try cluster.moveKeys(of: slot, to: target, count: 10) > 0 {}
                try cluster.endMove(of: slot, to: target)
            }
            #expect(try eventually(within: 10) { try post("/v1/reserve", 5).json["degraded"] as? Bool == false })
            #expect(try own()?["used"] as? Int == 35)
            #expect(try post("/v1/check", 90).status == 429)
            try cluster.waitUntilWhole()
        }

        @Test("A reset of a user, a group or all begins anew in whichever slot it is, one limit or all of them")
        func resets() throws {
            let daemons = try start(2)
            let (client, admin) = (try daemons[0].connect(), try daemons[1].connectAdmin())
            let (user, group) = (newUser(), newUser())
            let members = #""user":"\#(user)","groups":["\#(group)"],"output_tokens":10"#
            let lease = try client.request("POST", "/v1/reserve", body: "{\(members)}").json["lease"] as? String
            #expect(try client.request("POST", "/v1/usage", body: "{\(members)}").status == 200)
            func tokens() throws -> [Int?] {
                let used = try used(client, user, group)
                return [used["own"], used["team"]]
            }
            #expect(try tokens() == [20, 20])
            #expect(try admin.request("DELETE", "/v1/users/\(user)?limit=own").status == 204)
            #expect(try tokens() == [0, 20])
            #expect(try admin.request("DELETE", "/v1/groups/\(group)/usage").status == 204)
            #expect(try used(client, user, group)["team"] == 0)
            #expect(try admin.request("DELETE", "/v1/global/usage?limit=all").status == 204)
            #expect(try used(client, newUser(), group)["all"] == 1)
            let settle = #"{\#(members),"lease":"\#(lease ?? "")"}"#
            for isNew in [true, false] {
                let settled = try client.request("POST", "/v1/settle", body: settle)
                #expect(settled.text.hasPrefix(#"{"charged":\#(isNew)"#))
                #expect(try used(client, user, group)["own"] == 10)
            }
        }

        /// The keys of all masters.
        private func keys() throws -> Set<String> {
            Set(try cluster.masters().flatMap { try $0.command("KEYS", "*").elements.compactMap(\.text) })
        }

        @Test("Checks, reservations and their settlements leave no key behind in any slot but the windows themselves")
        func leavesNothing() throws {
            let daemon = try start(1)[0]
            let client = try daemon.connect()
            let (user, group) = (newUser(), newUser())
            func post(_ path: String, _ members: String) throws -> HTTPResponse {
                try client.request("POST", path, body: #"{"user":"\#(user)","groups":["\#(group)"],\#(members)}"#)
            }
            let before = try keys()
            for _ in 0..<10 {
                #expect(try post("/v1/check", #""output_tokens":1"#).status == 200)
                let lease = try #require(
                    try post("/v1/reserve", #""output_tokens":5,"ttl":100"#).json["lease"] as? String)
                let settle = #""lease":"\#(lease)","output_tokens":0"#
                #expect(try post("/v1/settle", settle).text.hasPrefix(#"{"charged":"#))
                #expect(try post("/v1/settle", settle).text.contains(#""repeated":true"#))
            }
            // What a check has held is settled after its answer.
            let windows = ["llm-rate:\(user)", "llm-rate:group:\(group)", "llm-rate:global"]
            let areAlone = try eventually(within: 20) {
                try keys().subtracting(before).filter { !$0.contains("heartbeat") }.isSubset(of: windows)
            }
            let left = try keys().subtracting(before)
            #expect(areAlone, "\(left)")
            #expect(try post("/v1/usage", #""request_id":"r","output_tokens":1"#).status == 200)
            #expect(try post("/v1/usage", #""request_id":"r","output_tokens":1"#).text.hasPrefix(#"{"charged":false"#))
        }

        @Test("A group's limit holds exactly under load from many users on several daemons")
        func load() throws {
            let daemons = try start(2)
            let group = newUser()
            let admitted = try concurrently(8) { index in
                let client = try daemons[index % 2].connect()
                var admitted = 0
                for _ in 0..<30 {
                    let body = #"{"user":"\#(newUser())","groups":["\#(group)"],"output_tokens":1}"#
                    if try client.request("POST", "/v1/check", body: body).status == 200 { admitted += 1 }
                }
                return admitted
            }
            let total = admitted.reduce(0, +)
            // A slot may deny for a moment what is given back, so some of the 240 may be denied before the quota is used.
            #expect(total <= 150)
            let client = try daemons[0].connect()
            #expect(try eventually(within: 20) { try used(client, newUser(), group)["team"] == total })
            #expect(total == 150, "fewer were admitted than there was room for")
        }
    }
}
