import NIOCore
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import RateLimitService

/// What a call asks of Redis, and what there is to tell of it, written out.
private struct Written: Equatable {
    var argument: [UInt8]
    var command: [UInt8]
    var decision: DecisionCall?
    var standings: [LimitStanding]
    var lease: Lease?
    var isDeniedInShadow: Bool
    var uncounted: Uncounted?
    var estimate: CallEstimate?
    var groupsLeftOut: Int

    init(_ call: PlannedCall, at now: Int) {
        var random = SeededGenerator(seed: 5)
        call.drawLease(atUnixMilliseconds: now, using: &random)
        argument = call.plan.decision?.argument ?? []
        var buffer = ByteBuffer()
        if call.plan.decision != nil {
            var batch = DecisionBatch()
            _ = call.layOut(in: &batch, SubjectKeys(prefix: "x"))
            batch.write(digest: "digest", withSource: false, to: &buffer)
        }
        command = Array(buffer.readableBytesView)
        decision = call.laidOut(keyPrefix: "x")
        let states = call.plan.terms.map { LimitState(used: Int($0.limit.id % 7), resetAfterMilliseconds: 1) }
        standings = OutcomeDetails(call.plan, of: call.caller, states).standings
        lease = call.lease
        isDeniedInShadow = call.isDeniedInShadow
        uncounted = call.uncounted
        estimate = call.estimate
        groupsLeftOut = call.plan.groupsLeftOut
    }
}

/// Random files, callers and calls, of few values each, so that the same come again and again.
private struct PlanWorld {
    var random: SeededGenerator
    let limits: LimitsInForce
    let users: [CallerBudgets]
    var now: Int

    init(seed: UInt64) throws {
        random = SeededGenerator(seed: seed)
        // Close to where a day, a month and grants end.
        now = 1_764_547_200_000 - 30
        limits = try Self.limits(&random)
        let groups = (0..<3).map { SubjectID(high: 8, low: $0) }
        var users = [CallerBudgets(budget: nil, groups: [])]
        for number in 0..<6 {
            var caller = CallerBudgets(budget: nil, groups: [])
            for id in groups.shuffled(using: &random).prefix(Int.random(in: 0...3, using: &random)) {
                let budget = Bool.random(using: &random) ? Self.groupBudget(limits, now, &random) : nil
                caller.groups.append(CallerBudgets.Group(id: id, budget: budget))
            }
            if number % 2 == 1 { caller.budget = Self.userBudget(limits, caller.groups.first?.id, now, &random) }
            users.append(caller)
        }
        self.users = users
    }

    private static func limits(_ random: inout SeededGenerator) throws -> LimitsInForce {
        let definitions = try (0..<Int.random(in: 1...6, using: &random)).map { number in
            let unit = LimitUnit.all.randomElement(using: &random) ?? .requests
            let windows: [LimitWindow] = [
                .sliding(milliseconds: 60_000), .calendar(.day, .utc), .calendar(.month, .utc),
            ]
            let matches = [
                [], [], [LabelMatch(.model, anyOf: [.prefix("d")])], [LabelMatch(.label("team"), anyOf: [.exact("a")])],
            ]
            let scope = LimitScope.allCases.randomElement(using: &random) ?? .user
            let values: [[CallValue]] = [
                [], [], [], [.model], [.label("team")], [.model, .label("team")], scope == .user ? [.group] : [.model],
                scope == .user ? [.group, .model] : [.label("team")],
            ]
            return LimitDefinition(
                name: try #require(LimitName("l\(number)")), scope: scope,
                values: values.randomElement(using: &random) ?? [],
                missing: Int.random(in: 0..<5, using: &random) == 0 ? .deny : .ignore, maximumValues: 7, unit: unit,
                quota: [nil, 0, 10, 1_000].randomElement(using: &random) ?? nil,
                window: unit == .concurrency ? nil : windows.randomElement(using: &random),
                matches: matches.randomElement(using: &random) ?? [],
                mode: (unit == .concurrency ? [.enforce, .shadow] : LimitMode.allCases).randomElement(using: &random)
                    ?? .soft)
        }
        let price = try #require(ModelPrice(input: 1_000_000, output: 3_000_000))
        let unknown: PriceTable.UnknownModel = Bool.random(using: &random) ? .deny : .free
        return LimitsInForce(
            rules: QuotaRules(
                limits: try LimitSet(definitions),
                policy: GroupPolicy.allCases.randomElement(using: &random) ?? .min),
            prices: try PriceTable([.init(.exact("dear"), price), .init(.exact("free"), .free)], unknownModel: unknown))
    }

