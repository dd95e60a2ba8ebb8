import NIOCore
import RateLimitCore
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

/// A limit as the configuration has it.
func descriptorLimit(
    _ quota: DescriptorQuota?, name: String? = nil, isShadow: Bool = false, isQuotaMode: Bool = false
) -> DescriptorLimit {
    var definition = DescriptorLimit.Definition(domain: "d", path: "d.k", name: name, quota: quota)
    definition.isShadow = isShadow
    definition.isQuotaMode = isQuotaMode
    return DescriptorLimit(definition)
}

/// An outcome with these standings.
func outcome(
    _ verdict: Outcome.Verdict, _ standings: [DescriptorStanding], source: DecisionSource = .redis,
    degraded: FailureReason? = nil, isShadowDenied: Bool = false
) -> Outcome {
    var outcome = Outcome(verdict, source: source, degradedReason: degraded)
    outcome.isShadowDenied = isShadowDenied
    var details = OutcomeDetails()
    details.descriptors = standings
    outcome.details = details
    return outcome
}

@Suite("A RateLimitResponse")
struct RateLimitResponseTests {
    private func written(_ outcome: Outcome) -> [UInt8] {
        var message = ByteBuffer()
        RateLimitResponse.write(outcome, to: &message)
        return Array(message.readableBytesView)
    }

    private func text(_ outcome: Outcome) throws -> String {
        try #require(Protoc.decode([written(outcome)], as: "RateLimitResponse").first)
    }

