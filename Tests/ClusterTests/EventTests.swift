import Foundation
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("Events about thresholds")
    struct EventTests {
        let cluster: ClusterDeployment

        init() throws { cluster = try ClusterSuite.cluster() }

        @Test("What users of every master cross through two daemons is in one stream, once, and read through either")
        func everywhere() throws {
            let folder = try TemporaryFolder()
            let file = """
                limits:
                  - {name: events-calls, per: user, unit: requests, quota: 4, window: 1h, warn_at: [0.5]}
                  - {name: events-team, per: group, unit: requests, quota: 1000, window: 1h, warn_at: [0.048]}
                """
            let settings = [
                "LIMITS_FILE": try folder.write(file, to: "limits.yaml"), "REQUESTS": "0", "GROUPS": "given",
                // A stream of its own: the cluster is that of all tests here.
                "KEY_PREFIX": "events-\(newUser().prefix(8))",
            ]
            let daemons = try (0..<2).map { _ in try Daemon(redis: cluster.url(), settings) }
            let users = (0..<24).map { _ in newUser() }
            let group = newUser()
            // Each call has keys in two slots: it is reserved in both, and what it crosses is told where it is settled.
            let statuses = try concurrently(8) { index in
                let client = try daemons[index % 2].connect()
                return try users.enumerated().filter { $0.offset % 4 == index / 2 }.flatMap { _, user in
                    try (0..<2).map { _ in
                        // Each other user's call names candidates, which are asked about one after the other.
                        let candidates = users.firstIndex(of: user).map { $0 % 2 == 0 } ?? false
                        let more = candidates ? #","candidates":[{"model":"a"},{"model":"b"}]"# : ""
                        let body = #"{"user":"\#(user)","groups":["\#(group)"]\#(more)}"#
                        return try client.request("POST", "/v1/check", body: body).status
                    }
                }
            }
            #expect(statuses.allSatisfy { $0.allSatisfy { $0 == 200 } })
            func told(_ daemon: Daemon) throws -> [[String: Any]] {
                try daemon.connectAdmin().request("GET", "/v1/events").json["events"] as? [[String: Any]] ?? []
            }
            // A half and the whole for each user, and for the group the one warning.
            #expect(try eventually(within: 20) { try told(daemons[0]).count >= 49 })
            pause(milliseconds: 300)
            for daemon in daemons {
                let events = try told(daemon)
                #expect(events.count == 49)
                let ofUsers = events.filter { $0["limit_name"] as? String == "events-calls" }
                let crossed = ofUsers.map { "\($0["user_id"] as? String ?? "") \($0["amount"] as? Int ?? 0)" }
                #expect(Set(crossed) == Set(users.flatMap { ["\($0) 2", "\($0) 4"] }) && crossed.count == 48)
                let ofGroup = events.filter { $0["group_id"] as? String == group }
                #expect(ofGroup.count == 1 && ofGroup[0]["amount"] as? Int == 48)
            }
        }
    }
}
