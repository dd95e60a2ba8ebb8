import Foundation
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("Users and groups that are any text")
    struct SubjectTests {
        let cluster: ClusterDeployment

        init() throws { cluster = try ClusterSuite.cluster() }

        private static let subjects: [(text: String, key: String)] = [
            ("alice@example.com", "user:alice@example.com"), ("tenant/αβγ", "user:tenant/%CE%B1%CE%B2%CE%B3"),
            ("global", "user:global"), ("group:x", "user:group:x"), ("{a}", "user:%7Ba%7D"), ("{a", "user:%7Ba"),
            ("a}{b}", "user:a%7D%7Bb%7D"), ("~", "user:%7E"), ("%41", "user:%2541"),
        ]

        private func json(_ text: String) throws -> String {
            String(decoding: try JSONEncoder().encode(text), as: UTF8.self)
        }

        @Test("Each has its window on the master that has the slot of its key, and no other")
        func slots() throws {
            let daemon = try Daemon(redis: cluster.url())
            let client = try daemon.connect()
            let node = try cluster.nodes[0].server.connect()
            let run = newUser()
            for (text, key) in Self.subjects {
                let body = #"{"user":\#(try json(text + run)),"cost":3}"#
                let response = try client.request("POST", "/v1/check", body: body)
                #expect(try response.status == 200 && response.number("remaining") == 17, "\(text)")
                let whole = "llm-rate:\(key)\(run)"
                #expect(try node.command("CLUSTER", "KEYSLOT", whole) == .integer(slot(of: String(whole.dropFirst(9)))))
                let holders = try cluster.masters().filter { master in
                    let keys = try master.server.connect().command("KEYS", "*\(run)*").elements.compactMap(\.text)
                    return keys.contains(whole)
                }
                #expect(holders.count == 1, "\(text)")
            }
            #expect(daemon.logLines(containing: "MOVED").isEmpty)
        }

        @Test("A lease, a budget and a reset of each work over the slots of user, group and all")
        func calls() throws {
            let folder = try TemporaryFolder()
            let file = """
                limits:
                  - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
                  - {name: team, per: group, unit: tokens, quota: 1000, window: 1h}
                """
            let settings = ["LIMITS_FILE": try folder.write(file, to: "limits.yaml")]
            let daemon = try Daemon(redis: cluster.url(), settings)
            let (client, admin) = (try daemon.connect(), try daemon.connectAdmin())
            let run = newUser()
            for (text, _) in Self.subjects {
                let user = try json(text + run)
                let path = try #require((text + run).addingPercentEncoding(withAllowedCharacters: .alphanumerics))
                #expect(try admin.request("PUT", "/v1/groups/\(path)/members/\(path)").status == 200)
                let budget = #"{"group_id":\#(user),"limits":{"tokens":500}}"#
                #expect(try admin.request("PUT", "/v1/users/\(path)/budget", body: budget).status == 200)
                let body = #"{"user":\#(user),"output_tokens":400}"#
                let reserved = try client.request("POST", "/v1/reserve", body: body)
                let lease = try #require(try reserved.json["lease"] as? String, "\(text): \(reserved.text)")
                #expect(try client.request("POST", "/v1/check", body: body).status == 429, "\(text)")
                let settle = #"{"user":\#(user),"lease":"\#(lease)","output_tokens":450}"#
                #expect(try client.request("POST", "/v1/settle", body: settle).status == 200)
                #expect(try client.request("POST", "/v1/check", body: body).status == 429, "\(text)")
                #expect(try admin.request("DELETE", "/v1/users/\(path)").status == 204)
                #expect(try client.request("POST", "/v1/check", body: body).status == 200, "\(text)")
            }
        }
    }
}
