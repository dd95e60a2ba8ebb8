import Foundation
import Glibc
import Synchronization

/// An `llm-rate-limit serve` of one test's own, with its sockets in a folder of its own.
package final class Daemon: Sendable {
    /// The program, built beside the tests; `TESTED_PROGRAM` names another, such as one built for release.
    package static let program: String = {
        if let other = getenv("TESTED_PROGRAM") { return String(cString: other) }
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &path, path.count - 1)
        let folder = String(decoding: path.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return URL(fileURLWithPath: folder).deletingLastPathComponent().path + "/llm-rate-limit"
    }()

    package var process: ChildProcess { running.withLock { $0 } }
    private let running: Mutex<ChildProcess>
    private let command: [String]
    private let variables: [String: String]
    package let folder: TemporaryFolder
    package let socketPath: String
    package let adminSocketPath: String

    /// Starts a daemon and waits until it answers.
    ///
    /// - Parameters:
    ///   - settings: variables without their `LLM_RATE_LIMIT_`. A deadline of 5 seconds is the default here, so that
    ///     a busy machine makes no decision degraded in a test that is about something else.
    ///   - redis: its URL; none where flags or a file have it.
    ///   - folder: where the sockets are; the daemon's own where none is given.
    ///   - environment: further variables, whole.
    ///   - wrapper: a command that becomes the daemon, such as `unshare -n`.
    ///   - program: another program than the one that is built beside the tests, such as an older release.
    package init(
        redis: String?, _ settings: [String: String] = [:], arguments: [String] = [], folder: TemporaryFolder? = nil,
        environment: [String: String] = [:], wrapper: [String] = [], program: String = Daemon.program
    ) throws {
        let folder = try folder ?? TemporaryFolder()
        self.folder = folder
        let redis = redis.map { ["REDIS_URL": $0] } ?? [:]
        let all = ["REDIS_TIMEOUT_MS": "5000"].merging(redis) { $1 }.merging(settings) { $1 }
        let variables = Self.variables(folder, all).merging(environment) { $1 }
        socketPath = variables["LLM_RATE_LIMIT_SOCKET"] ?? ""
        adminSocketPath = variables["LLM_RATE_LIMIT_ADMIN_SOCKET"] ?? ""
        self.variables = variables
        command = wrapper + [program, "serve"] + arguments
        running = Mutex(try Self.start(command, variables))
        try waitUntilServing()
    }

    private static func start(_ command: [String], _ variables: [String: String]) throws -> ChildProcess {
        try ChildProcess(command[0], Array(command.dropFirst()), environment: variables)
    }

    /// Ends it at once, as a crash would.
    package func kill() { process.end() }

    /// Starts it again after ``kill()``, as it was started first, and waits until it answers.
    package func restart() throws {
        let started = try Self.start(command, variables)
        running.withLock { $0 = started }
        try waitUntilServing()
    }

    /// The variables of a daemon whose sockets are in `folder`.
    package static func variables(_ folder: TemporaryFolder, _ settings: [String: String]) -> [String: String] {
        let all = ["SOCKET": folder.file("check"), "ADMIN_SOCKET": folder.file("admin")].merging(settings) { $1 }
        return Dictionary(uniqueKeysWithValues: all.map { ("LLM_RATE_LIMIT_\($0)", $1) })
    }

    private func waitUntilServing() throws {
        let isServing = try eventually(within: 20) {
            guard process.exitCode == nil else { throw TestFailure("the daemon ended: \(process.errors)") }
            return (try? connect().request("GET", "/livez").status) == 200
        }
        guard isServing else { throw TestFailure("the daemon does not answer: \(process.errors)") }
    }

    package func connect(timeoutSeconds: Double = 20) throws -> HTTPConnection {
        try HTTPConnection(.unix(socketPath), timeoutSeconds: timeoutSeconds)
    }

    package func connectAdmin() throws -> HTTPConnection { try HTTPConnection(.unix(adminSocketPath)) }

    /// Ends it as a service manager does, and gives its exit code.
    package func terminate() throws -> Int32 {
        process.send(SIGTERM)
        return try process.wait()
    }

    /// Has it read its configuration again, and waits until it says that it has.
    package func reload() throws {
        let before = logLines(containing: "configuration").count
        process.send(SIGHUP)
        guard eventually(within: 20, { logLines(containing: "configuration").count > before }) else {
            throw TestFailure("the daemon does not reload: \(process.errors)")
        }
        // The line is there before every event loop has turned once more; what is asked on new connections has them turn.
        for _ in 0..<4 { _ = try connect().request("GET", "/livez") }
    }

    /// The lines logged so far.
    package var logLines: [String] { process.errors.split(separator: "\n").map(String.init) }

    package func logLines(containing text: String) -> [String] { logLines.filter { $0.contains(text) } }

    /// The lines that say that Redis is away or is back, in their order.
    package var outageLines: [String] {
        logLines.filter { $0.contains("Redis is away") || $0.contains("Redis is back") }
    }

    /// Whether one line begins each outage and one ends it: after an away comes a back, and after a back an away.
    package var saysOutagesOnce: Bool {
        outageLines.enumerated().allSatisfy { index, line in
            line.contains(index.isMultiple(of: 2) ? "Redis is away" : "Redis is back")
        }
    }

    /// The value of a metric's series, written as it stands on the page.
    package func metric(_ series: String) throws -> Double? {
        let page = try connect().request("GET", "/metrics").text
        let line = page.split(separator: "\n").first { $0.hasPrefix(series + " ") }
        return line.flatMap { Double($0.dropFirst(series.count + 1)) }
    }
}

/// A user that nobody else has.
package func newUser() -> String { UUID().uuidString.lowercased() }
