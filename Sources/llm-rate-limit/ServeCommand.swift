import ArgumentParser
import DaemonConfiguration
import Listeners

/// `serve`: the daemon.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the daemon.",
        discussion: """
            Every flag is also a variable: --redis-url is LLM_RATE_LIMIT_REDIS_URL. Flags win \
            over the environment, the environment over the file of --env-file, the file \
            over the defaults. SIGHUP reads the file again; SIGTERM drains and ends.

              llm-rate-limit serve --socket /tmp/limit.sock --requests 20 --window 1h
              LLM_RATE_LIMIT_REQUESTS=20 llm-rate-limit serve --listen 127.0.0.1:8089

            A bad value stops the start with exit code 78. "llm-rate-limit config" shows \
            what would be in force, and what each option accepts with --json.
            """)

    @OptionGroup var flags: OptionFlags

    func run() async throws {
        ProcessSecrets.keepMemoryPrivate()
        let loader = ConfigurationLoader(flags: flags.given, environment: processEnvironment())
        ProcessSecrets.blankEnvironment()
        let configuration: ResolvedConfiguration
        do throws(ConfigurationError) {
            configuration = try loader.load()
        } catch {
            return try CommandReport(error).deliver()
        }
        do {
            try await serveDaemon(configuration, loader: loader)
        } catch let error as ListenerError {
            // An address to be reached by others is a matter of configuration: starting again would not help.
            guard case .notLoopback = error else { throw error }
            try CommandReport(errors: ["Error: \(error)"], exitCode: .badConfiguration).deliver()
        }
    }
}

extension CommandReport {
    /// A configuration that cannot be used, with one line for each warning and each bad value.
    init(_ error: ConfigurationError) {
        errors = error.warnings.map { "Warning: \($0)" } + error.problems.map { "Error: \($0)" }
        exitCode = .badConfiguration
    }
}
