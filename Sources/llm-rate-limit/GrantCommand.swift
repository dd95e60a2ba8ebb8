import ArgumentParser
import LLMRateLimitClient
import RateLimitCore

/// `grant`: raises a user's quota of one limit until the window's end, over the admin socket.
struct GrantCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "grant",
        abstract: "Raise a user's quota of one limit until the window's end.",
        usage: "llm-rate-limit grant <user> --limit <name> --amount <n> [<options>]",
        discussion: """
            Adds to whatever quota the user has, until the present calendar period ends or, \
            for a sliding window, for as long as the window is, and for a lifetime, for as long as \
            it may be idle. Needs a limits file. Uses the \
            daemon's admin socket, which only the daemon's own user may open. \
            Exit code: 0 done, 1 not possible now, 2 error.

              llm-rate-limit grant 6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11 \\
                --limit tokens --amount 50000
            """)

    @OptionGroup var user: UserArgument

    @Option(
        help: ArgumentHelp("The limit's name.", valueName: "name"),
        transform: { text throws(ValidationError) in
            guard let name = LimitName(text) else { throw ValidationError("accepted are names of limits") }
            return name.text
        })
    var limit: String

    @Option(help: ArgumentHelp("How much, in the limit's unit; spend in micro-dollars.", valueName: "n"))
    var amount: Int

    @Option(help: ArgumentHelp("Two grants of one id, 1 to 128 bytes, count once.", valueName: "id"))
    var requestID: String?

    @OptionGroup var daemon: AdminConnection

    func validate() throws(ValidationError) {
        guard GrantOrder.amounts.contains(amount) else {
            throw ValidationError("--amount: accepted are whole numbers from 1 to \(GrantOrder.amounts.upperBound)")
        }
        let isID = requestID?.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x5c } ?? true
        guard isID, requestID.map({ GrantOrder.idLengths.contains($0.utf8.count) }) ?? true else {
            throw ValidationError(
                "--request-id: accepted are 1 to \(GrantOrder.idLengths.upperBound) printable ASCII characters but "
                    + "spaces, quotation marks and backslashes")
        }
    }

    func run() async throws {
        let id = requestID.map { #","request_id":"\#($0)""# } ?? ""
        let request = DaemonRequest(
            method: .post, uri: "/v1/users/\(user.id.urlText)/grants",
            body: #"{"limit":"\#(limit)","amount":\#(amount)\#(id)}"#)
        let text = daemon.json ? LimitText(name: limit) : await limitText()
        try await daemon.report(request) { response throws(UnexpectedAnswer) in
            try Self.report(response, text)
        }.deliver()
    }

    /// What is said of the limit; without its unit where the daemon does not tell it, and the grant goes on.
    private func limitText() async -> LimitText {
        let request = DaemonRequest(method: .get, uri: "/v1/users/\(user.id.urlText)/usage")
        guard let path = try? daemon.file.adminSocket(flag: daemon.adminSocket) else { return LimitText(name: limit) }
        let answer = try? await RateLimitClient(commandsAskAt: path).send(request).decoded(UsageAnswer.self)
        return answer?.limits.first { $0.name == limit }?.text ?? LimitText(name: limit)
    }

    /// Tells how much is granted now, and until when.
    static func report(_ response: DaemonResponse, _ text: LimitText) throws(UnexpectedAnswer) -> CommandReport {
        let limit = text.name ?? ""
        if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
            return CommandReport(wrapping: "not granted: \(problem.text)", exitCode: .denied)
        }
        guard response.status == 200, let answer = response.decoded(GrantAnswer.self), let isNew = answer.granted else {
            throw UnexpectedAnswer()
        }
        let head = isNew ? "granted" : "granted before"
        guard let end = answer.expiresAt else {
            return CommandReport(wrapping: "\(head): nothing of \(limit) is granted now")
        }
        return CommandReport(
            wrapping: "\(head): \(limit) is raised by \(text.text(of: answer.amount)) until \(instantText(end))")
    }
}
