import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

extension ServiceUnderTest {
    func change(_ change: BudgetChange) async throws -> Result<BudgetChangeResult, BudgetFailure> {
        let actor = BudgetActor(userIdentifier: 7, processIdentifier: 77)
        return try await eventLoop.flatSubmit { [service, eventLoop] in
            service.budgets.change(change, by: actor, on: eventLoop)
        }.get()
    }

    /// Looks a user up as a decision does: in memory, else in Redis.
    func lookUp(_ user: SubjectID, groups: [SubjectID]? = nil) async throws -> Result<CallerBudgets, OperationError> {
        try await lookUp(user, groups: groups, times: 1)[0]
    }

    /// Looks a user up so many times in one turn of the loop.
    func lookUp(
        _ user: SubjectID, groups: [SubjectID]? = nil, times: Int
    ) async throws -> [Result<CallerBudgets, OperationError>] {
        try await eventLoop.flatSubmit { [service, eventLoop] in
            let reader = service.budgets.reader(on: eventLoop)
            let results = (0..<times).map { _ in
                let promise = eventLoop.makePromise(of: Result<CallerBudgets, OperationError>.self)
                let now = NIODeadline.now()
                if let known = reader.known(user, groups: groups, at: now) {
                    promise.succeed(.success(known))
                } else {
                    reader.load(user, groups: groups, at: now) { promise.succeed($0) }
                }
                return promise.futureResult
            }
            return EventLoopFuture.whenAllSucceed(results, on: eventLoop)
        }.get()
    }

    func isKnown(_ user: SubjectID) async throws -> Bool {
        try await eventLoop.submit { [service, eventLoop] in
            service.budgets.reader(on: eventLoop).known(user, groups: nil, at: .now()) != nil
        }.get()
    }

    func audit(limit: Int, olderThan cursor: StreamCursor? = nil) async throws -> AuditPage {
        try await eventLoop.flatSubmit { [service, eventLoop] in
            service.budgets.audit(limit: limit, olderThan: cursor, on: eventLoop)
        }.get().get()
    }
}

@Suite("Budgets in a real Redis")
struct BudgetServiceTests {
    private let redis: RedisServer
    private let user = someUser()
    private let group = someUser()

    init() throws { redis = try RedisServer() }

    private func makeService(deadlineMilliseconds: Int = 2_000, through path: String? = nil) async throws
        -> ServiceUnderTest
    {
        try await ServiceUnderTest(
            redis, CheckPolicy(limit: limit(20)), deadlineMilliseconds: deadlineMilliseconds, through: path
        )
    }

    private func spend(_ micros: Int) -> BudgetChange {
        .putUserBudget(user, BudgetTerms(spendLimitMicros: micros), attributedTo: nil)
    }

    @Test("keep what is put, say what was there before, and keep the time of the first")
    func put() async throws {
        let service = try await makeService()
        let terms = BudgetTerms(spendLimitMicros: 50_000_000, limits: ["tokens": 0, "a.b-c_9": 1_000])
        let first = try await service.change(.putUserBudget(user, terms, attributedTo: nil)).get()
        guard case .user(let stored) = first.after else { throw TestFailure("nothing is stored") }
        #expect(first.before == nil && first.removed == nil)
        #expect(stored.spendLimitMicros == 50_000_000 && stored.limits == terms.limits && stored.groupID == nil)
        #expect(stored.createdAt == stored.updatedAt && abs(stored.createdAt - systemMicroseconds() / 1_000) < 60_000)
        #expect(try await service.lookUp(user).get() == CallerBudgets(budget: stored, groups: []))
        try await Task.sleep(for: .milliseconds(5))
        let second = try await service.change(spend(0)).get()
        guard case .user(let later) = second.after else { throw TestFailure("nothing is stored") }
        #expect(second.before == .user(stored))
        #expect(later.limits.isEmpty && later.spendLimitMicros == 0)
        #expect(later.createdAt == stored.createdAt && later.updatedAt > stored.updatedAt)
        let third = try await service.change(.deleteUserBudget(user)).get()
        #expect(third.before == .user(later) && third.after == nil)
        #expect(try await service.lookUp(user).get() == CallerBudgets(budget: nil, groups: []))
        #expect(try await service.change(.deleteUserBudget(user)).get().before == nil)
        #expect(try redis.command("EXISTS", "{llm-rate:\(user)}:budget") == .integer(0))
        await service.service.stop()
    }

