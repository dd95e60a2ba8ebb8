import Testing

@testable import RateLimitCore

@Suite("What is granted on top of a quota")
struct GrantTests {
    private let end = 1_763_769_600_000

    @Test(
        "is added to whatever rule gave the quota, until its end and not at it",
        arguments: [QuotaRule.override, .group(SubjectID(high: 0, low: 1)), .default])
    func added(rule: QuotaRule) {
        let grant = Grant(amount: 30, expiresAt: end)
        let quota = Quota(amount: 500, rule: rule)
        #expect(
            quota.raised(by: grant, atUnixMilliseconds: end - 1) == Quota(amount: 530, rule: rule, grant: grant))
        #expect(quota.raised(by: grant, atUnixMilliseconds: end) == quota)
        #expect(quota.raised(by: nil, atUnixMilliseconds: 0) == quota)
    }

    @Test("leaves what is unlimited unlimited, and is all that somebody blocked has")
    func ends() {
        let grant = Grant(amount: 30, expiresAt: end)
        let unlimited = Quota(amount: nil, rule: .unlimited)
        #expect(unlimited.raised(by: grant, atUnixMilliseconds: 0) == unlimited)
        let blocked = Quota(amount: 0, rule: .override)
        #expect(blocked.raised(by: grant, atUnixMilliseconds: 0).amount == 30)
    }

    @Test("never passes what a quota can be")
    func bounded() {
        let most = BudgetBounds.amounts.upperBound
        let grant = Grant(amount: most, expiresAt: end)
        #expect(Quota(amount: most, rule: .default).raised(by: grant, atUnixMilliseconds: 0).amount == most)
    }

    private func limit(_ unit: LimitUnit, _ window: LimitWindow?) throws -> LimitDefinition {
        LimitDefinition(name: try #require(LimitName("x")), scope: .user, unit: unit, quota: 1, window: window)
    }

    @Test("ends with the calendar's period, or a window's length later, and never where there is no window")
    func windows() throws {
        // 2025-11-21 12:00:00 UTC, a Friday.
        let noon = 1_763_726_400
        #expect(
            try limit(.requests, .calendar(.day, .utc)).grantEnd(aroundUnixSeconds: noon)
                == .firstOf([noon - 43_200, noon + 43_200, noon + 129_600]))
        guard
            case .firstOf(let months)? = try limit(.spend, .calendar(.month, .utc)).grantEnd(aroundUnixSeconds: noon)
        else { throw SuiteFailure() }
        // 1 November, 1 December and 1 January.
        #expect(months == [1_761_955_200, 1_764_547_200, 1_767_225_600])
        #expect(
            try limit(.requests, .sliding(milliseconds: 5_000)).grantEnd(aroundUnixSeconds: noon)
                == .after(milliseconds: 5_000))
        let week = 7 * 86_400_000
        #expect(
            try limit(.requests, .lifetime(idleMilliseconds: week)).grantEnd(aroundUnixSeconds: noon)
                == .after(milliseconds: week))
        // 15 November, December and January.
        #expect(
            try limit(.spend, .calendar(.month, .utc, starts: CalendarStart(day: 15))).grantEnd(aroundUnixSeconds: noon)
                == .firstOf([1_763_164_800, 1_765_756_800, 1_768_435_200]))
        #expect(try limit(.concurrency, nil).grantEnd(aroundUnixSeconds: noon) == nil)
    }

    private struct SuiteFailure: Error {}
}
