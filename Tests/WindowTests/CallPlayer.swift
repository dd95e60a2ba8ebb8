import RateLimitCore
import TestSupport

@testable import RateLimitService

/// Plays a history of calls against the script and the model, and holds every answer against it.
struct CallPlayer {
    private let calls: DecidedCalls
    private let shape: CallShape
    private var model: DecideModel
    private var clock: Int
    private var step = 0
    /// The last decision, where that was a denial that a wait helps.
    private var denied: (step: CallStep, wait: Int)?
    /// Calls that are to be decided at once, with what the model says of them.
    private var pending: [(step: CallStep, call: DecisionCall, expected: DecideModel.Outcome, after: DecideModel)] = []

    init(_ calls: DecidedCalls, _ shape: CallShape) {
        self.calls = calls
        self.shape = shape
        model = DecideModel(
            shape.limits, rememberMilliseconds: shape.rememberMilliseconds, expires: shape.expires,
            values: shape.values.map { ModelValues(subject: $0.subject, most: $0.most) })
        clock = shape.start
    }

    mutating func play(_ history: [CallStep]) throws {
        for (index, next) in history.enumerated() {
            switch next {
            case .say(let value):
                model.say(value)
                denied = nil
                step = index
                continue
            case .check, .look, .reserve, .renew, .settle, .release, .usage, .refund, .reset, .resetAll:
                step = index
                try decide(next)
                continue
            case .setQuota, .setWindow, .advance, .stepBack, .waitAsTold: try flush()
            }
            step = index
            switch next {
            case .advance(let microseconds): clock += microseconds
            case .stepBack(let microseconds):
                clock -= microseconds
                // The wait was told by the clock as it was.
                denied = nil
            case .setQuota(let limit, let quota):
                model.limits[limit].quota = quota
                denied = nil
            case .setWindow(let limit, let window): try change(limit, to: window)
            case .waitAsTold: try waitAsTold()
            default: break
            }
        }
        try flush()
    }

    private mutating func waitAsTold() throws {
        guard let denied else { return }
        clock += denied.wait * 1000
        try decide(denied.step)
        try flush()
        guard self.denied == nil else {
            throw Violation(step: step, what: "denied after waiting \(denied.wait) ms as told")
        }
    }

    /// Gives a limit another window. Where keys expire, what has left the old window must leave before, and the key must
    /// learn of the new one: both comes with a charge.
    private mutating func change(_ limit: Int, to window: ModelWindow) throws {
        let charge = CallStep.usage(id: nil, costs: model.limits.indices.map { $0 == limit ? 1 : 0 })
        if shape.expires { try decide(charge) }
        try flush()
        model.limits[limit].window = window
        denied = nil
        if shape.expires { try decide(charge) }
    }

    private mutating func decide(_ next: CallStep) throws {
        let (call, expected) = (call(for: next), model.decide(next, clock: clock))
        pending.append((next, call, expected, model))
        if pending.count == shape.batch { try flush() }
    }

    private mutating func flush() throws {
        guard !pending.isEmpty else { return }
        if shape.expires { try calls.expire(clockMicroseconds: clock) }
        let answers = try calls.decide(pending.map(\.call), clockMicroseconds: clock)
        for (answer, entry) in zip(answers, pending) {
            guard case .decided(let answer) = answer else {
                throw Violation(step: step, what: "\(entry.step): \(answer)")
            }
            try hold(answer, entry.step, entry.expected)
            try holdLeast(answer, entry.step, entry.after)
        }
        // A denial of another value's is not waited for.
        if pending.last?.after.values?.current != model.values?.current { denied = nil }
        pending = []
        try holdValues()
    }

    /// What Redis keeps of the values is what the model does: no more of them than there may be, each in its set.
    private func holdValues() throws {
        guard let values = model.values else { return }
        func members(_ all: [Int: Int]) -> [String: Int] {
            Dictionary(uniqueKeysWithValues: all.map { ("\(Self.nameOfValues)=\($0.key)", $0.value) })
        }
        var expected = ValuesInRedis(
            bundles: members(model.keptValues.mapValues(\.memory.standsUntil)), known: members(values.known))
        var found = try ValuesInRedis(calls.redis, base: Self.user, names: Self.nameOfValues)
        // What has gone is found out when there is no room.
        if shape.expires {
            found.known = found.known.filter { found.bundles[$0.key] != nil }
            expected.known = expected.known.filter { expected.bundles[$0.key] != nil }
        }
        guard found == expected, expected.bundles.count <= values.most else {
            throw Violation(step: step, what: "Redis keeps \(found), the model \(expected)")
        }
    }