    @Test("keep each quota with the unit that its limit has, and believe one without of any")
    func units() async throws {
        func counting(_ name: String, _ unit: LimitUnit) throws -> LimitDefinition {
            LimitDefinition(
                name: try #require(LimitName(name)), scope: .user, unit: unit, quota: 5,
                window: .sliding(milliseconds: 60_000))
        }
        func rules(_ daily: LimitUnit) throws -> QuotaRules {
            QuotaRules(
                limits: try LimitSet([counting("daily", daily), counting("tokens", .tokens(.input))]), policy: .min)
        }
        let limits = LimitsInForce(rules: try rules(.spend))
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(20), limits: limits))
        let terms = BudgetTerms(limits: ["daily": 40_000_000, "tokens": 7, "gone": 1])
        let put = try await service.change(.putUserBudget(user, terms, attributedTo: nil)).get()
        guard case .user(let stored) = put.after else { throw TestFailure("nothing is stored") }
        #expect(stored.limits["daily"] == BudgetAmount(40_000_000, unit: .spend))
        #expect(stored.limits["tokens"] == BudgetAmount(7, unit: .tokens(.input)) && stored.limits["gone"] == 1)
        #expect(
            try redis.command("HGET", "{llm-rate:\(user)}:budget", "limit:tokens")
                == .bulk(Array("7:tokens.input".utf8)))
        #expect(try await service.lookUp(user).get().budget == stored)
        #expect(try await service.audit(limit: 1).entries.first?.result.after == .user(stored))
        func quotas(_ rules: QuotaRules, _ terms: BudgetTerms) -> [Int?] {
            (0..<2).map { rules.quota(ofLimitAt: $0, user: terms, groups: []).amount }
        }
        #expect(quotas(limits.rules, stored.terms) == [40_000_000, 7])
        #expect(try quotas(rules(.requests), stored.terms) == [5, 7])
        #expect(try quotas(rules(.requests), BudgetTerms(limits: ["daily": 3])) == [3, 5])
        await service.service.stop()
    }

    @Test("attribute an override to a group of the user's alone; it goes when the membership goes, and only then")
    func attribution() async throws {
        let service = try await makeService()
        let other = someUser()
        let attributed = BudgetChange.putUserBudget(user, BudgetTerms(spendLimitMicros: 5), attributedTo: group)
        #expect(try await service.change(attributed) == .failure(.notMember(user, group: group)))
        #expect(try redis.keys() == [])
        for group in [group, other] {
            let joined = try await service.change(.putMember(user, group: group)).get()
            guard case .membership? = joined.after else { throw TestFailure("no membership") }
            // A second time changes nothing.
            #expect(try await service.change(.putMember(user, group: group)).get().after == joined.after)
        }
        let stored = try await service.change(attributed).get().after
        #expect(try await service.change(.deleteMember(user, group: other)).get().removed == nil)
        #expect(try await service.lookUp(user).get().budget?.groupID == group)
        let left = try await service.change(.deleteMember(user, group: group)).get()
        #expect(left.removed.map { .user($0) } == stored && left.before != nil && left.after == nil)
        #expect(try await service.lookUp(user).get() == CallerBudgets(budget: nil, groups: []))
        // One that is attributed to nobody stays.
        _ = try await service.change(.putMember(user, group: group)).get()
        _ = try await service.change(spend(5)).get()
        #expect(try await service.change(.deleteMember(user, group: group)).get().removed == nil)
        #expect(try await service.lookUp(user).get().budget?.spendLimitMicros == 5)
        await service.service.stop()
    }

    @Test("have a bound on the groups of one user")
    func tooManyGroups() async throws {
        let service = try await makeService()
        let groups = (0..<BudgetBounds.groups).map { _ in someUser() }
        for group in groups { _ = try await service.change(.putMember(user, group: group)).get() }
        #expect(try await service.change(.putMember(user, group: group)) == .failure(.tooManyGroups(user)))
        #expect(try await service.change(.putMember(user, group: groups[0])).get().before != nil)
        #expect(try await service.lookUp(user).get().groups.count == BudgetBounds.groups)
        await service.service.stop()
    }

    @Test("never keep an override attributed to a group that the user has left, whoever writes when")
    func race() async throws {
        let services = [try await makeService(), try await makeService()]
        var refused = 0
        for round in 0..<300 {
            let user = someUser()
            _ = try await services[0].change(.putMember(user, group: group)).get()
            let put = BudgetChange.putUserBudget(user, BudgetTerms(spendLimitMicros: round), attributedTo: group)
            let leave = BudgetChange.deleteMember(user, group: group)
            let changes = round.isMultiple(of: 2) ? [put, leave] : [leave, put]
            async let first = services[0].change(changes[0])
            async let second = services[1].change(changes[1])
            let results = try await [first, second]
            let wasRefused = results.contains(.failure(.notMember(user, group: group)))
            refused += wasRefused ? 1 : 0
            #expect(wasRefused || results.allSatisfy { (try? $0.get()) != nil })
            #expect(try redis.command("EXISTS", "{llm-rate:\(user)}:budget") == .integer(0))
        }
        print("membership left while an override was put: the override came second in \(refused) of 300 rounds")
        for service in services { await service.service.stop() }
    }

    @Test("cost no call to Redis once they are known, and one for all who wait where they are not")
    func calls() async throws {
        let service = try await makeService()
        _ = try await service.change(.putMember(user, group: group)).get()
        _ = try await service.change(.putGroupBudget(group, BudgetTerms(limits: ["tokens": 9]))).get()
        let before = try redis.calls(of: "hgetall")
        let results = try await service.lookUp(user, times: 500)
        #expect(Set(results).count == 1)
        #expect(try results[0].get().groups.map(\.budget?.limits) == [["tokens": 9]])
        #expect(try redis.calls(of: "hgetall") == before + 3)
        // The first poll may still be on its way.
        #expect(try await service.eventually { try await service.isKnown(user) })
        var known = 0
        for _ in 0..<1_000 { known += try await service.isKnown(user) ? 1 : 0 }
        print("a user who is not changed was known \(known) times of 1000")
        let after = try redis.calls(of: "hgetall")
        #expect(after <= before + 6)
        // The call may name groups itself: those of the user are then not looked at.
        let other = someUser()
        let given = try await service.lookUp(user, groups: [other]).get()
        #expect(given.groups == [CallerBudgets.Group(id: other, budget: nil)])
        await service.service.stop()
    }

    /// Changes a user's budget on one service and looks it up on another all the time: no answer to a look that began a
    /// second after a change's end shows what was there before.
    private func holdBound(_ writer: ServiceUnderTest, _ reader: ServiceUnderTest) async throws -> String {
        let isOver = Flag()
        async let looks = { () async throws -> [(startedAt: Double, value: Int)] in
            var looks: [(startedAt: Double, value: Int)] = []
            while !isOver.isSet {
                let startedAt = monotonicMilliseconds()
                let found = try await reader.lookUp(user).get()
                looks.append((startedAt, found.budget?.spendLimitMicros ?? 0))
                try await Task.sleep(for: .milliseconds(1))
            }
            return looks
        }()
        var endedAt: [Double] = []
        for value in 1...30 {
            _ = try await writer.change(spend(value)).get()
            endedAt.append(monotonicMilliseconds())
            try await Task.sleep(for: .milliseconds(value.isMultiple(of: 10) ? 1_300 : 50))
        }
        isOver.set()
        let all = try await looks
        var stale = 0
        for look in all {
            let certain = endedAt.lastIndex { $0 + 1_000 <= look.startedAt }.map { $0 + 1 } ?? 0
            #expect(look.value >= certain, "a look showed \(look.value), and \(certain) was there for a second")
            let latest = endedAt.lastIndex { $0 <= look.startedAt }.map { $0 + 1 } ?? 0
            stale += look.value < latest ? 1 : 0
        }
        return "\(all.count) looks, \(stale) of them at what had been changed less than a second before"
    }

    @Test("A change on one service shows on another within a second")
    func seen() async throws {
        let (writer, reader) = (try await makeService(), try await makeService())
        print("budgets, all well: \(try await holdBound(writer, reader))")
        for service in [writer, reader] { await service.service.stop() }
    }

    @Test("Also where the subscription is silent, and nothing says that it is lost")
    func silent() async throws {
        let proxy = try FaultProxy(to: redis)
        let (writer, reader) = (try await makeService(), try await makeService(through: proxy.socketPath))
        _ = try await reader.lookUp(user)
        proxy.set(.silentSubscriptions)
        print("budgets, the subscription silent: \(try await holdBound(writer, reader))")
        for service in [writer, reader] { await service.service.stop() }
    }

    @Test("Where Redis does not answer nothing is believed, and the look fails")
    func unanswered() async throws {
        let service = try await makeService(deadlineMilliseconds: 200)
        // The first version that is heard ends what was remembered before.
        let isKnown = try await service.eventually {
            _ = try await service.lookUp(user)
            return try await service.isKnown(user)
        }
        #expect(isKnown)
        redis.stop()
        try await Task.sleep(for: .milliseconds(1_000))
        #expect(try await !service.isKnown(user))
        guard case .failure = try await service.lookUp(user) else { throw TestFailure("something is believed") }
        redis.resume()
        #expect(try await service.eventually { try await service.isKnown(user) })
        await service.service.stop()
    }

    @Test("Data that are lost are not believed either")
    func flushed() async throws {
        let service = try await makeService()
        _ = try await service.change(spend(5)).get()
        #expect(try await service.lookUp(user).get().budget?.spendLimitMicros == 5)
        try redis.command("FLUSHALL")
        try await Task.sleep(for: .milliseconds(1_000))
        #expect(try await service.lookUp(user).get().budget == nil)
        await service.service.stop()
    }

    @Test("What is not as it should be in Redis is an error, and ends nothing")
    func malformed() async throws {
        let service = try await makeService()
        let key = "{llm-rate:\(user)}:budget"
        for value in [
            ["spend_limit_micros", "-1"], ["group_id", "%41"], ["spend_limit_micros", "9999999999999999"], ["x", "1"],
        ] {
            try redis.command("DEL", key)
            try redis.connect().command(["HSET", key, "created_at", "1", "updated_at", "2"] + value)
            #expect(try await service.lookUp(someUser()).get().budget == nil)
            guard case .failure = try await service.lookUp(user) else { throw TestFailure("\(value) is read") }
        }
        try redis.command("SET", "{llm-rate:\(user)}:groups", "no hash")
        #expect(try await service.change(spend(5)) == .failure(.redis(.redisError)))
        await service.service.stop()
    }
}

