import TestSupport

/// One step of a generated history of calls under several limits; costs are by limit.
enum CallStep: Hashable, Sendable {
    case check(id: UInt8?, costs: [Int])
    case look
    case reserve(id: UInt8, costs: [Int], ttlMilliseconds: Int)
    case renew(id: UInt8, ttlMilliseconds: Int)
    case settle(id: UInt8, costs: [Int])
    case release(id: UInt8)
    case usage(id: UInt8?, costs: [Int])
    case refund(id: UInt8?, costs: [Int])
    case reset(limit: Int)
    /// Forgets everything of one subject.
    case resetAll(subject: Int)
    case setQuota(limit: Int, Int)
    /// Not of a concurrency limit.
    case setWindow(limit: Int, ModelWindow)
    /// From now on calls say this value.
    case say(value: Int)
    case advance(microseconds: Int)
    case stepBack(microseconds: Int)
    /// Waits as long as the last denial said, and asks again.
    case waitAsTold
}

/// What a history of calls is made of.
struct CallShape: Sendable {
    var limits: [ModelLimit]
    /// The clock at its beginning, in microseconds.
    var start = WindowPropertyTests.start
    var steps = 120
    var runs = 20
    /// The most calls that are decided at once.
    var batch = 1
    /// Out of a hundred steps that decide, those about a lease.
    var sharesOfLeases = 50
    /// The longest of the usual steps of the clock, and of the rare ones, in microseconds.
    var usualAdvance = 600_000
    var rareAdvance = 100_000_000_000
    /// What limits change to; the clock steps back by less than the calendars' periods.
    var windows: [ModelWindow] = []
    /// Whether costs are few and nothing is reset, so that hundreds of admissions come together in a window.
    var gathers = false
    /// For how long a lease that lapsed is remembered, and the id of a usage or check.
    var rememberMilliseconds = 3_600_000
    /// Whether keys expire as Redis lets them; where not, the clock steps back as well.
    var expires = false
    /// How many values calls say, at most ten, of which subject, and how many of them there may be.
    var values: (count: Int, subject: Int, most: Int)?

    func history(_ random: inout some RandomNumberGenerator) -> [CallStep] {
        var history: [CallStep] = []
        var leased: [UInt8] = []
        for _ in 0..<steps {
            if let values, Int.random(in: 0..<4, using: &random) == 0 {
                history.append(.say(value: Int.random(in: 0..<values.count, using: &random)))
            }
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<66: history.append(call(&random, &leased))
            case 66..<67 where !gathers: history.append(.reset(limit: Int.random(in: 0..<limits.count, using: &random)))
            case 67..<68: history.append(change(&random))
            case 68..<70:
                let limit = Int.random(in: 0..<limits.count, using: &random)
                history.append(.setQuota(limit: limit, Int.random(in: 0...limits[limit].quota * 2, using: &random)))
            case 70..<72 where !expires:
                history.append(.stepBack(microseconds: Int.random(in: 1...5_000_000, using: &random)))
            case 72..<82: history.append(.waitAsTold)
            case 82..<83: history.append(.advance(microseconds: Int.random(in: 1...rareAdvance, using: &random)))
            default: history.append(.advance(microseconds: Int.random(in: 1...usualAdvance, using: &random)))
            }
        }
        return history
    }

    private func call(_ random: inout some RandomNumberGenerator, _ leased: inout [UInt8]) -> CallStep {
        let ttl = Int.random(in: 1...4000, using: &random)
        // Mostly one of the last few that were reserved, of which some have lapsed or are settled.
        var id = UInt8.random(in: 1...250, using: &random)
        let recent = leased.suffix(8).randomElement(using: &random)
        guard Int.random(in: 0..<100, using: &random) < sharesOfLeases else {
            switch Int.random(in: 0..<22, using: &random) {
            case 0..<2: return .usage(id: Bool.random(using: &random) ? recent ?? id : nil, costs: costs(&random))
            case 2..<4: return .look
            // Few ids, so that they come again.
            case 4..<9: return .check(id: .random(in: 1...6, using: &random), costs: costs(&random))
            case 20..<22: return .refund(id: Bool.random(using: &random) ? recent ?? id : nil, costs: costs(&random))
            default: return .check(id: nil, costs: costs(&random))
            }
        }
        if let recent, Int.random(in: 0..<8, using: &random) > 0 { id = recent }
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<4: return .renew(id: id, ttlMilliseconds: ttl)
        case 4..<8: return .settle(id: id, costs: costs(&random))
        case 8..<10: return .release(id: id)
        default:
            if Int.random(in: 0..<8, using: &random) > 0 { id = UInt8.random(in: 1...250, using: &random) }
            leased.append(id)
            return .reserve(id: id, costs: costs(&random), ttlMilliseconds: ttl)
        }
    }

    private func change(_ random: inout some RandomNumberGenerator) -> CallStep {
        let counting = limits.indices.filter { !limits[$0].isConcurrency }
        guard let window = windows.randomElement(using: &random), let limit = counting.randomElement(using: &random)
        else { return .resetAll(subject: Int.random(in: 0...1, using: &random)) }
        return .setWindow(limit: limit, window)
    }

    private func costs(_ random: inout some RandomNumberGenerator) -> [Int] {
        limits.map { limit in
            if limit.isConcurrency { return Int.random(in: 0..<8, using: &random) > 0 ? 1 : 0 }
            if gathers { return Int.random(in: 0...3, using: &random) }
            switch Int.random(in: 0..<12, using: &random) {
            case 0: return 0
            case 1: return Int.random(in: 1...limit.quota + 1, using: &random)
            case 2..<5: return Int.random(in: 1...max(1, limit.quota / 4), using: &random)
            default: return 1
            }
        }
    }
}

