import Testing

@testable import RateLimitCore

@Suite("Who has which quota")
struct QuotaRulesTests {
    private let teamA = UserID(high: 0, low: 1)
    private let teamB = UserID(high: 0, low: 2)
    private let teamC = UserID(high: 0, low: 3)
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

    private func name(_ text: String) throws -> LimitName { try #require(LimitName(text)) }

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
        let group = try GroupBudget(spendLimitMicros: 10, limits: [name("calls"): 5])
        for policy in GroupPolicy.allCases {
            let user = try UserBudget(spendLimitMicros: 0, limits: [name("calls"): 7], attributedGroup: teamA)
            let rules = rules(policy)
            #expect(
                rules.quota(ofLimitAt: 0, user: user, groups: [(teamA, group)]) == Quota(amount: 0, rule: .override))
            #expect(
                rules.quota(ofLimitAt: 1, user: user, groups: [(teamA, group)]) == Quota(amount: 7, rule: .override))
        }
    }

    @Test("is that of a name before that of spend_limit_micros")
    func named() throws {
        let user = try UserBudget(spendLimitMicros: 1, limits: [name("spend"): 2])
        #expect(rules(.min).quota(ofLimitAt: 0, user: user, groups: []) == Quota(amount: 2, rule: .override))
    }

    @Test("is the least, the most, or the attributed one of the groups that give any")
    func policies() throws {
        let groups: [QuotaRules.Group] = try [
            (teamA, GroupBudget(spendLimitMicros: 20)), (teamB, GroupBudget(spendLimitMicros: 10)),
            (teamC, .none), (UserID(high: 0, low: 4), GroupBudget(spendLimitMicros: 20)),
        ]
        let none = UserBudget.none
        #expect(rules(.min).quota(ofLimitAt: 0, user: none, groups: groups) == Quota(amount: 10, rule: .group(teamB)))
        #expect(rules(.max).quota(ofLimitAt: 0, user: none, groups: groups) == Quota(amount: 20, rule: .group(teamA)))
        let attributed = rules(.attributed)
        #expect(attributed.quota(ofLimitAt: 0, user: none, groups: groups) == Quota(amount: 500, rule: .default))
        let ofA = try UserBudget(attributedGroup: teamA)
        #expect(attributed.quota(ofLimitAt: 0, user: ofA, groups: groups) == Quota(amount: 20, rule: .group(teamA)))
        let ofC = try UserBudget(attributedGroup: teamC)
        #expect(attributed.quota(ofLimitAt: 0, user: ofC, groups: groups) == Quota(amount: 500, rule: .default))
    }

    @Test("of a group limit is the group's own by its name, and its spend_limit_micros is for its members")
    func groupLimits() throws {
        let budget = try GroupBudget(spendLimitMicros: 20, limits: [name("team"): 70, name("all"): 1])
        let rules = rules(.min)
        #expect(rules.quota(ofLimitAt: 2, group: (teamA, budget)) == Quota(amount: 70, rule: .group(teamA)))
        #expect(rules.quota(ofLimitAt: 2, group: (teamA, .none)) == Quota(amount: 5000, rule: .default))
        #expect(rules.quota(ofLimitAt: 3, group: (teamA, budget)) == Quota(amount: 9000, rule: .default))
        let user = try UserBudget(limits: [name("team"): 1, name("all"): 1])
        #expect(rules.quota(ofLimitAt: 2, user: user, groups: []) == Quota(amount: 5000, rule: .default))
    }

    @Test("takes no number outside the bounds")
    func bounds() throws {
        #expect(throws: BudgetError.spendLimitOutOfBounds) { try UserBudget(spendLimitMicros: -1) }
        #expect(throws: BudgetError.spendLimitOutOfBounds) { try GroupBudget(spendLimitMicros: 1_000_000_000_001) }
        let name = try name("calls")
        #expect(throws: BudgetError.quotaOutOfBounds(name)) { try UserBudget(limits: [name: -1]) }
        let many = Dictionary(uniqueKeysWithValues: try (0..<65).map { (try #require(LimitName("l\($0)")), 1) })
        #expect(throws: BudgetError.tooManyLimits) { try GroupBudget(limits: many) }
        #expect(BudgetError.quotaOutOfBounds(name).description.contains("calls"))
    }
}