    private mutating func hold(_ answer: CallAnswer, _ next: CallStep, _ expected: DecideModel.Outcome) throws {
        denied = nil
        var outcome = expected
        var decider: Int?
        switch answer.verdict {
        case .done: outcome.kind = .done
        case .denied(let term, let wait), .atCapacity(let term, let wait):
            if case .atCapacity = answer.verdict { outcome.kind = .atCapacity } else { outcome.kind = .denied }
            decider = term
            // Where another limit denies for good, no wait helps.
            if !answer.states.contains(where: { $0.isForGood && $0.isDenied }) { denied = (next, wait) }
        case .deniedForGood(let term):
            outcome.kind = .deniedForGood
            decider = term
        case .unknownLease: outcome.kind = .unknownLease
        case .repeated: outcome.kind = .repeated
        case .tooLate: outcome.kind = .tooLate
        }
        outcome.instants = answer.leaseInstants
        outcome.crossings = answer.crossings
        if !answer.states.isEmpty { outcome.states = answer.states }
        guard outcome == expected else {
            throw Violation(step: step, what: "\(next): the script says \(outcome), the model \(expected)")
        }
        guard let decider else { return }
        let isOfItsKind =
            answer.states[decider].isDenied
            && (outcome.kind != .deniedForGood || answer.states[decider].isForGood)
            && (outcome.kind != .atCapacity || model.limits[decider].isConcurrency)
        if !isOfItsKind { throw Violation(step: step, what: "\(next): limit \(decider) decides \(answer)") }
    }

    /// What a denial needs however early leases end: at that instant it passes without them, and a moment before not.
    private func holdLeast(_ answer: CallAnswer, _ next: CallStep, _ model: DecideModel) throws {
        let least = answer.leastWaitMilliseconds
        switch answer.verdict {
        case .denied, .atCapacity: break
        case .done, .deniedForGood, .unknownLease, .repeated, .tooLate:
            if least != 0 { throw Violation(step: step, what: "\(next): waits \(least) ms for nothing") }
            return
        }
        guard !answer.states.contains(where: { $0.isForGood && $0.isDenied }) else { return }
        func passes(after milliseconds: Int) -> Bool {
            model.isDoneWithoutLeases(next, clock: clock + milliseconds * 1000)
        }
        guard passes(after: least), least == 0 || !passes(after: least - 1) else {
            throw Violation(step: step, what: "\(next): without leases it does not pass after just \(least) ms")
        }
    }

    private func call(for next: CallStep) -> DecisionCall {
        let none = model.limits.map { _ in 0 }
        switch next {
        case .check(let id, let costs): return call(.check, costs, check: id)
        case .reserve(let id, let costs, let ttl): return call(.reserve, costs, lease: id, ttl: ttl)
        case .renew(let id, let ttl): return call(.renew, none, lease: id, ttl: ttl)
        case .settle(let id, let costs): return call(.settle, costs, lease: id)
        case .release(let id): return call(.release, none, lease: id)
        case .usage(let id, let costs): return call(.usage, costs, usage: id)
        case .refund(let id, let costs): return call(.refund, costs, refund: id)
        case .reset(let limit): return call(.reset, none, only: limit)
        case .resetAll(let subject):
            // The user's own key is that of all values as well.
            let key = subject == 0 ? Array(Self.user.utf8) : keys[subject]
            return DecisionCall(.reset, subjects: [SubjectTerms(key: key, terms: [])])
        case .look, .say, .setQuota, .setWindow, .advance, .stepBack, .waitAsTold:
            return call(.check, none, looks: true)
        }
    }

    private static let user = "llm-rate:user"
    private static let nameOfValues = "label:s"

    /// By subject, with the current value.
    private var keys: [[UInt8]] {
        var keys = [Array(Self.user.utf8), Array("llm-rate:group:team".utf8)]
        if let values = model.values {
            keys[values.subject] = Array("{\(Self.user)}:by:\(Self.nameOfValues)=\(values.current)".utf8)
        }
        return keys
    }

    private func call(
        _ operation: DecisionOperation, _ costs: [Int], lease: UInt8? = nil, usage: UInt8? = nil, check: UInt8? = nil,
        refund: UInt8? = nil, ttl: Int = 60_000, only: Int? = nil, looks: Bool = false
    ) -> DecisionCall {
        let subjects = keys.enumerated().compactMap { subject, key in
            let terms = model.limits.indices.compactMap { index -> LimitTerm? in
                let limit = model.limits[index]
                guard limit.subject == subject, only == nil || only == index else { return nil }
                return LimitTerm(
                    id: limit.id, kind: limit.window.kind(clockMicroseconds: clock), isShadow: limit.isShadow,
                    quota: limit.quota, cost: costs[index],
                    needsRoom: limit.needsRoom && !looks, thresholds: limit.thresholds)
            }
            let most = model.values.flatMap { $0.subject == subject ? $0.most : nil } ?? 0
            return terms.isEmpty ? nil : SubjectTerms(key: key, terms: terms, mostValues: most)
        }
        let mark = lease.map { LeaseMark(id: UInt64($0), instants: model.instants[$0] ?? .unknown) }
        let id =
            mark.map { .lease($0) } ?? usage.map { .usage(UsageDigest(of: [$0])) }
            ?? refund.map { .refund(UsageDigest(ofRefund: [$0])) }
            ?? check.map { DecisionID.check(UsageDigest(ofCheck: [$0])) }
        return DecisionCall(
            operation, id: id, lifeMilliseconds: ttl,
            rememberMilliseconds: shape.rememberMilliseconds, subjects: subjects)
    }
}
