import Foundation
import Glibc
import TestSupport

/// Podman with images and containers of one test's own, in a folder and among processes that go with it.
final class Podman: Sendable {
    let folder: TemporaryFolder
    /// What has a podman use that folder.
    private let environment: [String: String]
    /// Holds the namespaces in which all of it runs: with this process their last one ends.
    private let holder: ChildProcess

    /// With the image that `scripts/package` has built.
    ///
    /// - Parameters:
    ///   - hasNetwork: whether it has a network of its own as well, with bridges and ports that nobody else has.
    ///   - isLoaded: whether it has the image already.
    init(hasNetwork: Bool = false, isLoaded: Bool = true) throws {
        folder = try TemporaryFolder()
        // What Podman's networks keep is kept nowhere else.
        let script = """
            ip link set lo up
            for folder in /var/lib/cni /run/containers; do mkdir -p $folder && mount -t tmpfs none $folder; done
            exec sleep infinity
            """
        let spaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"] + (hasNetwork ? ["--net"] : [])
        holder = try ChildProcess("unshare", spaces + ["sh", "-c", script])
        let storage = """
            [storage]
            driver = "vfs"
            graphroot = "\(folder.path)/images"
            runroot = "\(folder.path)/run"
            """
        // It works as well where nobody has booted a systemd, as in a container.
        let engine = """
            [containers]
            default_ulimits = [\(Self.bounds)]
            [engine]
            runtime = "runc"
            cgroup_manager = "cgroupfs"
            events_logger = "none"
            [network]
            network_config_dir = "\(folder.path)/networks"
            """
        environment = [
            "HOME": folder.path,
            "CONTAINERS_STORAGE_CONF": try folder.write(storage, to: "storage.conf"),
            "CONTAINERS_CONF": try folder.write(engine, to: "containers.conf"),
        ]
        guard eventually(within: 20, { (try? start(["mountpoint", "/run/containers"]).wait()) == 0 }) else {
            throw TestFailure("there are no namespaces: \(holder.errors)")
        }
        if isLoaded { try must(["load", "--input", Packages.image]) }
    }

    // Control groups outlive processes.
    deinit { _ = try? run(["rm", "--all", "--force", "--depend", "--time", "0"]) }

    /// Starts a command among the containers.
    func start(_ command: [String], _ more: [String: String] = [:]) throws -> ChildProcess {
        let spaces = ["--mount", "--net", "--pid=/proc/\(holder.id)/ns/pid_for_children"]
        return try ChildProcess(
            "nsenter", ["--target", "\(holder.id)"] + spaces + command, environment: environment.merging(more) { $1 })
    }

    /// The bounds of a container: Podman's own may be above what this process may give.
    private static let bounds: String = {
        let limits = readFile("/proc/self/limits").split(separator: "\n")
        return [("nofile", "Max open files", 16_384), ("nproc", "Max processes", 4_096)].map { name, line, wanted in
            // Behind the name stand the soft bound and the hard one, which may be "unlimited".
            let bounds = limits.first { $0.hasPrefix(line) }?.dropFirst(line.count).split(separator: " ")
            let most = min(bounds?.dropFirst().first.flatMap { Int($0) } ?? wanted, wanted)
            return "\"\(name)=\(most):\(most)\""
        }.joined(separator: ", ")
    }()

    /// Runs a command to its end: its exit code, and what it wrote.
    func run(_ arguments: [String]) throws -> (code: Int32, output: String, errors: String) {
        let process = try start(["podman"] + arguments)
        let code = try process.wait(seconds: 120)
        return (code, process.output.trimmingCharacters(in: .whitespacesAndNewlines), process.errors)
    }

    /// Runs a command that has to succeed, and gives what it wrote.
    @discardableResult
    func must(_ arguments: [String]) throws -> String {
        let (code, output, errors) = try run(arguments)
        guard code == 0 else { throw TestFailure("podman \(arguments.joined(separator: " ")): \(errors)") }
        return output
    }