    private static func amounts(
        _ limits: LimitsInForce, _ now: Int, _ random: inout SeededGenerator
    ) -> (limits: [String: BudgetAmount], grants: [String: Grant]) {
        var amounts: [String: BudgetAmount] = [:]
        var grants: [String: Grant] = [:]
        for limit in limits.definitions {
            if Bool.random(using: &random) { amounts[limit.name.text] = [0, 7, 500].randomElement(using: &random) }
            if Bool.random(using: &random) {
                grants[limit.name.text] = Grant(amount: 5, expiresAt: now + Int.random(in: -20...40, using: &random))
            }
        }
        return (amounts, grants)
    }

    private static func userBudget(
        _ limits: LimitsInForce, _ group: SubjectID?, _ now: Int, _ random: inout SeededGenerator
    ) -> UserBudget {
        let (amounts, grants) = amounts(limits, now, &random)
        // All were changed at one time: budgets that differ must be told apart by what they say.
        return UserBudget(
            groupID: group, spendLimitMicros: Bool.random(using: &random) ? 900 : nil, limits: amounts, grants: grants,
            createdAt: 1, updatedAt: 1)
    }

    private static func groupBudget(
        _ limits: LimitsInForce, _ now: Int, _ random: inout SeededGenerator
    ) -> GroupBudget {
        let (amounts, grants) = amounts(limits, now, &random)
        return GroupBudget(limits: amounts, grants: grants, createdAt: 1, updatedAt: 1)
    }

    /// The next call, of whom, and what was learned for it.
    mutating func next() -> (request: CallRequest, learned: CallEstimate?, caller: CallerBudgets) {
        now += Int.random(in: -2...5, using: &random)
        let caller = users.randomElement(using: &random) ?? users[0]
        let groups = caller.groups.map(\.id)
        let attributes = CallAttributes(
            model: ["dear", "free", "mystery", nil].randomElement(using: &random) ?? nil,
            labels: Bool.random(using: &random) ? ["team": ["a", "b"].randomElement(using: &random) ?? ""] : [:],
            groups: groups)
        // It may be settled as a call of another model.
        let said = CallAttributes(
            model: Bool.random(using: &random) ? attributes.model : "free", labels: attributes.labels, groups: groups)
        var lease: Lease {
            var held = limits.definitions.filter { $0.applies(to: said) }.compactMap(\.valueWindows)
            if said.model != nil { held += [.user, .global].compactMap { ValueWindows($0, [.model]) } }
            let distinct = Set(held).filter { _ in Bool.random(using: &random) }
            return Lease(
                of: SubjectID(high: 1, low: 1), instants: .unknown, cost: 2, attributes: said,
                holdsNothing: Bool.random(using: &random), isHeldInGroups: Bool.random(using: &random),
                isGlobal: Bool.random(using: &random), heldValues: held.filter { distinct.contains($0) }.distinct,
                using: &random)
        }
        let milliseconds = [1_000, 60_000].randomElement(using: &random) ?? 1
        let operations: [CallRequest.Operation] = [
            .check, .checkOnce(id: [1]), .look, .reserve(milliseconds: milliseconds),
            .reserve(milliseconds: milliseconds), .usage(id: []),
            .usage(id: [1]), .settle(lease), .release(lease), .renew(lease, milliseconds: milliseconds),
        ]
        let operation = operations.randomElement(using: &random) ?? .check
        let tokens = [nil, TokenUsage.zero, TokenUsage(input: 4, output: 3)].randomElement(using: &random) ?? nil
        var request = CallRequest(
            user: SubjectID(high: 1, low: .random(in: 0..<3, using: &random)), operation: operation,
            attributes: attributes, cost: .random(in: 1...3, using: &random), tokens: tokens,
            told: Bool.random(using: &random) ? .all : .output,
            costMicros: [nil, nil, 0, 77].randomElement(using: &random) ?? nil)
        var learned: CallEstimate?
        if case .reserve = operation, Bool.random(using: &random) {
            (request.tokens, request.told, request.costMicros) = (nil, [], nil)
            learned = CallEstimate(
                .learnedFromUser, tokens: TokenUsage(input: 2_000), costMicros: Bool.random(using: &random) ? 9 : nil)
        }
        return (request.underItsLease(), learned, caller)
    }
}

