import ArgumentParser
import FaultInjection

extension ChaosCommand {
    struct Soak: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Watches memory, descriptors and latency under load and faults.",
            discussion: "Exit code 0: flat; 1: something grew, or an answer was wrong."
        )

        @Option(help: "For how long, in minutes.")
        var minutes = 10.0

        @Option(help: "Which faults.")
        var seed: UInt64 = 1

        func validate() throws {
            guard minutes > 0, minutes <= 1_440 else {
                throw ValidationError("cannot use --minutes \(minutes): accepted are numbers above 0 and up to 1440")
            }
        }

        func run() throws {
            let line = ProgressLine()
            print("soak: \(minutes) minutes, seed \(seed)")
            let report = try SoakRun(seconds: minutes * 60, seed: seed).run { text in line.show(text) }
            line.clear()
            print(report.description)
            if !report.isFlat { throw ExitCode(1) }
        }
    }
}
