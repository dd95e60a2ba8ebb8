import ArgumentParser
import DaemonConfiguration

/// `config`: what would be in force, and whether it can be.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Show or check the configuration that serve would use.",
        discussion: """
            Takes the same flags, variables and file as serve, and shows each value with \
            its source. Passwords are masked. Warnings and errors go to the standard \
            error; with an error the exit code is 78.

              llm-rate-limit config
              llm-rate-limit config --check --env-file ./llm-rate-limit.env
            """)

    @Flag(help: "Only check: print nothing but warnings and errors.")
    var check = false

    @Flag(help: "Print JSON, as GET /v1/config answers it.")
    var json = false

    @OptionGroup var flags: OptionFlags

    func run() throws {
        try report(environment: processEnvironment()).deliver()
    }

    /// What the command prints in an environment.
    func report(environment: [String: String]) -> CommandReport {
        do throws(ConfigurationError) {
            let configuration = try ConfigurationLoader(flags: flags.given, environment: environment).load()
            var report = CommandReport(errors: configuration.warnings.map { "Warning: \($0)" })
            if !check {
                report.output = [json ? configuration.json() : String(configuration.table().dropLast())]
            }
            return report
        } catch {
            return CommandReport(error)
        }
    }
}
