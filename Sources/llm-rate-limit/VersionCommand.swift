import ArgumentParser

/// What `version` and `--version` print.
let programTitle = "llm-rate-limit \(programVersion)"

/// `version`: which program this is.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    @Flag(help: "Print JSON.")
    var json = false

    func run() {
        print(json ? #"{"name":"llm-rate-limit","version":"\#(programVersion)"}"# : programTitle)
    }
}
