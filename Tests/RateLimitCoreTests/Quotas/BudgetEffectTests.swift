import Testing

@testable import RateLimitCore

@Suite("What a budget can have an effect on")
struct BudgetEffectTests {
    private func limit(_ name: String, _ scope: LimitScope, _ unit: LimitUnit = .requests) throws -> LimitDefinition {
        LimitDefinition(
            name: try named(name), scope: scope, unit: unit, quota: 10,
            window: unit == .concurrency ? nil : .calendar(.day, .utc))
    }

    private func named(_ text: String) throws -> LimitName { try #require(LimitName(text)) }

    private func rules(_ limits: [LimitDefinition]) throws -> QuotaRules {
        QuotaRules(limits: try LimitSet(limits), policy: .min)
    }

    private func refusal(_ rules: QuotaRules, _ terms: BudgetTerms, _ owner: BudgetOwner) -> BudgetRefusal? {
        do {
            try rules.check(terms, of: owner)
            return nil
        } catch {
            return error
        }
    }

    @Test("of a user: limits per user; of a group: those of its members and its own; of all together: none")
    func scopes() throws {
        let rules = try rules([limit("day", .user), limit("team", .group), limit("all", .global)])
        let (day, team, all) = (try named("day"), try named("team"), try named("all"))
        #expect(refusal(rules, BudgetTerms(limits: ["day": 0]), .user) == nil)
        #expect(refusal(rules, BudgetTerms(limits: ["day": 0, "team": 0]), .group) == nil)
        #expect(
            refusal(rules, BudgetTerms(limits: ["day": 1, "team": 0]), .user) == .otherScope(team, .group, known: [day])
        )
        for (owner, known) in [(BudgetOwner.user, [day]), (.group, [day, team])] {
            #expect(
                refusal(rules, BudgetTerms(limits: ["all": 0]), owner) == .otherScope(all, .global, known: known))
        }
    }

    @Test("refuses a name that is misspelt, and tells those there are")
    func misspelt() throws {
        let rules = try rules([limit("member-day", .user), limit("all", .global)])
        let known = [try named("member-day")]
        #expect(
            refusal(rules, BudgetTerms(limits: ["member-dya": 0]), .user) == .unknownLimit("member-dya", known: known))
        #expect(refusal(rules, BudgetTerms(limits: ["Ä": 0]), .user) == .unknownLimit("Ä", known: known))
    }

    @Test("is on nothing where there are no limits but that of checks; a budget that sets nothing is taken")
    func noLimits() throws {
        let rules = try rules([])
        for terms in [BudgetTerms(limits: ["day": 0]), BudgetTerms(spendLimitMicros: 1)] {
            #expect(refusal(rules, terms, .user) == .noOtherLimits)
            #expect(refusal(rules, terms, .group) == .noOtherLimits)
        }
        #expect(refusal(rules, .none, .user) == nil)
    }

    @Test("is not that of spend_limit_micros where limits gives its limit another quota")
    func spendSetTwice() throws {
        let (a, team) = (try limit("a", .user, .spend), try limit("team", .group, .spend))
        for owner in [BudgetOwner.user, .group] {
            let terms = BudgetTerms(spendLimitMicros: 7, limits: ["a": 9])
            #expect(refusal(try rules([a]), terms, owner) == .spendSetTwice(a.name))
            #expect(refusal(try rules([a]), BudgetTerms(spendLimitMicros: 7, limits: ["a": 7]), owner) == nil)
        }
        let ofGroup = BudgetTerms(spendLimitMicros: 7, limits: ["team": 9])
        #expect(refusal(try rules([team]), ofGroup, .group) == .spendSetTwice(team.name))
        // There the one that it sets is the members'.
        #expect(refusal(try rules([a, team]), ofGroup, .group) == nil)
    }

    @Test("of spend_limit_micros: the one limit of spend or that named spend, or it is refused with their names")
    func spend() throws {
        let money = BudgetTerms(spendLimitMicros: 1_000_000)
        let (a, b) = (try limit("a", .user, .spend), try limit("b", .user, .spend))
        let (team, other) = (try limit("team", .group, .spend), try limit("other", .group, .spend))
        let spend = try limit("spend", .user, .spend)
        let rows: [([LimitDefinition], user: BudgetRefusal?, group: BudgetRefusal?)] = [
            ([a], nil, nil),
            ([a, team], nil, nil),
            ([a, b, spend], nil, nil),
            ([a, b], .severalSpendLimits([a.name, b.name]), .severalSpendLimits([a.name, b.name])),
            ([team], .noSpendLimit(known: []), nil),
            ([team, other], .noSpendLimit(known: []), .severalSpendLimits([team.name, other.name])),
            (
                [try limit("day", .user), try limit("all", .global, .spend)], .noSpendLimit(known: [try named("day")]),
                .noSpendLimit(known: [try named("day")])
            ),
        ]
        for (limits, user, group) in rows {
            let rules = try rules(limits)
            #expect(refusal(rules, money, .user) == user, "\(limits.map(\.name))")
            #expect(refusal(rules, money, .group) == group, "\(limits.map(\.name))")
            #expect((rules.spendLimit(of: .user) == nil) == (user != nil))
            #expect((rules.spendLimit(of: .group) == nil) == (group != nil))
        }
    }

    @Test("is told of what another replica wrote for limits that are unknown here, or for others than these")
    func withoutEffect() throws {
        let rules = try rules([limit("day", .user), limit("team", .group), limit("slots", .user, .concurrency)])
        let terms = BudgetTerms(spendLimitMicros: 5, limits: ["x": 1, "day": 2, "team": 3])
        #expect(rules.withoutEffect(terms, grants: [], of: .user) == ["team", "x", "spend_limit_micros"])
        #expect(rules.withoutEffect(terms, grants: [], of: .group) == ["x", "spend_limit_micros"])
        #expect(
            rules.withoutEffect(.none, grants: ["day", "team", "y", "slots"], of: .user) == ["slots", "team", "y"])
        #expect(rules.withoutEffect(.none, grants: ["day", "team"], of: .group) == ["day"])
        #expect(rules.withoutEffect(BudgetTerms(limits: ["day": 2]), grants: ["day"], of: .user) == [])
    }
}