    @Test("says of each descriptor in its order what is left of which limit, and until when")
    func statuses() throws {
        let quota = try #require(DescriptorQuota(20, per: .hour))
        let weeks = try #require(DescriptorQuota(4_294_967_295, per: .week, times: 2))
        let answer = outcome(
            .allowed,
            [
                DescriptorStanding(
                    descriptorLimit(quota, name: "api"), remaining: 19, resetAfterMilliseconds: 3_600_000),
                DescriptorStanding(nil), DescriptorStanding(descriptorLimit(nil)),
                DescriptorStanding(descriptorLimit(weeks), remaining: 5_000_000_000, resetAfterMilliseconds: 1_001),
                DescriptorStanding(descriptorLimit(quota), remaining: 0),
            ])
        #expect(
            try text(answer) == """
                overall_code: OK \
                statuses { code: OK current_limit { requests_per_unit: 20 unit: HOUR name: "api" } \
                limit_remaining: 19 duration_until_reset { seconds: 3600 } } \
                statuses { code: OK } \
                statuses { code: OK limit_remaining: 4294967295 } \
                statuses { code: OK current_limit { requests_per_unit: 4294967295 unit: WEEK unit_multiplier { value: 2 } } \
                limit_remaining: 4294967295 duration_until_reset { seconds: 1 nanos: 1000000 } } \
                statuses { code: OK current_limit { requests_per_unit: 20 unit: HOUR } }
                """)
    }

    @Test("of a denial says for how long the client is to wait, rounded up and at least a second")
    func denial() throws {
        let limit = descriptorLimit(DescriptorQuota(0, per: .second))
        for (wait, seconds) in [(1, 1), (1_000, 1), (1_001, 2), (3_600_000, 3_600)] {
            let standing = DescriptorStanding(limit, isOver: true, remaining: 0, resetAfterMilliseconds: wait)
            for verdict in [Outcome.Verdict.denied(retryAfterMilliseconds: wait), .allowed] {
                let text = try text(outcome(verdict, [standing]))
                #expect(
                    text.hasPrefix(
                        "overall_code: OVER_LIMIT statuses { code: OVER_LIMIT current_limit { unit: SECOND }"))
                let header = "response_headers_to_add { key: \"retry-after\" value: \"\(seconds)\" }"
                #expect(text.hasSuffix(header), "\(text)")
            }
        }
        let forGood = outcome(.deniedForGood, [DescriptorStanding(limit, isOver: true, remaining: 0)])
        #expect(
            try text(forGood) == """
                overall_code: OVER_LIMIT statuses { code: OVER_LIMIT current_limit { unit: SECOND } }
                """)
    }

    @Test("names the limits above their soft line in a header, and nothing where there is none")
    func soft() throws {
        func told(_ used: [Int]) throws -> String {
            let standings = try used.enumerated().map { index, used in
                let limit = LimitDefinition(
                    name: try #require(LimitName("l\(index)")), scope: .user, unit: .requests, quota: 10,
                    window: .sliding(milliseconds: 1_000), mode: .soft)
                return LimitStanding(
                    limit: limit, subject: .user, quota: Quota(amount: 10, rule: .default),
                    state: LimitState(used: used, resetAfterMilliseconds: 1), period: nil)
            }
            var outcome = Outcome(.allowed, source: .redis)
            outcome.details = OutcomeDetails(standings: standings)
            return try text(outcome)
        }
        #expect(try told([10, 10]) == "overall_code: OK")
        #expect(
            try told([11, 10, 12])
                == "overall_code: OK response_headers_to_add { key: \"x-rate-limit-over\" value: \"l0, l2\" }")
    }

    @Test("says where Redis did not decide, and then of no limit how it stands")
    func degraded() throws {
        let quota = DescriptorQuota(20, per: .hour)
        let standing = DescriptorStanding(descriptorLimit(quota))
        let open = outcome(.allowed, [standing], source: .failureMode, degraded: .redisUnreachable)
        let header = "response_headers_to_add { key: \"x-rate-limit-degraded\" value: \"redis_unreachable\" }"
        #expect(try text(open) == "overall_code: OK statuses { code: OK } \(header)")
        let closed = outcome(.refused, [standing], source: .failureMode, degraded: .redisUnreachable)
        #expect(
            try text(closed)
                == "overall_code: OVER_LIMIT statuses { code: OK } response_headers_to_add { key: \"retry-after\" value: \"1\" } \(header)"
        )
    }

    @Test("of a denial that this process decided by itself says the wait, and nothing of what is left in all")
    func local() throws {
        let limit = descriptorLimit(DescriptorQuota(20, per: .hour))
        let standing = DescriptorStanding(limit, isOver: true, resetAfterMilliseconds: 5_000)
        let denied = outcome(
            .denied(retryAfterMilliseconds: 5_000), [standing], source: .local, degraded: .redisTimeout)
        let text = try text(denied)
        #expect(
            text.hasPrefix(
                "overall_code: OVER_LIMIT statuses { code: OVER_LIMIT duration_until_reset { seconds: 5 } } response_headers"
            ),
            "\(text)")
    }

    @Test("is read by protoc as it was meant, whatever the limits and numbers are")
    func random() throws {
        var generator = SeededGenerator(seed: 4)
        let numbers = [0, 1, 127, 128, 16_383, 16_384, Int(UInt32.max)]
        var outcomes: [Outcome] = []
        var expected: [String] = []
        for _ in 0..<200 {
            var standings: [DescriptorStanding] = []
            var text = "overall_code: OK"
            for _ in 0..<Int.random(in: 0...6, using: &generator) {
                let unit = DescriptorUnit.allCases.randomElement(using: &generator) ?? .day
                let count = numbers.randomElement(using: &generator) ?? 0
                let remaining = numbers.randomElement(using: &generator) ?? 0
                let reset = (numbers.randomElement(using: &generator) ?? 0) * 1_000
                // Lengths of one, two and three bytes.
                let name = String(
                    repeating: "n", count: [0, 90, 127, 128, 16_384].randomElement(using: &generator) ?? 0)
                let limit = descriptorLimit(DescriptorQuota(count, per: unit), name: name)
                standings.append(
                    DescriptorStanding(limit, remaining: remaining, resetAfterMilliseconds: reset))
                text += " statuses { code: OK current_limit {"
                if count > 0 { text += " requests_per_unit: \(count)" }
                text += " unit: \("\(unit)".uppercased())"
                if !name.isEmpty { text += " name: \"\(name)\"" }
                text += " }"
                if remaining > 0 { text += " limit_remaining: \(remaining)" }
                if reset > 0 { text += " duration_until_reset { seconds: \(reset / 1_000) }" }
                text += " }"
            }
            outcomes.append(outcome(.allowed, standings))
            expected.append(text)
        }
        let texts = try Protoc.decode(outcomes.map(written), as: "RateLimitResponse")
        #expect(texts.count == expected.count)
        for (text, expected) in zip(texts, expected) { #expect(text == expected) }
    }

    @Test("has a message of each length with a length of as few bytes as it needs")
    func lengths() throws {
        for count in [0, 1, 126, 127, 128, 129, 16_382, 16_383, 16_384, 16_385, 2_097_152] {
            let content = [UInt8](repeating: 7, count: count)
            var message = ByteBuffer()
            message.writeInteger(UInt8(0xaa))
            _ = message.readInteger(as: UInt8.self)
            message.writeField(5) { $0.writeBytes(content) }
            message.writeField(6, number: -1)
            #expect(Array(message.readableBytesView) == Protoc.field(5, content) + Protoc.field(6, .max))
        }
    }
}

