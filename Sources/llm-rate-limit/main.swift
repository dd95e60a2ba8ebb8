import ArgumentParser

struct Root: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "llm-rate-limit", subcommands: [BenchCommand.self])
}

Root.main()
