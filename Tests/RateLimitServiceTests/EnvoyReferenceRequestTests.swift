import LimitsFile
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

@Suite("300 configurations of envoyproxy/ratelimit on a real Redis")
struct EnvoyReferenceRequestTests {
    private func request(
        _ asked: EnvoyReferenceCase.Request, in domain: String
    ) throws -> DescriptorRequest {
        let descriptors = try asked.descriptors.map { descriptor in
            let quota = try descriptor.ownQuota.map { own in
                try #require(
                    DescriptorQuota(
                        own.requestsPerUnit, per: DescriptorUnit(own.unit) ?? .second, times: own.multiplier))
            }
            return Descriptor(
                descriptor.entries.map { DescriptorEntry($0.key, $0.value) }, quota: quota, hits: descriptor.hits)
        }
        return DescriptorRequest(domain: domain, descriptors: descriptors, hits: asked.hits)
    }

    @Test(
        "are answered in order, with the codes and what is left that their documented rules give",
        arguments: [0, 10_000])
    func answers(denyCacheMilliseconds: Int) async throws {
        let redis = try RedisServer()
        let folder = try TemporaryFolder()
        let off = Limit(name: "requests", quota: 0, windowMilliseconds: 60_000)
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: off))
        var sources: [DecisionSource: Int] = [:]
        for one in EnvoyReferenceCase.all() {
            // Each is the next one's reload.
            let path = try folder.write(one.yaml, to: "\(one.number).yaml")
            let rules = try EnvoyConfiguration(readingAt: path).rules
            service.service.apply(
                CheckPolicy(limit: off, descriptors: rules, denyCacheMilliseconds: denyCacheMilliseconds))
            for (place, step) in one.steps.enumerated() {
                let asked = try request(step.request, in: one.domain)
                let outcome = try await service.requests([asked])[0]
                sources[outcome.source, default: 0] += 1
                try #require(outcome.isAllowed != step.isDenied, "step \(place): \(step.request)\n\(one.yaml)")
                // A denial that is remembered tells how the windows stood when Redis gave it.
                guard outcome.source != .memory else { continue }
                let told = outcome.standings.map { standing in
                    let left = standing.remaining.map { "\($0)" }
                    return "\(standing.limit?.definition.path ?? "-") \(standing.isOver) \(left ?? "-")"
                }
                let expected = step.statuses.map { status in
                    "\(status.met?.path ?? "-") \(status.isOver) \(status.remaining.map { "\($0)" } ?? "-")"
                }
                try #require(told == expected, "step \(place): \(step.request)\n\(one.yaml)")
            }
        }
        #expect(sources[.redis, default: 0] > 2_000)
        #expect((sources[.memory, default: 0] > 100) == (denyCacheMilliseconds > 0))
        await service.service.stop()
    }
}
