import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("Grants in a real Redis")
struct GrantServiceTests {
    private let redis: RedisServer
    private let user = someUser()
    private let group = someUser()
    private let hour = GrantEnd.after(milliseconds: 3_600_000)

    init() throws { redis = try RedisServer() }

    private func makeService() async throws -> ServiceUnderTest {
        try await ServiceUnderTest(redis, CheckPolicy(limit: limit(20)))
    }

    private func grant(
        _ amount: Int, of name: String = "tokens", unit: LimitUnit = .tokens(.total), end: GrantEnd? = nil,
        id: String? = nil
    ) throws -> BudgetChange {
        let limit = try #require(LimitName(name))
        let order = GrantOrder(
            limit: limit, unit: unit, amount: amount, end: end ?? hour, requestID: id.map { Array($0.utf8) })
        return .addGrant(.user(user), order)
    }

    /// What is granted by name, as a decision reads it.
    private func granted(_ service: ServiceUnderTest) async throws -> [String: Int] {
        try await service.lookUp(user).get().budget?.grants.mapValues(\.amount) ?? [:]
    }

    private var key: String { "{llm-rate:\(user)}:budget" }

    @Test("add up, each limit's on its own, until the later end")
    func sums() async throws {
        let service = try await makeService()
        let before = systemMicroseconds() / 1_000
        let first = try await service.change(grant(100)).get()
        #expect(first.before == nil && !first.isRepeated)
        guard case .user(let budget)? = first.after, let one = budget.grants["tokens"] else {
            throw TestFailure("nothing is granted")
        }
        #expect(one.amount == 100 && one.expiresAt >= before + 3_600_000)
        #expect(one.expiresAt <= systemMicroseconds() / 1_000 + 3_600_000)
        _ = try await service.change(grant(7, of: "spend"))
        // A shorter one shortens nothing.
        let second = try await service.change(grant(50, end: .after(milliseconds: 1_000))).get()
        guard case .user(let sum)? = second.after else { throw TestFailure("nothing is granted") }
        #expect(
            second.before != nil
                && sum.grants["tokens"] == Grant(amount: 150, expiresAt: one.expiresAt, unit: .tokens(.total)))
        #expect(try await granted(service) == ["tokens": 150, "spend": 7])
        // The sum is bounded as quotas are.
        _ = try await service.change(grant(BudgetBounds.amounts.upperBound))
        #expect(try await granted(service)["tokens"] == BudgetBounds.amounts.upperBound)
        await service.service.stop()
    }

    @Test("of a limit that counts another unit by now begin anew, and end for themselves")
    func units() async throws {
        let service = try await makeService()
        _ = try await service.change(grant(40_000_000, unit: .spend, end: .after(milliseconds: 86_400_000)))
        let changed = try await service.change(grant(5, unit: .requests, end: .after(milliseconds: 60_000))).get()
        guard case .user(let budget)? = changed.after, let grant = budget.grants["tokens"] else {
            throw TestFailure("nothing is granted")
        }
        #expect(grant.amount == 5 && grant.unit == .requests)
        #expect(grant.expiresAt < systemMicroseconds() / 1_000 + 3_600_000)
        #expect(grant.isOf(.requests) && !grant.isOf(.spend) && Grant(amount: 1, expiresAt: 1).isOf(.spend))
        // One that was made before units were kept adds up with the next.
        try redis.command("HSET", key, "grant:tokens", "7:9000000000000")
        _ = try await service.change(self.grant(5, unit: .requests))
        #expect(
            try await service.lookUp(user).get().budget?.grants["tokens"]
                == Grant(amount: 12, expiresAt: 9_000_000_000_000, unit: .requests))
        await service.service.stop()
    }

    @Test("end with the first instant that is to come, by Redis's clock, and cannot be made where there is none")
    func instants() async throws {
        let service = try await makeService()
        let now = systemMicroseconds() / 1_000_000
        _ = try await service.change(grant(5, end: .firstOf([now - 9, now - 5, now + 600, now + 900])))
        #expect(try await service.lookUp(user).get().budget?.grants["tokens"]?.expiresAt == (now + 600) * 1_000)
        #expect(
            try await service.change(grant(5, of: "late", end: .firstOf([now - 9, now - 5])))
                == .failure(.redis(.redisError)))
        #expect(try await granted(service) == ["tokens": 5])
        await service.service.stop()
    }

    @Test("of one id count once, also after the grant was taken back; those without one count each time")
    func ids() async throws {
        let services = [try await makeService(), try await makeService()]
        let id = "ticket \"7\"\n"
        for round in 0..<6 {
            let result = try await services[round % 2].change(grant(10, id: id)).get()
            #expect(result.isRepeated == (round > 0))
        }
        #expect(try await granted(services[0]) == ["tokens": 10])
        for _ in 0..<2 { _ = try await services[0].change(grant(1)).get() }
        _ = try await services[0].change(grant(100, id: "other")).get()
        #expect(try await granted(services[0]) == ["tokens": 112])
        _ = try await services[0].change(.deleteGrants(.user(user), limit: nil)).get()
        #expect(try await services[1].change(grant(10, id: id)).get().isRepeated)
        #expect(try await granted(services[1]) == [:])
        for key in try redis.keys() where key.contains(":granted:") {
            #expect(try (1...86_400_000).contains(redis.command("PTTL", key).integer ?? 0), "\(key)")
        }
        for service in services { await service.service.stop() }
    }

    @Test("stay when a budget is put, deleted or goes with its membership, and go without it")
    func besideBudgets() async throws {
        let service = try await makeService()
        _ = try await service.change(.putMember(user, group: group)).get()
        _ = try await service.change(grant(10)).get()
        let terms = BudgetTerms(spendLimitMicros: 5, limits: ["tokens": 3])
        let put = try await service.change(.putUserBudget(user, terms, attributedTo: group)).get()
        guard case .user(let stored)? = put.after else { throw TestFailure("nothing is stored") }
        #expect(stored.limits == ["tokens": 3] && stored.grants.mapValues(\.amount) == ["tokens": 10])
        #expect(try redis.command("PTTL", key).integer == -1)
        let left = try await service.change(.deleteMember(user, group: group)).get()
        #expect(left.removed?.spendLimitMicros == 5 && left.removed?.grants == [:])
        let bare = try await service.lookUp(user).get().budget
        #expect(bare?.terms == BudgetTerms.none && bare?.groupID == nil && bare?.createdAt == stored.createdAt)
        #expect(try await granted(service) == ["tokens": 10])
        // What sets nothing is not kept for longer than its grants.
        #expect(try (1...3_600_000).contains(redis.command("PTTL", key).integer ?? 0))
        _ = try await service.change(.putUserBudget(user, terms, attributedTo: nil)).get()
        _ = try await service.change(.deleteUserBudget(user)).get()
        #expect(try await granted(service) == ["tokens": 10])
        _ = try await service.change(.deleteGrants(.user(user), limit: nil)).get()
        #expect(try redis.command("EXISTS", key) == .integer(0))
        #expect(try await service.lookUp(user).get().budget == nil)
        await service.service.stop()
    }

    @Test("are taken back one by one or all, and a budget that was put stays")
    func revoked() async throws {
        let service = try await makeService()
        for name in ["a", "b", "c"] { _ = try await service.change(grant(1, of: name)).get() }
        _ = try await service.change(.putUserBudget(user, BudgetTerms(spendLimitMicros: 5), attributedTo: nil)).get()
        let taken = try await service.change(.deleteGrants(.user(user), limit: LimitName("b"))).get()
        #expect(taken.before != nil && taken.after != nil)
        #expect(try await granted(service) == ["a": 1, "c": 1])
        // What is not granted is not taken back, and is no entry of the audit.
        let nothing = try await service.change(.deleteGrants(.user(user), limit: LimitName("b"))).get()
        #expect(nothing.before == nil && nothing.after == nil)
        _ = try await service.change(.deleteGrants(.user(user), limit: nil)).get()
        #expect(try await service.lookUp(user).get().budget?.spendLimitMicros == 5)
        #expect(try await granted(service) == [:])
        let operations = try await service.audit(limit: 50).entries.map(\.operation)
        let added = "add_user_grant"
        #expect(
            operations == ["delete_user_grant", "delete_user_grant", "put_user_budget", added, added, added])
        await service.service.stop()
    }

    @Test("that have ended go at the next write, and are bounded in number")
    func ended() async throws {
        let service = try await makeService()
        _ = try await service.change(.putUserBudget(user, BudgetTerms(spendLimitMicros: 5), attributedTo: nil)).get()
        _ = try await service.change(grant(9, of: "short", end: .after(milliseconds: 1))).get()
        let names = (1..<BudgetBounds.limits).map { "limit-\($0)" }
        for name in names { _ = try await service.change(grant(1, of: name)).get() }
        let isOver = try await service.eventually {
            try await service.change(grant(1, of: "last")) != .failure(.tooManyGrants(.user(user)))
        }
        #expect(isOver)
        #expect(try await granted(service).count == BudgetBounds.limits)
        #expect(try await granted(service)["short"] == nil)
        #expect(try redis.command("HEXISTS", key, "grant:short") == .integer(0))
        #expect(try await service.change(grant(1, of: "more")) == .failure(.tooManyGrants(.user(user))))
        #expect(try await service.change(grant(1, of: "last")).get().after != nil)
        await service.service.stop()
    }

    @Test("of a group are in its budget; another service sees them within a second, and looks cost no call more")
    func elsewhere() async throws {
        let services = [try await makeService(), try await makeService()]
        _ = try await services[0].change(.putMember(user, group: group)).get()
        #expect(try await services[1].lookUp(user).get().groups == [CallerBudgets.Group(id: group, budget: nil)])
        let name = try #require(LimitName("team"))
        let order = GrantOrder(limit: name, unit: .tokens(.total), amount: 8, end: hour)
        let result = try await services[0].change(.addGrant(.group(group), order)).get()
        guard case .group(let budget)? = result.after else { throw TestFailure("nothing is granted") }
        try await Task.sleep(for: .milliseconds(1_000))
        #expect(try await services[1].lookUp(user).get().groups == [CallerBudgets.Group(id: group, budget: budget)])
        #expect(budget.grants["team"]?.amount == 8)
        let calls = try redis.calls(of: "hgetall")
        _ = try await services[0].change(grant(5)).get()
        let after = try redis.calls(of: "hgetall")
        #expect(try await granted(services[0]) == ["tokens": 5])
        // The script reads the budget alone; a look that nothing is remembered for asks for budget and groups, as ever.
        #expect(after - calls <= 1)
        #expect(try redis.calls(of: "hgetall") - after <= 3)
        #expect(try await services[0].audit(limit: 3).entries.map(\.group) == [nil, group, group])
        for service in services { await service.service.stop() }
    }

    @Test("that are not as they should be are an error to whoever reads them, and the next write takes them away")
    func malformed() async throws {
        let service = try await makeService()
        for value in ["x", "1", "1:", ":1", "-1:5", "1:2:3"] {
            try redis.command("HSET", key, "created_at", "1", "updated_at", "2", "grant:tokens", value)
            guard case .failure = try await service.lookUp(user) else { throw TestFailure("\(value) is read") }
            _ = try await service.change(grant(5)).get()
            #expect(try await granted(service) == ["tokens": 5], "\(value)")
            _ = try await service.change(.deleteGrants(.user(user), limit: nil)).get()
        }
        await service.service.stop()
    }
}

