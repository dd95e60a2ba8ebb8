import NIOCore
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import RateLimitService

@Suite("A descriptor that gives hits back")
struct DescriptorRefundTests {
    private static let off = Limit(name: "requests", quota: 0, windowMilliseconds: 60_000)
    private let tenant = ConfiguredLimit("tenant", 10)
    private let global = ConfiguredLimit("global", 100)

    private func service(
        _ redis: RedisServer, failureMode: FailureMode = .open, denyCacheMilliseconds: Int = 0
    ) async throws -> ServiceUnderTest {
        try await ServiceUnderTest(
            redis,
            CheckPolicy(limit: Self.off, failureMode: failureMode, denyCacheMilliseconds: denyCacheMilliseconds))
    }

    private func refund(_ hits: Int? = nil) -> Descriptor { descriptor(hits: hits, isRefund: true) }

    @Test("asks nothing, and is planned as a refund of its own hits, or of the request's")
    func planned() {
        var planner = DescriptorPlanner()
        let call = planner.plan(request(refund(7), refund(), hits: 3), [tenant.match, global.match])
        #expect(call.plan?.check == nil && call.plan?.report == nil && !call.asks && !call.isEnforced)
        let whole = call.laidOut(keyPrefix: "x")
        #expect(whole.operation == .refund && whole.subjects.map { $0.terms[0].cost } == [7, 3])
        #expect(whole.subjects.allSatisfy { $0.terms[0].isShadow && !$0.terms[0].needsRoom })
        // Those of one window are added up; one of nothing only looks.
        let one = planner.plan(request(refund(7), refund(2), refund(0)), [tenant.match, tenant.match, global.match])
        #expect(one.terms.map(\.refunded) == [9, 0] && one.plan?.refunding == [0] && one.plan?.check != nil)
    }

    @Test("comes last of what a request wants, of which a report and a refund of one window are both done")
    func order() throws {
        var planner = DescriptorPlanner()
        let call = planner.plan(
            request(descriptor(), descriptor(hits: 5), refund(2)), [tenant.match, global.match, global.match])
        func answer(_ used: Int...) -> CallAnswer {
            CallAnswer(verdict: .done, states: used.map { LimitState(used: $0, resetAfterMilliseconds: 9) })
        }
        #expect(call.laidOut(keyPrefix: "x").operation == .check)
        #expect(call.goesOn(answer(1, 95), whereDenied: false))
        #expect(call.laidOut(keyPrefix: "x").operation == .usage)
        #expect(call.goesOn(answer(101), whereDenied: false))
        #expect(call.laidOut(keyPrefix: "x").operation == .refund)
        #expect(!call.goesOn(answer(99), whereDenied: false))
        let outcome = call.outcome(answer(99))
        #expect(outcome.verdict == .allowed && outcome.standings.map(\.remaining) == [9, 1, 1])
        // What was reported had not fitted, when it was charged.
        #expect(outcome.standings.map(\.isOver) == [false, true, false])
    }

