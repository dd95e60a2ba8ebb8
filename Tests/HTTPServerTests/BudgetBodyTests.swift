import RateLimitCore
import Testing

@testable import HTTPServer

@Suite("The body of a budget")
struct BudgetBodyTests {
    private func read(_ text: String, takesGroup: Bool = true) -> Result<BudgetBody, RequestError> {
        Array(text.utf8).withUnsafeBytes { bytes in
            result { () throws(RequestError) in try BudgetBody.read(bytes, takesGroup: takesGroup) }
        }
    }

    @Test("has a spend limit, amounts by limit with their units, a group, and what is known to have no effect")
    func whole() throws {
        let body = try read(
            """
            {"spend_limit_micros": 2000000, "limits": {"tokens": 5, "month": 0}, "units": {"tokens": "tokens"},
             "group_id": "team-a", "without_effect": ["month"]}
            """
        ).get()
        #expect(body.terms.spendLimitMicros == 2_000_000)
        #expect(body.terms.limits == ["tokens": BudgetAmount(5, unit: .tokens(.total)), "month": 0])
        #expect(body.group == SubjectID("team-a") && body.withoutEffect == ["month"])
    }

    @Test("may be sent back as it was answered: what nobody sets is passed over, and null is as left out")
    func sentBack() throws {
        let body = try read(
            """
            {"created_at": "2026-11-01T00:00:00Z", "updated_at": 5, "grants": [{"limit": "x"}], "limits": null,
             "spend_limit_micros": null, "group_id": null, "units": null, "without_effect": null, "else": null}
            """
        ).get()
        #expect(body == BudgetBody())
    }

    @Test(
        "is refused with what is wrong",
        arguments: [
            (#"{"spend_limit_micros": -1}"#, "spend_limit_micros is no whole number"),
            (#"{"spend_limit_micros": 1.5}"#, "spend_limit_micros is no whole number"),
            (#"{"limits": {"no such name": 1}}"#, "a limit's name has 1 to"),
            (#"{"units": {"tokens": "bananas"}}"#, "the unit of tokens is none"),
            (#"{"quota": 5}"#, "it has a member that is not known"),
        ])
    func refused(text: String, reason: String) {
        guard case .failure(.invalidBudget(let said)) = read(text) else {
            Issue.record("\(text) is not refused as a budget")
            return
        }
        #expect(said.contains(reason), "\(said)")
    }

    @Test("of a group has no group")
    func ofGroup() {
        #expect(throws: RequestError.self) { try read(#"{"group_id": "team-a"}"#, takesGroup: false).get() }
    }

    @Test("names as many limits as there can be, and not one more")
    func bounds() throws {
        func body(_ count: Int) -> String {
            "{\"limits\": {" + (0..<count).map { "\"limit\($0)\": 1" }.joined(separator: ",") + "}}"
        }
        #expect(try read(body(BudgetBounds.limits)).get().terms.limits.count == BudgetBounds.limits)
        #expect(throws: RequestError.self) { try read(body(BudgetBounds.limits + 1)).get() }
    }
}
