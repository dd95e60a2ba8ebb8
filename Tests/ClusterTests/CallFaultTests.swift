import Foundation
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("Calls while a node is away")
    struct CallFaultTests {
        let cluster: ClusterDeployment
        let folder: TemporaryFolder

        init() throws {
            cluster = try ClusterSuite.cluster()
            folder = try TemporaryFolder()
        }

        /// Slots of which one master has all.
        private let slots = 3_000...3_999

        private func start(_ settings: [String: String]) throws -> Daemon {
            let file = """
                limits:
                  - {name: own, per: user, unit: tokens, quota: 100, window: 1h}
                  - {name: team, per: group, unit: tokens, quota: 1000, window: 1h}
                """
            let path = try folder.write(file, to: "limits.yaml")
            return try Daemon(
                redis: cluster.url(), ["LIMITS_FILE": path, "GROUPS": "given"].merging(settings) { $1 })
        }

        /// The reasons of the answers to a check of each user, with the user's own limit alone and with a group's too.
        private func reasons(_ client: HTTPConnection, _ users: [String], in group: String) throws -> [String] {
            try users.flatMap { user in
                try ["", #","groups":["\#(group)"]"#].map { more in
                    let body = #"{"user":"\#(user)","output_tokens":1\#(more)}"#
                    return try client.request("POST", "/v1/check", body: body).json["reason"] as? String ?? "none"
                }
            }
        }

        @Test(
            "A node that was killed is told as unreachable, whether or not its users are known", arguments: [50, 2_000])
        func killed(timeoutMilliseconds: Int) throws {
            let daemon = try start(["REDIS_TIMEOUT_MS": "\(timeoutMilliseconds)"])
            let client = try daemon.connect()
            let known = newUsers(10, in: slots)
            let group = newUsers(1, in: 13_000...13_999)[0]
            #expect(try eventually(within: 20) { try !client.check(known[0]).isDegraded })
            _ = try reasons(client, known, in: group)
            let master = try cluster.master(of: slots.lowerBound)
            try cluster.replica(of: master).server.end()
            master.server.end()
            defer { try? cluster.heal() }
            let isSeen = eventually(within: 20) { !daemon.logLines(containing: "Redis node is away").isEmpty }
            #expect(isSeen)
            var told: [String: Int] = [:]
            for _ in 0..<20 {
                for reason in try reasons(client, known + newUsers(10, in: slots), in: group) {
                    told[reason, default: 0] += 1
                }
                pause(milliseconds: 50)
            }
            #expect(told == ["redis_unreachable": 800])
        }

        @Test("Until a killed node's replica takes over, its users are told that it is unreachable")
        func failover() throws {
            let daemon = try start(["REDIS_TIMEOUT_MS": "50"])
            let client = try daemon.connect()
            let known = newUsers(10, in: slots)
            let group = newUsers(1, in: 13_000...13_999)[0]
            #expect(try eventually(within: 20) { try !client.check(known[0]).isDegraded })
            _ = try reasons(client, known, in: group)
            let master = try cluster.master(of: slots.lowerBound)
            master.server.end()
            defer { try? cluster.heal() }
            var told: [String: Int] = [:]
            let isOver = try eventually(within: 30) {
                let now = try reasons(client, known + newUsers(2, in: slots), in: group)
                for reason in now { told[reason, default: 0] += 1 }
                return now.allSatisfy { $0 == "none" } && told["redis_unreachable"] != nil
            }
            print("failover: \(told)")
            #expect(isOver && told["redis_timeout"] == nil)
        }

        @Test("MAX_QUEUE bounds calls while a node does not answer")
        func queue() throws {
            let daemon = try start(["MAX_QUEUE": "10", "REDIS_TIMEOUT_MS": "3000"])
            let client = try daemon.connect()
            let users = newUsers(60, in: slots)
            #expect(try eventually(within: 20) { try !client.check(users[0]).isDegraded })
            for user in users { #expect(try !client.check(user).isDegraded) }
            let master = try cluster.master(of: slots.lowerBound)
            master.server.stop()
            defer {
                master.server.resume()
                try? cluster.waitUntilWhole()
            }
            try client.send(users.map { HTTPConnection.checkText($0) }.joined())
            let answers = try users.map { _ in try client.response().text }
            #expect(answers.count { $0.contains("overloaded") } == 50)
        }
    }
}