extension CallStep: GeneratedStep {
    var simpler: [CallStep] {
        switch self {
        case .check(let id, let costs):
            (id == nil ? [] : [.check(id: nil, costs: costs)]) + Self.simpler(costs).map { .check(id: id, costs: $0) }
        case .reserve(let id, let costs, let ttl):
            Self.simpler(costs).map { .reserve(id: id, costs: $0, ttlMilliseconds: ttl) }
                + smaller(ttl, than: 1).map { .reserve(id: id, costs: costs, ttlMilliseconds: $0) }
        case .renew(let id, let ttl): smaller(ttl, than: 1).map { .renew(id: id, ttlMilliseconds: $0) }
        case .settle(let id, let costs): Self.simpler(costs).map { .settle(id: id, costs: $0) }
        case .usage(let id, let costs):
            (id == nil ? [] : [.usage(id: nil, costs: costs)]) + Self.simpler(costs).map { .usage(id: id, costs: $0) }
        case .refund(let id, let costs):
            (id == nil ? [] : [.refund(id: nil, costs: costs)]) + Self.simpler(costs).map { .refund(id: id, costs: $0) }
        case .setQuota(let limit, let quota): smaller(quota, than: 0).map { .setQuota(limit: limit, $0) }
        case .say(let value): smaller(value, than: 0).map { .say(value: $0) }
        case .advance(let microseconds): smaller(microseconds, than: 1).map { .advance(microseconds: $0) }
        case .stepBack(let microseconds): smaller(microseconds, than: 1).map { .stepBack(microseconds: $0) }
        case .look, .release, .reset, .resetAll, .setWindow, .waitAsTold: []
        }
    }

    func joined(to earlier: CallStep) -> CallStep? {
        guard case .advance(let first) = earlier, case .advance(let second) = self else { return nil }
        return .advance(microseconds: first + second)
    }

    /// The costs with one of them smaller.
    private static func simpler(_ costs: [Int]) -> [[Int]] {
        costs.indices.flatMap { index in
            smaller(costs[index], than: 0).map { cost in
                var simpler = costs
                simpler[index] = cost
                return simpler
            }
        }
    }
}
