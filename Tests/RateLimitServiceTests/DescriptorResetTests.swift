import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("A reset of a descriptor's window on a real Redis")
struct DescriptorResetTests {
    private let tenant = Descriptor([DescriptorEntry("tenant", "acme"), DescriptorEntry("path", "/v1")])
    private let other = Descriptor([DescriptorEntry("tenant", "acme"), DescriptorEntry("path", "/v2")])

    private func policy(failureMode: FailureMode = .open) throws -> CheckPolicy {
        let limit = DescriptorRule.Limit(quota: DescriptorQuota(2, per: .hour))
        let rules = [DescriptorRule("tenant", rules: [DescriptorRule("path", limit: limit)])]
        var policy = CheckPolicy(
            limit: Limit(name: "requests", quota: 0, windowMilliseconds: 60_000), failureMode: failureMode,
            denyCacheMilliseconds: 60_000)
        policy.descriptors = DescriptorRules([DescriptorDomain("edge", rules)])
        return policy
    }

    private func reset(
        _ service: ServiceUnderTest, _ descriptor: Descriptor, in domain: String = "edge"
    ) async throws -> Result<Void, DescriptorResetError> {
        try await service.eventLoop.flatSubmit { [eventLoop = service.eventLoop, service = service.service] in
            service.reset(DescriptorReset(descriptor.entries, in: domain), on: eventLoop)
        }.get()
    }

    private func ask(_ service: ServiceUnderTest, _ descriptor: Descriptor) async throws -> Outcome {
        try await service.requests([DescriptorRequest(domain: "edge", descriptors: [descriptor])])[0]
    }

    @Test("begins the one window anew, and every daemon forgets the denial that it remembers")
    func everyDaemon() async throws {
        let redis = try RedisServer()
        let services = [
            try await ServiceUnderTest(redis, try policy()), try await ServiceUnderTest(redis, try policy()),
        ]
        for descriptor in [tenant, other] {
            for service in services { #expect(try await ask(service, descriptor).isAllowed) }
            for service in services {
                #expect(try await !ask(service, descriptor).isAllowed)
                #expect(try await ask(service, descriptor).source == .memory)
            }
        }
        guard case .success = try await reset(services[0], tenant) else { throw TestFailure("it is not reset") }
        #expect(try redis.keys() == ["llm-rate:descriptor:edge:tenant=acme,path=/v2"])
        #expect(try await ask(services[0], tenant).isAllowed)
        // The other one hears of it by a message.
        #expect(try await services[1].eventually { try await ask(services[1], tenant).isAllowed })
        for service in services { #expect(try await !ask(service, other).isAllowed) }
        for service in services { await service.service.stop() }
    }

    @Test("is not done where the descriptor meets no limit that counts, and where Redis does not answer")
    func refused() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, try policy(failureMode: .local), deadlineMilliseconds: 100)
        #expect(try await ask(service, tenant).isAllowed)
        let shorter = Descriptor([DescriptorEntry("tenant", "acme")])
        for (descriptor, domain) in [(shorter, "edge"), (tenant, "elsewhere"), (Descriptor([]), "edge")] {
            guard case .failure(.noLimit) = try await reset(service, descriptor, in: domain) else {
                Issue.record("\(descriptor) was reset")
                continue
            }
        }
        #expect(try redis.keys() == ["llm-rate:descriptor:edge:tenant=acme,path=/v1"])
        redis.end()
        #expect(try await service.eventually { try await ask(service, tenant).source == .local })
        for isAdmitted in [true, false] { #expect(try await ask(service, tenant).isAllowed == isAdmitted) }
        guard case .failure(.redis) = try await reset(service, tenant) else { throw TestFailure("Redis is away") }
        // What this process counts by itself begins anew all the same.
        #expect(try await ask(service, tenant).isAllowed)
        await service.service.stop()
    }
}
