import Foundation
import TestSupport
import Testing

/// `AccessTests` hold on a real Redis that Operating's permissions are enough, and that each is needed.
@Suite("The permissions of the pages")
struct PermissionTests {
    /// The words behind the name of a user in a page's `ACL SETUSER`.
    private func rules(_ page: String) throws -> [String] {
        let block = try #require(try Page.named(page).blocks.first { $0.text.contains("ACL SETUSER") })
        return Array(block.text.split(whereSeparator: \.isWhitespace).map(String.init).dropFirst(3))
    }

    @Test("TLSAndAccess says of every permission of Operating's line what it is for, and of no other")
    func reasons() throws {
        let section = try #require(
            try Page.named("TLSAndAccess").tables.first { $0.section == "The least permissions" })
        let told = section.rows.flatMap { matches(of: "`([^`]+)`", in: $0[0]) }
        let line = try rules("Operating").filter { "~&+".contains($0.prefix(1)) }
        #expect(told.sorted() == line.sorted())
        #expect(line.count > 30)
    }

    @Test("The line has every command that the scripts and the daemon send, and no other")
    func commands() throws {
        let scripts = Repository.files.filter { $0.hasSuffix(".lua") }.map { readFile(Repository.path($0)) }.joined()
        let called = Set(matches(of: "call\\('([A-Z]+)'", in: scripts).map { $0.lowercased() })
        let line = try rules("Operating").filter { $0.hasPrefix("+") }.map { String($0.dropFirst()) }
        #expect(called.subtracting(line).isEmpty)
        let sources = Repository.texts.filter { $0.key.hasPrefix("Sources/") }.values.joined()
        for command in line where !called.contains(command) {
            let word = command.components(separatedBy: "|")[0].uppercased()
            #expect(sources.contains("\"\(word)\""), "nothing sends \(word)")
        }
    }

    @Test(
        "Cluster's line lets a daemon do everything in a cluster, and is Operating's but for what a cluster has apart")
    func cluster() throws {
        let rules = try rules("Cluster")
        let own = ["+cluster|slots", "+asking"]
        let dropped = ["-@all", "+select", "+role"]
        #expect(Set(rules) == Set(try self.rules("Operating") + own).subtracting(dropped))

        let port = try freePort()
        let bus = try freePort()
        let redis = try RedisServer([
            "--port", "\(port)", "--cluster-enabled", "yes", "--cluster-port", "\(bus)",
            "--cluster-config-file", "nodes.conf",
        ])
        try redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        #expect(try eventually(within: 20) { try redis.command("CLUSTER", "INFO").text?.contains("state:ok") == true })
        try redis.connect().command(["ACL", "SETUSER", "clustered"] + rules)
        let folder = try TemporaryFolder()
        let limits = """
            limits:
              - {name: team, per: group, unit: requests, quota: 100, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 9}
            """
        let daemon = try Daemon(
            redis: "redis+cluster://clustered:secret@127.0.0.1:\(port)",
            ["LIMITS_FILE": try folder.write(limits, to: "limits"), "GROUPS": "given"])
        let client = try daemon.connect()
        let user = newUser()
        let group = newUser()
        let who = "\"user\":\"\(user)\",\"groups\":[\"\(group)\"]"
        #expect(try client.request("POST", "/v1/check", body: "{\(who)}").status == 200)
        let lease = try client.request("POST", "/v1/reserve", body: "{\(who)}").json["lease"] as? String ?? ""
        #expect(try client.request("POST", "/v1/settle", body: "{\(who),\"lease\":\"\(lease)\"}").status == 200)
        let admin = try daemon.connectAdmin()
        let budget = try admin.request("PUT", "/v1/groups/\(group)/budget", body: #"{"limits":{"team":50}}"#)
        #expect(budget.status == 200)
        #expect(try admin.request("GET", "/v1/audit").status == 200)
        #expect(try admin.request("GET", "/v1/events").status == 200)
        #expect(try admin.request("DELETE", "/v1/users/\(user)").status == 204)
        #expect(try redis.command("ACL", "LOG").elements.isEmpty)
    }

    @Test("Sentinel's line is the one with which a daemon follows real Sentinels in SingleSentinelTests")
    func sentinel() throws {
        let rules = try rules("Sentinel").dropFirst(2).joined(separator: " ")
        let source = try #require(Repository.texts["Tests/SentinelTests/SingleSentinelTests.swift"])
        #expect(TextPattern.literals(in: Array(source)).contains { $0.parts == TextPattern(quoting: rules).parts })
    }
}
