import NIOCore
import RateLimitCore
import RedisClient

/// One request about descriptors under its plan. One object, so that what waits for Redis is small.
final class PlannedDescriptors {
    /// A descriptor of the request.
    struct Part {
        /// The limit that it met; nil where none applies.
        let limit: DescriptorLimit?
        let use: DescriptorUse
        /// The place of its window among the terms; nil where none counts it.
        let term: Int?
        /// Whether the proxy gave the quota.
        let isOverride: Bool
    }

    /// The descriptors, in the request's order.
    let parts: [Part]
    /// What they want of which windows.
    let terms: [DescriptorTerm]
    /// Whether the terms in quota mode are several: they deny only all together.
    let deniesTogether: Bool
    /// What Redis is asked; nil where no window counts anything.
    let plan: DescriptorPlan?
    /// The request, where a limit that it met has metadata.
    let described: DescribedRequest?
    /// What Redis has said of the steps before this one.
    private(set) var said = DescriptorAnswers()

    init(
        _ parts: [Part], _ terms: [DescriptorTerm], deniesTogether: Bool, under plan: DescriptorPlan?,
        described: DescribedRequest? = nil
    ) {
        self.described = described
        self.parts = parts
        self.terms = terms
        self.deniesTogether = deniesTogether
        self.plan = plan
    }

    /// Whether it is a question: a report alone is none.
    var asks: Bool { parts.contains { $0.use.asks } }

    /// Whether a limit may deny it.
    var isEnforced: Bool { deniesTogether || terms.contains { !$0.kind.isShadow } }

    /// What Redis is asked next.
    var next: (decision: DecisionPlan, step: DescriptorStep) {
        for step in DescriptorStep.allCases where said[step] == nil {
            if let decision = plan?.decision(step) { return (decision, step) }
        }
        preconditionFailure("a request whose steps are all done asks nothing of Redis")
    }

    /// Takes what Redis said in a step, and says whether another one follows. Where what is asked is denied none does,
    /// unless that is let pass: then nothing of the request is charged or given back.
    func goesOn(_ answer: CallAnswer, whereDenied: Bool) -> Bool {
        let step = next.step
        guard DescriptorStep.allCases.contains(where: { $0 > step && plan?.decision($0) != nil }) else { return false }
        guard step != .check || whereDenied || outcome(answer).verdict == .allowed else { return false }
        said[step] = answer
        return true
    }

    /// What Redis has said with this answer, its last.
    func outcome(_ answer: CallAnswer) -> DescriptorOutcome {
        var said = said
        said[next.step] = answer
        return DescriptorOutcome(self, said)
    }
}

/// What Redis is asked at once, in this order.
enum DescriptorStep: Int, CaseIterable, Comparable {
    /// What is asked, which may be denied.
    case check
    /// What is reported.
    case report
    /// What is given back.
    case refund

    static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// What Redis has said of a request, step by step.
struct DescriptorAnswers: Hashable {
    private var checked, reported, refunded: CallAnswer?

    /// Nothing yet.
    init() {}

    /// Whether it has said nothing.
    var isEmpty: Bool { DescriptorStep.allCases.allSatisfy { self[$0] == nil } }

    /// The answer to a step; nil where there is none.
    subscript(step: DescriptorStep) -> CallAnswer? {
        get {
            switch step {
            case .check: checked
            case .report: reported
            case .refund: refunded
            }
        }
        set {
            switch step {
            case .check: checked = newValue
            case .report: reported = newValue
            case .refund: refunded = newValue
            }
        }
    }
}

extension PlannedDescriptors: PendingCall {
    func slot(by slots: UserSlots) -> HashSlot { slots.slot(of: terms[0].key) }

    func layOut(in batch: inout DecisionBatch, _ keys: SubjectKeys) -> Bool {
        let (decision, step) = next
        guard batch.begin(decision) else { return false }
        for term in terms where term.isPart(of: step) {
            batch.writeKeys { keys.write(term.key, to: &$0) }
            if step != .check || term.kind.question == .hits { batch.writeAmount(term.hits(in: step)) }
        }
        return true
    }

    func decided(
        _ answer: DecisionAnswer, of request: PendingRequest, in batch: ScriptBatch, at now: NIODeadline,
        by engine: CheckEngine
    ) -> Bool {
        guard let decided = answer.decided(terms: next.decision.termCount, givesLease: false), isAnswer(decided) else {
            return false
        }
        engine.decided(request, self, decided, sentAt: batch.sentAt, memoryEpoch: batch.memoryEpoch, at: now)
        return true
    }

    func undecided(_ request: PendingRequest, because reason: FailureReason, by engine: CheckEngine) {
        engine.undecided(request, self, because: reason)
    }

    /// Whether the script can have said so of what was asked.
    func isAnswer(_ answer: CallAnswer) -> Bool {
        switch answer.verdict {
        case .done: true
        case .denied, .deniedForGood: next.step == .check
        case .atCapacity, .unknownLease, .repeated, .tooLate: false
        }
    }
}

extension DescriptorTerm {
    /// Whether a step is about it.
    func isPart(of step: DescriptorStep) -> Bool {
        switch step {
        case .check: true
        case .report: kind.reports
        case .refund: kind.refunds
        }
    }

    /// Its hits in a step that is about it.
    func hits(in step: DescriptorStep) -> Int {
        switch step {
        case .check: kind.question == .hits ? asked : 0
        case .report: reported
        case .refund: refunded
        }
    }
}

/// Finds what a request about descriptors asks of Redis: a value, without a socket or a clock.
struct DescriptorPlanner {
    private var plans = RememberedDescriptorPlans()

    /// Remembers no plan yet.
    init() {}

    /// How many plans are remembered.
    var planCount: Int { plans.count }

    /// Plans a request.
    ///
    /// - Parameter matches: what each descriptor met, in the request's order.
    mutating func plan(_ request: DescriptorRequest, _ matches: [DescriptorMatch]) -> PlannedDescriptors {
        precondition(matches.count == request.descriptors.count && matches.count <= DescriptorRequest.mostDescriptors)
        var parts: [PlannedDescriptors.Part] = []
        var terms: [DescriptorTerm] = []
        parts.reserveCapacity(matches.count)
        terms.reserveCapacity(matches.count)
        var hasMetadata = false
        for (descriptor, match) in zip(request.descriptors, matches) {
            let use = DescriptorUse(descriptor, of: request)
            if match.limit?.definition.metadata != nil { hasMetadata = true }
            var place: Int?
            if let term = DescriptorTerm(use, of: match) {
                if let known = terms.firstIndex(where: { $0.key == term.key }) {
                    terms[known].add(term)
                    place = known
                } else {
                    place = terms.count
                    terms.append(term)
                }
            }
            parts.append(
                PlannedDescriptors.Part(
                    limit: match.limit, use: use, term: place, isOverride: descriptor.quota != nil))
        }
        // One in quota mode that is alone denies as any other does.
        let deniesTogether = terms.count > 1 && terms.count(where: \.isInQuotaMode) > 1
        if deniesTogether {
            for place in terms.indices where terms[place].isInQuotaMode { terms[place].kind.isShadow = true }
        }
        return PlannedDescriptors(
            parts, terms, deniesTogether: deniesTogether, under: terms.isEmpty ? nil : plans.plan(for: terms),
            described: hasMetadata ? DescribedRequest(request) : nil)
    }
}
