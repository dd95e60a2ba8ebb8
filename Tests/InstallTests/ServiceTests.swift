import Foundation
import TestSupport
import Testing

/// The Debian package on a system that runs: Debian 12 with its systemd and its Redis, which nothing is known of before.
@Suite("The service of the Debian package", .serialized, .needsPackages, .needs("debian"), .needsNamespaces)
struct ServiceTests {
    private static let settings = "/etc/llm-rate-limit/llm-rate-limit.env"

    private func installed() throws -> Machine {
        let machine = try Machine(booted: true)
        try machine.install()
        return machine
    }

    /// What `llm-rate-limit check` ends with, for a user of the machine.
    private func check(_ machine: Machine, groups: String) throws -> Command {
        try machine.run(
            "setpriv", "--reuid=nobody", "--regid=nogroup", groups, "llm-rate-limit", "check", newUser())
    }

    @Test("Once installed it serves, at systemd's socket, and whoever is in the group may ask")
    func started() throws {
        let machine = try installed()
        for unit in ["llm-rate-limit.service", "llm-rate-limit.socket"] {
            #expect(try machine.run("systemctl", "is-active", unit).output == "active\n", "\(unit)")
        }
        #expect(try machine.property("StatusText") == "serving")
        #expect(try machine.property("User") == "llm-rate-limit")
        #expect(try machine.run("systemctl", "--failed", "--no-legend").output == "")
        // A busy machine may not reach Redis within a decision's 50 ms.
        #expect(
            try eventually(within: 60) {
                let member = try check(machine, groups: "--groups=llm-rate-limit")
                return member.code == 0 && member.output.hasPrefix("allowed: 19 of 20")
            })
        let other = try check(machine, groups: "--clear-groups")
        #expect(other.code == 2 && other.errors.contains("Permission denied"))
        let admin = try machine.shell("stat --format=%U:%a /run/llm-rate-limit/admin.sock")
        #expect(admin == "llm-rate-limit:600")

        let lines = try machine.journal()
        let serving = try #require(lines.first { $0.contains("\"serving\"") })
        #expect(serving.contains("systemd:check"))
        for line in lines {
            #expect(throws: Never.self, "\(line)") { try JSONSerialization.jsonObject(with: Data(line.utf8)) }
        }
    }

    @Test("A reload takes changed settings over, in the same process")
    func reload() throws {
        let machine = try installed()
        let process = try machine.property("MainPID")
        try machine.shell("echo LLM_RATE_LIMIT_REQUESTS=3 >>\(Self.settings) && systemctl reload llm-rate-limit")
        #expect(try eventually(within: 60) { try machine.connect().check(newUser()).number("limit") == 3 })
        #expect(try machine.property("MainPID") == process)
    }

    @Test(
        "While Redis is stopped calls pass, and answers and the journal say so; once it is back the limit is enforced")
    func redisStopped() throws {
        let machine = try installed()
        #expect(try eventually(within: 60) { try !machine.connect().check(newUser()).isDegraded })
        try machine.shell("systemctl stop redis-server")
        #expect(
            try eventually(within: 60) {
                let answer = try machine.connect().check(newUser())
                return answer.isAllowed && answer.isDegraded
            })
        #expect(try machine.property("ActiveState") == "active")
        #expect(try eventually(within: 60) { try machine.journal().contains { $0.contains("Redis is away") } })
        try machine.shell("systemctl start redis-server")
        #expect(try eventually(within: 60) { try !machine.connect().check(newUser()).isDegraded })
    }

    @Test("No connection is refused when the daemon is killed, nor when it hangs and the watchdog ends it")
    func killed() throws {
        let machine = try installed()
        let traffic = Traffic(to: machine)
        #expect(traffic.goesOn())
        for (signal, restarts) in [("KILL", "1"), ("STOP", "2")] {
            let process = try machine.property("MainPID")
            try machine.shell("systemctl kill --kill-whom=main --signal=\(signal) llm-rate-limit")
            #expect(try eventually(within: 120) { try machine.property("NRestarts") == restarts })
            #expect(traffic.goesOn())
            #expect(try machine.property("MainPID") != process)
        }
        let said = try machine.run("journalctl", "--no-pager", "--output=cat", "--unit=llm-rate-limit").output
        #expect(said.contains("Watchdog timeout"))
        let record = try traffic.end()
        #expect(record.refused == [])
        // Whoever was connected to the process that ended has lost an answer; nobody was denied.
        #expect(record.failed.allSatisfy { !$0.contains("allowed") }, "\(record.failed)")
    }

    @Test(
        "An upgrade under load restarts the daemon, keeps changed settings, and costs no client a connection or an answer"
    )
    func upgraded() throws {
        let machine = try installed()
        try machine.shell("echo LLM_RATE_LIMIT_REQUESTS=30 >>\(Self.settings) && systemctl reload llm-rate-limit")
        let process = try machine.property("MainPID")
        let traffic = Traffic(to: machine)
        #expect(traffic.goesOn())
        try machine.install("next")
        #expect(try machine.property("MainPID") != process)
        #expect(traffic.goesOn())
        let record = try traffic.end()
        #expect(record.refused == [] && record.failed == [])
        #expect(try machine.connect().check(newUser()).number("limit") == 30)
    }

    @Test("Stopped it is gone, and purged it leaves nothing behind but its user, whoever asks meanwhile")
    func purged() throws {
        let machine = try installed()
        try machine.shell("systemctl stop llm-rate-limit.socket llm-rate-limit.service")
        #expect(throws: (any Error).self) { try machine.connect() }
        try machine.shell("systemctl start llm-rate-limit.socket llm-rate-limit.service")
        #expect(try machine.connect().check(newUser()).isAllowed)

        // A client would start a daemon again whose socket is still there.
        let traffic = Traffic(to: machine)
        #expect(traffic.goesOn())
        try machine.shell("dpkg --purge llm-rate-limit")
        #expect(try machine.run("pgrep", "llm-rate-limit").code == 1)
        let record = try traffic.end()
        #expect(record.failed == [], "a client that was connected had no answer")
        for path in ["/run/llm-rate-limit", "/etc/llm-rate-limit", "/usr/bin/llm-rate-limit"] {
            #expect(try !machine.has(path), "\(path)")
        }
        let loaded = ["--all", "--state=loaded,active,failed", "--no-legend", "llm-rate-limit*"]
        #expect(try machine.shell("systemctl list-units \(loaded.joined(separator: " "))") == "")
        #expect(try machine.run("getent", "passwd", "llm-rate-limit").code == 0)
    }
}