@Suite("A plan under grants")
struct GrantPlanTests {
    private let group = someUser()
    private let limits: LimitsInForce

    init() throws {
        func limit(_ name: String, _ scope: LimitScope, _ quota: Int?, _ window: LimitWindow?) throws -> LimitDefinition
        {
            LimitDefinition(
                name: try #require(LimitName(name)), scope: scope, unit: window == nil ? .concurrency : .requests,
                quota: quota, window: window)
        }
        let day = LimitWindow.calendar(.day, .utc)
        limits = LimitsInForce(
            rules: QuotaRules(
                limits: try LimitSet([
                    limit("own", .user, 10, day), limit("free", .user, nil, day), limit("team", .group, 20, day),
                    limit("all", .global, 30, day), limit("calls", .user, 2, nil),
                ]), policy: .min))
    }

    private func quotas(at now: Int) throws -> [Quota] {
        let grant = Grant(amount: 5, expiresAt: 1_000_000_000)
        let grants = Dictionary(uniqueKeysWithValues: limits.definitions.map { ($0.name.text, grant) })
        let own = UserBudget(grants: ["own": grant, "free": grant, "all": grant], createdAt: 1, updatedAt: 1)
        let caller = CallerBudgets(
            budget: own,
            groups: [
                CallerBudgets.Group(id: group, budget: GroupBudget(grants: grants, createdAt: 1, updatedAt: 1))
            ])
        let call = try planned(
            CallRequest(user: someUser(), operation: .check), under: limits, for: caller, atUnixMilliseconds: now)
        #expect(
            call.call?.subjects.flatMap(\.terms).map(\.quota)
                == call.plan.terms.map { $0.quota.amount ?? LimitTerm.amounts.upperBound })
        return call.told.map(\.quota)
    }

    @Test("has them in the subject's own limits until the millisecond they end, and in no other")
    func raised() throws {
        #expect(try quotas(at: 999_999_999).map(\.amount) == [15, nil, 25, 30])
        #expect(try quotas(at: 999_999_999).map { $0.grant?.amount } == [5, nil, 5, nil])
        #expect(try quotas(at: 1_000_000_000).map(\.amount) == [10, nil, 20, 30])
    }

    @Test("takes orders for limits of the subject's own that have a window")
    func orders() throws {
        func order(_ name: String, _ subject: BudgetSubject, under limits: LimitsInForce) throws -> GrantOrder {
            let name = try self.name(name)
            return try limits.grant(5, of: name, to: subject, requestID: nil, atUnixSeconds: 1_763_726_400)
        }
        let (user, team) = (BudgetSubject.user(someUser()), BudgetSubject.group(group))
        #expect(try order("own", user, under: limits).amount == 5)
        #expect(try order("team", team, under: limits).limit.text == "team")
        let refused: [(String, BudgetSubject, GrantRefusal)] = try [
            ("owm", user, .unknownLimit(name("owm"), known: [name("own"), name("free")])),
            ("team", user, .otherScope(name("team"), .group)), ("own", team, .otherScope(name("own"), .user)),
            ("all", user, .otherScope(name("all"), .global)), ("calls", user, .noWindow(name("calls"))),
        ]
        for (text, subject, refusal) in refused {
            #expect(throws: refusal) { try order(text, subject, under: limits) }
        }
        #expect(throws: GrantRefusal.noOtherLimits) { try order("own", user, under: .none) }
    }

    private func name(_ text: String) throws -> LimitName { try #require(LimitName(text)) }
}