extension [ValueWindows] {
    fileprivate var distinct: [ValueWindows] { reduce(into: []) { if !$0.contains($1) { $0.append($1) } } }
}

/// Plans are remembered: nobody may be able to tell.
@Suite("Remembered plans")
struct RememberedPlansTests {
    @Test("say and ask what plans made anew would, whoever calls how and when", arguments: UInt64(1)...40)
    func alike(_ seed: UInt64) throws {
        var world = try PlanWorld(seed: seed)
        var planner = CallPlanner(limits: world.limits, isShadow: seed % 3 == 0)
        for step in 0..<400 {
            let (request, learned, caller) = world.next()
            var fresh = CallPlanner(limits: world.limits, isShadow: seed % 3 == 0)
            let expected = try? Written(
                fresh.plan(request, learned: learned, for: caller, atUnixMilliseconds: world.now), at: world.now)
            let written = try? Written(
                planner.plan(request, learned: learned, for: caller, atUnixMilliseconds: world.now), at: world.now)
            try #require(written == expected, "step \(step): \(request) at \(world.now)")
        }
        // Or nothing was held here.
        #expect(planner.planCount < 300)
    }

    private let user = SubjectID(high: 1, low: 2)
    private let nobody = CallerBudgets(budget: nil, groups: [])

    private func limits(
        _ window: LimitWindow = .sliding(milliseconds: 60_000), quota: Int? = 10
    ) throws -> LimitsInForce {
        LimitsInForce(
            rules: QuotaRules(
                limits: try LimitSet([
                    LimitDefinition(
                        name: try #require(LimitName("spend")), scope: .user, unit: .spend, quota: quota, window: window
                    )
                ]), policy: .min))
    }

    /// The plan of a check that costs nothing known.
    private func plan(
        _ planner: inout CallPlanner, _ operation: CallRequest.Operation = .check, learned: CallEstimate? = nil,
        for caller: CallerBudgets? = nil, at now: Int = 0
    ) throws -> CallPlan {
        try planner.plan(
            CallRequest(user: user, operation: operation), learned: learned, for: caller ?? nobody,
            atUnixMilliseconds: now
        ).plan
    }

    @Test("are one object for calls that differ in user, lease and costs alone")
    func shared() throws {
        var planner = CallPlanner(limits: try limits())
        let first = try plan(&planner)
        for cost in 1...5 {
            let request = CallRequest(
                user: SubjectID(high: 7, low: UInt64(cost)), cost: cost, tokens: TokenUsage(input: cost))
            #expect(try planner.plan(request, for: nobody, atUnixMilliseconds: 5).plan === first)
        }
        #expect(planner.planCount == 1)
        // A life is a part of what is asked.
        let lives = [1_000, 1_000, 2_000]
        let leases = try lives.map { try plan(&planner, .reserve(milliseconds: $0)) }
        #expect(leases[0] === leases[1] && leases[0] !== leases[2])
    }

    @Test("are made anew when a calendar's period ends, and where the clock is set back before it began")
    func calendar() throws {
        var planner = CallPlanner(limits: try limits(.calendar(.day, .utc)))
        let day = 86_400_000
        let first = try plan(&planner, at: day)
        #expect(try plan(&planner, at: 2 * day - 1) === first)
        let second = try plan(&planner, at: 2 * day)
        #expect(second !== first && second.terms[0].period == CalendarPeriod(start: 172_800, nextStart: 259_200))
        let before = try plan(&planner, at: day - 1)
        #expect(before.terms[0].period == CalendarPeriod(start: 0, nextStart: 86_400))
        #expect(planner.planCount == 1, "an old period's plan is forgotten")
    }

