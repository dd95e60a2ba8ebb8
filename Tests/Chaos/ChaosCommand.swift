import ArgumentParser
import FaultInjection
import Glibc

@main
struct ChaosCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chaos", abstract: "Puts real daemons and a real Redis under load and faults.",
        subcommands: [Run.self, Soak.self], defaultSubcommand: Run.self
    )
}

/// What is shown while a run goes on: a line that changes, on a terminal and where a script that watches asks for it.
struct ProgressLine {
    private let isShown = isatty(STDERR_FILENO) == 1 || getenv("SHOW_PROGRESS") != nil

    func show(_ text: String) {
        guard isShown else { return }
        write("\r\u{1b}[K\(text.prefix(78))")
    }

    func clear() { if isShown { write("\r\u{1b}[K") } }

    private func write(_ text: String) {
        let bytes = Array(text.utf8)
        _ = Glibc.write(STDERR_FILENO, bytes, bytes.count)
    }
}

extension Traffic: ExpressibleByArgument {}
extension Topology: ExpressibleByArgument {}

extension ChaosCommand {
    struct Run: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Injects the faults of a seed, and checks every answer.",
            discussion: "Exit code 0: exact throughout; 1: violated, with the smallest history that shows it."
        )

        @Option(help: "For how long, in minutes.")
        var minutes = 10.0

        @Option(help: "Which faults: a seed gives the same ones, in the same order.")
        var seed: UInt64 = 1

        @Option(help: "What is asked: \(Traffic.allCases.map(\.rawValue).joined(separator: ", ")).")
        var traffic = Traffic.mixed

        @Option(help: "What keeps the windows: \(Topology.allCases.map(\.rawValue).joined(separator: ", ")).")
        var topology = Topology.single

        @Flag(help: "Also show the faults in their order.")
        var schedule = false

        func validate() throws {
            guard minutes > 0, minutes <= 1_440 else {
                throw ValidationError("cannot use --minutes \(minutes): accepted are numbers above 0 and up to 1440")
            }
        }

        func run() throws {
            let line = ProgressLine()
            var options = ChaosRun.Options(seconds: minutes * 60, seed: seed, on: topology)
            options.traffic = traffic
            print(
                "chaos: \(minutes) minutes, seed \(seed), \(topology.rawValue), \(traffic.rawValue), "
                    + "\(options.faults.count) kinds of faults")
            let run = try ChaosRun(options)
            let report = try run.run { progress in
                line.show(
                    "\(Int(progress.secondsPassed)) s  \(progress.faultsInjected) faults  "
                        + "\(progress.operationsChecked) checked  \(progress.violations) violations  \(progress.fault)"
                )
            }
            line.clear()
            if schedule { for (index, entry) in report.schedule.enumerated() { print("\(index + 1). \(entry)") } }
            print(report.description)
            if !report.isClean { throw ExitCode(1) }
        }
    }
}
