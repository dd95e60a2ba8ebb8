import Testing

@testable import RateLimitCore

@Suite("Who has which quota")
struct QuotaRulesTests {
    private let teamA = SubjectID(high: 0, low: 1)
    private let teamB = SubjectID(high: 0, low: 2)
    private let teamC = SubjectID(high: 0, low: 3)
    private let limits: LimitSet

    init() throws {
        func limit(_ name: String, _ scope: LimitScope, _ unit: LimitUnit, _ quota: Int?) throws -> LimitDefinition {
            LimitDefinition(
                name: try #require(LimitName(name)), scope: scope, unit: unit, quota: quota,
                window: .calendar(.day, .utc))
        }
        limits = try LimitSet([
            limit("spend", .user, .spend, 500), limit("calls", .user, .requests, nil),
            limit("team", .group, .spend, 5000), limit("all", .global, .spend, 9000),
        ])
    }

    private func rules(_ policy: GroupPolicy) -> QuotaRules { QuotaRules(limits: limits, policy: policy) }

    @Test("is the default, or unlimited, where nothing was set")
    func defaults() {
        let rules = rules(.min)
        let expected: [Quota] = [
            Quota(amount: 500, rule: .default), Quota(amount: nil, rule: .unlimited),
            Quota(amount: 5000, rule: .default), Quota(amount: 9000, rule: .default),
        ]
        for (index, quota) in expected.enumerated() {
            #expect(rules.quota(ofLimitAt: index, user: .none, groups: []) == quota)
            #expect(rules.quota(ofLimitAt: index, user: .none, groups: [(teamA, .none)]) == quota)
        }
    }

    @Test("is the user's override before all else, and one of 0 blocks")
    func override() throws {
        let group = BudgetTerms(spendLimitMicros: 10, limits: ["calls": 5])
        for policy in GroupPolicy.allCases {
            let user = BudgetTerms(spendLimitMicros: 0, limits: ["calls": 7])
            let rules = rules(policy)
            #expect(
                rules.quota(ofLimitAt: 0, user: user, groups: [(teamA, group)]) == Quota(amount: 0, rule: .override))
            #expect(
                rules.quota(ofLimitAt: 1, user: user, groups: [(teamA, group)]) == Quota(amount: 7, rule: .override))
        }
    }

    @Test("is that of a name before that of spend_limit_micros")
    func named() throws {
        let user = BudgetTerms(spendLimitMicros: 1, limits: ["spend": 2])
        #expect(rules(.min).quota(ofLimitAt: 0, user: user, groups: []) == Quota(amount: 2, rule: .override))
    }

    @Test("is the least, the most, or the attributed one of the groups that give any")
    func policies() throws {
        let groups: [QuotaRules.Group] = [
            (teamA, BudgetTerms(spendLimitMicros: 20)), (teamB, BudgetTerms(spendLimitMicros: 10)),
            (teamC, .none), (SubjectID(high: 0, low: 4), BudgetTerms(spendLimitMicros: 20)),
        ]
        let none = BudgetTerms.none
        #expect(rules(.min).quota(ofLimitAt: 0, user: none, groups: groups) == Quota(amount: 10, rule: .group(teamB)))
        #expect(rules(.max).quota(ofLimitAt: 0, user: none, groups: groups) == Quota(amount: 20, rule: .group(teamA)))
        let attributed = rules(.attributed)
        #expect(attributed.quota(ofLimitAt: 0, user: none, groups: groups) == Quota(amount: 500, rule: .default))
        #expect(
            attributed.quota(ofLimitAt: 0, user: none, attributedTo: teamA, groups: groups)
                == Quota(amount: 20, rule: .group(teamA)))
        #expect(
            attributed.quota(ofLimitAt: 0, user: none, attributedTo: teamC, groups: groups)
                == Quota(amount: 500, rule: .default))
    }

    @Test("of a group limit is the group's own by its name, and its spend_limit_micros is for its members")
    func groupLimits() throws {
        let budget = BudgetTerms(spendLimitMicros: 20, limits: ["team": 70, "all": 1])
        let rules = rules(.min)
        #expect(rules.quota(ofLimitAt: 2, group: (teamA, budget)) == Quota(amount: 70, rule: .group(teamA)))
        #expect(rules.quota(ofLimitAt: 2, group: (teamA, .none)) == Quota(amount: 5000, rule: .default))
        #expect(rules.quota(ofLimitAt: 3, group: (teamA, budget)) == Quota(amount: 9000, rule: .default))
        let user = BudgetTerms(limits: ["team": 1, "all": 1])
        #expect(rules.quota(ofLimitAt: 2, user: user, groups: []) == Quota(amount: 5000, rule: .default))
    }

    @Test("of a group's own spend is its spend_limit_micros where no limit per user counts spend")
    func groupSpend() throws {
        let team = LimitDefinition(
            name: try #require(LimitName("team")), scope: .group, unit: .spend, quota: 5000,
            window: .calendar(.day, .utc))
        let rules = QuotaRules(limits: try LimitSet([team]), policy: .min)
        let budget = BudgetTerms(spendLimitMicros: 20)
        #expect(rules.quota(ofLimitAt: 0, group: (teamA, budget)) == Quota(amount: 20, rule: .group(teamA)))
        let named = BudgetTerms(spendLimitMicros: 20, limits: ["team": 30])
        #expect(rules.quota(ofLimitAt: 0, group: (teamA, named)) == Quota(amount: 30, rule: .group(teamA)))
    }
}
