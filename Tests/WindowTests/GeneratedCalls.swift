import RateLimitCore
import TestSupport

@testable import RateLimitService

/// Calls drawn at random, as the tests of dry runs and of candidates ask about them: of two users and a team, under limits of
/// every kind, small enough that half of them are denied.
struct GeneratedCalls {
    static let start = 24_305 * 86_400_000_000 - 40_000_000

    private static let limits = [
        ModelLimit(id: 1, subject: 0, window: .sliding(milliseconds: 1000), quota: 3),
        ModelLimit(id: 2, subject: 0, window: .sliding(milliseconds: 20_000), quota: 90),
        ModelLimit(id: 3, subject: 0, window: .sliding(milliseconds: 3000), isShadow: true, quota: 4),
        ModelLimit(id: 4, subject: 0, window: .calendar(seconds: 20), quota: 12),
        ModelLimit(id: 5, subject: 0, window: .concurrency, quota: 2, needsRoom: true),
        ModelLimit(id: 6, subject: 1, window: .sliding(milliseconds: 5000), quota: 30),
        ModelLimit(id: 7, subject: 1, window: .concurrency, isShadow: true, quota: 2),
        ModelLimit(id: 8, subject: 1, window: .day, quota: 400, needsRoom: true),
    ]

    private(set) var random: SeededGenerator
    private(set) var clock = Self.start
    /// Leases that were given, with what their texts say.
    private var leases: [LeaseMark] = []

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    /// Lets some time pass, as a rule little.
    mutating func advance() {
        clock +=
            Int.random(in: 0..<8, using: &random) == 0
            ? Int.random(in: 0...30_000_000, using: &random) : Int.random(in: 0...300_000, using: &random)
    }

    /// A check or a reserve under some of the limits.
    mutating func asking(_ operation: DecisionOperation, id: DecisionID? = nil) -> DecisionCall {
        call(operation, id: operation == .reserve ? .lease(LeaseMark(id: random.next())) : id)
    }

    /// A usage, or the end of a lease where one was given.
    mutating func telling() -> DecisionCall {
        guard let place = leases.indices.randomElement(using: &random), Bool.random(using: &random) else {
            return call(.usage, id: nil)
        }
        let lease = leases.remove(at: place)
        return call(Bool.random(using: &random) ? .settle : .release, id: .lease(lease))
    }

    /// Takes note of the lease that a call was given.
    mutating func note(_ answer: CallAnswer, to call: DecisionCall) {
        guard call.operation == .reserve, case .lease(var mark)? = call.id, let instants = answer.leaseInstants
        else { return }
        mark.instants = instants
        leases.append(mark)
    }

    private mutating func call(_ operation: DecisionOperation, id: DecisionID?) -> DecisionCall {
        let keys = ["llm-rate:user\(Int.random(in: 0...1, using: &random))", "llm-rate:group:team"]
        let most = Int.random(in: 1...Self.limits.count, using: &random)
        let chosen = Set((0..<most).map { _ in Int.random(in: Self.limits.indices, using: &random) })
        let subjects = keys.indices.compactMap { subject -> SubjectTerms? in
            let terms = chosen.sorted().filter { Self.limits[$0].subject == subject }.map { term(Self.limits[$0]) }
            // The first carries what is known of an id.
            return terms.isEmpty && subject > 0 ? nil : SubjectTerms(key: Array(keys[subject].utf8), terms: terms)
        }
        return DecisionCall(
            operation, id: id, lifeMilliseconds: Int.random(in: 100...20_000, using: &random),
            rememberMilliseconds: 60_000, subjects: subjects)
    }

    private mutating func term(_ limit: ModelLimit) -> LimitTerm {
        var kind = limit.window.kind(clockMicroseconds: clock)
        // What a window counts may have to be kept for longer from then on.
        if limit.id == 2, Int.random(in: 0..<6, using: &random) == 0 { kind = .sliding(windowMilliseconds: 60_000) }
        let cost = limit.isConcurrency ? 1 : Int.random(in: 0..<4, using: &random) == 0 ? limit.quota / 3 : 1
        return LimitTerm(
            id: limit.id, kind: kind, isShadow: limit.isShadow,
            quota: limit.quota, cost: cost, needsRoom: limit.needsRoom)
    }
}

extension DecidedCalls {
    /// Every key with its bytes and its expiry.
    func content() throws -> [String: [String]] {
        var content: [String: [String]] = [:]
        for key in try keys() {
            content[key] = ["\(try redis.command("DUMP", key))", "\(try redis.command("PEXPIRETIME", key))"]
        }
        return content
    }
}
