import Foundation
import TestSupport
import Testing

/// The chart's gateway: the real Envoy with the configuration that the chart makes, beside the daemon with what the pod
/// has, in front of a server in the model's place.
@Suite("The chart's gateway", .serialized, .needs("packages/helm", "gateways/envoy"))
struct ChartGatewayTests {
    /// Envoy beside the daemon, in front of a server in the model's place.
    private struct Setting {
        let sidecar: SidecarSetting
        let port: UInt16
        let metricsPort: UInt16
        private let model: ChildProcess
        private let gateway: ChildProcess

        /// - Parameters:
        ///   - options: the daemon's, in YAML.
        ///   - files: the gateway's configuration and the descriptors, from `deploy/`, in place of the chart's own.
        init(_ options: String, files: (gateway: String, descriptors: String)? = nil) throws {
            model = try ChildProcess("python3", ["\(projectFolder)/Tests/GatewayTests/model.py"])
            let model = model
            guard eventually(within: 20, { model.output.hasSuffix("\n") }),
                let modelPort = UInt16(model.output.dropLast())
            else { throw TestFailure("the model does not start: \(model.errors)") }
            port = try freePort()
            metricsPort = try freePort()
            var values = """
                redis: {url: REDIS}
                options: {\(options)}
                gateway:
                  port: \(port)
                  upstream: {host: 127.0.0.1, port: \(modelPort)}
                  metrics: {port: \(metricsPort)}

                """
            if let files {
                let ports = [8080: port, 8000: modelPort]
                values += "  config: \(Self.block(files.gateway, ports))"
                values += "descriptors:\n  api.yaml: \(Self.block(files.descriptors, ports))"
            }
            sidecar = try SidecarSetting(values)
            gateway = try Self.start(sidecar)
            let (port, gateway) = (port, gateway)
            let isReady = try eventually(within: 30) {
                guard gateway.exitCode == nil else { throw TestFailure("Envoy ended: \(gateway.errors)") }
                return (try? HTTPConnection(.tcp(port)).request("GET", "/health").status) == 204
            }
            guard isReady else { throw TestFailure("Envoy is not ready: \(gateway.errors)") }
        }

        /// A file of `deploy/envoy` as a text in YAML, with other ports.
        private static func block(_ file: String, _ ports: [Int: UInt16]) -> String {
            var text = readFile("\(projectFolder)/deploy/envoy/\(file)")
            for (old, new) in ports { text.replace("port_value: \(old)", with: "port_value: \(new)") }
            return "|\n" + text.split(separator: "\n").map { "    \($0)\n" }.joined()
        }

        /// Starts Envoy with the command of its container.
        private static func start(_ sidecar: SidecarSetting) throws -> ChildProcess {
            let map = sidecar.rendered.object("ConfigMap", "-envoy")["data"]["envoy.yaml"].text ?? ""
            let sockets = [
                "llm-rate-limit.sock": sidecar.daemon.socketPath, "grpc.sock": sidecar.folder.file("grpc.sock"),
            ]
            var text = map
            for (name, path) in sockets { text.replace("/run/llm-rate-limit/\(name)", with: path) }
            guard text != map else { throw TestFailure("no socket in \(map)") }
            let path = try sidecar.folder.write(text, to: "envoy.yaml")
            let command = sidecar.rendered.gateway["command"].texts
            guard command.first == "envoy", command.contains("/etc/envoy/envoy.yaml") else {
                throw TestFailure("the command is \(command)")
            }
            let libraries = "\(projectFolder)/.build/gateways/envoy/lib"
            let pythons = try FileManager.default.contentsOfDirectory(atPath: libraries)
            let python = pythons.first { $0.hasPrefix("python3") } ?? ""
            // It ends with the thread that started it, which is the test's.
            return try ChildProcess(
                "\(libraries)/\(python)/site-packages/envoy/_bin/envoy",
                command.dropFirst().map { $0 == "/etc/envoy/envoy.yaml" ? path : $0 })
        }

        func get(_ headers: [String: String]) throws -> HTTPResponse {
            try HTTPConnection(.tcp(port)).request("GET", "/", headers)
        }
    }

