import Glibc
import LoadGenerator

/// A private Redis, and the programs that are measured on it.
final class Testbed {
    static let limit = 20
    static let windowSeconds = 3_600
    /// How long the daemons may repeat a denial from memory: their default.
    static let denyCacheMilliseconds = 10_000

    let folder: TemporaryFolder
    let redis: ChildProcess
    let redisSocket: Endpoint
    let session: RedisSession
    /// The check script, and one that does nothing: what a call costs at least.
    let checkScript: CheckScript
    let emptyScript: String
    private let scriptPath: String

    init(folder: TemporaryFolder, scriptPath: String) throws {
        guard let source = readSmallFile(scriptPath) else { throw BenchError.cannotRead(path: scriptPath) }
        self.folder = folder
        self.scriptPath = scriptPath
        let path = "\(folder.path)/redis.sock"
        redisSocket = .unixSocket(path: path)
        let settings = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder.path]
        let redis = try ChildProcess("redis-server", settings, log: "\(folder.path)/redis.log")
        self.redis = redis
        let endpoint = redisSocket
        session = try Self.retry(redis) { () throws(LoadError) in try RedisSession(to: endpoint) }
        emptyScript = try session.load(script: "return 1")
        checkScript = CheckScript(
            sha: try session.load(script: source), limit: Self.limit, windowMilliseconds: Self.windowSeconds * 1_000)
    }

    /// The raw epoll program, ready to answer.
    func startFloor(binary: String, batch: Int) throws -> Served {
        let socket = "\(folder.path)/floor.sock"
        let flags = [
            "--socket", socket, "--redis", redisSocket.description, "--script", scriptPath, "--limit",
            String(Self.limit), "--window", String(Self.windowSeconds * 1_000), "--batch", String(batch),
        ]
        let start = monotonicNanoseconds()
        let process = try ChildProcess(binary, flags, log: "\(folder.path)/floor.log")
        return try Served(
            process: process, socket: .unixSocket(path: socket), readyAfter: awaitAnswer(process, socket, since: start))
    }

    /// The daemon, ready to answer.
    func startDaemon(binary: String, as server: Server = .daemon, name: String = "") throws -> Served {
        let name = name.isEmpty ? Self.name(server) : name
        let socket = "\(folder.path)/\(name).sock"
        var environment = [
            "LLM_RATE_LIMIT_SOCKET": socket,
            "LLM_RATE_LIMIT_ADMIN_SOCKET": "\(folder.path)/\(name)-admin.sock",
            "LLM_RATE_LIMIT_REDIS_URL": "unix://\(redisSocket)?db=0",
            "LLM_RATE_LIMIT_REQUESTS": String(Self.limit),
            "LLM_RATE_LIMIT_WINDOW": String(Self.windowSeconds),
            "LLM_RATE_LIMIT_DENY_CACHE_MS": String(Self.denyCacheMilliseconds),
        ]
        if let limits = Self.limitsFile(server) {
            let path = "\(folder.path)/\(name).yaml"
            try write(limits, to: path)
            environment["LLM_RATE_LIMIT_LIMITS_FILE"] = path
            environment["LLM_RATE_LIMIT_REQUESTS"] = "0"
        }
        if server == .wide { environment["LLM_RATE_LIMIT_REQUESTS"] = "100000000" }
        let spoken = server == .grpc ? "\(folder.path)/\(name)-grpc.sock" : socket
        if server == .grpc {
            let path = "\(folder.path)/domain.yaml"
            try write(Self.domain, to: path)
            environment["LLM_RATE_LIMIT_ENVOY_CONFIG"] = path
            environment["LLM_RATE_LIMIT_GRPC_SOCKET"] = spoken
        }
        let start = monotonicNanoseconds()
        let process = try ChildProcess(
            binary, ["serve"], environment: environment, log: "\(folder.path)/\(name).log")
        return try Served(
            process: process, socket: .unixSocket(path: spoken), readyAfter: awaitAnswer(process, socket, since: start))
    }

    /// One limit of each user, as that of checks.
    private static let domain = """
        domain: \(RequestTemplate.domain)
        descriptors:
          - key: \(RequestTemplate.key)
            rate_limit: {unit: hour, requests_per_unit: \(limit)}

        """

    private static func name(_ server: Server) -> String {
        switch server {
        case .daemon: "daemon"
        case .floor: "floor"
        case .limits(let count): "limits-\(count)"
        case .denying: "denying"
        case .reservations: "reservations"
        case .wide: "wide"
        case .grpc: "grpc"
        }
    }

    /// The limits of a daemon that has a file of them: all of a user, and but for one so high that they deny nobody.
    private static func limitsFile(_ server: Server) -> String? {
        switch server {
        case .limits(3): threeLimits(requests: 100_000)
        case .denying: threeLimits(requests: limit)
        case .limits(let count):
            "limits:\n"
                + (1...count).map {
                    "  - {name: limit-\($0), per: user, unit: requests, quota: 100000, window: \($0)h}\n"
                }
                .joined()
        case .reservations:
            """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000000000, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 1000}

            """
        case .daemon, .floor, .wide, .grpc: nil
        }
    }

    /// Requests by the hour, tokens by the day and money by the month.
    private static func threeLimits(requests: Int) -> String {
        """
        limits:
          - {name: requests-hour, per: user, unit: requests, quota: \(requests), window: 1h}
          - {name: tokens-day, per: user, unit: tokens, quota: 1000000000, window: {calendar: day}}
          - {name: spend-month, per: user, unit: spend, quota: $1000000, window: {calendar: month}}
        prices:
          models:
            gpt-4o: {input: 2500000, output: 10000000}

        """
    }

    /// Starts the daemon several times: nanoseconds from its start to its first 200.
    func firstAnswers(binary: String, count: Int) throws -> [Int] {
        try (0..<count).map { _ in
            let daemon = try startDaemon(binary: binary, name: "first")
            defer { daemon.process.end() }
            return daemon.readyAfter
        }
    }

    /// Waits for the first 200 to a check and tells how many nanoseconds that took.
    private func awaitAnswer(_ process: ChildProcess, _ socket: String, since start: UInt64) throws -> Int {
        let user = try Users(count: 1, seed: 99)
        _ = try Self.retry(process) { () throws(LoadError) in
            let answer = try DaemonSession(to: .unixSocket(path: socket)).check(user, at: 0, cost: 1)
            if answer.status != 200 { throw .malformedAnswer(target: socket) }
        }
        return Int(monotonicNanoseconds() - start)
    }

    /// Tries until it succeeds, for five seconds at most and only while the process runs.
    private static func retry<Value>(
        _ process: ChildProcess, _ attempt: () throws(LoadError) -> Value
    ) throws -> Value {
        let deadline = monotonicNanoseconds() + 5_000_000_000
        while true {
            do throws(LoadError) {
                return try attempt()
            } catch {
                if let failure = process.failure() { throw failure }
                if monotonicNanoseconds() > deadline { throw error }
                usleep(200)
            }
        }
    }
}

/// A program that answers checks at a socket.
final class Served {
    let process: ChildProcess
    let socket: Endpoint
    /// Nanoseconds from its start to its first answer.
    let readyAfter: Int

    init(process: ChildProcess, socket: Endpoint, readyAfter: Int) {
        self.process = process
        self.socket = socket
        self.readyAfter = readyAfter
    }
}