    @Test("gives back what the limit counts and no more, is OK, and tells what is left after it")
    func givesBack() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let shadow = ConfiguredLimit("shadow", 10, isShadow: true)
        let quota = ConfiguredLimit("quota", 10, isQuotaMode: true)
        for limit in [tenant, shadow, quota] {
            _ = try await service.requests([request(descriptor(), hits: 9)], matching: [limit.match])
            for (hits, left) in [(3, 4), (1, 5), (50, 10), (50, 10)] {
                let outcome = try await service.requests([request(refund(hits))], matching: [limit.match])[0]
                #expect(outcome.verdict == .allowed && outcome.source == .redis)
                #expect(outcome.standings.map(\.remaining) == [left] && !outcome.standings[0].isOver)
                #expect((outcome.standings[0].resetAfterMilliseconds == nil) == (left == 10))
            }
        }
        try await service.reportMetrics()
        let counted = service.metrics.counted
        let name = CheckMetrics.Name.descriptors
        #expect(counted["\(name){domain=edge,path=tenant,result=refund}"] == 4)
        // It is no decision: those are what charged before.
        #expect(counted["\(CheckMetrics.Name.checks){decision=allowed,source=redis}"] == 3)
        await service.service.stop()
    }

    @Test("lets exactly as many more pass as it gave back, by whichever daemon, and nothing where the limit has none")
    func exact() async throws {
        let redis = try RedisServer()
        let services = [try await service(redis), try await service(redis)]
        let limit = ConfiguredLimit("tenant", 100)
        var admitted = 0
        for round in 0..<4 {
            for service in services {
                let asked = Array(repeating: request(descriptor()), count: 70)
                admitted += try await service.requests(asked, matching: [limit.match]).count(where: \.isAllowed)
            }
            #expect(admitted == 100 + 30 * round)
            let refunds = (0..<15).map { _ in request(refund(), hits: 2) }
            _ = try await services[round % 2].requests(refunds, matching: [limit.match])
        }
        let before = try redis.calls(of: "evalsha")
        let free = ConfiguredLimit("free", nil)
        let nothing = try await services[0].requests([request(refund(3), refund(3))], matching: [free.match, .none])[0]
        #expect(nothing.verdict == .allowed && nothing.source == .off)
        #expect(try redis.calls(of: "evalsha") == before)
        for service in services { await service.service.stop() }
    }

    @Test("is done beside a question once that has passed, and not where that is denied")
    func besideQuestions() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        _ = try await service.requests([request(descriptor(hits: 40))], matching: [global.match])
        let both = [tenant.match, global.match]
        let passed = try await service.requests([request(descriptor(), refund(15), hits: 10)], matching: both)[0]
        #expect(passed.isAllowed && passed.standings.map(\.remaining) == [0, 75])
        let denied = try await service.requests([request(descriptor(), refund(15))], matching: both)[0]
        #expect(!denied.isAllowed && denied.standings.map(\.remaining) == [0, 75])
        #expect(denied.standings.map(\.isOver) == [true, false])
        let report = try await service.requests(
            [request(descriptor(hits: 4), refund(29))], matching: [global.match, global.match])[0]
        #expect(report.isAllowed && report.standings.map(\.remaining) == [100, 100])
        await service.service.stop()
    }

    @Test("ends what is remembered of denials at once, in all windows of the request that was denied")
    func denialMemory() async throws {
        let redis = try RedisServer()
        let service = try await service(redis, denyCacheMilliseconds: 60_000)
        let asked = request(descriptor(), descriptor())
        let both = [tenant.match, global.match]
        func source() async throws -> DecisionSource {
            try await service.requests([asked], matching: both)[0].source
        }
        _ = try await service.requests([request(descriptor(hits: 10))], matching: [tenant.match])
        let denied = try await service.requests([asked], matching: both)[0]
        #expect(!denied.isAllowed)
        #expect(try await source() == .memory)
        // Of the other one: it is asked for again, and is still denied.
        _ = try await service.requests([request(refund(1))], matching: [global.match])
        #expect(try await source() == .redis)
        #expect(try await source() == .memory)
        // In one turn: the denial was sent before the refund, and its answer comes before that of the refund.
        let turn = try await service.requests(
            [request(descriptor(), hits: 2), request(refund(2)), request(descriptor(), hits: 2)],
            matching: [tenant.match])
        #expect(turn.map(\.isAllowed) == [false, true, true])
        let next = try await service.requests([request(refund(5))], matching: [tenant.match])[0]
        #expect(next.standings[0].remaining == 5)
        let passes = try await service.requests([asked], matching: both)[0]
        #expect(passes.isAllowed && passes.source == .redis)
        await service.service.stop()
    }

    @Test("is known to all event loops before it is answered")
    func times() throws {
        let times = RefundTimes()
        let window = ConfiguredLimit("one", 1)
        let (one, other) = (try #require(window.key), try #require(tenant.key))
        let now = NIODeadline.now()
        func isQuiet(_ key: DescriptorKey, since instant: NIODeadline) -> Bool {
            times.isQuiet(CollectionOfOne(key), since: instant)
        }
        #expect(isQuiet(one, since: now))
        times.note(one, at: now)
        times.note(one, at: now - .seconds(1))
        #expect(!isQuiet(one, since: now) && isQuiet(one, since: now + .nanoseconds(1)))
        #expect(
            one.hashValue & (RefundTimes.places - 1) == other.hashValue & (RefundTimes.places - 1)
                || isQuiet(other, since: now))
        // What was sent at that instant may have been decided before.
        var denials = DescriptorDenials()
        var planner = DescriptorPlanner()
        let call = planner.plan(request(descriptor()), [window.match])
        let state = LimitState(used: 1, resetAfterMilliseconds: 50_000, isDenied: true)
        let answer = CallAnswer(
            verdict: .denied(term: 0, retryAfterMilliseconds: 50_000), states: [state], leastWaitMilliseconds: 50_000)
        func isRemembered(sentAt: NIODeadline, receivedAt: NIODeadline? = nil) -> Bool {
            denials.remember(call, answer, sentAt: sentAt, receivedAt: receivedAt ?? now, cacheMilliseconds: 10_000)
            return denials.denial(of: call, after: times, at: now) != nil
        }
        #expect(!isRemembered(sentAt: now) && !isRemembered(sentAt: now - .milliseconds(1)))
        // The memory knows it to the microsecond.
        #expect(isRemembered(sentAt: now + .microseconds(2), receivedAt: now + .microseconds(3)))
    }

    @Test(
        "is done once where the connection is lost before its answer has come, and ends what is remembered all the same"
    )
    func lostAnswer() async throws {
        let redis = try RedisServer()
        let proxy = try FaultProxy(to: redis)
        let service = try await ServiceUnderTest(
            redis, CheckPolicy(limit: Self.off, denyCacheMilliseconds: 60_000), through: proxy.socketPath)
        func ask(_ descriptor: Descriptor) async throws -> Outcome {
            try await service.requests([request(descriptor)], matching: [tenant.match])[0]
        }
        _ = try await ask(descriptor(hits: 10))
        #expect(try await !ask(descriptor()).isAllowed)
        #expect(try await ask(descriptor()).source == .memory)
        proxy.set(.cutReplies)
        let lost = try await ask(refund(3))
        #expect(lost.verdict == .allowed && lost.degradedReason != nil)
        proxy.set(.none)
        var left: Int?
        let isBack = try await service.eventually {
            left = try await ask(descriptor(hits: 0)).standings[0].remaining
            return left != nil
        }
        #expect(isBack && left == 3)
        #expect(try await ask(descriptor()).isAllowed)
        await service.service.stop()
    }

    @Test("is OK where Redis is away, and gives back to the window of this process in failure mode local")
    func withoutRedis() async throws {
        for (mode, source) in [
            (FailureMode.open, DecisionSource.failureMode), (.closed, .failureMode), (.local, .local),
        ] {
            let redis = try RedisServer()
            let service = try await service(redis, failureMode: mode)
            redis.end()
            func ask(_ descriptor: Descriptor, hits: Int = 1) async throws -> Outcome {
                try await service.requests([request(descriptor, hits: hits)], matching: [tenant.match])[0]
            }
            // The first may be told of the connection that is lost.
            _ = try await ask(refund(1))
            let refunded = try await ask(refund(1))
            #expect(refunded.verdict == .allowed && refunded.source == source && refunded.degradedReason != nil)
            #expect(refunded.standings.map(\.remaining) == [nil])
            if mode == .local {
                #expect(try await ask(descriptor(), hits: 10).isAllowed)
                #expect(try await ask(descriptor()).isAllowed == false)
                _ = try await ask(refund(3))
                #expect(try await ask(descriptor(), hits: 4).isAllowed == false)
                #expect(try await ask(descriptor(), hits: 3).isAllowed)
                _ = try await ask(refund(500))
                #expect(try await ask(descriptor(), hits: 10).isAllowed)
            }
            await service.service.stop()
        }
    }
}
