import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("A check service on a real Redis")
struct CheckServiceTests {
    @Test("admits up to the limit, then denies, from Redis first and from memory afterwards")
    func memory() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(3), denyCacheMilliseconds: 60_000))
        let user = someUser()
        for used in 1...3 {
            let outcome = try await service.check(user)
            #expect(outcome.isAllowed && outcome.source == .redis && outcome.binding?.used == used)
        }
        #expect(try await service.check(user).source == .redis)
        let calls = try redis.calls(of: "evalsha")
        for _ in 0..<10 {
            let outcome = try await service.check(user)
            #expect(!outcome.isAllowed && outcome.source == .memory && outcome.binding?.remaining == 0)
        }
        #expect(try redis.calls(of: "evalsha") == calls)
        // Another cost is another question.
        #expect(try await service.check(user, cost: 2).source == .redis)
        await service.service.stop()
    }

    @Test("puts all checks of one turn in few calls, and answers each by itself")
    func batches() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(30)))
        let users = (0..<10).map { _ in someUser() }
        let outcomes = try await service.checks((0..<400).map { (users[$0 % 10], 1) })
        #expect(outcomes.count { $0.isAllowed } == 300)
        for index in 0..<10 {
            let used = stride(from: index, to: 400, by: 10).map { outcomes[$0].binding?.used }
            #expect(used == Array(1...30) + Array(repeating: 30, count: 10))
        }
        #expect(try redis.calls(of: "evalsha") == 25)
        await service.service.stop()
    }

    @Test("fails the check of a broken key alone")
    func brokenKey() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(3), failureMode: .open))
        let broken = [someUser(), someUser()]
        try redis.command("SET", "llm-rate:\(broken[0])", "no window")
        try redis.command("LPUSH", "llm-rate:\(broken[1])", "no window")
        let good = someUser()
        let outcomes = try await service.checks([(good, 1), (broken[0], 1), (broken[1], 1), (good, 1)])
        #expect(outcomes.map(\.degradedReason) == [nil, .redisError, .redisError, nil])
        #expect(outcomes.map(\.isAllowed) == [true, true, true, true])
        #expect(outcomes.map { $0.binding?.used } == [1, nil, nil, 2])
        await service.service.stop()
    }

    @Test("sends a batch again where Redis has lost the script, and counts it once")
    func scriptLost() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(100)))
        let user = someUser()
        for round in 0..<25 {
            try redis.command("SCRIPT", "FLUSH")
            let outcomes = try await service.checks(Array(repeating: (user, 1), count: 4))
            #expect(outcomes.map { $0.binding?.used } == (1...4).map { 4 * round + $0 })
        }
        #expect(try await service.check(user).isAllowed == false)
        await service.service.stop()
    }

    @Test("does without SCRIPT LOAD where Redis forbids it")
    func noScriptLoad() async throws {
        let redis = try RedisServer()
        try redis.command("ACL", "SETUSER", "default", "-script")
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(2)))
        let user = someUser()
        let outcomes = try await service.checks(Array(repeating: (user, 1), count: 3))
        #expect(outcomes.map(\.isAllowed) == [true, true, false])
        await service.service.stop()
    }

    @Test("a look consumes nothing, creates nothing and is not counted")
    func look() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(3)))
        let user = someUser()
        #expect(try await service.check(user, cost: 0).binding?.used == 0)
        #expect(try redis.command("EXISTS", "llm-rate:\(user)") == .integer(0))
        _ = try await service.check(user, cost: 2)
        #expect(try await service.check(user, cost: 0).binding?.used == 2)
        try await service.reportMetrics()
        let checks = service.metrics.counted.filter { $0.key.hasPrefix(CheckMetrics.Name.checks) }
        #expect(checks == ["\(CheckMetrics.Name.checks){decision=allowed,source=redis}": 1])
        await service.service.stop()
    }

    @Test("a reset empties the window, and every replica forgets the user's denials")
    func reset() async throws {
        let redis = try RedisServer()
        let policy = CheckPolicy(limit: limit(1), denyCacheMilliseconds: 600_000)
        let here = try await ServiceUnderTest(redis, policy)
        let there = try await ServiceUnderTest(redis, policy)
        let user = someUser()
        let other = someUser()
        for user in [user, other] {
            _ = try await here.check(user)
            for service in [here, there] { #expect(try await service.check(user).isAllowed == false) }
            for service in [here, there] { #expect(try await service.check(user).source == .memory) }
        }
        try await here.reset(user)
        #expect(try await there.eventually { try await there.check(user, cost: 1).source == .redis })
        #expect(try redis.command("DEL", "llm-rate:\(user)") == .integer(1))
        #expect(try await here.check(user).isAllowed)
        #expect(try await here.check(other).source == .memory)
        for service in [here, there] { await service.service.stop() }
    }

    @Test("answers by the failure mode above the bound of its queue")
    func overloaded() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(100)), queueLimit: 4)
        let user = someUser()
        let outcomes = try await service.checks(Array(repeating: (user, 1), count: 10))
        #expect(
            outcomes.map(\.degradedReason) == Array(repeating: nil, count: 4) + Array(repeating: .overloaded, count: 6))
        #expect(try await service.check(user).binding?.used == 5)
        await service.service.stop()
    }
}

