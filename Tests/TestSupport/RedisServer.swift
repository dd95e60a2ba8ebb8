import Foundation
package import Glibc
import Synchronization

/// A redis-server of one test's own, on a Unix socket in a folder of its own and without persistence.
package final class RedisServer: Sendable {
    package let socketPath: String
    package let folder: TemporaryFolder
    private let arguments: [String]
    private let environment: [String: String]
    private let wrapper: [String]
    private let process = Mutex<ChildProcess?>(nil)

    /// Starts it and waits until it answers, unless it shall start later, by ``restart()``.
    ///
    /// - Parameters:
    ///   - arguments: options that win over the usual ones, such as `--appendonly yes`.
    ///   - environment: its variables.
    ///   - wrapper: a command that becomes the server, such as `unshare -n`.
    package init(
        _ arguments: [String] = [], isStarted: Bool = true, environment: [String: String] = [:],
        wrapper: [String] = []
    ) throws {
        folder = try TemporaryFolder()
        socketPath = folder.file("redis")
        self.arguments = arguments
        self.environment = environment
        self.wrapper = wrapper
        if isStarted { try restart() }
    }

    deinit { end() }

    /// The permissions that a daemon needs, as the documentation has them. The end-to-end tests' daemons have no more.
    package static let leastPermissions: [String] =
        [
            "resetkeys", "~llm-rate:*", "~{llm-rate:*", "resetchannels", "&llm-rate:invalidate", "-@all", "+ping",
            "+select", "+role",
            "+script|load", "+evalsha", "+eval", "+time", "+getrange", "+strlen", "+get", "+set", "+append",
            "+pexpireat", "+del", "+publish", "+subscribe",
            "+hgetall", "+hset", "+hdel", "+xadd", "+xrevrange", "+xrange",
        ] + leasePermissions
    /// Those of them that reservations and usage need.
    package static let leasePermissions = [
        "+exists", "+hget", "+hlen", "+zadd", "+zcard", "+zrange", "+zrangebyscore", "+zrem", "+zscore", "+rename",
    ]
    package static let leastUser = "limiter"
    package static let leastPassword = "least"

    /// The URL for a daemon, which may do what it needs and no more.
    package var url: String { url(user: Self.leastUser, password: Self.leastPassword) }

    /// The URL for a daemon that may do everything.
    package var unrestrictedURL: String { "unix://\(socketPath)" }

    /// The URL for a daemon that logs in.
    package func url(user: String, password: String) -> String { "unix://\(user):\(password)@\(socketPath)" }

    package func connect() throws -> RedisConnection { try RedisConnection(socketPath) }

    /// Sends one command on a connection of its own.
    @discardableResult
    package func command(_ arguments: String...) throws -> RedisReply { try connect().command(arguments) }

    /// Starts it again on the same socket: empty, unless its arguments have it keep what it knew.
    ///
    /// - Parameters:
    ///   - more: further arguments, for this time.
    ///   - isAwaited: whether to wait until it answers, which it does not while it loads.
    package func restart(_ more: [String] = [], isAwaited: Bool = true) throws {
        end()
        let options = [
            "--port", "0", "--unixsocket", socketPath, "--save", "", "--appendonly", "no", "--daemonize", "no",
            "--dir", folder.path, "--loglevel", "warning",
        ]
        let user = ["--user", Self.leastUser, "on", ">\(Self.leastPassword)"] + Self.leastPermissions
        let command = wrapper + ["redis-server"] + options + user + arguments + more
        let started = try ChildProcess(command[0], Array(command.dropFirst()), environment: environment)
        process.withLock { $0 = started }
        if isAwaited { try waitUntilAnswering() }
    }

    /// Waits until it answers a PING with no error.
    package func waitUntilAnswering() throws {
        guard let started = process.withLock({ $0 }) else { throw TestFailure("redis-server is not started") }
        let isUp = eventually(within: 20) {
            (try? RedisConnection(socketPath).command("PING")) == .status("PONG") || started.exitCode != nil
        }
        guard isUp, started.exitCode == nil else {
            throw TestFailure("redis-server does not answer: \(started.output) \(started.errors)")
        }
    }

    /// Ends it at once, as a crash would.
    package func end() {
        let running = process.withLock { process in
            defer { process = nil }
            return process
        }
        running?.end()
    }

    /// Stops it as it is: connections stay, nothing is answered.
    package func stop() { process.withLock { $0 }?.send(SIGSTOP) }

    /// Lets it go on after ``stop()``.
    package func resume() { process.withLock { $0 }?.send(SIGCONT) }

    /// The keys there are, but for those of the daemons' heartbeats, and the version of what the daemons tell each other.
    package func keys(prefix: String = "llm-rate") throws -> [String] {
        let ofDaemons = ["\(prefix):heartbeat", "\(prefix):changes:version"]
        return try command("KEYS", "*").elements.compactMap(\.text)
            .filter { !ofDaemons.contains($0) && !$0.contains(":heartbeat:") }
    }

    /// How often checks have been sent with the script's whole text, by Redis's log of commands, which a server started
    /// with `--slowlog-log-slower-than 0` keeps. The daemons' heartbeats do not count.
    package func checksWithSource() throws -> Int {
        try command("SLOWLOG", "GET", "1000").elements.count { entry in
            let words = entry.elements.count > 3 ? entry.elements[3].elements.compactMap(\.text) : []
            return words.first == "EVAL"
                && words.contains { $0.contains("local function make(redis_now)") }
                && !words.contains { $0.contains(":heartbeat:") }
        }
    }

    /// How many heartbeats have tried what decisions need, but for decisions on windows that are long.
    package func heartbeats() throws -> Int { try calls(of: "strlen") }

    /// Waits until a daemon's heartbeat is a second later than the latest one: only by whole seconds are data that were
    /// lost told from it.
    package func waitUntilHeartbeatIsLater() throws {
        func latest() throws -> Int { try command("GET", "llm-rate:heartbeat").text.flatMap { Int($0) } ?? 0 }
        let before = try latest()
        guard try eventually(within: 60, { try latest() > before + 1_000 }) else {
            throw TestFailure("no heartbeat comes")
        }
    }

    /// Waits until a daemon hears what others forget: what it remembers before that, it forgets then.
    package func waitUntilSubscribed() throws {
        // Behind SUBSCRIBE the daemon's handshake ends with a PING.
        let isSubscribed = try eventually(within: 20) {
            let clients = try command("CLIENT", "LIST", "TYPE", "pubsub").text ?? ""
            return clients.split(separator: "\n").contains { $0.contains(" cmd=ping ") }
        }
        guard isSubscribed else { throw TestFailure("no daemon has subscribed") }
    }

    /// The id of its process; nil while it is not started.
    package var processID: pid_t? { process.withLock { $0 }?.id }

    /// How often a command has been called, by Redis's own count; EVALSHA without the daemons' heartbeats.
    ///
    /// A heartbeat is two of them, and three more under a limits file. Each calls STRLEN once, and ZRANGE under a limits
    /// file, which short windows without leases never do. Neither is replicated.
    package func calls(of command: String) throws -> Int {
        let statistics = try self.command("INFO", "commandstats").text ?? ""
        func calls(_ command: String) -> Int {
            let prefix = "cmdstat_\(command):calls="
            guard let start = statistics.range(of: prefix)?.upperBound else { return 0 }
            return Int(statistics[start...].prefix { $0.isNumber }) ?? 0
        }
        let heartbeats = command == "evalsha" ? 2 * calls("strlen") + 3 * calls("zrange") : 0
        return calls(command) - heartbeats
    }
}

/// The window of a user's first limit as it stands in Redis, read by the layout that `decide-bundle.lua` describes.
package struct StoredWindow {
    /// Time in microseconds of Redis's clock (modulo 2^48) and cost of each admission that is kept, oldest first.
    package var entries: [(time: Int, cost: Int)] = []

    package init(_ bytes: [UInt8]) throws {
        guard !bytes.isEmpty else { return }
        guard bytes.count >= 27 + 38, bytes[0] == 179 else { throw TestFailure("a window of \(bytes.count) bytes") }
        let size = Int(bytes[27 + 4])
        guard size == 8 || size == 12 else { throw TestFailure("a window of form \(size)") }
        var position = 27 + 38
        let end = position + Self.number(bytes[27 + 5..<27 + 7])
        while position + size <= end {
            let time = Self.number(bytes[position..<position + 6])
            entries.append((time, Self.number(bytes[position + 6..<position + size])))
            position += size
        }
    }

    /// How long ago an entry's time was, by the system's clock.
    package static func microseconds(from time: Int) -> Int { (systemMicroseconds() - time) & (1 << 48 - 1) }

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int {
        bytes.reversed().reduce(0) { $0 << 8 | Int($1) }
    }
}