    /// What Podman knows about an image or a container.
    func inspect(_ name: String) throws -> [String: Any] {
        let value = try JSONSerialization.jsonObject(with: Data(must(["inspect", name]).utf8))
        guard let first = (value as? [[String: Any]])?.first else { throw TestFailure("there is no \(name)") }
        return first
    }
}

/// A container of the image, with a Redis of its own beside it.
final class ImageContainer: Sendable {
    let podman: Podman
    let redis: RedisServer
    let name: String
    /// The folder of its sockets, on the machine.
    let sockets: String

    /// As the page Install starts it: without rights, and with nothing to write to but the folder of its sockets.
    static let hardening = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]

    /// Starts it, and waits until it answers.
    ///
    /// - Parameters:
    ///   - options: further options of `podman run`.
    ///   - settings: variables without their `LLM_RATE_LIMIT_`.
    ///   - command: what it runs; the image's own where there is none.
    ///   - redis: a Redis of its own where none is given.
    init(
        _ podman: Podman, _ options: [String] = [], settings: [String: String] = [:], command: [String] = [],
        network: String = "none", redis: RedisServer? = nil
    ) throws {
        self.podman = podman
        self.redis = try redis ?? RedisServer()
        name = "daemon-\(UUID().uuidString)"
        sockets = podman.folder.file(String(name.suffix(4)))
        chmod(podman.folder.path, 0o755)
        try FileManager.default.createDirectory(atPath: sockets, withIntermediateDirectories: false)
        // The container's user makes sockets in one of them, and connects to the other's.
        chmod(sockets, 0o777)
        chmod(self.redis.folder.path, 0o755)
        chmod(self.redis.socketPath, 0o777)
        let url = "unix://\(RedisServer.leastUser):\(RedisServer.leastPassword)@/redis/redis"
        let all = ["REDIS_URL": url, "REDIS_TIMEOUT_MS": "5000"].merging(settings) { $1 }
        let mounts = ["--volume=\(sockets):/run/llm-rate-limit", "--volume=\(self.redis.folder.path):/redis:ro"]
        try podman.must(
            ["run", "--detach", "--name", name, "--network", network] + Self.hardening + mounts
                + all.map { "--env=LLM_RATE_LIMIT_\($0)=\($1)" } + options + [Packages.imageName] + command)
        let isServing = eventually(within: 30) { (try? connect().request("GET", "/livez").status) == 200 }
        guard isServing else { throw TestFailure("the container does not answer: \(try log)") }
    }

    deinit { _ = try? podman.run(["rm", "--force", "--time", "0", name]) }

    func connect() throws -> HTTPConnection { try HTTPConnection(.unix("\(sockets)/llm-rate-limit.sock")) }

    /// Runs a command in it.
    func execute(_ command: String...) throws -> (code: Int32, output: String, errors: String) {
        try podman.run(["exec", name] + command)
    }

    func send(_ signal: String) throws { try podman.must(["kill", "--signal", signal, name]) }

    /// What it has logged.
    var log: String {
        get throws {
            let (_, output, errors) = try podman.run(["logs", name])
            return output + errors
        }
    }

    /// What the image's HEALTHCHECK says now.
    func health() throws -> String {
        _ = try podman.run(["healthcheck", "run", name])
        let state = try podman.inspect(name)["State"] as? [String: Any]
        let log = (state?["Health"] as? [String: Any])?["Log"] as? [[String: Any]]
        guard let last = log?.last, let code = last["ExitCode"] as? Int else {
            throw TestFailure("no health: \(state ?? [:])")
        }
        return code == 0 ? "healthy" : "unhealthy"
    }

    /// Ends it as `docker stop` does, and gives its exit code.
    func stop() throws -> Int? {
        try podman.must(["stop", "--time", "60", name])
        return (try podman.inspect(name)["State"] as? [String: Any])?["ExitCode"] as? Int
    }
}
