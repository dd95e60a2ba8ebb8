import Foundation
import TestSupport
import Testing

extension ClusterSuite {
    /// A slot is moved key by key. Here a user's bundle has arrived, and what stands beside it has not.
    @Suite("A user whose keys have moved in part")
    struct HalfMovedTests {
        let cluster: ClusterDeployment
        let folder: TemporaryFolder

        init() throws {
            cluster = try ClusterSuite.cluster()
            folder = try TemporaryFolder()
        }

        /// Does something while the user's bundle alone has moved, and then has the others follow.
        private func move(_ user: String, _ body: () throws -> Void) throws {
            let slot = slot(of: user)
            let source = try cluster.master(of: slot)
            let others = try cluster.masters().filter { $0.port != source.port }
            let target = try #require(others.first)
            try cluster.beginMove(of: slot, to: target)
            let moved = try source.command("MIGRATE", "127.0.0.1", "\(target.port)", "llm-rate:\(user)", "0", "5000")
            #expect(moved == .status("OK"))
            try body()
            while try cluster.moveKeys(of: slot, to: target, count: 10) > 0 {}
            try cluster.endMove(of: slot, to: target)
            try cluster.waitUntilWhole()
        }

        @Test("A long window that has not arrived is not taken for an empty one")
        func longWindow() throws {
            let daemon = try Daemon(redis: cluster.url(), ["REQUESTS": "200", "WINDOW": "600", "DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let user = newUser()
            #expect(try eventually(within: 20) { try !client.check(newUser()).isDegraded })
            for _ in 0..<200 { #expect(try client.check(user).status == 200) }
            #expect(try client.check(user).status == 429)
            try move(user) { () throws in
                for _ in 0..<5 { #expect(try client.check(user).isDegraded) }
            }
            #expect(try client.check(user).status == 429)
        }

        @Test("Leases beside the bundle that have not arrived still hold, and none is taken for settled")
        func leases() throws {
            let file = try folder.write(
                "limits:\n  - {name: calls, per: user, unit: concurrency, quota: 20}\n", to: "limits.yaml")
            let daemon = try Daemon(
                redis: cluster.url(), ["LIMITS_FILE": file, "DENY_CACHE_MS": "0", "REQUESTS": "1000"])
            let client = try daemon.connect()
            let user = newUser()
            func call(_ route: String, _ more: String) throws -> HTTPResponse {
                try client.request("POST", "/v1/\(route)", body: #"{"user":"\#(user)"\#(more)}"#)
            }
            #expect(try eventually(within: 20) { try !client.check(newUser()).isDegraded })
            let leases = try (0..<20).map { _ in
                try #require(try call("reserve", #","ttl":600"#).json["lease"] as? String)
            }
            try move(user) { () throws in
                for _ in 0..<5 { #expect(try call("reserve", #","ttl":600"#).isDegraded) }
                #expect(try call("settle", #","lease":"\#(leases[0])""#).status == 503)
            }
            #expect(try call("reserve", #","ttl":600"#).json["at_capacity"] as? Bool == true)
            let settled = try call("settle", #","lease":"\#(leases[0])""#)
            #expect(settled.status == 200 && !settled.text.contains("repeated"), "\(settled.text)")
            let next = try call("reserve", #","ttl":600"#)
            #expect(try next.json["allowed"] as? Bool == true, "\(next.text)")
        }

        @Test("A usage whose id is noted beside the bundle is not charged again where that has not arrived")
        func usage() throws {
            let file = try folder.write(
                "limits:\n  - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}\n", to: "limits.yaml")
            let daemon = try Daemon(
                redis: cluster.url(), ["LIMITS_FILE": file, "DENY_CACHE_MS": "0", "REQUESTS": "1000"])
            let client = try daemon.connect()
            let user = newUser()
            func use() throws -> HTTPResponse {
                try client.request(
                    "POST", "/v1/usage", body: #"{"user":"\#(user)","output_tokens":5,"request_id":"one"}"#)
            }
            #expect(try eventually(within: 20) { try !client.check(newUser()).isDegraded })
            #expect(try use().text == #"{"charged":true}"#)
            try move(user) { () throws in #expect(try use().status == 503) }
            #expect(try use().text.contains(#""repeated":true"#))
        }
    }
}
