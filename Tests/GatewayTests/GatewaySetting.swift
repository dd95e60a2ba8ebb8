import Foundation
import TestSupport
import Testing

/// A way to ask the daemon: one of the configurations of `deploy/`.
enum Door: String, CustomTestStringConvertible {
    case nginxLua = "nginx with Lua"
    case nginxNJS = "nginx with njs"
    case nginxAuthRequest = "nginx with auth_request"
    case haproxy = "HAProxy"
    case caddy = "Caddy"
    case envoy = "Envoy"
    case envoyGRPC = "Envoy's rate limit service"
    case envoyAuthorization = "Envoy's ext_authz by gRPC"
    case traefik = "Traefik"

    var testDescription: String { rawValue }

    /// Those that ask by HTTP and let requests pass while the daemon is away.
    static let failingOpen: [Self] = [.nginxLua, .nginxNJS, .nginxAuthRequest, .haproxy, .caddy, .envoy]

    /// Whether it asks by gRPC.
    var speaksGRPC: Bool { self == .envoyGRPC || self == .envoyAuthorization }

    /// Those whose user is the client's address where no header names one, as a header of a test's has it.
    static let countingAddresses: [Self] = [.nginxLua, .nginxNJS, .nginxAuthRequest, .haproxy]

    /// Those that reserve before a call and settle after it.
    static let settling: [Self] = [.nginxLua, .nginxNJS, .haproxy]

    /// Whether the client's answer to a denial is the gateway's own, in the form of OpenAI's errors.
    var answersItself: Bool { ![.caddy, .envoy, .traefik].contains(self) }

    /// Those whose file hands on the three `X-RateLimit-…` as it is.
    var copiesOlderHeaders: Bool { [.nginxLua, .nginxNJS, .haproxy, .envoy].contains(self) }

    var package: String {
        switch self {
        case .nginxLua, .nginxNJS, .nginxAuthRequest: "nginx"
        case .haproxy: "haproxy"
        case .caddy: "caddy"
        case .envoy, .envoyGRPC, .envoyAuthorization: "envoy"
        case .traefik: "traefik"
        }
    }
}

/// Ends a gateway as a service manager does.
private final class RunningGateway {
    let process: ChildProcess

    init(process: ChildProcess) { self.process = process }

    deinit {
        process.send(SIGTERM)
        if (try? process.wait(seconds: 10)) == nil { process.end() }
    }
}

/// A real gateway with its file of `deploy/`, before a model and beside a daemon with its Redis.
final class GatewaySetting {
    let redis: RedisServer
    let daemon: Daemon
    let port: UInt16
    let folder: TemporaryFolder
    private let model: ChildProcess
    private let gateway: RunningGateway

    /// Limits of tokens that nobody reaches.
    static let limits = """
        limits:
          - {name: tokens, per: user, unit: tokens, quota: 1000000, window: 1h}
          - {name: input, per: user, unit: tokens.input, quota: 1000000, window: 1h}
          - {name: output, per: user, unit: tokens.output, quota: 1000000, window: 1h}
        """

    /// - Parameters:
    ///   - limits: a file of limits; none where it is nil.
    ///   - envoyLimits: a file of limits for Envoy's rate limit service; that of `deploy/` where it is nil.
    ///   - responseHeaders: those that Envoy's file adds to each answer, as it writes them.
    ///   - addressHeader: a header in which the gateway finds the client's address; it also listens on `::1` then.
    ///   - bounds: what else is in HAProxy's script in place of a line of bounds.
    ///   - settings: of the daemon.
    init(
        _ door: Door, limits: String? = nil, envoyLimits: String? = nil, responseHeaders: [String: String] = [:],
        addressHeader: String? = nil, bounds: [String: String] = [:], _ settings: [String: String] = [:]
    ) throws {
        let unpacked = try UnpackedGateway(door.package)
        redis = try RedisServer()
        folder = try TemporaryFolder()
        var settings = ["REQUESTS": "3", "TRUSTED_PROXIES": "unix"].merging(settings) { $1 }
        if door.speaksGRPC { settings["GRPC_SOCKET"] = folder.file("grpc") }
        if door == .envoyGRPC {
            let limits = try envoyLimits ?? UnpackedGateway.deployed("envoy/limits.yaml")
            settings["ENVOY_CONFIG"] = try folder.write(limits, to: "envoy-limits.yaml")
        }
        if let limits { settings["LIMITS_FILE"] = try folder.write(limits, to: "limits.yaml") }
        let daemonPort = try freePort()
        if door == .traefik {
            settings["LISTEN"] = "127.0.0.1:\(daemonPort)"
            settings["TRUSTED_PROXIES"] = "127.0.0.1/32"
        }
        daemon = try Daemon(redis: redis.url, settings, folder: folder)
        model = try ChildProcess("python3", [UnpackedGateway.helper("model.py")])
        let model = model
        guard eventually(within: 20, { model.output.hasSuffix("\n") }),
            let modelPort = UInt16(model.output.dropLast())
        else { throw TestFailure("the model does not start: \(model.errors)") }
        port = try freePort()
        let paths = GatewayPaths(
            folder: folder, daemonSocket: daemon.socketPath, daemonPort: daemonPort, port: port, modelPort: modelPort,
            unpacked: unpacked, addressHeader: addressHeader, bounds: bounds,
            isClosed: settings["FAILURE_MODE"] == "closed", responseHeaders: responseHeaders)
        gateway = RunningGateway(process: try door.start(paths))
        let (gateway, port) = (gateway.process, port)
        let isServing = try eventually(within: 20) {
            guard gateway.exitCode == nil else {
                throw TestFailure("\(door.rawValue) ended: \(gateway.output) \(gateway.errors) \(paths.log)")
            }
            return (try? HTTPConnection(.tcp(port)).request("GET", "/health").status).map { $0 < 300 } ?? false
        }
        guard isServing else { throw TestFailure("\(door.rawValue) does not answer: \(gateway.errors) \(paths.log)") }
    }

