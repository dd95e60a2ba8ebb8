import ArgumentParser
import Glibc
import LoadGenerator

/// Loads a running daemon over its socket and says how fast it was and what it cost.
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Load a running daemon and report checks/s, latency and CPU per check.",
        usage: "llm-rate-limit bench [<options>]",
        discussion: """
            Every connection sends its next check as soon as one is answered. The checks are real: they consume the \
            budget of users made up for the purpose, whose keys expire with their windows. Few users have soon spent \
            it all; then denials from memory are what is measured.
            """)

    @Option(help: "Socket of the daemon, or host:port. Default: where serve would listen, as check finds it.")
    var socket: String?

    @OptionGroup var file: SocketFile

    @Option(help: "How many connections, 1 to 4096.")
    var connections = 64

    @Option(help: "How many seconds to measure, after one second of warm-up.")
    var duration = 10

    @Option(help: "How many users take part, 1 to 1000000, picked at random.")
    var users = 100_000

    @Option(help: ArgumentHelp("How many percent of the checks go to a user without budget.", valueName: "percent"))
    var deniedShare = 0

    @Option(help: "How many requests each connection keeps unanswered, 1 to 64.")
    var pipeline = 1

    @Option(help: "Socket or host:port of the Redis on this machine whose CPU to account for.")
    var redis: String?

    @Flag(help: "Print the report as JSON.")
    var json = false

    func run() throws {
        do {
            let interactive = isatty(STDERR_FILENO) == 1
            let report = try load(at: socket ?? file.socket(flag: nil)).run { progress in
                if interactive { Self.show(progress) }
            }
            if interactive { Self.tell("\r\u{1b}[K") }
            print(json ? report.json : report.text)
        } catch {
            Self.tell("\(error)\n")
            throw ExitCode(2)
        }
    }

    /// Finds the processes to watch and uses up the denied user's budget.
    private func load(at place: String) throws(LoadError) -> Load {
        let target = try Endpoint(place)
        let mix = try CheckMix(users: Users(count: users), deniedSharePercent: deniedShare)
        let load = try Load(
            target: target, traffic: .httpChecks(mix), connections: connections, pipelineDepth: pipeline,
            length: .seconds(duration))
        let daemon = try DaemonSession(to: target)
        var watched: [WatchedProcess] = []
        if let id = daemon.processID { watched.append(WatchedProcess(name: "daemon", id: id)) }
        if let redis, let id = try RedisSession(to: Endpoint(redis)).processID() {
            watched.append(WatchedProcess(name: "redis", id: id))
        }
        if deniedShare > 0 { try daemon.exhaustDeniedUser(of: mix) }
        return load.watching(watched)
    }

    /// One line that is written over each second.
    private static func show(_ progress: LoadProgress) {
        let stage = progress.warmingUp ? "warming up" : "\(progress.percent) %"
        tell("\r\u{1b}[K\(stage), \(groupedText(progress.checks)) checks/s")
    }

    private static func tell(_ text: String) {
        _ = Array(text.utf8).withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
