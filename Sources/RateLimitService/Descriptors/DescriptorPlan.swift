import RateLimitCore

/// What a descriptor wants of the limit that it meets.
enum DescriptorUse: Hashable {
    /// To be admitted with these hits, at least 1, and charged for them.
    case ask(Int)
    /// To know whether anything is left; nothing is charged.
    case peek
    /// To be charged for these hits, which have been used already: so it is never denied.
    case report(Int)
    /// To be given these hits back, which were charged before.
    case refund(Int)

    /// What a descriptor of a request wants.
    init(_ descriptor: Descriptor, of request: DescriptorRequest) {
        if descriptor.isRefund {
            self = .refund(min(descriptor.hits ?? max(1, request.hits), Descriptor.mostHits))
        } else if let hits = descriptor.hits {
            self = hits > 0 ? .report(min(hits, Descriptor.mostHits)) : .peek
        } else {
            self = .ask(min(max(1, request.hits), Descriptor.mostHits))
        }
    }

    /// Whether it asks to be admitted.
    var asks: Bool {
        switch self {
        case .ask, .peek: true
        case .report, .refund: false
        }
    }
}

/// What all descriptors of one request want of one window: no key stands twice in one request.
struct DescriptorTerm: Hashable {
    /// What is asked of the window before anything is charged.
    enum Question: Int, Hashable, Sendable {
        /// Only how it stands.
        case look
        /// Whether 1 is left.
        case room
        /// Whether ``DescriptorTerm/asked`` fits.
        case hits
    }

    /// What requests have in common that put the same to Redis, in whichever windows and with whatever hits.
    struct Kind: Hashable, Sendable {
        var quota: Int
        var windowMilliseconds: Int
        /// Whether it denies nobody.
        var isShadow: Bool
        var question: Question
        /// Whether something is charged that is not asked for.
        var reports: Bool
        /// Whether something is given back.
        var refunds: Bool
    }

    let key: DescriptorKey
    var kind: Kind
    /// The hits that are asked for together.
    var asked = 0
    /// The hits that are reported together.
    var reported = 0
    /// The hits that are given back together.
    var refunded = 0
    /// Whether it denies only a request that all such terms deny.
    private(set) var isInQuotaMode: Bool

    /// What a descriptor wants of the window that it met; nil where it met none.
    init?(_ use: DescriptorUse, of match: DescriptorMatch) {
        guard let key = match.key, let limit = match.limit?.definition, let quota = limit.quota else { return nil }
        self.key = key
        kind = Kind(
            quota: quota.requestsPerUnit, windowMilliseconds: quota.windowMilliseconds,
            isShadow: limit.isShadow || !use.asks, question: .look, reports: false, refunds: false)
        isInQuotaMode = limit.isQuotaMode && !limit.isShadow && use.asks
        switch use {
        case .ask(let hits): (kind.question, asked) = (.hits, hits)
        case .peek: kind.question = .room
        case .report(let hits): (kind.reports, reported) = (true, hits)
        case .refund(let hits): (kind.refunds, refunded) = (hits > 0, hits)
        }
    }

    /// Takes in what another descriptor wants of the same window: the sums of what each asks, reports and gives back,
    /// under the lower quota where a proxy gives the window two.
    mutating func add(_ other: DescriptorTerm) {
        kind.quota = min(kind.quota, other.kind.quota)
        kind.isShadow = kind.isShadow && other.kind.isShadow
        isInQuotaMode = isInQuotaMode || other.isInQuotaMode
        if other.kind.question.rawValue > kind.question.rawValue { kind.question = other.kind.question }
        kind.reports = kind.reports || other.kind.reports
        kind.refunds = kind.refunds || other.kind.refunds
        asked = min(asked + other.asked, Descriptor.mostHits)
        reported = min(reported + other.reported, Descriptor.mostHits)
        refunded = min(refunded + other.refunded, Descriptor.mostHits)
    }
}

/// What requests of one kind put to Redis: laid out once, and shared by all that differ in keys and hits alone.
final class DescriptorPlan: Sendable {
    /// The terms' kinds, in the order of the keys.
    let kinds: [DescriptorTerm.Kind]
    /// Admits what is asked, and charges it; nil where each window is only reported or given something back.
    let check: DecisionPlan?
    /// Charges what is reported; nil where nothing is.
    let report: DecisionPlan?
    /// Gives back what is to be given back; nil where nothing is.
    let refund: DecisionPlan?
    /// The places of the terms under ``report``, and of those under ``refund``.
    let reporting, refunding: [Int]

