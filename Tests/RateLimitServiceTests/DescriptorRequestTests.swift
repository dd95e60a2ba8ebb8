import NIOCore
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import RateLimitService

@Suite("A request about descriptors on a real Redis")
struct DescriptorRequestTests {
    private static let off = Limit(name: "requests", quota: 0, windowMilliseconds: 60_000)
    private let tenant = ConfiguredLimit("tenant", 10)
    private let global = ConfiguredLimit("global", 100)

    private static func policy(
        isShadow: Bool = false, failureMode: FailureMode = .open, replicas: Int = 1, denyCacheMilliseconds: Int = 0
    ) -> CheckPolicy {
        CheckPolicy(
            limit: off, isShadow: isShadow, failureMode: failureMode, replicas: replicas,
            denyCacheMilliseconds: denyCacheMilliseconds)
    }

    private func service(_ redis: RedisServer, _ policy: CheckPolicy = policy()) async throws -> ServiceUnderTest {
        try await ServiceUnderTest(redis, policy)
    }

    @Test("admits exactly the quota, however many ask at once through however many daemons")
    func exact() async throws {
        let redis = try RedisServer()
        let services = [try await service(redis), try await service(redis)]
        let limit = ConfiguredLimit("tenant", 100)
        var admitted = 0
        for _ in 0..<4 {
            for service in services {
                let outcomes = try await service.requests(
                    Array(repeating: request(descriptor()), count: 64), matching: [limit.match])
                admitted += outcomes.count(where: \.isAllowed)
                for outcome in outcomes {
                    #expect(outcome.source == .redis && outcome.standings.count == 1)
                    #expect(outcome.standings[0].isOver == !outcome.isAllowed)
                    #expect(outcome.standings[0].limit === limit.limit)
                }
            }
        }
        #expect(admitted == 100)
        // The window is a user's like any other, in one key.
        #expect(try redis.keys() == ["llm-rate:descriptor:edge:tenant"])
        for service in services { await service.service.stop() }
    }