    @Test("are made anew when a grant is made or ends, or a budget changes")
    func budgets() throws {
        var planner = CallPlanner(limits: try limits())
        func quota(_ budget: UserBudget, at now: Int) throws -> Int? {
            try plan(&planner, for: CallerBudgets(budget: budget, groups: []), at: now).terms[0].quota.amount
        }
        var budget = UserBudget(createdAt: 1, updatedAt: 1)
        #expect(try quota(budget, at: 50) == 10)
        budget.grants["spend"] = Grant(amount: 5, expiresAt: 100)
        #expect(try quota(budget, at: 99) == 15)
        #expect(try quota(budget, at: 100) == 10)
        #expect(try quota(budget, at: 99) == 15, "the clock was set back")
        budget.spendLimitMicros = 3
        #expect(try quota(budget, at: 100) == 3)
        budget.spendLimitMicros = 0
        #expect(try quota(budget, at: 100) == 0)
        #expect(try plan(&planner).terms[0].quota.amount == 10)
    }

    @Test("bound what is learned, and nothing that was told; a quota of 0 asks for room all the same")
    func learned() throws {
        let estimate = CallEstimate(.learnedFromUser, costMicros: 500)
        let reserve = CallRequest.Operation.reserve(milliseconds: 1_000)
        var planner = CallPlanner(limits: try limits())
        let given = try plan(&planner, reserve)
        let learned = try plan(&planner, reserve, learned: estimate)
        #expect(given.decision?.argument != learned.decision?.argument)
        var blocked = CallPlanner(limits: try limits(quota: 0))
        let call = try blocked.plan(
            CallRequest(user: user, operation: reserve), learned: estimate, for: nobody, atUnixMilliseconds: 0)
        #expect(call.plan.amounts.map { $0.amount(of: call.costs, call.plan.kind) } == [DecisionPlan.unknownCost])
    }

    @Test("are forgotten beyond their bounds, and found again as they were")
    func bounded() throws {
        let definitions = try (0..<12).map { number in
            LimitDefinition(
                name: try #require(LimitName("l\(number)")), scope: number == 11 ? .group : .user, unit: .requests,
                quota: 10, window: .sliding(milliseconds: 60_000),
                matches: number == 11 ? [] : [LabelMatch(.label("n\(number)"), anyOf: [.exact("1")])])
        }
        let limits = LimitsInForce(rules: QuotaRules(limits: try LimitSet(definitions), policy: .min))
        var planner = CallPlanner(limits: limits)
        for bits in 0..<2_048 {
            let labels = (0..<11).filter { bits & 1 << $0 != 0 }.map { ("n\($0)", "1") }
            let request = CallRequest(
                user: user, attributes: CallAttributes(labels: Dictionary(uniqueKeysWithValues: labels)))
            let call = try planner.plan(request, for: nobody, atUnixMilliseconds: 0)
            #expect(call.plan.terms.count == labels.count)
            #expect(planner.planCount <= RememberedPlans.places)
        }
        var most = 0
        for number in 0..<30_000 {
            let budget = UserBudget(limits: ["l0": BudgetAmount(number)], createdAt: 1, updatedAt: number)
            let caller = CallerBudgets(
                budget: budget, groups: [CallerBudgets.Group(id: SubjectID(high: 3, low: 3), budget: nil)])
            let request = CallRequest(user: user, attributes: CallAttributes(labels: ["n0": "1"]))
            let call = try planner.plan(request, for: caller, atUnixMilliseconds: 0)
            #expect(call.told[0].quota.amount == number && call.plan.terms.count == 2)
            most = max(most, planner.planCount)
        }
        // Each has two terms, and counts for one more.
        #expect(most <= RememberedPlans.places + 2 * (RememberedPlans.termCapacity / 3 + 1) && most > 5_000)
    }
}
