import RateLimitCore
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

@Suite("is_negative_hits of Envoy's rate limit service, from message to message")
struct RefundTests {
    private static func rule(_ value: String, _ change: (inout DescriptorRule) -> Void = { _ in }) -> DescriptorRule {
        var rule = DescriptorRule("tenant", value, limit: .init(name: value, quota: DescriptorQuota(10, per: .hour)))
        change(&rule)
        return rule
    }

    private static let rules = DescriptorRules([
        DescriptorDomain(
            "edge",
            [
                rule("a"), rule("shadow") { $0.isShadow = true }, rule("quota") { $0.isQuotaMode = true },
                rule("free") { $0.limit = .init(name: "free", quota: nil) },
            ])
    ])

    private static func method(_ redis: RedisServer) async throws -> MethodUnderTest {
        try await MethodUnderTest(
            redis,
            CheckPolicy(
                limit: Limit(name: "requests", quota: 0, windowMilliseconds: 1_000), descriptors: rules,
                denyCacheMilliseconds: 10_000))
    }

    private func descriptor(_ tenant: String, hits: Int? = nil, isRefund: Bool = false, limit: Int? = nil) -> [UInt8] {
        var bytes = Protoc.field(1, Protoc.field(1, Array("tenant".utf8)) + Protoc.field(2, Array(tenant.utf8)))
        if let limit { bytes += Protoc.field(2, Protoc.field(1, UInt64(limit)) + Protoc.field(2, 3)) }
        if let hits { bytes += Protoc.field(3, Protoc.field(1, UInt64(hits))) }
        return Protoc.field(2, bytes + (isRefund ? Protoc.field(4, 1) : []))
    }

    private func request(_ descriptors: [UInt8]..., hits: Int? = nil) -> [UInt8] {
        Protoc.field(1, Array("edge".utf8)) + descriptors.flatMap { $0 }
            + (hits.map { Protoc.field(3, UInt64($0)) } ?? [])
    }

    private func text(_ method: MethodUnderTest, _ message: [UInt8]) async throws -> String {
        let answer = try await method.call(message)
        let message = try #require(answer.message, "\(answer)")
        return try #require(Protoc.decode([message], as: "RateLimitResponse").first)
    }

    @Test("gives the hits back, is OK and tells what remains, and what was over its limit passes at once")
    func givesBack() async throws {
        let redis = try RedisServer()
        let method = try await Self.method(redis)
        #expect(try await text(method, request(descriptor("a"), hits: 10)).hasPrefix("overall_code: OK"))
        for _ in 0..<2 {
            #expect(try await text(method, request(descriptor("a"))).hasPrefix("overall_code: OVER_LIMIT"))
        }
        let refunded = try await text(method, request(descriptor("a", hits: 4, isRefund: true)))
        #expect(
            refunded.hasPrefix(
                """
                overall_code: OK statuses { code: OK current_limit { requests_per_unit: 10 unit: HOUR name: "a" } \
                limit_remaining: 4 duration_until_reset {
                """), "\(refunded)")
        #expect(try await text(method, request(descriptor("a"))).contains("limit_remaining: 3"))
        // Without hits of its own it has the request's, and it never brings the count below nothing.
        let all = try await text(method, request(descriptor("a", isRefund: true), hits: 900))
        #expect(all.hasPrefix("overall_code: OK statuses { code: OK") && all.contains("limit_remaining: 10"))
        #expect(!all.contains("duration_until_reset"))
        #expect(try await text(method, request(descriptor("a"), hits: 10)).contains("code: OK"))
        await method.service.stop()
    }

    @Test("does so for shadow_mode, quota_mode and a limit that the proxy gives, and for what is unlimited nothing")
    func kinds() async throws {
        let redis = try RedisServer()
        let method = try await Self.method(redis)
        for (tenant, limit) in [("shadow", nil), ("quota", nil), ("a", 20), ("unknown", 20)] as [(String, Int?)] {
            let quota = limit ?? 10
            #expect(try await text(method, request(descriptor(tenant, hits: 9, limit: limit))).contains("code: OK"))
            let refunded = try await text(method, request(descriptor(tenant, hits: 7, isRefund: true, limit: limit)))
            #expect(refunded.hasPrefix("overall_code: OK statuses { code: OK"), "\(tenant): \(refunded)")
            #expect(refunded.contains("limit_remaining: \(quota - 2)"), "\(tenant): \(refunded)")
        }
        // That of the file has windows of its own.
        #expect(try await text(method, request(descriptor("a", hits: 0))).contains("limit_remaining: 10"))
        for tenant in ["free", "unknown"] {
            let refunded = try await text(method, request(descriptor(tenant, hits: 7, isRefund: true)))
            #expect(refunded.hasPrefix("overall_code: OK statuses { code: OK"))
        }
        await method.service.stop()
    }
}
