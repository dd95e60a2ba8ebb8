import ArgumentParser
import Glibc

/// The program: every subcommand has a file of its own.
@main
struct LLMRateLimit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "llm-rate-limit",
        abstract: "One exact budget per user, shared by every gateway replica.",
        discussion: """
            A gateway asks the daemon over a Unix socket; one script in Redis decides.

              llm-rate-limit serve --requests 20 --window 1h
              llm-rate-limit check 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11

            Exit codes of check, status, explain, reset, reset-descriptor, grant, events and health: 0 allowed or \
            healthy, 1 denied or unhealthy, 2 error. serve and config exit with 78 on a bad configuration.
            """,
        version: programTitle,
        subcommands: [
            ServeCommand.self, CheckCommand.self, StatusCommand.self, ExplainCommand.self, ResetCommand.self,
            ResetDescriptorCommand.self, GrantCommand.self, EventsCommand.self, HealthCommand.self, ConfigCommand.self,
            BenchCommand.self, VersionCommand.self,
        ])

    static func main() async {
        // Swift finds the arguments there and nowhere else; without them every command would be taken for --help.
        guard access("/proc/self/cmdline", R_OK) == 0 else {
            printError("cannot read the arguments: /proc is not mounted; mount it with: mount -t proc proc /proc")
            exit(withError: ExitCode.badConfiguration)
        }
        let arguments = Array(CommandLine.arguments.dropFirst())
        ProcessSecrets.blankArguments()
        do {
            var command = try await asyncParseAsRoot(arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            guard exitCode(for: error) == .validationFailure else { exit(withError: error) }
            printError(ProcessSecrets.masked(message: fullMessage(for: error)))
            exit(withError: clientExitCode(of: error, arguments: arguments) ?? .validationFailure)
        }
    }

    /// Scripts that ask `check` for a decision must not take wrong usage for a denial, nor need a third error code.
    ///
    /// - Returns: the exit code of a usage error in a command that asks the daemon, or nil for every other error.
    static func clientExitCode(of error: any Error, arguments: [String]) -> ExitCode? {
        let clients: [any ParsableCommand.Type] = [
            CheckCommand.self, StatusCommand.self, ExplainCommand.self, ResetCommand.self,
            ResetDescriptorCommand.self, GrantCommand.self, EventsCommand.self, HealthCommand.self,
        ]
        guard exitCode(for: error) == .validationFailure,
            clients.contains(where: { $0.configuration.commandName == arguments.first })
        else { return nil }
        return .failedRequest
    }
}
