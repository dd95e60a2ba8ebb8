import Foundation
import TestSupport
import Testing

/// The built daemon with what the chart gives it: its variables, its files, its probes and its limits that change.
@Suite("The chart's sidecar", .serialized, .needs("packages/helm"))
struct SidecarTests {
    private static func limits(_ quota: Int) -> [String: String] {
        ["limits.yaml": "limits: [{name: a, per: user, unit: requests, quota: \(quota), window: 1h}]\n"]
    }

    private static func descriptors(_ requests: Int, domain: String = "api") -> String {
        "domain: \(domain)\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: \(requests)}}]\n"
    }

    private static let filed = """
        redis: {url: REDIS, login: {secret: redis, userKey: user}}
        options: {REQUESTS: 1000000, WINDOW: 1h, SHADOW: false, LOG_FORMAT: text}
        limits: "\(limits(5)["limits.yaml"]?.replacing("\n", with: "") ?? "")"
        descriptors: {api.yaml: "domain: api"}
        tokens: {secret: tokens}
        """

    @Test("The daemon takes every variable and file as the pod has them, and logs in by the Secret")
    func configuration() throws {
        let setting = try SidecarSetting(
            Self.filed,
            secrets: [
                "login/user": RedisServer.leastUser + "\n", "login/password": RedisServer.leastPassword + "\n",
                "tokens/secret": "0123456789abcdef",
            ])
        let health = ["llm-rate-limit", "health", "--require-redis"]
        #expect(try eventually(within: 20) { try setting.execute(health).code == 0 })
        // Helm writes so large a number as 1e+06.
        #expect(setting.rendered.variables["LLM_RATE_LIMIT_REQUESTS"] == "1e+06")
        #expect(try setting.daemon.metric("llm_rate_limit_limit_requests") == 1_000_000)
        #expect(try setting.daemon.connect().check(newUser()).number("limit") == 5)
        let answer = try setting.daemon.connect().request("GET", "/v1/auth", ["X-Api-Key": "secret of a client"])
        #expect(answer.status == 200)
        let users = try setting.redis.keys().filter { $0.contains("api-key:") }
        #expect(users.count == 1, "\(users)")
        #expect(setting.daemon.logLines(containing: "warning") == [])
        let socket = try #require(access(of: setting.daemon.socketPath))
        #expect("\(socket.group)" == setting.rendered.variables["LLM_RATE_LIMIT_SOCKET_GROUP"])
        #expect(socket.mode == 0o660)
        #expect(access(of: setting.folder.file("grpc.sock"))?.group == socket.group)
    }

    @Test("The probes pass while it serves, with Redis and without, and fail while it drains, hangs or is gone")
    func probes() throws {
        let setting = try SidecarSetting("{redis: {url: REDIS}, options: {DRAIN_TIMEOUT_MS: 60000}}")
        let names = ["startupProbe", "readinessProbe", "livenessProbe"]
        let commands = names.map { setting.rendered.daemon[$0]["exec"]["command"].texts }
        func codes() throws -> [Int32] { try commands.map { try setting.execute($0).code } }
        #expect(try codes() == [0, 0, 0])
        setting.redis.end()
        #expect(try eventually(within: 20) { try setting.execute(commands[1]).output.hasPrefix("degraded") })
        #expect(try codes() == [0, 0, 0])

        // A daemon that hangs does not hold the command for ever.
        setting.daemon.process.send(SIGSTOP)
        for command in commands { #expect(try setting.execute(command).code != 0) }
        setting.daemon.process.send(SIGCONT)
        #expect(try eventually(within: 20) { try codes() == [0, 0, 0] })

        // A connection that is open holds the drain.
        let client = try setting.daemon.connect()
        #expect(try client.request("GET", "/livez").status == 200)
        setting.daemon.process.send(SIGTERM)
        #expect(try eventually(within: 20) { try setting.execute(commands[1]).output.hasPrefix("draining") })
        #expect(try codes() == [1, 1, 1])
        setting.daemon.kill()
        #expect(try codes() == [2, 2, 2])
    }

    @Test("With a port for it the probes ask over HTTP, and one that drains is alive and not ready")
    func probesOverHTTP() throws {
        let port = try freePort()
        let setting = try SidecarSetting(
            "{redis: {url: REDIS}, listen: {address: 127.0.0.1, port: \(port)}, options: {DRAIN_TIMEOUT_MS: 60000}}")
        #expect(setting.rendered.daemon["ports"].named("limiter")["containerPort"].number == Int(port))
        let client = try setting.daemon.connect()
        #expect(try client.request("GET", "/livez").status == 200)
        func statuses() throws -> [Int] {
            try ["startupProbe", "readinessProbe", "livenessProbe"].map { name in
                let asked = setting.rendered.daemon[name]["httpGet"]
                guard asked["port"].text == "limiter", let path = asked["path"].text else { return -1 }
                return try HTTPConnection(.tcp(port)).request("GET", path).status
            }
        }
        #expect(try statuses() == [200, 200, 200])
        setting.redis.end()
        #expect(
            try eventually(within: 20) { try client.request("GET", "/readyz?require=redis").status == 503 })
        #expect(try statuses() == [200, 200, 200])
        setting.daemon.process.send(SIGTERM)
        #expect(try eventually(within: 20) { try statuses() == [503, 503, 200] })
    }