@Suite("The overall code of a request")
struct OverallCodeTests {
    private let plain = descriptorLimit(DescriptorQuota(5, per: .hour))
    private let shadow = descriptorLimit(DescriptorQuota(5, per: .hour), isShadow: true)
    private let quota = descriptorLimit(DescriptorQuota(5, per: .hour), isQuotaMode: true)
    private let shadowQuota = descriptorLimit(DescriptorQuota(5, per: .hour), isShadow: true, isQuotaMode: true)

    private func over(_ limit: DescriptorLimit?) -> DescriptorStanding { DescriptorStanding(limit, isOver: true) }

    private func within(_ limit: DescriptorLimit?) -> DescriptorStanding { DescriptorStanding(limit) }

    @Test("is over where the verdict denies, whatever else")
    func denied() {
        for verdict in [
            Outcome.Verdict.denied(retryAfterMilliseconds: 5), .deniedForGood, .refused, .unknownModel, .missingValue,
            .atCapacity(retryAfterMilliseconds: 5),
        ] {
            #expect(RateLimitResponse.code(of: Outcome(verdict, source: .redis)) == .overLimit)
            #expect(RateLimitResponse.code(of: outcome(verdict, [within(plain)])) == .overLimit)
        }
    }

    @Test("is OK where nothing is over, no limit applies, and where the daemon is a shadow")
    func ok() {
        #expect(RateLimitResponse.code(of: Outcome(.allowed, source: .off)) == .ok)
        #expect(RateLimitResponse.code(of: outcome(.allowed, [within(plain), within(nil), within(quota)])) == .ok)
        let denied = outcome(.denied(retryAfterMilliseconds: 5), [over(plain)], isShadowDenied: true)
        #expect(RateLimitResponse.code(of: denied) == .ok)
        #expect(RateLimitResponse.code(of: outcome(.allowed, [over(plain)]), isShadow: true) == .ok)
    }

    @Test("is over where a report passes its limit, though it was charged; a shadow says nothing")
    func reports() {
        #expect(RateLimitResponse.code(of: outcome(.allowed, [within(plain), over(plain)])) == .overLimit)
        #expect(RateLimitResponse.code(of: outcome(.allowed, [within(plain), over(shadow)])) == .ok)
    }

    @Test("is over where all limits in quota mode are, and not where one of them has something left")
    func quotaMode() {
        #expect(RateLimitResponse.code(of: outcome(.allowed, [over(quota), over(quota)])) == .overLimit)
        #expect(RateLimitResponse.code(of: outcome(.allowed, [over(quota), within(quota)])) == .ok)
        #expect(RateLimitResponse.code(of: outcome(.allowed, [over(quota), within(plain)])) == .overLimit)
        #expect(RateLimitResponse.code(of: outcome(.allowed, [over(quota), within(quota), over(plain)])) == .overLimit)
        // One that is a shadow besides does not count.
        #expect(RateLimitResponse.code(of: outcome(.allowed, [over(quota), within(shadowQuota)])) == .overLimit)
        #expect(RateLimitResponse.code(of: outcome(.allowed, [over(shadowQuota)])) == .ok)
    }
}
