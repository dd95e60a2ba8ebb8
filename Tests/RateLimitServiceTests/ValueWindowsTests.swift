import NIOCore
import RateLimitCore
import RedisClient
import Testing

@testable import RateLimitService

@Suite("A call under limits with a window for each value")
struct ValueWindowsTests {
    private let user = SubjectID(high: 0, low: 1)
    private let groups = [SubjectID(high: 1, low: 0), SubjectID(high: 1, low: 1)]
    private let key = "x:00000000-0000-0000-0000-000000000001"
    private let groupKeys = (0...1).map { "x:group:00000000-0000-0001-0000-00000000000\($0)" }

    private func limit(
        _ name: String, _ values: [CallValue], of scope: LimitScope = .user, missing: MissingValue = .ignore,
        unit: LimitUnit = .requests, isShadow: Bool = false, failureMode: FailureMode = .open
    ) throws -> LimitDefinition {
        LimitDefinition(
            name: try #require(LimitName(name)), scope: scope, values: values, missing: missing, unit: unit, quota: 5,
            window: unit == .concurrency ? nil : .sliding(milliseconds: 60_000), mode: isShadow ? .shadow : .enforce,
            failureMode: failureMode)
    }

    private func inForce(_ limits: LimitDefinition...) throws -> LimitsInForce {
        LimitsInForce(rules: QuotaRules(limits: try LimitSet(limits), policy: .min), groupsAreGiven: true)
    }

    private func caller(_ count: Int = 0, of budget: GroupBudget? = nil) -> CallerBudgets {
        CallerBudgets(
            budget: nil, groups: groups.prefix(count).map { CallerBudgets.Group(id: $0, budget: budget) })
    }

    private func call(
        _ limits: LimitsInForce, _ operation: CallRequest.Operation = .check, model: String? = nil,
        labels: [String: String] = [:], groups count: Int = 0, isShadow: Bool = false
    ) throws -> PlannedCall {
        let attributes = CallAttributes(model: model, labels: labels, groups: Array(groups.prefix(count)))
        let request = CallRequest(user: user, operation: operation, attributes: attributes)
        return try planned(request.underItsLease(), under: limits, for: caller(count), isShadow: isShadow)
    }

