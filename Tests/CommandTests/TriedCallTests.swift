import ArgumentParser
import LLMRateLimitClient
import RateLimitCore
import Testing

@testable import llm_rate_limit

@Suite("The call of explain")
struct TriedCallTests {
    private func command(_ arguments: String...) throws -> ExplainCommand {
        try #require(try ExplainCommand.parseAsRoot(["ada"] + arguments) as? ExplainCommand)
    }

    private func tried(_ arguments: String...) throws -> TriedCall? {
        try #require(try ExplainCommand.parseAsRoot(["ada"] + arguments) as? ExplainCommand).tried()
    }

    @Test("is sent as a dry run of the user's, its own members as they were written")
    func body() throws {
        #expect(try tried() == nil)
        let check = try #require(try tried("--call", #" { "cost": 1.0e1, "model":"a}b" } "#))
        #expect(check.uri == "/v1/check?verbose=1")
        #expect(check.body == #"{ "cost": 1.0e1, "model":"a}b" ,"user":"ada","dry_run":true}"#)
        let reserve = try #require(try tried("--reserve", "--call", #"{"user":"ada","ttl":5,"dry_run":false}"#))
        #expect(reserve.uri == "/v1/reserve?verbose=1")
        #expect(reserve.body == #"{"user":"ada","ttl":5,"dry_run":false,"user":"ada","dry_run":true}"#)
        #expect(try tried("--call", "{}")?.body == #"{"user":"ada","dry_run":true}"#)
    }

    @Test(
        "that cannot be used is refused with what is accepted",
        arguments: [
            ("{", "it is no JSON object"), ("[]", "it is no JSON object"), ("", "it is no JSON object"),
            (#"{"modle":"x"}"#, "a check has no member modle, did you mean model?"),
            (#"{"ttl":5}"#, "a check has no member ttl"), (#"{"user":"bob"}"#, "leave it out"),
            (#"{"user":7}"#, "leave it out"),
        ])
    func refused(_ text: String, _ reason: String) throws {
        #expect {
            try tried("--call", text)
        } throws: { error in
            let message = ExplainCommand.message(for: error)
            return message.contains("cannot use --call") && message.contains(reason)
        }
    }

    @Test("stands beside no other words about the call, and --reserve beside it alone")
    func alone() throws {
        for others in [["--model", "m"], ["--group", "g"], ["--provider", "p"], ["--label", "a=b"]] {
            #expect(throws: (any Error).self) { try ExplainCommand.parseAsRoot(["ada", "--call", "{}"] + others) }
        }
        #expect(throws: (any Error).self) { try command("--reserve") }
    }

    private static func limit(_ name: String, _ members: String) -> String {
        #"{"name":"\#(name)","per":"user","unit":"requests","used":0,"remaining":0,"reset_after":0,"mode":"enforce","#
            + #""rule":"default",\#(members)}"#
    }

    @Test("is told limit by limit in 80 columns, with the condition that each other limit misses")
    func told() throws {
        let limits = [
            Self.limit("requests", #""limit":20,"period":"sliding 60s","denied":false"#),
            Self.limit("tokens", #""limit":5,"period":"day","denied":true"#),
        ]
        let unmet =
            #"{"limit_name":"opus","missed":"model","reason":"the model is gpt-4o, and the limit is for claude-opus*"}"#
        let members =
            #""limit":5,"remaining":0,"retry_after":60,"reset_after":60,"degraded":false,"limits":[\#(limits.joined(separator: ","))],"#
            + #""not_applied":[\#(unmet)],"dry_run":true"#
        let denied = try ExplainCommand.report(
            trial: DaemonResponse(status: 429, body: #"{"allowed":false,"limit_name":"tokens",\#(members)}"#),
            user: "ada")
        #expect(
            denied.output == [
                "ada would be denied by tokens, and pass in 1 minute",
                "  requests  passes: 0 of 20 requests used in any 1 minute; the quota is the",
                "            default: no override, and no group gives one",
                "  tokens    denies: 0 of 5 requests used this day; the quota is the default: no",
                "            override, and no group gives one",
                "  opus      does not apply: the model is gpt-4o, and the limit is for",
                "            claude-opus*",
            ])
        #expect(denied.exitCode == .denied && denied.output.allSatisfy { $0.count <= 80 })
        let passes = try ExplainCommand.report(
            trial: DaemonResponse(status: 200, body: #"{"allowed":true,"limit_name":null,\#(members)}"#), user: "ada")
        #expect(passes.output.first == "ada would pass" && passes.exitCode == .success)
    }

    @Test("says what the failure mode would do while Redis is away")
    func away() throws {
        let open = #"{"allowed":true,"limit_name":null,"degraded":true,"reason":"redis_unreachable","dry_run":true}"#
        let report = try ExplainCommand.report(trial: DaemonResponse(status: 200, body: open), user: "ada")
        #expect(
            report.output == [
                "ada cannot be decided now (redis_unreachable): the failure mode would let it",
                "  pass",
            ] && report.exitCode == .success)
        let problem = DaemonResponse(
            status: 503, body: #"{"title":"t","detail":"No decision can be had, and the failure mode is closed."}"#)
        let closed = try ExplainCommand.report(trial: problem, user: "ada")
        #expect(closed.exitCode == .denied && closed.output[0].hasPrefix("ada would be denied: No decision"))
        #expect(throws: UnexpectedAnswer.self) {
            try ExplainCommand.report(trial: DaemonResponse(status: 404, body: "{}"), user: "ada")
        }
    }
}
