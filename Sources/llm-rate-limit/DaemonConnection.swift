import ArgumentParser
import DaemonConfiguration

/// The flags of the commands that ask the daemon.
struct DaemonConnection: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The daemon's socket. (default: LLM_RATE_LIMIT_SOCKET, else \(Settings().socketPath))", valueName: "path"))
    var socket: String?

    @Flag(help: "Print the daemon's JSON answer as it is.")
    var json = false

    /// Sends a request and has its answer told; an answer that never came is told as an error.
    func report(
        _ request: DaemonRequest, tell: (DaemonResponse) throws(UnexpectedAnswer) -> CommandReport
    ) async -> CommandReport {
        let path = socket ?? processEnvironment()[OptionName.socket.variable] ?? Settings().socketPath
        return await DaemonClient(socketPath: path).report(request, json: json, tell: tell)
    }
}

/// An answer that does not have the form that the command knows.
struct UnexpectedAnswer: Error {}

extension DaemonClient {
    /// Sends a request and has its answer told.
    ///
    /// With `json` the answer's body is printed in place of the report's output, whatever the status.
    func report(
        _ request: DaemonRequest, json: Bool, tell: (DaemonResponse) throws(UnexpectedAnswer) -> CommandReport
    ) async -> CommandReport {
        let response: DaemonResponse
        do throws(DaemonClientError) {
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
