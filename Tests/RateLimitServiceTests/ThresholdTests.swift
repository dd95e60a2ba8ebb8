import NIOCore
import RateLimitCore
import Synchronization
import TestSupport
import Testing

@testable import RateLimitService

@Suite("The thresholds of a limit")
struct ThresholdTests {
    private let user = SubjectID(high: 1, low: 1)

    private func limit(
        _ name: String = "own", quota: Int? = 100, unit: LimitUnit = .tokens(.total), mode: LimitMode = .enforce,
        softQuota: Int? = nil, warnAt: [Int] = [], scope: LimitScope = .user, window: LimitWindow? = nil
    ) throws -> LimitDefinition {
        LimitDefinition(
            name: try #require(LimitName(name)), scope: scope, unit: unit, quota: quota,
            window: unit == .concurrency ? nil : window ?? .sliding(milliseconds: 3_600_000), mode: mode,
            softQuota: softQuota, warnAtPerMille: warnAt)
    }

    private func limits(_ definitions: LimitDefinition...) throws -> LimitsInForce {
        LimitsInForce(rules: QuotaRules(limits: try LimitSet(definitions), policy: .min))
    }

    private func thresholds(_ limit: LimitDefinition, under quota: Int?) -> [String] {
        TermThreshold.all(of: limit, under: quota).map { "\($0.threshold) \($0.amount)" }
    }