    @Test("A ConfigMap that changes is in force without a restart, once; one with a slip leaves what there was")
    func changes() throws {
        let setting = try SidecarSetting(
            "{redis: {url: REDIS}, options: {LOG_FORMAT: text, REQUESTS: 1000}, limits: 'limits: []', "
                + "descriptors: {api.yaml: 'domain: api'}}")
        let (daemon, client) = (setting.daemon, try setting.daemon.connect())
        let limits = try #require(setting.maps["limits"])
        let descriptors = try #require(setting.maps["descriptors"])
        func quota() throws -> Int? { try client.check(newUser()).number("limit") }
        func count(_ text: String) -> Int { daemon.logLines(containing: text).count }
        func failures(_ part: String) throws -> Double? {
            try daemon.metric("llm_rate_limit_config_reload_failures_total{part=\"\(part)\"}")
        }
        #expect(try quota() == 1000)
        try limits.change(to: Self.limits(5))
        #expect(try eventually(within: 40) { try quota() == 5 })
        try limits.change(to: Self.limits(7))
        #expect(try eventually(within: 40) { try quota() == 7 })

        // Another text, one file more, and the first one gone: each is one change of the folder.
        for (number, data) in [
            ["api.yaml": Self.descriptors(5)],
            ["api.yaml": Self.descriptors(5), "more.yaml": Self.descriptors(1, domain: "more")],
            ["more.yaml": Self.descriptors(1, domain: "more")],
        ].enumerated() {
            try descriptors.change(to: data)
            let text = "what LLM_RATE_LIMIT_ENVOY_CONFIG says"
            #expect(eventually(within: 40) { count(text) == number + 1 })
        }
        #expect(count("configuration reloaded") == 5)
        #expect(count("limit a: added") == 1 && count("limit a: quota 5 -> 7") == 1)
        #expect(try failures("limits") == 0 && failures("descriptors") == 0)

        for (part, map, text) in [("limits", limits, "limits.yaml"), ("descriptors", descriptors, "more.yaml")] {
            try map.change(to: [text: "nonsense: 1\n"])
            #expect(try eventually(within: 40) { try failures(part) ?? 0 > 0 })
            #expect(try quota() == 7)
            #expect(try client.request("GET", "/healthz").text.contains(#""state":"stale""#))
        }
        try limits.change(to: Self.limits(9))
        try descriptors.change(to: ["api.yaml": Self.descriptors(2)])
        #expect(try eventually(within: 40) { try quota() == 9 })
        #expect(
            try eventually(within: 40) {
                try client.request("GET", "/healthz").text.contains(#""state":"current""#)
            })
        #expect(count("configuration kept as it was") == 2)
    }

    @Test(
        "The container's user, its rights and a read-only root are enough; the gateway's user may ask, and reset nobody",
        .enabled(if: isRoot, "only root can become another user"))
    func confined() throws {
        let setting = try SidecarSetting(
            Self.filed,
            secrets: [
                "login/user": RedisServer.leastUser, "login/password": RedisServer.leastPassword,
                "tokens/secret": "0123456789abcdef",
            ], isConfined: true)
        let status = readFile("/proc/\(setting.daemon.process.id)/status")
        #expect(status.contains("\nUid:\t65532\t65532\t65532\t65532\n") && status.contains("\nNoNewPrivs:\t1\n"))
        #expect(status.contains("\nCapEff:\t0000000000000000\n") && status.contains("\nCapBnd:\t0000000000000000\n"))
        #expect(setting.daemon.logLines(containing: "warning") == [])
        let check = ["check", newUser()]
        #expect(try eventually(within: 20) { try setting.executeInGateway(check).output.hasPrefix("allowed") })
        for (arguments, inGroup) in [(["reset", newUser()], true), (check, false)] {
            let refused = try setting.executeInGateway(arguments, inGroup: inGroup)
            #expect(refused.code == 2 && refused.output.contains("Permission denied"), "\(refused)")
        }
        setting.daemon.process.send(SIGTERM)
        #expect(try setting.daemon.process.wait() == 0)
        #expect(access(of: setting.daemon.socketPath) == nil)
    }

    @Test(
        "Who has the sockets' folder mounted read-only connects to them",
        .enabled(if: isRoot, "only root can mount a folder"))
    func readOnly() throws {
        let setting = try SidecarSetting("redis: {url: REDIS}")
        let script = """
            mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 90
            ! touch "$1/a" 2>/dev/null || exit 91
            exec "$2" health --socket "$1/check"
            """
        let process = try ChildProcess(
            "unshare", ["--mount", "sh", "-c", script, "sh", setting.folder.path, Daemon.program])
        #expect(try process.wait() == 0, "\(process.errors)")
    }
}
