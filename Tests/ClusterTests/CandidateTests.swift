import Foundation
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("Calls with candidates")
    struct CandidateTests {
        let cluster: ClusterDeployment
        let folder: TemporaryFolder

        init() throws {
            cluster = try ClusterSuite.cluster()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: team, per: group, unit: requests, quota: 6, window: 1h, match: {model: shared}}
              - {name: large, per: user, unit: requests, quota: 2, window: 1h, match: {model: large}}
              - {name: small, per: [user, model], unit: requests, quota: 3, window: 1h, match: {model: [small, shared]}}
            """

        private func start(_ count: Int) throws -> [Daemon] {
            let path = try folder.write(Self.file, to: "limits.yaml")
            let settings = ["LIMITS_FILE": path, "GROUPS": "given", "REQUESTS": "0", "REDIS_TIMEOUT_MS": "5000"]
            return try (0..<count).map { _ in try Daemon(redis: cluster.url(), settings) }
        }

        private func used(_ client: HTTPConnection, _ user: String, _ group: String, _ model: String) throws -> [String:
            Int]
        {
            let page = try client.request("GET", "/v1/users/\(user)/usage?group=\(group)&model=\(model)").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        /// The models that calls one after the other, at one daemon and another, were admitted for; nil for a denial.
        private func ask(
            _ clients: [HTTPConnection], _ user: String, _ group: String, _ models: [String], times: Int
        ) throws -> [String?] {
            let candidates = models.map { #"{"model":"\#($0)"}"# }.joined(separator: ",")
            let body = #"{"user":"\#(user)","groups":["\#(group)"],"candidates":[\#(candidates)]}"#
            return try (0..<times).map { turn in
                let response = try clients[turn % clients.count].request("POST", "/v1/check", body: body)
                guard response.status == 200 else { return nil }
                return (try response.json["candidate"] as? [String: Any])?["model"] as? String
            }
        }

        @Test(
            "are one decision where all keys are the user's, and are asked about one after the other where they are not"
        )
        func slots() throws {
            let daemons = try start(2)
            let clients = try daemons.map { try $0.connect() }
            for _ in 0..<4 {
                let (user, group) = (newUser(), newUser())
                let own = try ask(clients, user, group, ["large", "small"], times: 6)
                #expect(own == ["large", "large", "small", "small", "small", nil])
                let shared = try ask(clients, user, group, ["shared", "large", "small"], times: 4)
                #expect(shared == ["shared", "shared", "shared", nil])
                #expect(try eventually(within: 20) { try used(clients[0], user, group, "shared")["team"] == 3 })
                #expect(try used(clients[0], user, group, "shared") == ["team": 3, "large": 2, "small": 3])
                #expect(try used(clients[1], user, group, "small")["small"] == 3)
            }
        }

        @Test("Over several slots no window passes its quota, and as much is charged as was admitted")
        func contention() throws {
            let daemons = try start(2)
            let (group, users) = (newUser(), (0..<8).map { _ in newUser() })
            let admitted = try concurrently(16) { index in
                try ask([daemons[index % 2].connect()], users[index % 8], group, ["shared", "small"], times: 6)
            }
            let taken = admitted.joined().compactMap { $0 }
            let client = try daemons[0].connect()
            let shared = taken.count { $0 == "shared" }
            #expect(shared <= 6)
            #expect(try eventually(within: 20) { try used(client, users[0], group, "shared")["team"] == shared })
            let small = try users.map { try #require(try used(client, $0, group, "small")["small"]) }
            #expect(small.allSatisfy { $0 <= 3 } && small.reduce(0, +) == taken.count - shared)
        }
    }
}