    @Test("tells what is left and how long until all of it is free, or until the very request passes")
    func standings() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        for left in [7, 4, 1] {
            let outcome = try await service.requests([request(descriptor(), hits: 3)], matching: [tenant.match])[0]
            #expect(outcome.verdict == .allowed && outcome.standings[0].remaining == left)
            #expect(outcome.standings[0].resetAfterMilliseconds == 3_600_000)
        }
        let outcome = try await service.requests([request(descriptor(), hits: 3)], matching: [tenant.match])[0]
        guard case .denied(let wait) = outcome.verdict else { throw TestFailure("it was not denied") }
        #expect(outcome.standings[0].isOver && outcome.standings[0].remaining == 1)
        #expect(outcome.standings[0].resetAfterMilliseconds == wait && 3_500_000...3_600_000 ~= wait)
        let never = try await service.requests([request(descriptor(), hits: 11)], matching: [tenant.match])[0]
        #expect(never.verdict == .deniedForGood)
        #expect(never.standings[0].isOver && never.standings[0].resetAfterMilliseconds == nil)
        await service.service.stop()
    }

    @Test("charges all windows or none, and says of each whether it was over")
    func allOrNothing() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let both = [tenant.match, global.match]
        let outcomes = try await service.requests(
            Array(repeating: request(descriptor(), descriptor()), count: 64), matching: both)
        #expect(outcomes.count(where: \.isAllowed) == 10)
        for outcome in outcomes where !outcome.isAllowed {
            #expect(outcome.standings.map(\.isOver) == [true, false])
            #expect(outcome.standings.map(\.remaining) == [0, 90])
        }
        let other = try await service.requests([request(descriptor())], matching: [global.match])[0]
        #expect(other.standings[0].remaining == 89)
        await service.service.stop()
    }

    @Test("peeks for nothing, and is over where nothing is left")
    func peeks() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        func peek() async throws -> Outcome {
            try await service.requests([request(descriptor(hits: 0))], matching: [tenant.match])[0]
        }
        for _ in 0..<3 {
            let outcome = try await peek()
            #expect(outcome.verdict == .allowed && outcome.standings[0].remaining == 10)
        }
        #expect(try redis.keys().isEmpty)
        _ = try await service.requests([request(descriptor(), hits: 9)], matching: [tenant.match])
        #expect(try await peek().verdict == .allowed)
        _ = try await service.requests([request(descriptor())], matching: [tenant.match])
        let full = try await peek()
        guard case .denied = full.verdict else { throw TestFailure("it was not denied") }
        #expect(full.standings[0].isOver && full.standings[0].remaining == 0)
        await service.service.stop()
    }

    @Test("charges a report whatever is left, and says that it was over")
    func reports() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        func report(_ hits: Int) async throws -> Outcome {
            try await service.requests([request(descriptor(hits: hits))], matching: [tenant.match])[0]
        }
        #expect(try await report(8).standings.map(\.isOver) == [false])
        let over = try await report(30)
        #expect(over.verdict == .allowed && over.standings[0].isOver && over.standings[0].remaining == 0)
        #expect(over.standings[0].resetAfterMilliseconds == nil)
        // 38 are used: what asks next waits for the 30 as well.
        let looked = try await service.requests([request(descriptor(hits: 1))], matching: [tenant.match])[0]
        #expect(looked.standings[0].isOver && looked.standings[0].resetAfterMilliseconds == 3_600_000)
        let denied = try await service.requests([request(descriptor())], matching: [tenant.match])[0]
        #expect(!denied.isAllowed)
        try await service.reportMetrics()
        let name = CheckMetrics.Name.checks
        let decisions = service.metrics.counted.filter { $0.key.hasPrefix(name) }
        // What is only reported is no decision.
        #expect(decisions == ["\(name){decision=denied,source=redis}": 1])
        await service.service.stop()
    }

    @Test("charges what is reported beside what is asked, where that is admitted, and counts both in one window")
    func mixed() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let mixed = request(descriptor(), descriptor(hits: 20), descriptor(hits: 0))
        let admitted = try await service.requests([mixed], matching: [tenant.match, global.match, tenant.match])[0]
        #expect(admitted.verdict == .allowed && admitted.standings.map(\.isOver) == [false, false, false])
        #expect(admitted.standings.map(\.remaining) == [9, 80, 9])
        _ = try await service.requests([request(descriptor(), hits: 9)], matching: [tenant.match])
        let denied = try await service.requests([mixed], matching: [tenant.match, global.match, tenant.match])[0]
        #expect(!denied.isAllowed && denied.standings.map(\.isOver) == [true, false, true])
        #expect(denied.standings.map(\.remaining) == [0, 80, 0])
        // The report comes after the question: so it leaves the window more than full.
        let same = ConfiguredLimit("same", 3)
        let once = try await service.requests(
            [request(descriptor(hits: 3), descriptor())], matching: [same.match, same.match])[0]
        #expect(once.verdict == .allowed && once.standings.map(\.isOver) == [true, false])
        #expect(once.standings.map(\.remaining) == [0, 0])
        await service.service.stop()
    }

    @Test("denies nothing by a shadow, which counts what it would have admitted")
    func shadow() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let shadow = ConfiguredLimit("shadow", 3, isShadow: true)
        let outcomes = try await service.requests(
            Array(repeating: request(descriptor(), descriptor()), count: 6), matching: [shadow.match, tenant.match])
        #expect(outcomes.allSatisfy { $0.verdict == .allowed && !$0.isShadowDenied })
        #expect(outcomes.map { $0.standings[0].isOver } == [false, false, false, true, true, true])
        #expect(outcomes.map { $0.standings[1].remaining } == [9, 8, 7, 6, 5, 4])
        // The time until its window is empty is what is certain of a shadow.
        #expect((3_500_000...3_600_000).contains(try #require(outcomes[5].standings[0].resetAfterMilliseconds)))
        try await service.reportMetrics()
        let name = CheckMetrics.Name.descriptors
        let counted = service.metrics.counted.filter { $0.key.hasPrefix(name) }
        #expect(
            counted == [
                "\(name){domain=edge,path=shadow,result=ok}": 2, "\(name){domain=edge,path=shadow,result=near}": 1,
                "\(name){domain=edge,path=shadow,result=shadow_over}": 3,
                "\(name){domain=edge,path=tenant,result=ok}": 6,
            ])
        await service.service.stop()
    }

    @Test(
        "lets everything pass where all is a shadow, says what it would have denied, and charges reports")
    func daemonInShadow() async throws {
        let redis = try RedisServer()
        let service = try await service(redis, Self.policy(isShadow: true))
        let one = ConfiguredLimit("one", 1)
        for isDenied in [false, true] {
            let outcome = try await service.requests(
                [request(descriptor(), descriptor(hits: 5))], matching: [one.match, global.match])[0]
            #expect(outcome.isAllowed && outcome.isShadowDenied == isDenied)
            #expect(outcome.standings[0].isOver == isDenied)
            #expect(outcome.standings[1].remaining == (isDenied ? 90 : 95))
        }
        await service.service.stop()
    }

    @Test("denies in quota_mode when all such descriptors are over, and not before")
    func quotaMode() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let small = ConfiguredLimit("small", 1, isQuotaMode: true)
        let large = ConfiguredLimit("large", 3, isQuotaMode: true)
        let outcomes = try await service.requests(
            Array(repeating: request(descriptor(), descriptor()), count: 5), matching: [small.match, large.match])
        #expect(outcomes.map(\.isAllowed) == [true, true, true, false, false])
        #expect(outcomes.map { $0.standings[0].isOver } == [false, true, true, true, true])
        #expect(outcomes.map { $0.standings[1].isOver } == [false, false, false, true, true])
        let alone = try await service.requests([request(descriptor())], matching: [small.match])[0]
        #expect(!alone.isAllowed)
        await service.service.stop()
    }

    @Test("is allowed without Redis where nothing counts it")
    func unlimited() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let before = try redis.calls(of: "evalsha")
        let free = ConfiguredLimit("free", nil)
        let outcome = try await service.requests([request(descriptor(), descriptor())], matching: [free.match, .none])[
            0]
        #expect(outcome.verdict == .allowed && outcome.source == .off)
        #expect(outcome.standings == [DescriptorStanding(free.limit), DescriptorStanding(nil)])
        #expect(try await service.requests([request()], matching: [])[0].verdict == .allowed)
        // No rules are in force.
        #expect(try await service.requests([request(descriptor())])[0].standings == [DescriptorStanding(nil)])
        #expect(try redis.calls(of: "evalsha") == before)
        await service.service.stop()
    }

    @Test("goes in one call with the checks and requests of its turn, whatever they ask")
    func batched() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let before = try redis.calls(of: "evalsha")
        let outcomes = try await service.requests(
            (0..<16).map { request(descriptor(hits: $0 % 3 == 0 ? nil : $0 % 3 - 1), hits: 1 + $0 / 3) },
            matching: [global.match])
        #expect(outcomes.allSatisfy { $0.verdict == .allowed })
        // Six ask, for 1 to 6; five report 1.
        #expect(outcomes.last?.standings[0].remaining == 100 - 21 - 5)
        #expect(try redis.calls(of: "evalsha") == before + 1)
        await service.service.stop()
    }

    @Test("fails alone where its key holds something else")
    func brokenKey() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        try redis.command("SET", "llm-rate:descriptor:edge:tenant", "no window")
        let outcome = try await service.requests(
            [request(descriptor(), descriptor())], matching: [tenant.match, global.match])[0]
        #expect(outcome.verdict == .allowed && outcome.degradedReason == .redisError)
        let good = try await service.requests([request(descriptor())], matching: [global.match])[0]
        #expect(good.standings[0].remaining == 99)
        await service.service.stop()
    }
}

