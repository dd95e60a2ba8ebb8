import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// What requests about descriptors do to their windows, as it is said of them, while nothing leaves a window.
private struct DescriptorModel {
    private(set) var used: [String: Int] = [:]

    /// One descriptor: the limit that it meets, and what it wants.
    struct Asked {
        var limit: ConfiguredLimit
        var use: DescriptorUse

        var window: String { limit.key?.text ?? "" }
        var quota: Int { limit.limit.definition.quota?.requestsPerUnit ?? 0 }
        var isRefund: Bool { if case .refund = use { true } else { false } }
        var isInQuotaMode: Bool { limit.limit.definition.isQuotaMode && !limit.limit.definition.isShadow && use.asks }

        var hits: Int {
            switch use {
            case .ask(let hits), .report(let hits), .refund(let hits): hits
            case .peek: 0
            }
        }
    }

    struct Told: Equatable {
        var isAllowed: Bool
        var isOver: [Bool]
        var remaining: [Int]
    }

    mutating func ask(_ all: [Asked]) -> Told {
        func sum(_ window: String, asked: Bool) -> Int {
            all.filter { $0.window == window && $0.use.asks == asked && !$0.isRefund }.reduce(0) { $0 + $1.hits }
        }
        // Whether what is asked of the descriptor's window does not fit.
        let lacks = all.map { one in
            one.use.asks && used[one.window, default: 0] + max(1, sum(one.window, asked: true)) > one.quota
        }
        let together = all.indices.filter { all[$0].isInQuotaMode }
        let windowsTogether = Set(together.map { all[$0].window })
        let isDenied = all.indices.contains { place in
            lacks[place] && !all[place].limit.limit.definition.isShadow
                && (!all[place].isInQuotaMode || windowsTogether.count == 1)
        }
        let isDeniedTogether = !isDenied && windowsTogether.count > 1 && together.allSatisfy { lacks[$0] }
        let before = used
        if !isDenied {
            for (place, one) in all.enumerated() where one.use.asks && !lacks[place] {
                used[one.window, default: 0] += one.hits
            }
        }
        if !isDenied, !isDeniedTogether {
            for one in all where !one.use.asks && !one.isRefund { used[one.window, default: 0] += one.hits }
        }
        let reported = used
        if !isDenied, !isDeniedTogether {
            // Once all is charged, and never below nothing.
            for one in all where one.isRefund {
                used[one.window] = max(0, used[one.window, default: 0] - one.hits)
            }
        }
        let isOver = all.indices.map { place in
            let one = all[place]
            switch one.use {
            case .ask: return lacks[place]
            // Beside one that asks for more than is left something may be left.
            case .peek: return lacks[place] && before[one.window, default: 0] >= one.quota
            case .report:
                let after = reported[one.window, default: 0]
                return (isDenied || isDeniedTogether ? after + sum(one.window, asked: false) : after) > one.quota
            case .refund: return false
            }
        }
        return Told(
            isAllowed: !isDenied && !isDeniedTogether, isOver: isOver,
            remaining: all.map { max(0, $0.quota - used[$0.window, default: 0]) })
    }
}

@Suite("Requests about descriptors, of any kind and number")
struct DescriptorModelTests {
    private static func limits(_ seed: UInt64, _ random: inout SeededGenerator) -> [ConfiguredLimit] {
        (0..<5).map { number in
            ConfiguredLimit(
                "l\(number)", Int.random(in: 0...12, using: &random), window: "run_\(seed):l\(number)",
                isShadow: number == 3, isQuotaMode: number > 3 || number == 2)
        }
    }

    private static func descriptor(hits: Int, _ random: inout SeededGenerator) -> Descriptor {
        let entries = [DescriptorEntry("key", "value")]
        switch Int.random(in: 0..<8, using: &random) {
        case 0: return Descriptor(entries, hits: 0)
        case 1: return Descriptor(entries, hits: Int.random(in: 1...5, using: &random))
        case 2:
            return Descriptor(entries, hits: [nil, 0, 1, 3, 9].randomElement(using: &random) ?? nil, isRefund: true)
        default: return Descriptor(entries)
        }
    }

    @Test("are decided, charged and told of as they are described, whatever they are together")
    func model() async throws {
        let redis = try RedisServer()
        let off = Limit(name: "requests", quota: 0, windowMilliseconds: 60_000)
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: off, denyCacheMilliseconds: 0))
        var denials = 0
        for seed in 0..<120 as Range<UInt64> {
            var random = SeededGenerator(seed: seed)
            let limits = Self.limits(seed, &random)
            var model = DescriptorModel()
            for step in 0..<12 {
                let hits = Int.random(in: 1...3, using: &random)
                let met = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                    limits.randomElement(using: &random) ?? limits[0]
                }
                let asked = DescriptorRequest(
                    domain: "edge", descriptors: met.map { _ in Self.descriptor(hits: hits, &random) }, hits: hits)
                let outcome = try await service.requests([asked], matching: met.map(\.match))[0]
                let told = model.ask(
                    zip(met, asked.descriptors).map { limit, descriptor in
                        DescriptorModel.Asked(limit: limit, use: DescriptorUse(descriptor, of: asked))
                    })
                let outcomeTold = DescriptorModel.Told(
                    isAllowed: outcome.isAllowed, isOver: outcome.standings.map(\.isOver),
                    remaining: outcome.standings.compactMap(\.remaining))
                try #require(outcomeTold == told, "seed \(seed), step \(step): \(asked)")
                // Whoever is over is told a wait, unless no wait helps; whoever has all free waits for nothing.
                for standing in outcome.standings where standing.isOver {
                    #expect(standing.resetAfterMilliseconds.map { 1...3_600_000 ~= $0 } ?? true)
                }
                denials += outcome.isAllowed ? 0 : 1
            }
        }
        #expect(200...1_200 ~= denials)
        await service.service.stop()
    }
}