@Suite("The audit of budgets")
struct BudgetAuditTests {
    private let redis: RedisServer
    private let user = someUser()
    private let group = someUser()

    init() throws { redis = try RedisServer() }

    @Test("has who changed what, before and after, newest first, in pages")
    func pages() async throws {
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(20)))
        #expect(try await service.audit(limit: 10).entries.isEmpty)
        var results: [BudgetChangeResult] = []
        let changes: [BudgetChange] = [
            .putMember(user, group: group),
            .putUserBudget(user, BudgetTerms(spendLimitMicros: 5, limits: ["tokens": 3]), attributedTo: group),
            .putGroupBudget(group, BudgetTerms(limits: ["tokens": 9])), .deleteMember(user, group: group),
            .deleteGroupBudget(group),
        ]
        for change in changes { results.append(try await service.change(change).get()) }
        // What changes nothing is no entry.
        _ = try await service.change(.deleteGroupBudget(group))
        _ = try await service.change(.putUserBudget(user, BudgetTerms(), attributedTo: group))
        var entries: [AuditEntry] = []
        var cursor: StreamCursor?
        repeat {
            let page = try await service.audit(limit: 2, olderThan: cursor)
            entries += page.entries
            cursor = page.next
        } while cursor != nil
        #expect(entries.map(\.operation) == changes.reversed().map(\.name))
        #expect(entries.map(\.result) == results.reversed())
        #expect(entries.map(\.user) == [nil, user, nil, user, user])
        #expect(
            entries.allSatisfy {
                $0.group == group && $0.actor == BudgetActor(userIdentifier: 7, processIdentifier: 77)
            })
        #expect(entries.allSatisfy { abs($0.at - systemMicroseconds() / 1_000) < 60_000 })
        await service.service.stop()
    }

    @Test("is bounded")
    func bounded() async throws {
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(20)))
        try redis.command(
            "EVAL", "for i = 1, 12000 do redis.call('XADD', KEYS[1], '*', 'operation', 'x') end", "1", "llm-rate:audit"
        )
        _ = try await service.change(.putMember(user, group: group)).get()
        #expect(try redis.command("XLEN", "llm-rate:audit").integer ?? 0 <= 10_200)
        #expect(try await service.audit(limit: 50).entries.count == 50)
        await service.service.stop()
    }

    @Test("a cursor is read as it is written, and goes back to before everything")
    func cursors() throws {
        let cursor = try #require(StreamCursor("1763721600000-7"))
        #expect("\(cursor)" == "1763721600000-7" && cursor.before.map { "\($0)" } == "1763721600000-6")
        #expect(StreamCursor("5-0")?.before.map { "\($0)" } == "4-18446744073709551615")
        #expect(StreamCursor("0-0") != nil && StreamCursor("0-0")?.before == nil)
        for text in ["", "-", "1", "1-", "-1", "+1-0", "1-2-3", "a-b", "1- 2", "18446744073709551616-0"] {
            #expect(StreamCursor(text) == nil, "\(text)")
        }
    }
}
