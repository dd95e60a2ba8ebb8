import ArgumentParser
import LLMRateLimitClient
import Testing

@testable import llm_rate_limit

@Suite("reset-descriptor")
struct ResetDescriptorTests {
    private func command(_ arguments: String...) throws -> ResetDescriptorCommand {
        try ResetDescriptorCommand.parse(arguments)
    }

    @Test("asks for the domain and its entries in their order, with every text as it is")
    func uri() throws {
        #expect(
            try command("edge", "tenant=acme", "path=/v1?a=b&c", "empty=").uri
                == "/v1/descriptors?domain=edge&key=tenant&value=acme&key=path&value=%2Fv1%3Fa%3Db%26c&key=empty&value="
        )
        #expect(try command("a b", "k=é").uri == "/v1/descriptors?domain=a%20b&key=k&value=%C3%A9")
    }

    @Test("needs at least one entry, each with a key and an =")
    func usage() {
        for arguments in [["edge"], ["edge", "tenant"], ["edge", "=acme"], []] {
            #expect(throws: (any Error).self) { try ResetDescriptorCommand.parse(arguments) }
        }
    }

    @Test("says what begins anew, and why it cannot now")
    func report() throws {
        let reset = try command("edge", "tenant=acme", "path=/v1")
        #expect(
            try reset.report(DaemonResponse(status: 204, body: ""))
                == CommandReport(output: ["reset: edge: tenant=acme, path=/v1"]))
        let away =
            #"{"title":"Service Unavailable","status":503,"detail":"The descriptor cannot be reset: redis_timeout."}"#
        let report = try reset.report(DaemonResponse(status: 503, body: away))
        #expect(report.exitCode == .denied)
        #expect(report.output == ["not reset: The descriptor cannot be reset: redis_timeout."])
        #expect(throws: UnexpectedAnswer.self) { try reset.report(DaemonResponse(status: 404, body: "{}")) }
    }
}