    @Test("Requests pass within the limit and are 429 beyond it; without the daemon they pass, and say so")
    func limit() throws {
        let setting = try Setting("REQUESTS: 2")
        let user = ["X-User-Id": newUser()]
        for left in [1, 0] {
            let answer = try setting.get(user)
            #expect(answer.status == 200 && answer["RateLimit"]?.contains("r=\(left)") == true, "\(answer)")
        }
        let denied = try setting.get(user)
        #expect(denied.status == 429 && denied["Retry-After"] != nil, "\(denied)")
        #expect(try setting.get(["X-User-Id": newUser()]).status == 200)
        setting.sidecar.daemon.kill()
        let passed = try setting.get(user)
        #expect(passed.status == 200 && passed["X-Rate-Limit-Degraded"] == "true", "\(passed)")
        try setting.sidecar.daemon.restart()
        #expect(try setting.get(user).status == 429)
    }

    @Test("Its metrics port has the daemon's metrics, and nothing of it that decides")
    func metrics() throws {
        let setting = try Setting("REQUESTS: 2")
        let client = try HTTPConnection(.tcp(setting.metricsPort))
        let page = try client.request("GET", "/metrics")
        #expect(page.status == 200 && page.text.contains("llm_rate_limit_enforcing"))
        for (method, path) in [
            ("GET", "/v1/check?user=a"), ("GET", "/v1/auth"), ("GET", "/v1/config"), ("POST", "/metrics"),
            ("GET", "/metrics/../v1/check?user=a"), ("GET", "/metrics%2f..%2fv1%2fauth"),
        ] { #expect(try HTTPConnection(.tcp(setting.metricsPort)).request(method, path).status == 404, "\(path)") }
        #expect(try setting.sidecar.redis.keys().allSatisfy { $0.contains("heartbeat") })
    }

    @Test("In mode closed a request that nobody decided is 503, whether Redis is away or the daemon")
    func closed() throws {
        let setting = try Setting("FAILURE_MODE: closed")
        let user = ["X-User-Id": newUser()]
        #expect(try setting.get(user).status == 200)
        setting.sidecar.redis.end()
        #expect(try eventually(within: 20) { try setting.get(user).status == 503 })
        setting.sidecar.daemon.kill()
        #expect(try setting.get(user).status == 503)
    }

    @Test("The headers that options name reach the daemon")
    func headers() throws {
        let setting = try Setting("AUTH_USER_HEADER: X-Account, AUTH_HEADERS: 'label.tenant=X-Tenant', REQUESTS: 1")
        let user = ["X-Account": newUser(), "X-Tenant": "a"]
        #expect(try setting.get(user).status == 200)
        #expect(try setting.get(user).status == 429)
        let map = setting.sidecar.rendered.object("ConfigMap", "-envoy")["data"]["envoy.yaml"].text ?? ""
        #expect(map.contains("- exact: x-account\n") && map.contains("- exact: x-tenant\n"))
        #expect(!map.contains("x-user-id"))
    }

    @Test("Envoy's rate limit service limits with deploy/envoy's files as the gateway's configuration and descriptors")
    func descriptors() throws {
        let setting = try Setting("REQUESTS: 0", files: ("rate-limit-service.yaml", "limits.yaml"))
        let user = ["X-User-Id": newUser()]
        for left in (0..<20).reversed() {
            let answer = try setting.get(user)
            #expect(answer.status == 200 && answer["x-ratelimit-remaining"] == "\(left)", "\(answer)")
        }
        #expect(try setting.get(user).status == 429)
    }

    @Test("A model's API with TLS is a configuration that Envoy takes")
    func validates() throws {
        let rendered = try Helm.render(ChartTests.whole)
        let folder = try TemporaryFolder()
        let map = rendered.object("ConfigMap", "-envoy")["data"]["envoy.yaml"].text ?? ""
        #expect(map.contains("UpstreamTlsContext"))
        let path = try folder.write(map, to: "envoy.yaml")
        let process = try ChildProcess(
            "\(projectFolder)/.build/gateways/envoy/bin/envoy", ["--mode", "validate", "--config-path", path])
        #expect(try process.wait(seconds: 60) == 0, "\(process.output) \(process.errors)")
    }
}
