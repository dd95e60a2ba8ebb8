import Foundation
import RedisClient
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("Routing")
    struct RoutingTests {
        let cluster: ClusterDeployment

        init() throws { cluster = try ClusterSuite.cluster() }

        @Test("All keys of a user share the slot that Redis reckons, and the daemon the same")
        func keySlots() throws {
            let node = try cluster.nodes[0].server.connect()
            for _ in 0..<200 {
                let user = newUser()
                let number = slot(of: user)
                #expect(try node.command("CLUSTER", "KEYSLOT", "llm-rate:\(user)") == .integer(number))
                #expect(try node.command("CLUSTER", "KEYSLOT", "{llm-rate:\(user)}:lease") == .integer(number))
            }
        }

        @Test("Three daemons, twelve clients, users of all slots: exactly the limit for each, from every master")
        func exact() throws {
            let daemons = try (0..<3).map { index in
                // A seed may be any node, a replica as well.
                try Daemon(
                    redis: cluster.url([cluster.nodes[3 + index]]),
                    ["DENY_CACHE_MS": "0", "THREADS": index == 0 ? "2" : "1"]
                )
            }
            for daemon in daemons {
                #expect(try daemon.connect().request("GET", "/readyz?require=redis").status == 200)
            }
            let before = try cluster.masters().map { try $0.server.calls(of: "evalsha") }
            let users = NumberedUsers(seed: .random(in: 0 ... .max))
            let load = ClusterLoad(on: daemons, clients: 12, next: users.rounds(width: 64, times: 24))
            // Two rounds, however long the machine takes for them, and what is begun of a third.
            #expect(eventually(within: 120) { load.begun > 2 * 64 * 24 + 12 })
            let result = try load.end(limit: 20)
            #expect(result.exchanges.allSatisfy { !$0.isDegraded })
            #expect(result.deniedWrongly == 0 && result.admittedAbove() == 0)
            let whole = result.byUser.values.filter { $0.count == 24 }
            #expect(whole.count >= 128)
            #expect(whole.allSatisfy { $0.count { $0.status == 200 } == 20 && $0.count { $0.status == 429 } == 4 })
            for (node, calls) in zip(try cluster.masters(), before) {
                #expect(try node.server.calls(of: "evalsha") > calls)
            }
            // One link for each master and event loop, one subscription; another may be left from the seed.
            for daemon in daemons { #expect(daemon.logLines(containing: "connected to Redis").count == 1) }
        }

        @Test(
            "After a move of slots that the daemon was not told of, each check counts once and goes to the new master")
        func movedWhileTheMapIsOld() throws {
            let daemon = try Daemon(redis: cluster.url())
            let client = try daemon.connect()
            let slots = 1_000...1_015
            let users = newUsers(12, in: slots)
            for user in users { for _ in 0..<5 { #expect(try client.check(user).status == 200) } }
            let target = try cluster.master(of: 16_000)
            for slot in slots { try move(slot, to: target) }

            // A reset is sent on as well.
            #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(users[0])").status == 204)
            let mapsBefore = try maps()
            let movedBefore = try moved()
            let start = monotonicMilliseconds()
            for (index, user) in users.enumerated() {
                let answers = try (0..<20).map { _ in try client.check(user) }
                #expect(answers.allSatisfy { !$0.isDegraded })
                #expect(answers.count { $0.status == 200 } == (index == 0 ? 20 : 15))
                #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 20)
            }
            let seconds = (monotonicMilliseconds() - start) / 1_000
            #expect(try maps() - mapsBefore <= 2 + Int(seconds), "the map is asked for at most once a second")
            #expect(try moved() > movedBefore, "the map was old")
            // And by its own map from then on.
            #expect(try eventually(within: 10) { try maps() > mapsBefore })
            #expect(daemon.logLines.count < 8, "\(daemon.process.errors)")
        }

        private func move(_ slot: Int, to target: ClusterDeployment.Node) throws {
            try cluster.beginMove(of: slot, to: target)
            while try cluster.moveKeys(of: slot, to: target, count: 10) > 0 {}
            try cluster.endMove(of: slot, to: target)
        }

        /// How often the map has been asked for, of all nodes.
        private func maps() throws -> Int {
            try cluster.nodes.reduce(0) { $0 + (try $1.server.calls(of: "cluster|slots")) }
        }

        /// How often a node has said MOVED.
        private func moved() throws -> Int {
            try cluster.nodes.reduce(0) { sum, node in
                let count = try node.info("errorstats", "errorstat_MOVED")?.dropFirst("count=".count)
                return sum + (count.flatMap { Int($0) } ?? 0)
            }
        }

        @Test("Slots that move under load: new keys and old ones, each check counts once and none is denied wrongly")
        func migrationUnderLoad() throws {
            let daemons = try (0..<2).map { _ in
                try Daemon(redis: cluster.url(), ["DENY_CACHE_MS": "0", "REQUESTS": "60"])
            }
            let slots = 6_000...6_063
            // Some are asked for from the start; the others have no key yet when their slot is on its way.
            let users = newUsers(64, in: slots)
            let reach = Tally()
            let load = ClusterLoad(on: daemons, clients: 8) { number in
                let index = number % (reach.value > 0 ? users.count : users.count / 2)
                return (index, users[index])
            }
            #expect(load.hasAnswers(more: 200))
            let target = try cluster.master(of: 0)
            for slot in slots { try cluster.beginMove(of: slot, to: target) }
            reach.add()
            let asked = try target.server.calls(of: "asking")
            #expect(try eventually(within: 60) { try target.server.calls(of: "asking") > asked })
            // The script's text has to follow with ASKING in front as well.
            try target.command("SCRIPT", "FLUSH")
            let askedBehind = try target.server.calls(of: "asking")
            #expect(try eventually(within: 60) { try target.server.calls(of: "asking") > askedBehind })
            for slot in slots {
                while try cluster.moveKeys(of: slot, to: target, count: 1) > 0 {}
                try cluster.endMove(of: slot, to: target)
            }
            // Each user at least once behind the move.
            #expect(load.hasAnswers(more: 2 * users.count))
            let result = try load.end(limit: 60)
            try result.record(.clusterMigration, daemons, overLimit: result.admittedAbove())
            #expect(result.exchanges.allSatisfy { !$0.isDegraded })
            #expect(result.deniedWrongly == 0 && result.admittedAbove() == 0)
            #expect(result.byUser.count == users.count)
            for exchanges in result.byUser.values {
                #expect(exchanges.count { $0.status == 200 } == min(60, exchanges.count))
            }
            try cluster.waitUntilWhole()
        }

        @Test(
            "The permissions that the docs name are enough, for slots on their way as well, and by either map",
            arguments: ["cluster|slots", "cluster|shards"])
        func permissions(map: String) throws {
            let unneeded = ["+select", "+role"]
            let least = RedisServer.leastPermissions.filter { !unneeded.contains($0) } + ["+asking", "+\(map)"]
            let rule = ["reset", "on", ">secret"] + least
            for node in cluster.nodes {
                #expect(try node.server.connect().command(["ACL", "SETUSER", "limiter"] + rule) == .status("OK"))
            }
            let url = cluster.url().replacingOccurrences(of: "://", with: "://limiter:secret@")
            let daemon = try Daemon(redis: url)
            let client = try daemon.connect()
            let slots = 9_000...9_015
            let home = try cluster.master(of: slots.lowerBound)
            let target = try cluster.masters().first { $0.port != home.port } ?? home
            for slot in slots { try cluster.beginMove(of: slot, to: target) }
            let users = newUsers(4, in: slots)
            for user in users { #expect(try client.check(user).number("remaining") == 19) }
            #expect(try daemon.connectAdmin().request("DELETE", "/v1/users/\(users[0])").status == 204)
            #expect(try client.request("GET", "/v1/users/\(users[0])").number("used") == 0)
            for slot in slots {
                while try cluster.moveKeys(of: slot, to: target, count: 10) > 0 {}
                try cluster.endMove(of: slot, to: target)
            }
            for user in users.dropFirst() { #expect(try client.check(user).number("remaining") == 18) }
            #expect(try eventually(within: 10) { try subscribers().contains(1) })
            #expect(daemon.logLines(containing: "subscribe").isEmpty, "\(daemon.process.errors)")
            try cluster.waitUntilWhole()
        }

        @Test("Resets and changed limits reach the denials that daemons on other nodes remember")
        func invalidation() throws {
            var daemons: [Daemon] = []
            // Which node a subscription is on is drawn: until they are on two.
            let areOnTwo = try eventually(within: 30) {
                if daemons.count < 8 {
                    daemons.append(try Daemon(redis: cluster.url(), ["REQUESTS": "2", "DENY_CACHE_MS": "60000"]))
                }
                return try eventually(within: 3) {
                    let counts = try subscribers()
                    return counts.reduce(0, +) == daemons.count && counts.count { $0 > 0 } > 1
                }
            }
            try #require(areOnTwo)
            let user = newUser()
            let clients = try daemons.map { try $0.connect() }
            for client in clients {
                // The second denial comes from memory.
                for _ in 0..<4 { _ = try client.check(user) }
                #expect(try client.check(user).status == 429)
            }
            #expect(try daemons[0].connectAdmin().request("DELETE", "/v1/users/\(user)").status == 204)
            for client in clients {
                #expect(
                    try eventually(within: 10) { try client.request("GET", "/v1/users/\(user)").number("used") == 0 })
            }
            #expect(try eventually(within: 10) { try clients[1].check(user).status == 200 })
            #expect(try eventually(within: 10) { try clients[daemons.count - 1].check(user).status == 200 })
            #expect(try clients[0].check(user).status == 429)
        }

        @Test("Resets reach denials that are remembered elsewhere though no node may pass messages on")
        func forbiddenMessages() throws {
            for node in cluster.nodes { _ = try node.command("ACL", "SETUSER", "default", "resetchannels") }
            defer {
                for node in cluster.nodes { _ = try? node.command("ACL", "SETUSER", "default", "allchannels") }
            }
            let daemons = try (0..<2).map { _ in
                try Daemon(redis: cluster.url(), ["REQUESTS": "1", "DENY_CACHE_MS": "60000"])
            }
            let client = try daemons[1].connect()
            // Users of several nodes: the version is on one of them.
            let users = (0..<6).map { _ in newUser() }
            for user in users {
                #expect(try client.check(user).status == 200)
                #expect(try client.check(user).status == 429)
            }
            // Behind that the memory alone would deny for a minute.
            pause(milliseconds: 1_500)
            for user in users { #expect(try client.check(user).status == 429) }
            for user in users {
                #expect(try daemons[0].connectAdmin().request("DELETE", "/v1/users/\(user)").status == 204)
                #expect(try eventually(within: 20) { try client.check(user).status == 200 })
            }
        }

        private func subscribers() throws -> [Int] {
            try cluster.nodes.map { node in
                try node.command("PUBSUB", "NUMSUB", "llm-rate:invalidate").elements.last?.integer ?? 0
            }
        }
    }
}
