import LLMRateLimitClient
import Testing

@testable import llm_rate_limit

@Suite("Asking the daemon")
struct DaemonClientTests {
    private let request = DaemonRequest(method: .post, uri: "/v1/check", body: #"{"user":"u"}"#)

    private func ask(
        _ behaviour: FakeDaemon.Behaviour, deadline: Duration = .seconds(60),
        _ body: (FakeDaemon, RateLimitClient) async throws -> Void
    ) async throws {
        let daemon = try await FakeDaemon(behaviour)
        do {
            try await body(daemon, RateLimitClient(commandsAskAt: daemon.socketPath, deadline: deadline))
        } catch {
            try await daemon.stop()
            throw error
        }
        try await daemon.stop()
    }

    @Test("sends one HTTP request and gives status and body, without the body's line end")
    func exchange() async throws {
        try await ask(httpAnswer("429 Too Many Requests", "{\"allowed\":false}\n")) { daemon, client in
            let response = try await client.send(request)
            #expect(response == DaemonResponse(status: 429, body: #"{"allowed":false}"#))
            #expect(daemon.received.hasPrefix("POST /v1/check HTTP/1.1\r\n"))
            #expect(daemon.received.hasSuffix("\r\n\r\n{\"user\":\"u\"}"))
            #expect(daemon.received.contains("\r\nContent-Length: 12\r\n"))
            #expect(daemon.received.contains("\r\nContent-Type: application/json\r\n"))
        }
    }

    @Test("takes an answer without a body")
    func noBody() async throws {
        try await ask(.answer("HTTP/1.1 204 No Content\r\n\r\n")) { _, client in
            let response = try await client.send(request)
            #expect(response == DaemonResponse(status: 204, body: ""))
        }
    }

    @Test("waits no longer than its deadline")
    func deadline() async throws {
        for behaviour in [
            FakeDaemon.Behaviour.silence, .answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"),
        ] {
            try await ask(behaviour, deadline: .milliseconds(100)) { daemon, client in
                await #expect(throws: RateLimitClientError.noAnswer(address: daemon.address, milliseconds: 100)) {
                    try await client.send(request)
                }
            }
        }
    }

    @Test("says so when the connection closes, the answer is no HTTP, or it is too long")
    func brokenAnswers() async throws {
        try await ask(.hangUp) { daemon, client in
            await #expect(throws: RateLimitClientError.closed(address: daemon.address)) {
                try await client.send(request)
            }
        }
        try await ask(.answer("SSH-2.0-OpenSSH\r\n\r\n")) { daemon, client in
            await #expect(throws: RateLimitClientError.notHTTP(address: daemon.address)) {
                try await client.send(request)
            }
        }
        let long = String(repeating: "x", count: DaemonResponse.maximumBodyBytes + 1)
        try await ask(httpAnswer("200 OK", long)) { daemon, client in
            await #expect(throws: RateLimitClientError.answerTooLong(address: daemon.address, maximumBytes: 1 << 20)) {
                try await client.send(request)
            }
        }
    }

    @Test("tells an operator why nobody answers")
    func unreachable() async {
        let missing = await RateLimitClient(commandsAskAt: "/nonexistent/daemon.sock").report(request, json: false) {
            _ throws(UnexpectedAnswer) in CommandReport()
        }
        let expected =
            "Error: cannot reach the daemon at /nonexistent/daemon.sock: No such file or directory; is it running?"
        #expect(missing == CommandReport(errors: [expected], exitCode: .failedRequest))
        for path in ["", String(repeating: "a", count: 108)] {
            await #expect(throws: RateLimitClientError.badPath(path: path)) {
                try await RateLimitClient(commandsAskAt: path).send(request)
            }
        }
    }

    @Test("prints with --json the body as it is, with the exit code of the answer")
    func json() async throws {
        let denial =
            #"{"allowed":false,"limit_name":"requests","#
            + #""limit":1,"remaining":0,"retry_after":5,"reset_after":5,"degraded":false}"#
        try await ask(httpAnswer("429 Too Many Requests", denial)) { _, client in
            let report = await client.report(request, json: true) { response throws(UnexpectedAnswer) in
                try CheckCommand.report(response, cost: 1)
            }
            #expect(report == CommandReport(output: [denial], exitCode: .denied))
        }
        let problem = #"{"type":"about:blank","title":"Not Found","status":404,"detail":"no such path"}"#
        try await ask(httpAnswer("404 Not Found", problem)) { _, client in
            for (json, expected) in [
                (true, CommandReport(output: [problem], exitCode: .failedRequest)),
                (false, CommandReport(errors: ["Error: the daemon answered: no such path"], exitCode: .failedRequest)),
            ] {
                let report = await client.report(request, json: json) { response throws(UnexpectedAnswer) in
                    try CheckCommand.report(response, cost: 1)
                }
                #expect(report == expected)
            }
        }
    }
}
