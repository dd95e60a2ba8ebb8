import ArgumentParser
import DaemonConfiguration
import LimitsFile

/// Whose configuration `config --import` reads.
enum ImportedConfiguration: String, CaseIterable, ExpressibleByArgument {
    case envoy
}

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

            With --import it prints the limits of envoyproxy/ratelimit's files as a \
            limits file, and says what of them has no counterpart there.

              llm-rate-limit config --import envoy /etc/ratelimit/config
            """)

    @Flag(help: "Only check: print nothing but warnings and errors.")
    var check = false

    @Flag(help: "Print JSON, as GET /v1/config answers it.")
    var json = false

    @Option(name: .customLong("import"), help: "Print another one's limits as a limits file.")
    var imported: ImportedConfiguration?

    @Argument(help: "With --import: the file, or a folder of .yaml and .yml files.")
    var path: String?

    @OptionGroup var flags: OptionFlags

    func validate() throws {
        guard (imported == nil) == (path == nil) else {
            throw ValidationError("--import and a path go together: config --import envoy <path>")
        }
        guard imported == nil || !json else { throw ValidationError("--import prints YAML; leave out --json") }
    }

    func run() throws {
        try report(environment: processEnvironment()).deliver()
    }

    /// What the command prints in an environment.
    func report(environment: [String: String]) -> CommandReport {
        if let path { return importReport(path) }
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

    private func importReport(_ path: String) -> CommandReport {
        do throws(EnvoyConfigurationError) {
            let limits = EnvoyImport(try EnvoyConfiguration(readingAt: path).rules)
            let warnings = limits.withoutCounterpart.map { "Warning: no counterpart of \($0)" }
            var report = CommandReport(errors: warnings.flatMap { wrapped($0, indentation: 2) })
            if !check { report.output = [String(limits.text.dropLast())] }
            return report
        } catch {
            return CommandReport(errors: ["Error: \(error)"], exitCode: .badConfiguration)
        }
    }
}
