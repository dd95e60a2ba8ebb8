import ArgumentParser
import DaemonConfiguration
import LLMRateLimitClient

/// The flags of the commands that ask the daemon.
struct DaemonConnection: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The daemon's socket. (default: where serve would listen: LLM_RATE_LIMIT_SOCKET, else that of the file, "
                + "else \(Settings().socketPath))", valueName: "path"))
    var socket: String?

    @OptionGroup var file: SocketFile

    @Flag(help: "Print the daemon's JSON answer as it is.")
    var json = false

    /// Sends a request and has its answer told; an answer that never came is told as an error.
    func report(
        _ request: DaemonRequest, tell: (DaemonResponse) throws(UnexpectedAnswer) -> CommandReport
    ) async -> CommandReport {
        await file.report(request, json: json, tell: tell) { () throws(SocketUnknown) in
            try file.socket(flag: socket)
        }
    }
}

/// The flags of the commands that change state, over the daemon's admin socket.
struct AdminConnection: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The admin socket. (default: where serve would listen: LLM_RATE_LIMIT_ADMIN_SOCKET, else that of the "
                + "file, else \(Settings().adminSocketPath ?? ""))", valueName: "path"))
    var adminSocket: String?

    @OptionGroup var file: SocketFile

    @Flag(help: "Print JSON: the daemon's answer as it is, where it has one.")
    var json = false

    /// As ``DaemonConnection/report(_:tell:)``.
    func report(
        _ request: DaemonRequest, tell: (DaemonResponse) throws(UnexpectedAnswer) -> CommandReport
    ) async -> CommandReport {
        await file.report(request, json: json, tell: tell) { () throws(SocketUnknown) in
            try file.adminSocket(flag: adminSocket)
        }
    }
}

/// The file of variables in which a command looks for the daemon's sockets, as the daemon itself does.
struct SocketFile: ParsableArguments {
    @Option(help: ArgumentHelp("The daemon's file of variables. (default: LLM_RATE_LIMIT_ENV_FILE)", valueName: "path"))
    var envFile: String?

    /// The socket that answers checks: the flag's, else where `serve` would listen.
    func socket(
        flag: String?, environment: [String: String] = processEnvironment()
    ) throws(SocketUnknown) -> String {
        try settings(of: .socket, flag: flag, environment).socketPath
    }

    /// The socket that answers what changes state, likewise.
    func adminSocket(
        flag: String?, environment: [String: String] = processEnvironment()
    ) throws(SocketUnknown) -> String {
        guard let path = try settings(of: .adminSocket, flag: flag, environment).adminSocketPath else {
            throw .switchedOff
        }
        return path
    }

    fileprivate func report(
        _ request: DaemonRequest, json: Bool, tell: (DaemonResponse) throws(UnexpectedAnswer) -> CommandReport,
        at path: () throws(SocketUnknown) -> String
    ) async -> CommandReport {
        do throws(SocketUnknown) {
            return await RateLimitClient(commandsAskAt: try path()).report(request, json: json, tell: tell)
        } catch {
            return CommandReport(error)
        }
    }

    private func settings(
        of option: OptionName, flag: String?, _ environment: [String: String]
    ) throws(SocketUnknown) -> Settings {
        var flags: [OptionName: String] = [:]
        flags[option] = flag
        flags[.envFile] = envFile
        do throws(ConfigurationError) {
            return try ConfigurationLoader(flags: flags, environment: environment).load(only: option)
        } catch {
            throw .configuration(error, option)
        }
    }
}

/// Why a command does not know where to ask.
enum SocketUnknown: Error, Equatable, CustomStringConvertible {
    /// The configuration does not say it; the option would.
    case configuration(ConfigurationError, OptionName)
    /// The admin socket is off.
    case switchedOff

    var description: String {
        switch self {
        case .configuration(let error, let option): "\(error); or name the socket with \(option.flag)"
        case .switchedOff:
            "cannot reach the daemon's admin socket: \(OptionName.adminSocket.variable) is empty, which switches it "
                + "off; or name the socket with \(OptionName.adminSocket.flag)"
        }
    }
}

/// An answer that does not have the form that the command knows.
struct UnexpectedAnswer: Error {}

extension RateLimitClient {
    /// The client of a command, which one waits for.
    convenience init(commandsAskAt path: String, deadline: Duration = .seconds(5)) {
        self.init(at: .unixSocket(path: path), deadline: deadline, maximumConnections: 1)
    }

    /// Sends a request and has its answer told.
    ///
    /// With `json` the answer's body is printed in place of the report's output, whatever the status.
    func report(
        _ request: DaemonRequest, json: Bool, tell: (DaemonResponse) throws(UnexpectedAnswer) -> CommandReport
    ) async -> CommandReport {
        let response: DaemonResponse
        do throws(RateLimitClientError) {
            response = try await send(request)
        } catch {
            return CommandReport(errors: ["Error: \(error)"], exitCode: .failedRequest)
        }
        do throws(UnexpectedAnswer) {
            var report = try tell(response)
            if json && !response.body.isEmpty {
                report.output = [response.body]
                report.errors = []
            }
            return report
        } catch {
            return CommandReport(refusal: response, json: json)
        }
    }
}

extension CommandReport {
    /// A question that could not be asked, since nobody says where.
    init(_ error: SocketUnknown) {
        errors = ["Error: \(error)"]
        exitCode = .failedRequest
    }

    /// A status or body that no command expects, such as a problem document for a bad request.
    init(refusal response: DaemonResponse, json: Bool) {
        let problem = response.decoded(ProblemAnswer.self)
        let reason = problem?.text ?? "status \(response.status) is no answer that this command knows"
        if json && problem != nil {
            output = [response.body]
        } else {
            errors = wrapped("Error: the daemon answered: \(reason)", indentation: 2)
        }
        exitCode = .failedRequest
    }
}