    @Test("are its shares and the whole of the quota in force, rounded up, and the soft quota between them")
    func amounts() throws {
        let warned = try limit(warnAt: [800, 500])
        #expect(
            thresholds(warned, under: 101) == [
                "share(perMille: 500) 51", "share(perMille: 800) 81", "share(perMille: 1000) 101",
            ])
        #expect(thresholds(warned, under: 1).map { $0.suffix(2) } == [" 1", " 1", " 1"])
        let two = try limit(softQuota: 80, warnAt: [500, 800, 1000])
        #expect(
            thresholds(two, under: 100) == [
                "share(perMille: 500) 50", "share(perMille: 800) 80", "softQuota 80", "share(perMille: 1000) 100",
            ])
        // A budget moves the shares, and the soft quota stays the file's.
        #expect(thresholds(two, under: 40).last == "softQuota 80")
        #expect(thresholds(two, under: nil) == ["softQuota 80"])
        #expect(thresholds(two, under: 0) == ["softQuota 80"])
        #expect(thresholds(try limit(mode: .soft), under: 100) == ["share(perMille: 1000) 100"])
        #expect(
            thresholds(warned, under: LimitDefinition.quotas.upperBound).last == "share(perMille: 1000) 1000000000000")
    }

    @Test("are none of a limit that says no share and is not soft, and none of what only leases hold")
    func none() throws {
        #expect(thresholds(try limit(), under: 100).isEmpty)
        #expect(thresholds(try limit(unit: .concurrency, warnAt: [500]), under: 100).isEmpty)
    }

    @Test("go to Redis with what charges, and with nothing else")
    func plans() throws {
        let limits = try limits(limit(warnAt: [500]))
        func thresholds(_ operation: CallRequest.Operation) throws -> [Int] {
            let request = CallRequest(user: user, operation: operation, tokens: TokenUsage(input: 1)).underItsLease()
            let call = try planned(request, under: limits)
            // Laid out by its plan, and with keys of its own, it is the same.
            let (plan, amounts) = try #require(call.call).planned()
            #expect(amounts.count <= 1)
            #expect(plan.argument.count == call.plan.decision?.argument.count, "\(operation)")
            return call.call?.subjects[0].terms.first?.thresholds ?? []
        }
        #expect(try thresholds(.check) == [50, 100])
        #expect(try thresholds(.usage(id: [1])) == [50, 100])
        #expect(try thresholds(.look) == [])
        #expect(try thresholds(.reserve(milliseconds: 1_000)) == [])
        let lease = try #require(
            planned(CallRequest(user: user, operation: .reserve(milliseconds: 1_000)), under: limits).lease)
        #expect(try thresholds(.settle(lease)) == [50, 100])
    }

    /// What four services are told of, each on an event loop of its own.
    private final class Told: Sendable {
        private let crossings = Mutex<[ThresholdCrossing]>([])

        func listen(to service: ServiceUnderTest) async throws {
            try await service.eventLoop.submit { [self] in
                service.service.engine(on: service.eventLoop).whenCrossed = { crossing in
                    self.crossings.withLock { $0.append(crossing) }
                }
            }.get()
        }

        var all: [ThresholdCrossing] { crossings.withLock { $0 } }

        /// How often each was told.
        var counts: [String: Int] {
            all.reduce(into: [:]) { $0["\($1.limit) \($1.amount)", default: 0] += 1 }
        }
    }

    @Test("are each told once, however many calls of one subject cross them at once through four daemons")
    func once() async throws {
        let redis = try RedisServer()
        let limits = try limits(
            limit("hour", quota: 1_000, softQuota: 900, warnAt: [250, 500, 501]),
            limit("day", quota: 2_000, warnAt: [1, 5, 500], window: .calendar(.day, .utc)),
            limit("soft", quota: 100, mode: .soft, scope: .global))
        let policy = CheckPolicy(limit: Limit(name: "requests", quota: 0, windowMilliseconds: 60_000), limits: limits)
        let told = Told()
        var services: [ServiceUnderTest] = []
        for _ in 0..<4 { services.append(try await ServiceUnderTest(redis, policy)) }
        for service in services { try await told.listen(to: service) }
        let usage = CallRequest(user: user, operation: .usage(id: []), tokens: TokenUsage(input: 3))
        // Both windows go on from 0 to 1,536; a day that ends in between begins anew.
        func day() throws -> Int? {
            try redis.connect().command("TIME").elements[0].text.flatMap { Int($0) }.map { $0 / 86_400 }
        }
        let first = try day()
        for _ in 0..<8 {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for service in services {
                    group.addTask { _ = try await service.calls(Array(repeating: usage, count: 16)) }
                }
                try await group.waitForAll()
            }
        }
        // Each is told behind its answer: what asks now is behind all of them.
        for service in services { _ = try await service.calls([CallRequest(user: user, operation: .look)]) }
        let isSameDay = try day() == first
        let expected = [
            "hour 250", "hour 500", "hour 501", "hour 900", "hour 1000", "soft 100", "day 2", "day 10", "day 1000",
        ]
        #expect(Set(told.counts.keys) == Set(expected) || !isSameDay)
        for (name, count) in told.counts where isSameDay || !name.hasPrefix("day") { #expect(count == 1, "\(name)") }
        for crossing in told.all {
            #expect(crossing.used >= crossing.amount && crossing.used - crossing.amount < 3)
            #expect(crossing.owner == (crossing.limit.text == "soft" ? .global : .user(user)))
            #expect((crossing.period == nil) == (crossing.limit.text != "day"))
            let seconds = crossing.unixMilliseconds / 1000
            if let period = crossing.period { #expect(period.start <= seconds && seconds < period.nextStart) }
        }
        for service in services { await service.service.stop() }
        redis.end()
    }

    @Test("are not told of what leases hold, of a denial and of what was done before; and are again after a reset")
    func notTold() async throws {
        let redis = try RedisServer()
        let policy = CheckPolicy(
            limit: Limit(name: "requests", quota: 0, windowMilliseconds: 60_000),
            limits: try limits(limit(quota: 100, warnAt: [500])))
        let service = try await ServiceUnderTest(redis, policy)
        let told = Told()
        try await told.listen(to: service)
        // It is told behind the answer.
        func call(_ operation: CallRequest.Operation, _ tokens: Int) async throws -> Outcome {
            try await service.calls([CallRequest(user: user, operation: operation, tokens: TokenUsage(input: tokens))])[
                0]
        }
        let reserved = try await call(.reserve(milliseconds: 60_000), 90)
        let lease = try #require(reserved.details?.lease)
        #expect(try await !call(.check, 20).isAllowed)
        #expect(told.all.isEmpty)
        _ = try await call(.settle(lease), 60)
        #expect(try await service.eventually { told.counts == ["own 50": 1] })
        _ = try await call(.settle(lease), 60)
        _ = try await call(.usage(id: [1]), 45)
        _ = try await call(.usage(id: [1]), 45)
        #expect(try await service.eventually { told.counts == ["own 50": 1, "own 100": 1] })
        #expect(told.all.map(\.used) == [60, 105])
        // What begins anew tells anew.
        try await service.reset(user)
        _ = try await call(.check, 50)
        #expect(try await service.eventually { told.counts == ["own 50": 2, "own 100": 1] })
        await service.service.stop()
        redis.end()
    }
}
