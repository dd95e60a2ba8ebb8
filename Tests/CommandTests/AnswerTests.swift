import ArgumentParser
import LLMRateLimitClient
import RateLimitCore
import Testing

@testable import llm_rate_limit

@Suite("Telling an answer")
struct AnswerTests {
    @Test(
        "of a check",
        arguments: [
            (
                200, 1,
                #"{"allowed":true,"limit_name":"requests","#
                    + #""limit":20,"remaining":19,"retry_after":0,"reset_after":3600,"degraded":false}"#,
                "allowed: 19 of 20 requests remaining, full again in 1 hour", ExitCode.success
            ),
            (
                429, 1,
                #"{"allowed":false,"limit_name":"requests","#
                    + #""limit":20,"remaining":0,"retry_after":725,"reset_after":3600,"degraded":false,"#
                    + #""message":"Try again in 12 minutes 5 seconds."}"#,
                "denied: 0 of 20 requests remaining. Try again in 12 minutes 5 seconds.", .denied
            ),
            (
                429, 30,
                #"{"allowed":false,"limit_name":"requests","#
                    + #""limit":20,"remaining":20,"retry_after":null,"reset_after":0,"degraded":false}"#,
                "denied: A cost of 30 is above the limit of 20 requests: no wait helps.", .denied
            ),
            (
                200, 1,
                #"{"allowed":true,"limit_name":"requests","#
                    + #""limit":20,"remaining":null,"degraded":true,"reason":"redis_unreachable"}"#,
                "allowed: not counted (degraded: redis_unreachable)", .success
            ),
            (
                200, 1,
                #"{"allowed":true,"limit_name":"requests","#
                    + #""limit":7,"remaining":3,"reset_after":60,"degraded":true,"reason":"redis_timeout"}"#,
                "allowed: 3 of 7 requests remaining, full again in 1 minute (degraded:\n  redis_timeout)", .success
            ),
            (
                200, 1,
                #"{"allowed":true,"limit_name":"requests","#
                    + #""limit":20,"remaining":0,"reset_after":60,"degraded":false,"shadow_denied":true}"#,
                "allowed: only because of shadow mode, 0 of 20 requests remaining, full again in\n  1 minute", .success
            ),
            (
                200, 1,
                #"{"allowed":true,"limit_name":null,"limit":null,"remaining":null,"reset_after":0,"over":["day","busy"]}"#,
                "allowed: no limit, above the soft line of day and busy", .success
            ),
            (
                503, 1, #"{"type":"about:blank","title":"Service Unavailable","detail":"Redis cannot be reached."}"#,
                "denied: Redis cannot be reached.", .denied
            ),
        ])
    func check(status: Int, cost: Int, body: String, line: String, code: ExitCode) throws {
        let report = try CheckCommand.report(DaemonResponse(status: status, body: body), cost: cost)
        #expect(report == CommandReport(output: line.split(separator: "\n").map(String.init), exitCode: code))
    }

