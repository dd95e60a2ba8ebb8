import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("A call of many groups")
struct ManyGroupsTests {
    private let user = SubjectID(high: 9, low: 9)

    private func group(_ number: Int) -> SubjectID { SubjectID(high: 1, low: UInt64(number)) }

    /// So many limits per group, beside one of the user and one of all.
    private func limits(_ count: Int, quota: Int? = 10) throws -> LimitsInForce {
        func limit(_ name: String, _ scope: LimitScope, quota: Int?) throws -> LimitDefinition {
            LimitDefinition(
                name: try #require(LimitName(name)), scope: scope, unit: .tokens(.total), quota: quota,
                window: .sliding(milliseconds: 60_000))
        }
        let others = [try limit("own", .user, quota: 10), try limit("all", .global, quota: 10)]
        let ofGroups = try (0..<count).map { try limit("team-\($0)", .group, quota: quota) }
        return LimitsInForce(
            rules: QuotaRules(limits: try LimitSet(others + ofGroups), policy: .min), groupsAreGiven: true)
    }

    private func caller(_ count: Int, limited: Set<Int> = []) -> CallerBudgets {
        let groups = (0..<count).map { number in
            let budget = GroupBudget(limits: ["team-0": 5], createdAt: 0, updatedAt: 0)
            return CallerBudgets.Group(id: group(number), budget: limited.contains(number) ? budget : nil)
        }
        return CallerBudgets(budget: nil, groups: groups)
    }

    private func plan(
        _ operation: CallRequest.Operation, _ limits: LimitsInForce, _ caller: CallerBudgets
    ) throws -> PlannedCall {
        let attributes = CallAttributes(groups: caller.groups.map(\.id))
        let request = CallRequest(user: user, operation: operation, attributes: attributes)
        return try planned(request, under: limits, for: caller)
    }

    private func groups(of call: PlannedCall) -> [SubjectID] {
        call.told.reduce(into: []) { groups, term in
            guard case .group(let group) = call.caller.owner(term.subject), !groups.contains(group) else { return }
            groups.append(group)
        }
    }

    @Test("meets the limits of all 128 where they fit into one decision", arguments: [1, 0])
    func fitting(_ count: Int) throws {
        let plan = try plan(.check, try limits(count), caller(128))
        #expect(plan.plan.groupsLeftOut == 0 && plan.told.count == 2 + 128 * count)
        #expect(groups(of: plan).count == 128 * count)
    }

    @Test(
        "leaves out whole groups where they do not fit, never its own limits nor those of all",
        arguments: [2, 3, 7, 62])
    func notFitting(_ count: Int) throws {
        let lease = try #require(try plan(.reserve(milliseconds: 1_000), try limits(1), caller(128)).lease)
        for operation in [
            CallRequest.Operation.check, .checkOnce(id: [1]), .reserve(milliseconds: 1_000), .usage(id: [1]), .look,
            .settle(lease),
            .release(lease), .renew(lease, milliseconds: 1_000),
        ] {
            let plan = try plan(operation, try limits(count), caller(128))
            let call = try #require(plan.call)
            #expect(call.termCount <= DecisionCall.largestCount && call.termCount == plan.told.count)
            if [.check, .reserve(milliseconds: 1_000), .look].contains(operation) {
                let fitting = (DecisionCall.largestCount - 2) / count
                #expect(groups(of: plan) == (0..<fitting).map(group) && plan.plan.groupsLeftOut == 128 - fitting)
                #expect(plan.told.first?.limit.name.text == "own" && plan.told.last?.limit.name.text == "all")
                #expect(plan.told.count == 2 + fitting * count)
            }
        }
    }

    @Test("counts those that have a quota before those without")
    func limited() throws {
        let plan = try plan(.check, try limits(8, quota: nil), caller(128, limited: [3, 100, 127]))
        let fitting = (DecisionCall.largestCount - 2) / 8
        let counted = groups(of: plan)
        #expect(counted.count == fitting && plan.plan.groupsLeftOut == 128 - fitting)
        #expect(Set(counted).isSuperset(of: [group(3), group(100), group(127)]))
        #expect(counted == counted.sorted { $0.low < $1.low }, "in the order in which they were given")
    }

    @Test("is settled, renewed and released under the groups it was reserved under, by a lease that reads back")
    func lease() throws {
        for (count, groupCount) in [(1, 128), (62, 4), (20, 12)] {
            let limits = try limits(count)
            let reserved = try plan(.reserve(milliseconds: 1_000), limits, caller(128))
            let lease = try #require(reserved.lease)
            #expect(lease.attributes.groups.count == groupCount && lease.attributes.groups == groups(of: reserved))
            #expect(Lease(lease.text) == lease)
            let caller = CallerBudgets(
                budget: nil, groups: lease.attributes.groups.map { CallerBudgets.Group(id: $0, budget: nil) })
            for operation in [CallRequest.Operation.settle(lease), .release(lease), .renew(lease, milliseconds: 1_000)]
            {
                let plan = try plan(operation, limits, caller)
                #expect(plan.plan.groupsLeftOut == 0)
                #expect(plan.keys == reserved.keys)
            }
        }
    }

    @Test(
        "frees what a lease holds in each of its groups, also where its limits are of more terms now than one decision has"
    )
    func settledUnderOtherLimits() throws {
        let reserved = try plan(.reserve(milliseconds: 1_000), try limits(1), caller(128))
        var lease = try #require(reserved.lease)
        let wider = try limits(62)
        var random = SeededGenerator(seed: 2)
        lease = Lease(
            of: lease.owner, instants: .unknown, cost: 1,
            attributes: CallAttributes(
                model: String(repeating: "m", count: CallAttributes.maximumKeptLength), groups: lease.attributes.groups),
            isHeldInGroups: true, isGlobal: true, using: &random)
        #expect(Lease(lease.text) == lease && lease.text.utf8.count <= Lease.maximumTextLength)
        let plan = try plan(.settle(lease), wider, caller(128))
        #expect(plan.call?.subjects.count == 130 && plan.told.count <= DecisionCall.largestCount)
        #expect(plan.plan.groupsLeftOut == 124)
    }
}
