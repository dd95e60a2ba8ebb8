import Foundation
import TestSupport
import Testing

/// The container image under Podman: the program that operators run, in what they run it in.
@Suite("The container image at work", .serialized, .needsPackages)
struct ImageTests {
    private let podman: Podman

    init() throws { podman = try Podman() }

    @Test("Without network, root, rights or anything to write to but its sockets it decides, and stops with 0")
    func confined() throws {
        let container = try ImageContainer(podman)
        let (client, user) = (try container.connect(), newUser())
        let answer = try client.check(user)
        #expect(try answer.status == 200 && !answer.isDegraded && answer.number("remaining") == 19)
        #expect(try client.check(user, cost: 20).status == 429)

        let state = try #require(try podman.inspect(container.name)["State"] as? [String: Any])
        let status = try podman.start(["cat", "/proc/\(try #require(state["Pid"] as? Int))/status"])
        #expect(try status.wait() == 0)
        let process = status.output
        func field(_ name: String) -> String? {
            process.split(separator: "\n").first { $0.hasPrefix("\(name):") }?
                .dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces)
        }
        #expect(field("Uid") == "65532\t65532\t65532\t65532")
        #expect(field("CapBnd") == "0000000000000000" && field("CapEff") == "0000000000000000")
        #expect(field("NoNewPrivs") == "1")
        // A gateway in another container is another user.
        #expect(access(of: "\(container.sockets)/llm-rate-limit.sock")?.mode == 0o666)
        #expect(access(of: "\(container.sockets)/admin.sock")?.mode == 0o600)

        // A connection that is open does not hold it up to be killed.
        #expect(try container.stop() == 0)
        #expect(try container.log.contains("\"message\":\"stopped\""))
    }

    @Test("HEALTHCHECK says healthy while it serves, with Redis and without, and unhealthy while it hangs")
    func health() throws {
        let container = try ImageContainer(podman)
        #expect(try container.health() == "healthy")
        container.redis.end()
        #expect(try eventually(within: 30) { try container.connect().check(newUser()).isDegraded })
        #expect(try container.health() == "healthy")
        try container.send("STOP")
        #expect(try container.health() == "unhealthy")
        try container.send("CONT")
        #expect(try eventually(within: 60) { try container.health() == "healthy" })
    }

    @Test("The commands that the chart runs are found by their name alone")
    func chartCommands() throws {
        let chart = readFile("\(projectFolder)/deploy/helm/llm-rate-limit/templates/_daemon.tpl")
        #expect(chart.contains("command: [llm-rate-limit, serve]"))
        #expect(chart.contains("exec: {command: [llm-rate-limit, health]}"))
        // A pod's command takes the place of the image's entry point.
        let container = try ImageContainer(podman, ["--entrypoint", "llm-rate-limit"], command: ["serve"])
        let health = try container.execute("llm-rate-limit", "health")
        #expect(health.code == 0 && health.output == "ok (\(Packages.imageName.replacing(":", with: " ")))")
        #expect(try container.execute("sh", "-c", "true").code != 0)
    }

    @Test("A calendar window finds its time zone, and one with a name that is no zone is refused")
    func timeZones() throws {
        func file(_ zone: String) throws -> String {
            let text = """
                limits:
                  - {name: month, per: user, unit: requests, quota: 7, window: {calendar: month, time_zone: \(zone)}}

                """
            return try podman.folder.write(text, to: "limits-\(UUID().uuidString).yaml", mode: 0o644)
        }
        func mounted(_ path: String) -> [String] { ["--volume=\(path):/etc/llm-rate-limit/limits.yaml:ro"] }
        let settings = ["LIMITS_FILE": "/etc/llm-rate-limit/limits.yaml", "REQUESTS": "0"]
        let container = try ImageContainer(podman, mounted(file("Europe/Berlin")), settings: settings)
        let answer = try container.connect().check(newUser())
        #expect(try answer.number("limit") == 7 && answer.json["limit_name"] as? String == "month")
        let check = ["config", "--check", "--limits-file", "/etc/llm-rate-limit/limits.yaml"]
        let run = ["run", "--rm", "--network=none"]
        let refused = try podman.run(run + mounted(file("Europe/Berlon")) + [Packages.imageName] + check)
        #expect(refused.code != 0 && refused.errors.contains("Europe/Berlon"), "\(refused.errors)")
    }

    @Test("rediss:// trusts whom the image's certificates vouch for, finds names in /etc/hosts, and trusts nobody else")
    func authorities() throws {
        let authority = try CertificateAuthority()
        let port = try freePort()
        let redis = try RedisServer(RedisServer.tlsOptions(port: port, authority.issue("redis")))
        let settings = ["REDIS_URL": RedisServer.tlsURL(port: port)]
        // An authority of the test's own, where the image has those of the public.
        let path = try podman.folder.write(readFile(authority.file), to: "authority.pem", mode: 0o644)
        let mount = ["--volume=\(path):/etc/ssl/certs/ca-certificates.crt:ro"]
        let trusting = try ImageContainer(podman, mount, settings: settings, network: "host", redis: redis)
        #expect(try eventually(within: 30) { try !trusting.connect().check(newUser()).isDegraded })

        let strict = try ImageContainer(podman, settings: settings, network: "host", redis: redis)
        #expect(try strict.connect().check(newUser()).isDegraded)
        #expect(
            try eventually(within: 30) { try strict.log.contains("no authority that is trusted here vouches") })
    }

    @Test("A new volume takes its sockets, which another container that mounts it reaches")
    func volume() throws {
        let mount = ["--volume=sockets:/run/llm-rate-limit"]
        let serving = ["run", "--detach", "--name", "volume"]
        try podman.must(serving + ["--network=none"] + ImageContainer.hardening + mount + [Packages.imageName])
        let asking =
            ["run", "--rm", "--network=none", "--user=101:101"] + ImageContainer.hardening + ["\(mount[0]):ro"]
        let isAnswered = try eventually(within: 30) {
            try podman.run(asking + [Packages.imageName, "health"]).code == 0
        }
        let log = try podman.run(["logs", "volume"])
        try #require(isAnswered, "\(log.errors)")
        // Whoever may ask may still not reset.
        let reset = try podman.run(asking + [Packages.imageName, "reset", newUser()])
        #expect(reset.code == 2 && reset.errors.contains("Permission denied"), "\(reset.errors)")
    }
}
