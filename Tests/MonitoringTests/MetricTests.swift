import Foundation
import TestSupport
import Testing

/// The metrics that the alerts of replicas and of leases stand on.
@Suite("What replicas tell of their configuration and of leases", .serialized)
struct MetricTests {
    let redis: RedisServer
    let folder: TemporaryFolder

    init() throws {
        redis = try RedisServer()
        folder = try TemporaryFolder()
    }

    private func hash(_ daemon: Daemon, _ part: String) throws -> Double {
        try #require(try daemon.metric("llm_rate_limit_config_hash{part=\"\(part)\"}"))
    }

    /// The first 12 digits that `sha256sum` shows of files one behind the other, as a number.
    private func sum(_ files: String...) throws -> Double {
        let process = try ChildProcess("/bin/sh", ["-c", "cat \(files.joined(separator: " ")) | sha256sum"])
        _ = try process.wait()
        return Double(try #require(Int(process.output.prefix(12), radix: 16)))
    }

    @Test("Daemons with the same files have the same hashes, which sha256sum tells too; without files it is 0")
    func same() throws {
        let text = "limits: [{name: t, per: user, unit: tokens, quota: 5, window: 1h}]\n"
        let descriptors = { (domain: String) in
            "domain: \(domain)\ndescriptors: [{key: k, rate_limit: {unit: hour, requests_per_unit: 3}}]\n"
        }
        let files = [try folder.write(text, to: "a"), try folder.write(text, to: "b")]
        let envoy = folder.file("envoy")
        try FileManager.default.createDirectory(atPath: envoy, withIntermediateDirectories: false)
        let parts = try ["x", "y"].map { try folder.write(descriptors($0), to: "envoy/\($0).yaml") }
        let daemons = try files.map { try Daemon(redis: redis.url, ["LIMITS_FILE": $0, "ENVOY_CONFIG": envoy]) }
        for daemon in daemons {
            #expect(try hash(daemon, "limits") == (try sum(files[0])))
            #expect(try hash(daemon, "descriptors") == (try sum(parts[0], parts[1])))
        }
        #expect(try hash(daemons[0], "options") == (try hash(daemons[1], "options")))
        let plain = try Daemon(redis: redis.url)
        #expect(try hash(plain, "limits") == 0 && hash(plain, "descriptors") == 0)
    }

    @Test("Options that decide have another hash, those of sockets, logs and deadlines the same")
    func options() throws {
        let usual = try hash(Daemon(redis: redis.url), "options")
        for (name, value) in [
            ("REQUESTS", "21"), ("WINDOW", "60"), ("SHADOW", "yes"), ("FAILURE_MODE", "closed"),
            ("KEY_PREFIX", "other"),
            ("GROUPS", "given"), ("PER_SECOND", "5"), ("MAX_CONCURRENCY", "5"), ("REPLICAS", "2"),
        ] {
            let redis = name == "KEY_PREFIX" ? redis.unrestrictedURL : redis.url
            #expect(try hash(Daemon(redis: redis, [name: value]), "options") != usual, "\(name)")
        }
        let other = try Daemon(
            redis: redis.unrestrictedURL, ["LOG_LEVEL": "error", "MAX_QUEUE": "9", "REDIS_TIMEOUT_MS": "4999"])
        #expect(try hash(other, "options") == usual)
    }

    @Test("A file that changes has another hash once it is in force, and one that cannot be used leaves it as it was")
    func reload() throws {
        let file = try folder.write("limits: []\n", to: "limits")
        let daemon = try Daemon(redis: redis.url, ["LIMITS_FILE": file])
        let first = try hash(daemon, "limits")
        try folder.write("limits: {\n", to: "limits")
        try daemon.reload()
        #expect(try hash(daemon, "limits") == first)
        try folder.write("limits: [] # the same, said otherwise\n", to: "limits")
        try daemon.reload()
        #expect(try hash(daemon, "limits") == (try sum(file)))
        #expect(try hash(daemon, "limits") != first)
    }

    @Test(
        "A lease is counted when it is given, renewed and ended, an end that is told twice once, and one that is unknown"
    )
    func leases() throws {
        let daemon = try Daemon(redis: redis.url, ["MAX_CONCURRENCY": "3"])
        let client = try daemon.connect()
        let user = newUser()
        func post(_ path: String, _ members: String = "") throws -> HTTPResponse {
            try client.request("POST", path, body: "{\"user\":\"\(user)\"\(members)}")
        }
        func events() throws -> [String: Int] {
            let page = try client.request("GET", "/metrics").text
            let lines = page.split(separator: "\n").filter { $0.hasPrefix("llm_rate_limit_leases_total{") }
            return Dictionary(
                uniqueKeysWithValues: lines.map { line in
                    (line.split(separator: "\"").map(String.init)[1], Int(line.split(separator: " ")[1]) ?? -1)
                })
        }
        let none = ["given": 0, "renewed": 0, "settled": 0, "released": 0, "unknown": 0, "too_late": 0]
        #expect(try events() == none)
        let leases = try (0..<4).map { _ in try post("/v1/reserve").json["lease"] as? String }
        // The fourth was denied, and has no lease.
        #expect(leases.compactMap { $0 }.count == 3)
        let members = leases.compactMap { $0 }.map { ",\"lease\":\"\($0)\"" }
        #expect(try post("/v1/renew", members[0]).status == 200)
        for path in ["/v1/settle", "/v1/settle"] { #expect(try post(path, members[0]).status == 200) }
        #expect(try post("/v1/release", members[1]).status == 200)
        #expect(try post("/v1/renew", members[1]).status == 404)
        #expect(
            try events() == none.merging(["given": 3, "renewed": 1, "settled": 1, "released": 1, "unknown": 1]) { $1 })
    }
}
