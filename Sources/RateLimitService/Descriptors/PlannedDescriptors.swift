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
    /// What Redis said of what is asked, once it has: then what is reported follows.
    private(set) var checked: CallAnswer?

    init(_ parts: [Part], _ terms: [DescriptorTerm], deniesTogether: Bool, under plan: DescriptorPlan?) {
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
    var next: (decision: DecisionPlan, isReport: Bool) {
        if checked == nil, let check = plan?.check { return (check, false) }
        guard let report = plan?.report else { preconditionFailure("a request without a window asks nothing of Redis") }
        return (report, true)
    }

    /// Takes what Redis said of what is asked, and says whether something is reported besides.
    func reportFollows(_ answer: CallAnswer, whereDenied: Bool) -> Bool {
        guard checked == nil, plan?.report != nil, plan?.check != nil else { return false }
        guard whereDenied || DescriptorOutcome(self, checked: answer, reported: nil).verdict == .allowed else {
            return false
        }
        checked = answer
        return true
    }

    /// What Redis has said with this answer, its last.
    func outcome(_ answer: CallAnswer) -> DescriptorOutcome {
        next.isReport
            ? DescriptorOutcome(self, checked: checked, reported: answer)
            : DescriptorOutcome(self, checked: answer, reported: nil)
    }
}

extension PlannedDescriptors: PendingCall {
    func slot(by slots: UserSlots) -> HashSlot { slots.slot(of: terms[0].key) }

    func layOut(in batch: inout DecisionBatch, _ keys: SubjectKeys) -> Bool {
        let (decision, isReport) = next
        guard batch.begin(decision) else { return false }
        for term in terms where !isReport || term.kind.reports {
            batch.writeKeys { keys.write(term.key, to: &$0) }
            if isReport {
                batch.writeAmount(term.reported)
            } else if term.kind.question == .hits {
                batch.writeAmount(term.asked)
            }
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
        case .denied, .deniedForGood: !next.isReport
        case .atCapacity, .unknownLease, .repeated, .tooLate: false
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
        for (descriptor, match) in zip(request.descriptors, matches) {
            let use = DescriptorUse(descriptor, of: request)
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
            parts, terms, deniesTogether: deniesTogether, under: terms.isEmpty ? nil : plans.plan(for: terms))
    }
}