    /// Lays the kinds out, at least one.
    init(_ kinds: [DescriptorTerm.Kind]) {
        self.kinds = kinds
        reporting = kinds.indices.filter { kinds[$0].reports }
        refunding = kinds.indices.filter { kinds[$0].refunds }
        report = reporting.isEmpty ? nil : Self.laidOut(.usage, reporting.map { kinds[$0] }) { _ in .hits }
        refund = refunding.isEmpty ? nil : Self.laidOut(.refund, refunding.map { kinds[$0] }) { _ in .hits }
        let asksNothing = kinds.allSatisfy { ($0.reports || $0.refunds) && $0.question == .look }
        check = asksNothing ? nil : Self.laidOut(.check, kinds, \.question)
    }

    /// What Redis is asked in a step of a request; nil where there is no such step.
    func decision(_ step: DescriptorStep) -> DecisionPlan? {
        switch step {
        case .check: check
        case .report: report
        case .refund: refund
        }
    }

    /// The places of the terms that a step is about.
    func places(_ step: DescriptorStep) -> [Int] {
        switch step {
        case .check: Array(kinds.indices)
        case .report: reporting
        case .refund: refunding
        }
    }

    private static func laidOut(
        _ operation: DecisionOperation, _ kinds: [DescriptorTerm.Kind],
        _ question: (DescriptorTerm.Kind) -> DescriptorTerm.Question
    ) -> DecisionPlan {
        var amountCount = 0
        let subjects = kinds.map { kind in
            let cost: DecisionPlan.Term.Cost
            switch question(kind) {
            case .look: cost = .fixed(0)
            case .room: cost = .fixed(DecisionPlan.unknownCost)
            case .hits:
                cost = .amount(amountCount)
                amountCount += 1
            }
            // The window stands alone under its key, so its limit may be called as that of checks is.
            return [
                DecisionPlan.Term(
                    id: LimitDefinition.requestsID, kind: .sliding(windowMilliseconds: kind.windowMilliseconds),
                    isShadow: kind.isShadow, quota: kind.quota, cost: cost)
            ]
        }
        return DecisionPlan(operation, amountCount: amountCount, subjects: subjects)
    }

    /// Whether terms are of its kinds.
    func isOf(_ terms: [DescriptorTerm]) -> Bool {
        guard terms.count == kinds.count else { return false }
        for place in kinds.indices where terms[place].kind != kinds[place] { return false }
        return true
    }
}

/// The plans of one event loop, as a value: bounded, and each found without an allocation. A plan says all that it
/// depends on, so none has to be forgotten when a configuration changes.
struct RememberedDescriptorPlans {
    /// How many are remembered; a power of two.
    static let places = 256

    private var plans = [DescriptorPlan?](repeating: nil, count: places)

    /// None yet.
    init() {}

    /// How many are remembered.
    var count: Int { plans.count { $0 != nil } }

    /// The plan of terms, at least one. A plan may stand in two places, of which the one used longer ago is given away.
    mutating func plan(for terms: [DescriptorTerm]) -> DescriptorPlan {
        let first = Self.place(terms)
        if let plan = plans[first], plan.isOf(terms) { return plan }
        let second = first ^ 1
        if let plan = plans[second], plan.isOf(terms) {
            plans.swapAt(first, second)
            return plan
        }
        let plan = DescriptorPlan(terms.map(\.kind))
        plans[second] = plans[first]
        plans[first] = plan
        return plan
    }

    private static func place(_ terms: [DescriptorTerm]) -> Int {
        var mixed: UInt64 = 0
        for term in terms {
            let kind = term.kind
            let flags =
                kind.question.rawValue << 3 | (kind.refunds ? 4 : 0) | (kind.isShadow ? 2 : 0) | (kind.reports ? 1 : 0)
            for word in [kind.quota, kind.windowMilliseconds << 5 | flags] {
                mixed = (mixed ^ UInt64(truncatingIfNeeded: word)) &* 0x9e37_79b9_7f4a_7c15
                mixed ^= mixed &>> 29
            }
        }
        return Int(truncatingIfNeeded: mixed &>> 57) * 2
    }
}
