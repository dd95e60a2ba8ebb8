import Glibc
import Synchronization

/// A Redis Sentinel of one test's own, on a free loopback port.
package final class SentinelServer: Sendable {
    package let port: UInt16
    private let folder: TemporaryFolder
    private let process = Mutex<ChildProcess?>(nil)

    /// Starts it and waits until it answers.
    ///
    /// - Parameter configuration: the lines of its file, without its port.
    package init(_ configuration: [String]) throws {
        port = try freePort()
        folder = try TemporaryFolder()
        // A Sentinel writes what it learns into its file.
        let lines = ["port \(port)", "bind 127.0.0.1", "dir \(folder.path)"] + configuration
        try folder.write(lines.joined(separator: "\n") + "\n", to: "sentinel.conf")
        try restart()
    }

    deinit { end() }

    package func connect(timeoutSeconds: Double = 20) throws -> RedisConnection {
        try RedisConnection(.tcp(port), timeoutSeconds: timeoutSeconds)
    }

    /// Sends one command on a connection of its own.
    @discardableResult
    package func command(_ arguments: String...) throws -> RedisReply { try connect().command(arguments) }

    /// Starts it again, with what it had learned.
    package func restart() throws {
        end()
        let started = try ChildProcess("redis-server", [folder.file("sentinel.conf"), "--sentinel"])
        process.withLock { $0 = started }
        // One that asks for a password answers too.
        let isUp = eventually(within: 20) {
            (try? connect().command("PING")) != nil || started.exitCode != nil
        }
        guard isUp, started.exitCode == nil else {
            throw TestFailure("the Sentinel does not answer: \(started.output) \(started.errors)")
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

    /// The port of the master it names.
    package func masterPort(_ name: String = SentinelDeployment.masterName) throws -> UInt16? {
        try command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name).elements.last?.text.flatMap { UInt16($0) }
    }
}

/// One master, its replicas, and Sentinels that watch them; all on loopback, with short times.
package final class SentinelDeployment: Sendable {
    package static let masterName = "mymaster"

    /// The first of them begins as the master.
    package let servers: [RedisServer]
    package let ports: [UInt16]
    package let sentinels: [SentinelServer]

    /// Starts them and waits until all know each other.
    ///
    /// - Parameters:
    ///   - serverArguments: options of each redis-server.
    ///   - configuration: further lines for each Sentinel's file.
    package init(
        replicas: Int = 2, sentinels count: Int = 3, serverArguments: [String] = [], configuration: [String] = []
    ) throws {
        let ports = try (0...replicas).map { _ in try freePort() }
        self.ports = ports
        servers = try ports.map { port in
            let role = port == ports[0] ? [] : ["--replicaof", "127.0.0.1", "\(ports[0])"]
            let options = ["--port", "\(port)", "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]
            return try RedisServer(options + role + serverArguments)
        }
        let name = Self.masterName
        sentinels = try (0..<count).map { _ in
            try SentinelServer(
                configuration + [
                    "sentinel monitor \(name) 127.0.0.1 \(ports[0]) \(count / 2 + 1)",
                    "sentinel down-after-milliseconds \(name) 500",
                    "sentinel failover-timeout \(name) 1500",
                ]
            )
        }
        // What Sentinels do every second, or every two, they do here ten times as often (Redis 7 and later). And one that
        // a busy machine keeps waiting for two seconds goes on: in its tilt mode it would do nothing for half a minute.
        for sentinel in sentinels {
            try sentinel.command(
                "SENTINEL", "DEBUG", "INFO-PERIOD", "200", "PUBLISH-PERIOD", "200", "ASK-PERIOD", "100", "PING-PERIOD",
                "100", "TILT-TRIGGER", "60000"
            )
        }
        try waitUntilKnown(replicas: replicas)
    }

    private func waitUntilKnown(replicas: Int) throws {
        let known = ["num-slaves": replicas, "num-other-sentinels": sentinels.count - 1]
        let areKnown = try eventually(within: 60) {
            try sentinels.allSatisfy { sentinel in
                let texts = try sentinel.command("SENTINEL", "MASTER", Self.masterName).elements.map(\.text)
                // A Sentinel that asks for a password says nothing here.
                return texts.isEmpty
                    || known.allSatisfy { name, count in
                        guard let index = texts.firstIndex(of: name), index + 1 < texts.count else { return false }
                        return texts[index + 1] == "\(count)"
                    }
            }
        }
        guard areKnown else { throw TestFailure("the Sentinels do not find each other and the replicas") }
    }

    /// The URL for a daemon that is told of these Sentinels.
    package func url(login: String = "", _ sentinels: [UInt16]? = nil, name: String = masterName) -> String {
        let hosts = (sentinels ?? self.sentinels.map(\.port)).map { "127.0.0.1:\($0)" }.joined(separator: ",")
        return "redis+sentinel://\(login)\(hosts)/\(name)/0"
    }

    /// The server that listens on a port.
    package func server(on port: UInt16) -> RedisServer? { ports.firstIndex(of: port).map { servers[$0] } }
}

/// When each Sentinel says by itself that it has switched to another master.
package final class SwitchLog: Sendable {
    private let flag: Flag
    private let threads: [Background<Double?>]

    /// Listens until each of them has said so once, or ``end()`` is called.
    package init(_ sentinels: [SentinelServer]) throws {
        let flag = Flag()
        self.flag = flag
        threads = try sentinels.map { sentinel in
            let connection = try sentinel.connect(timeoutSeconds: 0.1)
            try connection.command("SUBSCRIBE", "+switch-master")
            // The connection is this thread's from here on.
            nonisolated(unsafe) let listening = connection
            return Background {
                while !flag.isSet { if (try? listening.pushed()) != nil { return monotonicMilliseconds() } }
                return nil
            }
        }
    }

    /// When they said so, earliest first.
    package func end() throws -> [Double] {
        flag.set()
        return try threads.compactMap { try $0.value() }.sorted()
    }
}
