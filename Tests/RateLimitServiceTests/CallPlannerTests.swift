import RateLimitCore
import Testing

@testable import RateLimitService

/// Under which limits and subjects a call is put; what it costs there is in ``CallCostTests``.
@Suite("The planner of calls")
struct CallPlannerTests {
    private let alice = SubjectID(high: 1, low: 1)
    private let bob = SubjectID(high: 1, low: 2)
    private let team = SubjectID(high: 2, low: 1)
    private let limits: LimitsInForce

    init() throws {
        limits = try Self.limits([
            Self.limit("own", .user), Self.limit("team", .group), Self.limit("all", .global),
            Self.limit("big", .user, matches: [LabelMatch(.model, anyOf: [.exact("big")])]),
            Self.limit("session", .user, values: [.label("session")]),
        ])
    }

    private static func limit(
        _ name: String, _ scope: LimitScope, values: [CallValue] = [], missing: MissingValue = .ignore,
        unit: LimitUnit = .requests, matches: [LabelMatch] = [], isShadow: Bool = false
    ) throws -> LimitDefinition {
        LimitDefinition(
            name: try #require(LimitName(name)), scope: scope, values: values, missing: missing, unit: unit, quota: 10,
            window: .sliding(milliseconds: 60_000), matches: matches, mode: isShadow ? .shadow : .enforce)
    }

    private static func limits(_ definitions: [LimitDefinition]) throws -> LimitsInForce {
        LimitsInForce(
            rules: QuotaRules(limits: try LimitSet(definitions), policy: .min),
            prices: try PriceTable([.init(.exact("dear"), .free)], unknownModel: .deny))
    }

    private func request(
        _ user: SubjectID? = nil, _ operation: CallRequest.Operation = .check, model: String? = nil,
        labels: [String: String] = [:], tokens: TokenUsage? = nil
    ) -> CallRequest {
        CallRequest(
            user: user ?? alice, operation: operation, attributes: CallAttributes(model: model, labels: labels),
            tokens: tokens)
    }

    /// The names of the limits that a call meets, in the order in which they are told.
    private func met(_ call: PlannedCall) -> [String] { call.told.map(\.limit.name.text) }

    private var member: CallerBudgets {
        CallerBudgets(budget: nil, groups: [CallerBudgets.Group(id: team, budget: nil)])
    }

    @Test("puts a call under the limits whose conditions it meets and whose values it says")
    func applicable() throws {
        #expect(met(try planned(request(), under: limits)) == ["own", "all"])
        #expect(met(try planned(request(model: "big"), under: limits)) == ["own", "big", "all"])
        #expect(Set(met(try planned(request(labels: ["session": "s"]), under: limits))) == ["own", "session", "all"])
        #expect(met(try planned(request(), under: limits, for: member)) == ["own", "team", "all"])
    }

    @Test("asks nothing where no limit applies, and gives a reservation its lease all the same")
    func none() throws {
        for operation in [CallRequest.Operation.check, .reserve(milliseconds: 1_000)] {
            let call = try planned(request(alice, operation), under: .none)
            #expect(met(call) == [] && call.plan.decision == nil && call.call == nil)
            #expect((call.lease != nil) == (operation != .check))
        }
    }

    @Test("puts a renewal and a release under no limit of now: what their lease holds is kept with it")
    func aboutLeases() throws {
        let reserved = try planned(request(alice, .reserve(milliseconds: 1_000)), under: limits)
        let lease = try #require(reserved.lease)
        for operation in [CallRequest.Operation.renew(lease, milliseconds: 1_000), .release(lease)] {
            let call = try planned(request(alice, operation).underItsLease(), under: limits)
            #expect(met(call) == [] && call.plan.decision != nil)
            // It is the lease's owner whose keys are asked.
            #expect(call.keys.first == reserved.keys.first)
        }
        #expect(met(try planned(request(alice, .settle(lease)).underItsLease(), under: limits)) == ["own", "all"])
    }

    @Test("makes one plan for callers who differ in who they are, and each has keys of their own")
    func shared() throws {
        var planner = CallPlanner(limits: limits)
        let none = CallerBudgets(budget: nil, groups: [])
        let plans = try [alice, bob, alice].map { user in
            try planner.plan(request(user), for: none, atUnixMilliseconds: 0)
        }
        #expect(Set(plans.map(\.plan.number)).count == 1 && planner.planCount == 1)
        #expect(plans[0].keys == plans[2].keys && plans[0].keys.first != plans[1].keys.first)
        _ = try planner.plan(request(model: "big"), for: none, atUnixMilliseconds: 0)
        #expect(planner.planCount == 2)
    }

    @Test("refuses a call of a model without a price where a limit counts money and none is a shadow")
    func unknownModel() throws {
        let spend = try Self.limits([Self.limit("spend", .user, unit: .spend)])
        let tokens = TokenUsage(input: 1)
        let strange = request(model: "strange", tokens: tokens)
        #expect(throws: CallRefusal.unknownModel) { try planned(strange, under: spend) }
        #expect(met(try planned(request(model: "dear", tokens: tokens), under: spend)) == ["spend"])
        #expect(met(try planned(strange, under: limits)) == ["own", "all"])
        let shadow = try planned(strange, under: spend, isShadow: true)
        #expect(shadow.isDeniedInShadow && shadow.uncounted != nil)
        let shadowLimit = try Self.limits([Self.limit("spend", .user, unit: .spend, isShadow: true)])
        #expect(!(try planned(strange, under: shadowLimit)).isDeniedInShadow)
    }

    @Test(
        "refuses a call that does not say a value which a limit denies without, unless it is about groups and there are none"
    )
    func missingValue() throws {
        let values: [CallValue] = [.label("session")]
        let strict = try Self.limits([
            Self.limit("session", .user, values: values, missing: .deny),
            Self.limit("team", .group, values: values, missing: .deny),
        ])
        let name = try #require(LimitName("session"))
        #expect(throws: CallRefusal.missingValue(LackingLimit(name, lacks: .label("session")))) {
            try planned(request(), under: strict)
        }
        #expect(met(try planned(request(labels: ["session": "s"]), under: strict)) == ["session"])
        #expect(try planned(request(), under: strict, isShadow: true).isDeniedInShadow)
        let ofTeams = try Self.limits([Self.limit("team", .group, values: values, missing: .deny)])
        #expect(met(try planned(request(), under: ofTeams)) == [])
        let team = try #require(LimitName("team"))
        #expect(throws: CallRefusal.missingValue(LackingLimit(team, lacks: .label("session")))) {
            try planned(request(), under: ofTeams, for: member)
        }
        // What is told afterwards is taken: the call was made.
        #expect(met(try planned(request(alice, .usage(id: [])), under: strict)) == [])
    }
}