@Suite("A request about descriptors without Redis")
struct DescriptorsWithoutRedisTests {
    private let tenant = ConfiguredLimit("tenant", 10)
    private let shadow = ConfiguredLimit("shadow", 10, isShadow: true)

    private func service(_ failureMode: FailureMode, isShadow: Bool = false) async throws -> ServiceUnderTest {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(
            redis,
            CheckPolicy(
                limit: Limit(name: "requests", quota: 0, windowMilliseconds: 60_000), isShadow: isShadow,
                failureMode: failureMode, replicas: 2))
        #expect(try await service.requests([request(descriptor())], matching: [tenant.match])[0].source == .redis)
        redis.end()
        let isAway = try await service.eventually {
            try await service.requests([request(descriptor(hits: 1))], matching: [shadow.match])[0].source != .redis
        }
        #expect(isAway)
        return service
    }

    @Test("passes where the daemon fails open, and says what limits there are")
    func open() async throws {
        let service = try await service(.open)
        let outcome = try await service.requests([request(descriptor(), hits: 99)], matching: [tenant.match])[0]
        #expect(outcome.verdict == .allowed && outcome.source == .failureMode)
        #expect(outcome.degradedReason == .redisUnreachable)
        #expect(outcome.standings == [DescriptorStanding(tenant.limit)])
        await service.service.stop()
    }