    /// Ends the gateway at once, with all that it knows.
    func endGateway() { gateway.process.end() }

    /// The lines that the gateway has logged and that have a text in them.
    func logged(_ text: String) -> [Substring] {
        let all = gateway.process.output + gateway.process.errors + readFile(folder.file("gateway.log"))
        return all.split(separator: "\n").filter { $0.contains(text) }
    }

    /// Ends the model: nobody listens on its port any more.
    func endModel() { model.end() }

    func connect() throws -> HTTPConnection { try HTTPConnection(.tcp(port)) }

    /// One request of a user, that is no call of a model.
    func get(_ user: String, on connection: HTTPConnection? = nil, path: String = "/x") throws -> HTTPResponse {
        try (connection ?? connect()).request("GET", path, ["X-User-Id": user])
    }

    /// One call of a model.
    func call(
        _ user: String, path: String = "/v1/chat/completions", _ members: String = "",
        on connection: HTTPConnection? = nil
    ) throws -> HTTPResponse {
        try (connection ?? connect()).request(
            "POST", path, ["X-User-Id": user, "Content-Type": "application/json"], body: Self.body(members))
    }

    private static func body(_ members: String) -> String {
        #"{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]\#(members.isEmpty ? "" : ",")\#(members)}"#
    }

    /// Calls a model for a stream, and reads until it ends, or until the text is there, and then goes away.
    func stream(
        _ user: String, path: String = "/v1/chat/completions", _ members: String = "", until end: String? = nil
    ) throws -> String {
        let socket = try begin(user, path: path, #""stream":true\#(members.isEmpty ? "" : ",")\#(members)"#)
        var received: [UInt8] = []
        while let bytes = try socket.receive(), !bytes.isEmpty {
            received += bytes
            if let end, String(decoding: received, as: UTF8.self).contains(end) { break }
        }
        return String(decoding: received, as: UTF8.self)
    }

    /// Begins a call of a model on a connection of its own.
    func begin(_ user: String, path: String = "/v1/chat/completions", _ members: String = "") throws -> StreamSocket {
        let socket = try StreamSocket(.tcp(port))
        let headers = ["X-User-Id": user, "Content-Type": "application/json", "Connection": "close"]
        try socket.send(HTTPConnection.text("POST", path, headers, body: Self.body(members)).utf8)
        return socket
    }

    /// How many requests a user, whatever its text, has used.
    func requests(of user: String) throws -> Int {
        let path = user.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return try daemon.connect().request("GET", "/v1/users/\(path)").number("used") ?? -1
    }

    /// What is used and held of each limit of a user.
    func used(_ user: String) throws -> [String: Int] {
        let page = try daemon.connect().request("GET", "/v1/users/\(user)/usage").json
        let limits = try #require(page["limits"] as? [[String: Any]])
        return Dictionary(uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
    }

    /// Stops the daemon, and waits until it is: a moment after the signal it may still answer.
    func holdDaemon() throws {
        daemon.process.send(SIGSTOP)
        let tasks = "/proc/\(daemon.process.id)/task"
        let isHeld = try eventually(within: 20) {
            try FileManager.default.contentsOfDirectory(atPath: tasks).allSatisfy { task in
                let fields = readFile("\(tasks)/\(task)/stat").split(separator: ")").last ?? ""
                return fields.hasPrefix(" T")
            }
        }
        guard isHeld else { throw TestFailure("the daemon is not held") }
    }

    /// How many connections to the daemon there have been.
    func connections() throws -> Int {
        Int(try daemon.metric(#"llm_rate_limit_connections_total{result="accepted"}"#) ?? -1)
    }
}

/// What a gateway's configuration is changed to for a test.
struct GatewayPaths {
    let folder: TemporaryFolder
    let daemonSocket: String
    /// Where the daemon of a gateway listens that asks over TCP alone.
    let daemonPort: UInt16
    let port: UInt16
    let modelPort: UInt16
    let unpacked: UnpackedGateway
    /// The header in which the gateway finds the client's address; nil where that is the peer's.
    let addressHeader: String?
    /// What else is in HAProxy's script in place of a line of bounds.
    let bounds: [String: String]
    /// Whether the daemon's failure mode is closed.
    let isClosed: Bool
    /// What Envoy adds to each answer.
    let responseHeaders: [String: String]

    var log: String { readFile(folder.file("gateway.log")) }
}

extension Door {
    /// Starts the gateway in the foreground, with its file of `deploy/`.
    func start(_ paths: GatewayPaths) throws -> ChildProcess {
        switch self {
        case .nginxLua: try Self.startNginx(paths, "nginx-lua.conf", script: "llm_rate_limit.lua")
        case .nginxNJS: try Self.startNginx(paths, "nginx-njs.conf", script: "llm_rate_limit.js")
        case .nginxAuthRequest: try Self.startNginx(paths, "nginx-auth-request.conf", script: nil)
        case .haproxy: try Self.startHAProxy(paths)
        case .caddy: try Self.startCaddy(paths)
        case .envoy: try Self.startEnvoy(paths, "envoy.yaml", socket: "llm-rate-limit.sock", paths.daemonSocket)
        case .envoyGRPC:
            try Self.startEnvoy(paths, "rate-limit-service.yaml", socket: "grpc.sock", paths.folder.file("grpc"))
        case .envoyAuthorization:
            try Self.startEnvoy(paths, "ext-authz-grpc.yaml", socket: "grpc.sock", paths.folder.file("grpc"))
        case .traefik: try Self.startTraefik(paths)
        }
    }

    private static func startNginx(_ paths: GatewayPaths, _ file: String, script: String?) throws -> ChildProcess {
        let (folder, unpacked) = (paths.folder, paths.unpacked)
        var configuration = try Configuration("nginx/\(file)")
        try configuration.replace("/run/llm-rate-limit/llm-rate-limit.sock", with: paths.daemonSocket)
        var listens = "listen 127.0.0.1:\(paths.port);"
        if let header = paths.addressHeader {
            listens += " listen [::1]:\(paths.port); set_real_ip_from 127.0.0.1; real_ip_header \(header);"
        }
        try configuration.replace("listen 8080;", with: listens)
        try configuration.replace("127.0.0.1:8000", with: "127.0.0.1:\(paths.modelPort)")
        try configuration.replace("user www-data;", with: isRoot ? "user root;" : "")
        try configuration.replace("worker_processes auto;", with: "worker_processes 1;")
        try configuration.replace("/run/nginx.pid", with: folder.file("pid"))
        try configuration.replace("/var/log/nginx/error.log notice", with: "\(folder.file("gateway.log")) notice")
        try configuration.replace("/var/log/nginx/access.log", with: "off")
        // What is compiled in belongs to an nginx of the machine's own.
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map {
            "\($0)_temp_path \(folder.file("nginx-\($0)"));"
        }
        try configuration.replace("\nhttp {\n", with: "\nhttp {\n    \(temporary.joined(separator: " "))\n")
        if let script {
            try folder.write(UnpackedGateway.deployed("nginx/\(script)"), to: script)
            try configuration.replace(
                "load_module modules/", with: "load_module \(unpacked.root)/usr/lib/nginx/modules/")
            try configuration.replace("/etc/nginx/", with: "\(folder.path)/")
        }
        if script == "llm_rate_limit.lua" {
            let paths = "\(folder.path)/?.lua;\(unpacked.root)/usr/share/lua/5.1/?.lua;;\"; "
            try configuration.replace(
                "\(folder.path)/?.lua;;\";",
                with: "\(paths)lua_package_cpath \"\(unpacked.libraries)/lua/5.1/?.so;;\";")
        }
        let path = try folder.write(configuration.text, to: "nginx.conf")
        // One process, ended by its id: a worker would outlive a master that is killed with the tests.
        return try unpacked.start(
            "usr/sbin/nginx",
            ["-p", folder.path, "-c", path, "-e", folder.file("gateway.log"), "-g", "daemon off; master_process off;"])
    }

    private static func startHAProxy(_ paths: GatewayPaths) throws -> ChildProcess {
        let folder = paths.folder
        var script = try Configuration("haproxy/llm_rate_limit.lua")
        try script.replace("/run/haproxy/llm-rate-limit.sock", with: folder.file("inner"))
        for (line, other) in paths.bounds { try script.replace(line, with: other) }
        var configuration = try Configuration("haproxy/haproxy.cfg")
        try configuration.replace("/run/haproxy/llm-rate-limit.sock user haproxy mode 600", with: folder.file("inner"))
        try configuration.replace("/run/llm-rate-limit/llm-rate-limit.sock", with: paths.daemonSocket)
        var binds = "bind 127.0.0.1:\(paths.port)"
        if let header = paths.addressHeader {
            binds += "\n    bind ::1:\(paths.port)"
            binds += "\n    http-request set-src hdr(\(header)) if { hdr(\(header)) -m found }"
        }
        try configuration.replace("bind :8080", with: binds)
        try configuration.replace("127.0.0.1:8000", with: "127.0.0.1:\(paths.modelPort)")
        // Each thread has a state of Lua of its own: two on any machine.
        try configuration.replace("    user haproxy\n    group haproxy\n", with: "    nbthread 2\n")
        try configuration.replace("log /dev/log local0", with: "log stdout format raw local0")
        try configuration.replace(
            "/etc/haproxy/llm_rate_limit.lua", with: try folder.write(script.text, to: "llm_rate_limit.lua"))
        let path = try folder.write(configuration.text, to: "haproxy.cfg")
        // Without a master: one process, ended by its id.
        return try paths.unpacked.start("usr/sbin/haproxy", ["-db", "-f", path])
    }

    private static func startCaddy(_ paths: GatewayPaths) throws -> ChildProcess {
        let folder = paths.folder
        var configuration = try Configuration("caddy/Caddyfile")
        try configuration.replace("/run/llm-rate-limit/llm-rate-limit.sock", with: paths.daemonSocket)
        try configuration.replace("\n:8080 {\n", with: "\n:\(paths.port) {\n\tbind 127.0.0.1\n")
        try configuration.replace("127.0.0.1:8000", with: "127.0.0.1:\(paths.modelPort)")
        let path = try folder.write(configuration.text, to: "Caddyfile")
        return try paths.unpacked.start(
            "usr/bin/caddy", ["run", "--adapter", "caddyfile", "--config", path],
            variables: ["HOME": folder.path, "XDG_DATA_HOME": folder.path, "XDG_CONFIG_HOME": folder.path])
    }

    private static func startTraefik(_ paths: GatewayPaths) throws -> ChildProcess {
        let folder = paths.folder
        var routes = try Configuration("traefik/routes.yaml")
        try routes.replace("http://127.0.0.1:8089/", with: "http://127.0.0.1:\(paths.daemonPort)/")
        try routes.replace("127.0.0.1:8000", with: "127.0.0.1:\(paths.modelPort)")
        var configuration = try Configuration("traefik/traefik.yaml")
        try configuration.replace(#"address: ":8080""#, with: #"address: "127.0.0.1:\#(paths.port)""#)
        try configuration.replace(
            "/etc/traefik/routes.yaml", with: try folder.write(routes.text, to: "routes.yaml"))
        let path = try folder.write(configuration.text, to: "traefik.yaml")
        return try ChildProcess("\(paths.unpacked.root)/bin/traefik", ["--configFile=\(path)"])
    }

    private static func startEnvoy(
        _ paths: GatewayPaths, _ file: String, socket: String, _ daemonSocket: String
    ) throws -> ChildProcess {
        let folder = paths.folder
        var configuration = try Configuration("envoy/\(file)")
        try configuration.replace("/run/llm-rate-limit/\(socket)", with: daemonSocket)
        try configuration.replace("0.0.0.0, port_value: 8080", with: "127.0.0.1, port_value: \(paths.port)")
        try configuration.replace("port_value: 8000", with: "port_value: \(paths.modelPort)")
        if paths.isClosed, file == "envoy.yaml" {
            try configuration.replace("failure_mode_allow: true", with: "failure_mode_allow: false")
        }
        if !paths.responseHeaders.isEmpty {
            let headers = paths.responseHeaders.map { #"{header: {key: \#($0), value: "\#($1)"}}"# }
            try configuration.replace(
                #"domains: ["*"]"#,
                with: #"domains: ["*"]\#n"# + String(repeating: " ", count: 22)
                    + "response_headers_to_add: [\(headers.joined(separator: ", "))]")
        }
        let path = try folder.write(configuration.text, to: "envoy.yaml")
        let libraries = "\(paths.unpacked.root)/lib"
        let pythons = try FileManager.default.contentsOfDirectory(atPath: libraries)
        let python = try #require(pythons.first { $0.hasPrefix("python3") })
        // The program that PyPI puts on the path is Python, and starts this one. It ends with the thread that started it,
        // which here is the test's.
        return try ChildProcess(
            "\(libraries)/\(python)/site-packages/envoy/_bin/envoy",
            ["--config-path", path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"])
    }
}
