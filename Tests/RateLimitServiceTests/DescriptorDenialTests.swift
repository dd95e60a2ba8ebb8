import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("A denial of a descriptor")
struct DescriptorDenialTests {
    private let limit = ConfiguredLimit("tenant", 3)

    private func service(_ redis: RedisServer) async throws -> ServiceUnderTest {
        try await ServiceUnderTest(
            redis,
            CheckPolicy(
                limit: Limit(name: "requests", quota: 0, windowMilliseconds: 60_000), denyCacheMilliseconds: 60_000))
    }

    @Test("is repeated from memory, with the wait of then, and charges nothing however often")
    func repeated() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let asked = request(descriptor())
        let outcomes = try await service.requests(Array(repeating: asked, count: 4), matching: [limit.match])
        #expect(outcomes.map(\.isAllowed) == [true, true, true, false])
        let calls = try redis.calls(of: "evalsha")
        let again = try await service.requests(Array(repeating: asked, count: 1_000), matching: [limit.match])
        for outcome in again {
            guard case .denied(let wait) = outcome.verdict else { throw TestFailure("it was not denied") }
            #expect(outcome.source == .memory && outcome.standings[0].isOver && outcome.standings[0].remaining == 0)
            #expect(outcome.standings[0].resetAfterMilliseconds == wait && wait <= 3_600_000)
        }
        #expect(try redis.calls(of: "evalsha") == calls)
        // Other hits, another window and another use are other questions.
        #expect(
            try await service.requests([request(descriptor(), hits: 2)], matching: [limit.match])[0].source == .redis)
        #expect(try await service.requests([asked], matching: [ConfiguredLimit("other", 3).match])[0].isAllowed)
        #expect(try await service.requests([request(descriptor(hits: 1))], matching: [limit.match])[0].source == .redis)
        await service.service.stop()
    }

    @Test("is repeated of several windows as of one, up to a bound, with how each of them stood")
    func severalWindows() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        func ask(_ limits: [ConfiguredLimit]) async throws -> Outcome {
            let asked = DescriptorRequest(domain: "edge", descriptors: limits.map { _ in descriptor() })
            return try await service.requests([asked], matching: limits.map(\.match))[0]
        }
        let others = (0..<4).map { ConfiguredLimit("other\($0)", 100) }
        let shadow = ConfiguredLimit("shadow", 0, isShadow: true)
        for limits in [
            [others[0], limit, shadow], [limit] + others, [ConfiguredLimit("long", 3, window: longName), limit],
        ] {
            var outcomes: [Outcome] = []
            for _ in 0..<6 { outcomes.append(try await ask(limits)) }
            let denied = outcomes.filter { !$0.isAllowed }
            #expect(denied[0].source == .redis && denied.count > 1)
            #expect(denied[1].source == (limits.count == 3 ? .memory : .redis))
            #expect(denied[1].standings.map(\.isOver) == denied[0].standings.map(\.isOver))
            #expect(denied[1].standings.map(\.remaining) == denied[0].standings.map(\.remaining))
        }
        // The same windows in another order, and one of them alone, are other questions.
        #expect(try await ask([limit, others[0], shadow]).source == .redis)
        #expect(try await ask([limit]).source == .redis)
        await service.service.stop()
    }

    private var longName: String { String(repeating: "a", count: DescriptorDenials.mostKeyBytes) }

    @Test("is not remembered where no wait helps, of a shadow, and where something is reported besides")
    func notRemembered() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let shadow = ConfiguredLimit("shadow", 0, isShadow: true)
        _ = try await service.requests([request(descriptor(), hits: 3)], matching: [limit.match])
        for _ in 0..<3 {
            let never = try await service.requests([request(descriptor(), hits: 4)], matching: [limit.match])[0]
            #expect(never.verdict == .deniedForGood && never.source == .redis)
            #expect(try await service.requests([request(descriptor())], matching: [shadow.match])[0].source == .redis)
            let mixed = request(descriptor(), descriptor(hits: 1))
            let reporting = try await service.requests([mixed], matching: [limit.match, limit.match])[0]
            #expect(!reporting.isAllowed && reporting.source == .redis)
        }
        await service.service.stop()
    }

    @Test("is forgotten when an operator resets everybody's, and when somebody raises the quota")
    func forgotten() async throws {
        let redis = try RedisServer()
        let service = try await service(redis)
        let asked = request(descriptor())
        for _ in 0..<5 { _ = try await service.requests([asked], matching: [limit.match]) }
        #expect(try await service.requests([asked], matching: [limit.match])[0].source == .memory)
        // The same window under a higher quota is another question.
        let raised = ConfiguredLimit("tenant", 4)
        #expect(try await service.requests([asked], matching: [raised.match])[0].isAllowed)
        try await service.eventLoop.submit { [service = service.service, eventLoop = service.eventLoop] in
            service.engine(on: eventLoop).forgetDenials(of: nil)
        }.get()
        #expect(try await service.requests([asked], matching: [limit.match])[0].source == .redis)
        await service.service.stop()
    }
}