    @Test("is refused where it fails closed, unless no limit may deny it")
    func closed() async throws {
        let service = try await service(.closed)
        let refused = try await service.requests(
            [request(descriptor()), request(descriptor(hits: 0))], matching: [tenant.match])
        #expect(refused.map(\.verdict) == [.refused, .refused])
        #expect(refused.map(\.isAllowed) == [false, false])
        let reported = try await service.requests([request(descriptor(hits: 3))], matching: [tenant.match])[0]
        #expect(reported.verdict == .allowed && reported.degradedReason == .redisUnreachable)
        let unasked = try await service.requests([request(descriptor())], matching: [shadow.match])[0]
        #expect(unasked.verdict == .allowed)
        await service.service.stop()
        let inShadow = try await self.service(.closed, isShadow: true)
        #expect(try await inShadow.requests([request(descriptor())], matching: [tenant.match])[0].verdict == .allowed)
        await inShadow.service.stop()
    }

    @Test("waits no longer than its deadline for a Redis that has stopped")
    func stopped() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(
            redis, CheckPolicy(limit: Limit(name: "requests", quota: 0, windowMilliseconds: 60_000)),
            deadlineMilliseconds: 50)
        redis.stop()
        let outcome = try await service.requests([request(descriptor())], matching: [tenant.match])[0]
        #expect(outcome.verdict == .allowed && outcome.degradedReason == .redisTimeout)
        #expect(outcome.standings == [DescriptorStanding(tenant.limit)])
        redis.resume()
        let isBack = try await service.eventually {
            try await service.requests([request(descriptor(hits: 0))], matching: [tenant.match])[0].source == .redis
        }
        #expect(isBack)
        await service.service.stop()
    }

    @Test("stays admitted where only what is reported besides was not charged, however the daemon fails")
    func lostReport() async throws {
        let redis = try RedisServer()
        let policy = CheckPolicy(
            limit: Limit(name: "requests", quota: 0, windowMilliseconds: 60_000), failureMode: .closed)
        let service = try await ServiceUnderTest(redis, policy)
        let (match, other) = (tenant.match, ConfiguredLimit("other", 10).match)
        let outcome = try await service.eventLoop.submit { [service = service.service, eventLoop = service.eventLoop] in
            let engine = service.engine(on: eventLoop)
            let call = engine.descriptorPlanner.plan(
                request(descriptor(), descriptor(hits: 3)), [match, other])
            let states = [
                LimitState(used: 1, resetAfterMilliseconds: 5), LimitState(used: 4, resetAfterMilliseconds: 5),
            ]
            #expect(call.goesOn(CallAnswer(verdict: .done, states: states), whereDenied: false))
            let told = ToldOutcome()
            let pending = PendingRequest(call, ticket: 0, arrivedAt: .now(), requester: told)
            engine.undecided(pending, call, because: .redisTimeout)
            return told.outcome
        }.get()
        #expect(outcome?.verdict == .allowed && outcome?.degradedReason == .redisTimeout)
        // What is left is what was left before the report.
        #expect(outcome?.standings.map(\.remaining) == [9, 6])
        await service.service.stop()
    }

    @Test("is decided by this replica's share where it decides for itself, reports included")
    func local() async throws {
        let service = try await service(.local)
        let asked = Array(repeating: request(descriptor(), descriptor()), count: 7)
        let other = ConfiguredLimit("other", 1_000)
        let outcomes = try await service.requests(asked, matching: [tenant.match, other.match])
        #expect(outcomes.map(\.isAllowed) == [true, true, true, true, true, false, false])
        #expect(outcomes.allSatisfy { $0.source == .local && $0.degradedReason == .redisUnreachable })
        #expect(outcomes[6].standings.map(\.isOver) == [true, false])
        #expect(outcomes[6].standings.allSatisfy { $0.remaining == nil })
        let peek = try await service.requests([request(descriptor(hits: 0))], matching: [tenant.match])[0]
        #expect(!peek.isAllowed)
        // Of 500 in this replica's half 5 are used: a report of more fills it.
        let report = request(descriptor(hits: 800))
        #expect(try await service.requests([report], matching: [other.match])[0].isAllowed)
        #expect(
            try await service.requests([request(descriptor(hits: 0))], matching: [other.match])[0].isAllowed == false)
        let never = try await service.requests([request(descriptor(), hits: 6)], matching: [tenant.match])[0]
        #expect(never.verdict == .deniedForGood)
        await service.service.stop()
    }
}

private final class ToldOutcome: DecisionRequester {
    private(set) var outcome: Outcome?

    func deliver(_ outcome: Outcome, ticket: Int) { self.outcome = outcome }
}