    private static func limit(_ name: String, _ members: String) -> String {
        let others = [
            ("per", #""user""#), ("unit", #""requests""#), ("limit", "null"), ("used", "0"), ("reset_after", "0"),
            ("period", "null"), ("rule", #""unlimited""#), ("mode", #""enforce""#),
        ].filter { !members.contains("\"\($0.0)\":") }.map { ",\"\($0.0)\":\($0.1)" }
        return #"{"name":"\#(name)",\#(members)\#(others.joined())}"#
    }

    @Test(
        "of a check names the limit it is about, and its amounts in its own unit",
        arguments: [
            (
                200, #""allowed":true,"limit_name":"day","limit":5000000,"remaining":975000,"reset_after":7200"#,
                limit("day", #""unit":"spend","limit":5000000,"remaining":975000"#),
                "allowed: day: $0.975 of $5.00 remaining, full again in 2 hours"
            ),
            (
                429,
                #""allowed":false,"limit_name":"in","limit":1000,"remaining":0,"retry_after":61,"message":"Later.""#,
                limit("in", #""unit":"tokens.input","limit":1000,"remaining":0"#),
                "denied: in: 0 of 1000 input tokens remaining. Try again in 1 minute 1 second."
            ),
            (
                503, #""allowed":false,"at_capacity":true,"limit_name":"c","limit":2,"remaining":0,"retry_after":1"#,
                limit("c", #""unit":"concurrency","limit":2,"remaining":0"#),
                "denied: c: 0 of 2 slots remaining. Try again in 1 second."
            ),
            (
                429, #""allowed":false,"limit_name":"t","limit":7,"remaining":0,"retry_after":9"#,
                limit("t", #""per":"group","group_id":"other","unit":"tokens","limit":7,"remaining":1"#) + ","
                    + limit("t", #""per":"group","group_id":"own","unit":"tokens","limit":7,"remaining":0"#),
                "denied: t: 0 of 7 tokens remaining of group own. Try again in 9 seconds."
            ),
            (
                429, #""allowed":false,"limit_name":"all","limit":0,"remaining":0,"retry_after":null"#,
                limit("all", #""per":"global","unit":"spend","limit":0,"remaining":0"#),
                "denied: all: The quota of all users is $0.00: no wait helps."
            ),
            (
                429, #""allowed":false,"limit_name":"r","limit":3,"remaining":3,"retry_after":null"#,
                limit("r", #""limit":3,"remaining":3"#),
                "denied: r: A cost of 5 is above the limit of 3 requests: no wait helps."
            ),
            (
                429, #""allowed":false,"limit_name":null,"limit":null,"remaining":null,"message":"No price.""#, "",
                "denied: No price."
            ),
            (
                200, #""allowed":true,"limit_name":"old","limit":5,"remaining":1,"reset_after":0"#,
                limit("other", #""limit":5"#), "allowed: old: 1 of 5 remaining"
            ),
        ])
    func checkUnderLimits(status: Int, members: String, limits: String, text: String) throws {
        let response = DaemonResponse(status: status, body: "{\(members),\"limits\":[\(limits)]}")
        let report = try CheckCommand.report(response, cost: 5)
        #expect(report.output == text.split(separator: "\n").map(String.init))
        #expect(report.exitCode == (status == 200 ? .success : .denied))
    }

    @Test("of a status")
    func status() throws {
        let body = #"{"user":"u","limit":20,"used":1,"remaining":19,"reset_after":3599}"#
        let report = try StatusCommand.report(DaemonResponse(status: 200, body: body))
        #expect(report.output == ["1 of 20 requests used, 19 remaining, full again in 59 minutes 59 seconds"])
        let off = #"{"user":"u","limit":null,"used":null,"remaining":null,"reset_after":0}"#
        #expect(
            try StatusCommand.report(DaemonResponse(status: 200, body: off)).output
                == ["The limit of requests is off; explain tells of others, where there are any."])
        let unused = #"{"user":"u","limit":20,"used":0,"remaining":20,"reset_after":0}"#
        #expect(
            try StatusCommand.report(DaemonResponse(status: 200, body: unused)).output == [
                "0 of 20 requests used, 20 remaining"
            ]
        )
    }

    @Test("of why a user is limited")
    func explain() throws {
        let limit = Self.limit
        let limits = [
            limit("requests", #""limit":20,"used":20,"reset_after":725,"period":"sliding 3600s","rule":"default""#),
            limit("spend", #""unit":"spend","limit":5000000,"used":1230400,"period":"day","rule":"override""#),
            limit("team", #""per":"group","group_id":"g","unit":"spend","used":70000,"period":"month""#),
            limit("calls", #""unit":"concurrency","limit":2,"used":1,"rule":"group","rule_group_id":"g""#),
            limit("trial", #""limit":3,"used":3,"period":"sliding 60s","mode":"shadow","rule":"default""#),
            limit("blocked", #""unit":"tokens","limit":0,"period":"day","rule":"override""#),
            limit("tenant", #""per":"global","values":"label:tenant=a","limit":9,"used":2,"rule":"override""#),
        ]
        let body = #"{"user":"u","limits":[\#(limits.joined(separator: ","))]}"#
        #expect(
            try ExplainCommand.report(DaemonResponse(status: 200, body: body), user: "u").output == [
                "u is limited by requests, blocked",
                "  requests  20 of 20 requests used in any 1 hour, all free in 12 minutes 5",
                "            seconds; the quota is the default: no override, and no group gives",
                "            one",
                "  spend     $1.2304 of $5.00 used this day; the quota is the user's override",
                "  team      $0.07 used of group g this month; unlimited: no override, no group",
                "            and no default gives a quota",
                "  calls     1 of 2 slots used; the quota is that of group g",
                "  trial     3 of 3 requests used in any 1 minute; the quota is the default: no",
                "            override, and no group gives one; shadow: it denies nobody",
                "  blocked   0 of 0 tokens used this day; blocked by the user's override",
                "  tenant    2 of 9 requests used of all users with label:tenant=a; the quota is",
                "            the user's override",
            ])
        let problem = DaemonResponse(status: 503, body: #"{"title":"t","detail":"Redis cannot be asked."}"#)
        #expect(try ExplainCommand.report(problem, user: "u").exitCode == .denied)
    }

    @Test("of the windows for a model, a provider and labels: as the query that the daemon reads")
    func explainedValues() throws {
        func uri(_ arguments: String...) throws -> String {
            try #require(try ExplainCommand.parseAsRoot(["alice"] + arguments) as? ExplainCommand).uri
        }
        #expect(try uri() == "/v1/users/alice/usage")
        #expect(
            try uri(
                "--group", "a/b", "--model", "openai/gpt 4&o", "--provider", "é", "--label", "t=a=b%", "--label", "s=")
                == "/v1/users/alice/usage?group=a%2Fb&model=openai%2Fgpt%204%26o&provider=%C3%A9&label.t=a%3Db%25&label.s="
        )
        for wrong in ["t", "=t", ""] { #expect(throws: (any Error).self) { try uri("--label", wrong) } }
    }

    @Test("of a grant")
    func grant() throws {
        func report(_ body: String, status: Int = 200) throws -> CommandReport {
            try GrantCommand.report(
                DaemonResponse(status: status, body: body), LimitText(name: "day", unit: .tokens(.total)))
        }
        #expect(
            try report(#"{"limit":"day","amount":7,"expires_at":"2026-11-22T00:00:00.000Z","granted":true}"#).output
                == ["granted: day is raised by 7 tokens until 2026-11-22 00:00:00 UTC"])
        #expect(
            try report(#"{"limit":"day","amount":0,"expires_at":null,"granted":false}"#).output
                == ["granted before: nothing of day is granted now"])
        let away = try report(#"{"title":"t","detail":"The change cannot be confirmed."}"#, status: 503)
        #expect(away.exitCode == .denied && away.output == ["not granted: The change cannot be confirmed."])
        #expect(throws: UnexpectedAnswer.self) { try report("{}") }
    }

    @Test("takes more than one line where it is longer than 80 columns, broken between words")
    func wrapping() {
        let words = String(repeating: "word ", count: 40)
        let lines = wrapped(words, after: "start: ", indentation: 2)
        #expect(lines.map(\.count).allSatisfy { $0 <= 80 } && lines.count == 3)
        #expect(lines.joined(separator: " ").split(separator: " ").count == 41)
        #expect(lines.dropFirst().allSatisfy { $0.hasPrefix("  word") })
        let long = String(repeating: "x", count: 100)
        #expect(wrapped("a \(long) b", indentation: 1) == ["a", " \(long)", " b"])
        #expect(wrapped("", indentation: 2) == [""])
    }

    @Test(
        "says an instant without what nobody reads",
        arguments: [
            ("2026-11-22T00:00:00.000Z", "2026-11-22 00:00:00 UTC"),
            ("2026-11-22T01:02:03Z", "2026-11-22 01:02:03 UTC"),
            ("soon", "soon"), ("", ""), ("T", "T"), ("2026-11-22T01:02:03+01:00", "2026-11-22T01:02:03+01:00"),
        ])
    func instants(timestamp: String, text: String) {
        #expect(instantText(timestamp) == text)
    }

    @Test("of a reset")
    func reset() throws {
        let done = DaemonResponse(status: 204, body: "")
        let user = try #require(SubjectID("u"))
        #expect(try ResetCommand.report(done, user: user, json: false).output == ["reset: u"])
        #expect(try ResetCommand.report(done, user: user, json: true).output == [#"{"user":"u","reset":true}"#])
        #expect(try ResetCommand.report(done, user: user, limit: "l", json: false).output == ["reset: l of u"])
        #expect(
            try ResetCommand.report(done, user: user, limit: "l", json: true).output
                == [#"{"user":"u","limit":"l","reset":true}"#])
        let odd = try #require(SubjectID("a\"/\n"))
        #expect(try ResetCommand.report(done, user: odd, json: true).output == [#"{"user":"a\"/\n","reset":true}"#])
    }

    @Test(
        "of health, where a daemon without Redis still serves",
        arguments: [
            (#"{"status":"ok","version":"0.1.0"}"#, "ok (llm-rate-limit 0.1.0)", ExitCode.success, ExitCode.success),
            (#"{"status":"degraded"}"#, "degraded: it serves, but Redis cannot decide", .success, .denied),
            (
                #"{"status":"degraded","redis":{"state":"refusing","detail":"OOM command not allowed."}}"#,
                "degraded: it serves, but Redis cannot decide: OOM command not allowed.", .success, .denied
            ),
            (#"{"status":"draining"}"#, "draining", .denied, .denied),
        ])
    func health(body: String, line: String, code: ExitCode, requiring: ExitCode) throws {
        let response = DaemonResponse(status: 200, body: body)
        #expect(try HealthCommand.report(response, requireRedis: false) == .init(output: [line], exitCode: code))
        #expect(try HealthCommand.report(response, requireRedis: true) == .init(output: [line], exitCode: requiring))
    }

    @Test("of health names what of the configuration is not in force, and is as healthy as before")
    func staleHealth() throws {
        let problem = #"{"part":"limits","since":1,"problem":"limits.yaml: line 3: the quota is missing"}"#
        let body = #"{"status":"ok","configuration":{"state":"stale","problems":[\#(problem)]}}"#
        let report = try HealthCommand.report(DaemonResponse(status: 200, body: body), requireRedis: true)
        let lines = ["ok", "The limits as last read are not in force: limits.yaml: line 3: the quota is", "  missing"]
        #expect(report == .init(output: lines, exitCode: .success))
    }

    @Test("that is none of theirs is an error, not a denial")
    func unexpected() throws {
        let user = try #require(SubjectID("u"))
        for response in [
            DaemonResponse(status: 200, body: "<html>"), DaemonResponse(status: 404, body: "{}"),
            DaemonResponse(status: 503, body: ""),
        ] {
            #expect(throws: UnexpectedAnswer.self) { try CheckCommand.report(response, cost: 1) }
            #expect(throws: UnexpectedAnswer.self) { try StatusCommand.report(response) }
            #expect(throws: UnexpectedAnswer.self) { try ExplainCommand.report(response, user: "u") }
            #expect(throws: UnexpectedAnswer.self) { try ResetCommand.report(response, user: user, json: false) }
            #expect(throws: UnexpectedAnswer.self) { try HealthCommand.report(response, requireRedis: false) }
            #expect(CommandReport(refusal: response, json: true).exitCode == .failedRequest)
        }
    }

    @Test(
        "says durations in two units, rounded up",
        arguments: [
            (0, "0 seconds"), (1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (725, "12 minutes 5 seconds"),
            (3600, "1 hour"), (3601, "1 hour 1 minute"), (86_399, "24 hours"), (90_000, "1 day 1 hour"),
            (31_536_000, "365 days"),
        ])
    func durations(seconds: Int, text: String) {
        #expect(durationText(seconds: seconds) == text)
    }
}