@Suite("A change of policy")
struct PolicyChangeTests {
    @Test("a new limit holds from the next check on, keeps what is counted, and drops remembered denials")
    func newLimit() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(2), denyCacheMilliseconds: 600_000))
        let user = someUser()
        let outcomes = try await service.checks(Array(repeating: (user, 1), count: 3))
        #expect(outcomes.last?.isAllowed == false)
        #expect(try await service.check(user).source == .memory)
        service.service.apply(CheckPolicy(limit: limit(3), denyCacheMilliseconds: 600_000))
        let outcome = try await service.check(user)
        #expect(outcome.isAllowed && outcome.source == .redis)
        #expect(outcome.binding?.quota == 3 && outcome.binding?.used == 3)
        #expect(service.service.policy.limit.quota == 3)
        #expect(service.metrics.counted[CheckMetrics.Name.limit] == 3)
        await service.service.stop()
    }

    @Test("a changed limit reaches the denials that other replicas remember")
    func otherReplica() async throws {
        let redis = try RedisServer()
        let policy = CheckPolicy(limit: limit(1), denyCacheMilliseconds: 600_000)
        let here = try await ServiceUnderTest(redis, policy)
        let there = try await ServiceUnderTest(redis, policy)
        let user = someUser()
        _ = try await there.checks([(user, 1), (user, 1)])
        #expect(try await there.check(user).source == .memory)
        here.service.apply(CheckPolicy(limit: limit(2), denyCacheMilliseconds: 600_000))
        #expect(try await there.eventually { try await there.check(user).source == .redis })
        for service in [here, there] { await service.service.stop() }
    }

    @Test("shadow lets denials pass and says so, and consumes nothing for them")
    func shadow() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(1), denyCacheMilliseconds: 600_000))
        let user = someUser()
        _ = try await service.checks([(user, 1), (user, 1)])
        service.service.apply(CheckPolicy(limit: limit(1), isShadow: true, denyCacheMilliseconds: 600_000))
        for cost in [1, 2] {
            let outcome = try await service.check(user, cost: cost)
            #expect(outcome.isAllowed && outcome.isShadowDenied && outcome.binding?.used == 1)
        }
        service.service.apply(CheckPolicy(limit: limit(1), denyCacheMilliseconds: 600_000))
        #expect(try await service.check(user).isAllowed == false)
        await service.service.stop()
    }

    @Test("a limit of 0 allows all and asks nobody, and what was counted before still counts after it")
    func off() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(1)))
        let user = someUser()
        _ = try await service.checks([(user, 1), (user, 1)])
        service.service.apply(CheckPolicy(limit: limit(0)))
        let outcome = try await service.check(user)
        #expect(outcome == Outcome(isAllowed: true, decision: nil, source: .off, under: limit(0).numbers))
        service.service.apply(CheckPolicy(limit: limit(1)))
        #expect(try await service.check(user).isAllowed == false)
        await service.service.stop()
    }
}

@Suite("A check service without Redis")
struct WithoutRedisTests {
    @Test(
        "answers by its failure mode, from the first check on",
        arguments: [
            (FailureMode.open, [true, true, true]), (.closed, [false, false, false]), (.local, [true, true, false]),
        ])
    func modes(_ mode: FailureMode, _ allowed: [Bool]) async throws {
        let redis = try RedisServer(isStarted: false)
        let policy = CheckPolicy(limit: limit(4), failureMode: mode, replicas: 2)
        let service = try await ServiceUnderTest(redis, policy, startsConnected: false)
        let user = someUser()
        for isAllowed in allowed {
            let outcome = try await service.check(user)
            #expect(outcome.isAllowed == isAllowed)
            #expect(outcome.degradedReason == .redisUnreachable)
            #expect(outcome.source == (mode == .local ? .local : .failureMode))
            #expect(outcome.binding?.quota == (mode == .local ? 2 : nil))
        }
        await service.service.stop()
    }

    @Test("is exact as soon as Redis is there")
    func comesBack() async throws {
        let redis = try RedisServer(isStarted: false)
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(2)), startsConnected: false)
        let user = someUser()
        #expect(try await service.check(user).degradedReason == .redisUnreachable)
        try redis.restart()
        #expect(try await service.eventually { service.service.health.state.isEnforcing })
        let outcomes = try await service.checks(Array(repeating: (user, 1), count: 3))
        #expect(outcomes.map(\.isAllowed) == [true, true, false])
        await service.service.stop()
    }

    @Test("gives up at the deadline when Redis hangs, answers at once from then on, and is exact again afterwards")
    func hangs() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(1_000)), deadlineMilliseconds: 500)
        let user = someUser()
        redis.stop()
        let (outcome, took) = try await service.timedCheck(user)
        #expect(outcome.degradedReason == .redisTimeout)
        #expect(took >= .milliseconds(500))
        let outcomes = try await service.checks(Array(repeating: (user, 1), count: 100))
        #expect(outcomes.allSatisfy { $0.degradedReason == .redisTimeout })
        redis.resume()
        #expect(try await service.eventually { try await service.check(user).source == .redis })
        // The check that was given up has run, once; those answered without Redis have not been sent.
        #expect(try await service.check(user, cost: 0).binding?.used == 2)
        await service.service.stop()
    }
}
