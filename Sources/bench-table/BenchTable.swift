import ArgumentParser
import Glibc
import LoadGenerator

/// Measures the daemon beside direct calls to Redis and beside its floors, and prints the table of the README.
@main
struct BenchTable: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-table",
        abstract: "Measure the daemon, direct calls and floors side by side, with a Redis of the benchmark's own.",
        discussion: "scripts/bench builds everything and calls this.")

    @Option(help: "The daemon's binary. Without it, all but the daemon is measured.")
    var daemon: String?

    @Option(help: "The raw epoll program's binary.")
    var floor: String

    @Option(help: "The script that decides, its parts one behind the other.")
    var script: String

    @Option(help: "How many rounds, 1 to 100; the table shows medians.")
    var rounds = 5

    @Option(help: "Seconds of each measurement, after one second of warm-up.")
    var seconds = 3

    @Option(help: "How many users take part, picked at random.")
    var users = 100_000

    @Option(help: "Checks over which the daemon's memory must stay flat; 0 leaves that out.")
    var flatChecks = 10_000_000

    @Option(help: "Checks in one EVALSHA of the raw epoll program, at most.")
    var batch = 32

    @Option(help: "The version of Swift, for the heading.")
    var swift = "not given"

    @Flag(help: "Measure Envoy's rate limit service by gRPC instead, beside checks by HTTP.")
    var rls = false

    @Option(help: "A file for the table, beside printing it.")
    var output: String?

    func validate() throws {
        guard (1...100).contains(rounds) else { throw ValidationError("--rounds takes 1 to 100") }
        guard (1...3_600).contains(seconds) else { throw ValidationError("--seconds takes 1 to 3600") }
        guard (1...1_000_000).contains(users) else { throw ValidationError("--users takes 1 to 1000000") }
        guard (0...10_000_000_000).contains(flatChecks) else {
            throw ValidationError("--flat-checks takes 0 to 10000000000")
        }
    }

    func run() throws {
        do {
            let text = try measure()
            print(text)
            if let output { try write(text + "\n", to: output) }
        } catch {
            tell("\r\u{1b}[K", isProgress: true)
            tell("\(error)\n")
            throw ExitCode(1)
        }
    }

    private func measure() throws -> String {
        ChildProcess.endAllOnSignal()
        let folder = try TemporaryFolder()
        let testbed = try Testbed(folder: folder, scriptPath: script)
        let raw = try testbed.startFloor(binary: floor, batch: batch)
        var servers = [Server.floor: raw]
        defer { for child in servers.values.map(\.process) + [testbed.redis] { child.end() } }
        let suite = rls ? Suite.rateLimitService : .checks
        if let daemon {
            for server in suite.servers {
                servers[server] = try testbed.startDaemon(binary: daemon, as: server)
            }
        }
        let served = servers[.daemon]

        let bench = Bench(testbed: testbed, servers: servers, users: try Users(count: users), seconds: seconds)
        var results = Results()
        for round in 1...rounds {
            for scenario in suite.scenarios
            where scenario.server.map({ servers[$0] != nil }) ?? true {
                tell("\r\u{1b}[Kround \(round) of \(rounds): \(scenario.name)", isProgress: true)
                results.add(try bench.measure(scenario), to: scenario)
            }
        }
        if let served, let daemon, suite == .checks {
            tell("\r\u{1b}[Kmemory over \(groupedText(flatChecks)) checks", isProgress: true)
            if let pairs = servers[.reservations] { results.pairMemory = try bench.pairMemory(of: pairs) }
            if flatChecks > 0 { results.memory = try bench.memory(over: flatChecks, of: served) }
            results.firstAnswers = try testbed.firstAnswers(binary: daemon, count: 5)
        }
        tell("\r\u{1b}[K", isProgress: true)
        let machine = Machine(redis: try testbed.session.information("redis_version", section: "server"), swift: swift)
        let report = Report(machine: machine, results: results, rounds: rounds, seconds: seconds, users: users)
        return suite == .checks ? report.markdown : report.rateLimitService
    }

}

func write(_ text: String, to path: String) throws {
    guard let file = fopen(path, "w") else { throw BenchError.cannotWrite(path: path, reason: reason()) }
    defer { fclose(file) }
    if fputs(text, file) < 0 { throw BenchError.cannotWrite(path: path, reason: reason()) }
}

/// What keeps the benchmark from measuring.
enum BenchError: Error, CustomStringConvertible {
    case cannotStart(program: String, reason: String)
    case cannotRead(path: String)
    case cannotWrite(path: String, reason: String)
    case cannotMakeFolder(reason: String)

    var description: String {
        switch self {
        case .cannotStart(let program, let reason): "cannot start \(program): \(reason)"
        case .cannotRead(let path): "cannot read \(path)"
        case .cannotWrite(let path, let reason): "cannot write \(path): \(reason)"
        case .cannotMakeFolder(let reason): "cannot make a temporary folder: \(reason)"
        }
    }
}

/// The system's own word for what went wrong last.
func reason(_ code: Int32 = errno) -> String {
    String(cString: strerror(code))
}

/// Writes to standard error; what is progress on a terminal and where a script that watches asks for it.
func tell(_ text: String, isProgress: Bool = false) {
    if isProgress, isatty(STDERR_FILENO) == 0, getenv("SHOW_PROGRESS") == nil { return }
    _ = Array(text.utf8).withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
