import ArgumentParser

/// `bench`: loads a running daemon. It is not a subcommand yet.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "bench", abstract: "Load a running daemon.")
}