    @Test("meets the window of what it says, in the slot of whoever's it is")
    func keys() throws {
        let limits = try inForce(
            limit("own", []), limit("session", [.label("s")]), limit("both", [.label("s"), .model]),
            limit("team", [.model], of: .group), limit("in-team", [.group]), limit("tenant", [.label("t")], of: .global)
        )
        #expect(try call(limits).keys == [key])
        #expect(try call(limits, labels: ["s": "1"]).keys == [key, "{\(key)}:by:label:s=1"])
        #expect(
            try call(limits, model: "m", labels: ["s": "1", "t": "a:b"], groups: 2).keys == [
                key, "{\(key)}:by:label:s=1", "{\(key)}:by:model=m,label:s=1", "{\(groupKeys[0])}:by:model=m",
                "{\(groupKeys[1])}:by:model=m", "{\(key)}:by:group=00000000-0000-0001-0000-000000000000",
                "{\(key)}:by:group=00000000-0000-0001-0000-000000000001", "x:by:label:t=a%3Ab",
            ])
        let session = try call(limits, labels: ["s": "1"])
        #expect(session.plan.isInOneSlot && session.toldCosts == [1, 1])
        let tenant = try call(inForce(limit("tenant", [.label("t")], of: .global)), labels: ["t": "a"])
        #expect(tenant.keys == ["x:by:label:t=a"] && tenant.plan.isInOneSlot)
        #expect(
            UserSlots(keyPrefix: "x").slot(of: tenant.plan.subjects[0], tenant.caller)
                == HashSlot(key: "x:by:label:t=a".utf8))
    }

    @Test("has limits of the same values in one key, which is written to Redis as it is laid out")
    func shared() throws {
        let limits = try inForce(
            limit("a", [.model, .label("s")]), limit("b", [.label("s"), .model], unit: .spend),
            limit("c", [.model], of: .group))
        let call = try call(limits, model: "m", labels: ["s": "é"], groups: 1)
        #expect(call.keys == ["{\(key)}:by:model=m,label:s=%C3%A9", "{\(groupKeys[0])}:by:model=m"])
        #expect(call.call?.subjects.map(\.terms.count) == [2, 1])
        #expect(call.call?.subjects.map(\.mostValues) == [1_000, 1_000])
        var batch = DecisionBatch()
        var buffer = ByteBuffer()
        _ = call.layOut(in: &batch, SubjectKeys(prefix: "x"))
        batch.write(digest: "digest", withSource: false, to: &buffer)
        let written = String(decoding: buffer.readableBytesView, as: UTF8.self)
        for key in call.keys { #expect(written.contains("$\(key.utf8.count)\r\n\(key)\r\n"), "\(key)") }
    }

    @Test("shares its plan with calls that say other values, and is told of its own window")
    func plans() throws {
        let limits = try inForce(limit("session", [.label("s")]))
        var planner = CallPlanner(limits: limits)
        let calls = try ["1", "2"].map { value in
            let request = CallRequest(user: user, attributes: CallAttributes(labels: ["s": value]))
            return try planner.plan(request, for: caller(), atUnixMilliseconds: 0)
        }
        #expect(calls[0].plan === calls[1].plan && planner.planCount == 1)
        let state = LimitState(used: 1, resetAfterMilliseconds: 1)
        let told = calls.map { OutcomeDetails($0.plan, of: $0.caller, [state]).standings[0] }
        #expect(told.map(\.values?.text) == ["label:s=1", "label:s=2"] && told.map(\.subject) == [.user, .user])
    }

    @Test("is denied without a value that a limit needs, where that limit is its own and may deny")
    func missing() throws {
        let lacking = CallRefusal.missingValue(LackingLimit(try #require(LimitName("session")), lacks: .label("s")))
        let limits = try inForce(
            limit("session", [.label("s")], missing: .deny), limit("own", [], unit: .tokens(.total)))
        for operation in [CallRequest.Operation.check, .reserve(milliseconds: 1_000)] {
            #expect(throws: lacking) { try call(limits, operation) }
            #expect(throws: lacking) { try call(limits, operation, labels: ["s": ""]) }
            let passed = try call(limits, operation, isShadow: true)
            #expect(passed.isDeniedInShadow && passed.keys == [key])
            #expect(try !call(limits, operation, labels: ["s": "1"]).isDeniedInShadow)
        }
        // What was spent is charged to what is left, and shown likewise.
        for operation in [CallRequest.Operation.usage(id: []), .look] {
            #expect(try call(limits, operation).keys == [key])
        }
        #expect(try call(inForce(limit("session", [.label("s")], missing: .deny, isShadow: true))).keys == [])
        for (scope, values) in [(LimitScope.group, [CallValue.model]), (.user, [.group, .model])] {
            let ofGroups = try inForce(limit("team", values, of: scope, missing: .deny))
            #expect(try call(ofGroups).keys == [])
            #expect(throws: CallRefusal.self) { try call(ofGroups, groups: 1) }
        }
        let outcome = Outcome(lacking)
        #expect(!outcome.isAllowed && outcome.source == .off && outcome.details?.lacking?.limit.text == "session")
    }

    @Test("holds its lease in the windows of what it says, and a settle, renew or release finds it there")
    func leases() throws {
        let limits = try inForce(
            limit("slots", [.label("s")], unit: .concurrency), limit("model", [.model], unit: .tokens(.total)),
            limit("team", [.model], of: .group, unit: .tokens(.total)),
            limit("tenant", [.model], of: .global, unit: .concurrency))
        let reserved = try call(limits, .reserve(milliseconds: 1_000), model: "m", labels: ["s": "1"], groups: 2)
        let lease = try #require(reserved.lease)
        #expect(Lease(lease.text) == lease && lease.heldValues.count == 4)
        #expect(!lease.isHeldInGroups && !lease.isGlobal && !lease.holdsNothing)
        #expect(reserved.keys.count == 6 && reserved.keys[0] == key)
        for operation in [CallRequest.Operation.settle(lease), .renew(lease, milliseconds: 9), .release(lease)] {
            #expect(try Set(call(limits, operation, groups: 2).keys) == Set(reserved.keys))
            // The limits may be gone, or be of other values.
            for others in [
                try inForce(limit("other", [])), try inForce(limit("slots", [.provider], unit: .concurrency)),
            ] {
                #expect(try Set(call(others, operation, groups: 2).keys) == Set(reserved.keys), "\(operation)")
            }
        }
    }

    @Test(
        "is settled in the windows of the model that it names, and freed in those of the one that it was reserved for")
    func otherModel() throws {
        let limits = try inForce(limit("model", [.model], unit: .tokens(.total)), limit("session", [.label("s")]))
        for (reservedModel, model) in [("m", "n"), ("e\u{301}", "\u{e9}")] {
            let reserved = try call(limits, .reserve(milliseconds: 1_000), model: reservedModel, labels: ["s": "1"])
            let lease = try #require(reserved.lease)
            let settled = try call(limits, .settle(lease), model: model)
            let modelKeys = [reservedModel, model].map { model in
                "{\(key)}:by:" + (WindowValues([.model], of: CallAttributes(model: model), group: nil)?.text ?? "")
            }
            #expect(settled.keys == [key, modelKeys[1], "{\(key)}:by:label:s=1", modelKeys[0]])
            #expect(settled.call?.subjects.map(\.terms.count) == [0, 1, 1, 0])
            // The same model in so many words is no other one.
            #expect(try call(limits, .settle(lease), model: reservedModel).keys.count == 3)
        }
        // A call that said no model is held by none, and is charged to the one that it came to.
        let lease = try #require(try call(limits, .reserve(milliseconds: 1_000), labels: ["s": "1"]).lease)
        #expect(try call(limits, .settle(lease), model: "m").keys.contains("{\(key)}:by:model=m"))
    }

    @Test("fits into one decision with its groups, also where it is settled as a call of another model")
    func manyGroups() throws {
        let many = (0..<128).map { SubjectID(high: 1, low: $0) }
        let caller = CallerBudgets(budget: nil, groups: many.map { CallerBudgets.Group(id: $0, budget: nil) })
        for count in [1, 5, 40] {
            var definitions = [try limit("team", [], of: .group)]
            for number in 0..<count {
                let isUsers = number % 2 == 0
                let values: [CallValue] = isUsers ? [.group, .model] : [.model]
                definitions.append(try limit("a\(number)", values, of: isUsers ? .user : .group))
            }
            let limits = LimitsInForce(
                rules: QuotaRules(limits: try LimitSet(definitions), policy: .min), groupsAreGiven: true)
            let request = CallRequest(
                user: user, operation: .reserve(milliseconds: 1), attributes: CallAttributes(model: "m", groups: many))
            let reserved = try planned(request, under: limits, for: caller)
            let lease = try #require(reserved.lease)
            #expect(lease.attributes.groups.count == 128 - reserved.plan.groupsLeftOut)
            #expect(reserved.plan.terms.count <= PlanLayout.largestCountWithValues)
            let own = CallerBudgets(
                budget: nil, groups: lease.attributes.groups.map { CallerBudgets.Group(id: $0, budget: nil) })
            let settle = CallRequest(user: user, operation: .settle(lease), attributes: CallAttributes(model: "n"))
            let settled = try planned(settle.underItsLease(), under: limits, for: own)
            #expect(settled.plan.groupsLeftOut == 0)
            #expect(Set(settled.keys).isSuperset(of: reserved.keys) && settled.keys.count <= DecisionCall.largestCount)
        }
    }

    @Test("is planned within the bounds, whatever a lease says that nobody gave")
    func forged() throws {
        let many = (0..<128).map { SubjectID(high: 1, low: $0) }
        let held = try (0..<64).map { number in
            let labels: [CallValue] = [.label("a\(number % 8)"), .label("b\(number / 8)")]
            return try #require(ValueWindows(.user, [.group] + labels))
        }
        let labels = Dictionary(uniqueKeysWithValues: (0..<8).flatMap { [("a\($0)", "1"), ("b\($0)", "1")] })
        var random = SystemRandomNumberGenerator()
        let lease = Lease(
            of: user, instants: .unknown, cost: 1, attributes: CallAttributes(labels: labels, groups: many),
            isHeldInGroups: true, isGlobal: true, heldValues: held, using: &random)
        #expect(Lease(lease.text) == lease)
        let caller = CallerBudgets(budget: nil, groups: many.map { CallerBudgets.Group(id: $0, budget: nil) })
        for operation in [CallRequest.Operation.settle(lease), .renew(lease, milliseconds: 9)] {
            let call = try planned(
                CallRequest(user: user, operation: operation).underItsLease(), under: inForce(limit("a", [])),
                for: caller)
            #expect(call.keys.count <= DecisionCall.largestCount && call.keys.count > 200)
        }
        // The plain windows of all groups, and under other limits now a window for each of them besides.
        let limits = try inForce(limit("team", [.model], of: .group), limit("in-team", [.group]))
        let plain = Lease(
            of: user, instants: .unknown, cost: 1, attributes: CallAttributes(model: "m", groups: many),
            isHeldInGroups: true, isGlobal: true, using: &random)
        for limits in [limits, try inForce(limit("team", [.model], of: .group))] {
            let settle = CallRequest(user: user, operation: .settle(plain)).underItsLease()
            let call = try planned(settle, under: limits, for: caller)
            #expect(call.keys.count <= DecisionCall.largestCount && call.keys.count > 250)
        }
    }

    @Test("in a group has what that very group gives, and elsewhere what the user has")
    func quotas() throws {
        let limits = try inForce(
            limit("in-team", [.group]), limit("session", [.label("s")]), limit("team", [.model], of: .group))
        let budgets = [7, 9].map { amount in
            GroupBudget(
                limits: [
                    "in-team": BudgetAmount(integerLiteral: amount), "session": BudgetAmount(integerLiteral: amount),
                    "team": BudgetAmount(integerLiteral: amount),
                ], createdAt: 0, updatedAt: 0)
        }
        var caller = CallerBudgets(
            budget: nil, groups: zip(groups, budgets).map { CallerBudgets.Group(id: $0, budget: $1) })
        let request = CallRequest(
            user: user, attributes: CallAttributes(model: "m", labels: ["s": "1"], groups: groups))
        #expect(try planned(request, under: limits, for: caller).told.map(\.quota.amount) == [7, 9, 7, 7, 9])
        caller.budget = UserBudget(
            groupID: nil, spendLimitMicros: nil, limits: ["in-team": 2, "session": 3], createdAt: 0, updatedAt: 0)
        #expect(try planned(request, under: limits, for: caller).told.map(\.quota.amount) == [2, 2, 3, 7, 9])
    }

    @Test("shows the windows that the question names, and counts each apart while Redis is away")
    func looks() throws {
        let limits = try inForce(
            limit("own", []), limit("session", [.label("s")], failureMode: .local), limit("model", [.model]))
        #expect(try call(limits, .look).keys == [key])
        #expect(try call(limits, .look, model: "m").keys == [key, "{\(key)}:by:model=m"])
        let windows = LocalWindows()
        func check(_ value: String) throws -> Decision.Verdict {
            windows.check(try call(limits, labels: ["s": value]), replicas: 1, clockMicroseconds: 0)
        }
        for value in ["1", "2"] {
            for _ in 0..<5 { #expect(try check(value) == .allowed) }
            #expect(try check(value) != .allowed)
        }
        windows.reset(.user(user), limitIDs: [limits.definitions[1].id])
        #expect(try check("1") == .allowed)
        #expect(try check("2") == .allowed)
    }
}
