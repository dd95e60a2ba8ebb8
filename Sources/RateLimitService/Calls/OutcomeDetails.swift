public import RateLimitCore

/// A part of what a call came to that no limit could count, and why.
public struct Uncounted: Hashable, Sendable {
    /// Why it could not.
    public enum Reason: String, CaseIterable, Hashable, Sendable {
        /// Nobody knows what the call's model costs.
        case unknownModel = "unknown_model"
        /// The call named no model.
        case noModel = "no_model"
    }

    /// What was not counted.
    public var unit: LimitUnit
    /// Why.
    public var reason: Reason

    /// Makes a part.
    public init(_ unit: LimitUnit, because reason: Reason) {
        self.unit = unit
        self.reason = reason
    }
}

/// What a call does not say, and which limit denies it for that.
public struct LackingLimit: Hashable, Sendable {
    /// The limit.
    public var limit: LimitName
    /// What the call does not say.
    public var value: CallValue

    /// Names both.
    public init(_ limit: LimitName, lacks value: CallValue) {
        self.limit = limit
        self.value = value
    }
}

/// What an outcome has to tell where several limits, a lease or a model have a part.
///
/// Copies share what they tell until one of them is changed. So an outcome is handed on at the cost of one reference, and a
/// denial from memory is told without being made again.
public struct OutcomeDetails: Sendable {
    private var shared: Shared
    /// How long ago it was told so, in milliseconds: each wait is as much shorter by now.
    private var age = 0

    /// None yet.
    public init() { shared = .none }

    /// Details of a plan's limits, which stand as Redis said of its terms.
    ///
    /// - Parameter decider: the place of the term that denied.
    init(_ plan: CallPlan, of caller: PlanCaller, _ states: [LimitState], decider: Int? = nil) {
        guard !states.isEmpty else {
            shared = .none
            return
        }
        let limits = Limits(
            plan: plan, caller: caller, states: states, decider: decider, binding: decider ?? plan.binding(states))
        shared = Shared(Contents(limits: limits))
    }

    /// Details of limits that stand so, whatever asked them.
    ///
    /// - Parameter decider: the place of the one that denied.
    package init(standings: [LimitStanding], decider: Int? = nil) {
        var groups: [SubjectID] = []
        let terms = standings.map { standing in
            let subject: PlanSubject
            switch standing.subject {
            case .user: subject = .user
            case .global: subject = .global
            case .group(let group):
                subject = .group(groups.count)
                groups.append(group)
            }
            return CallTerm(
                limit: standing.limit, at: 0, subject: subject, quota: standing.quota, kind: .concurrency,
                period: standing.period, cost: .fixed(0))
        }
        self.init(
            CallPlan(terms), of: PlanCaller(user: SubjectID(high: 0, low: 0), groups: groups),
            standings.map(\.state), decider: decider)
    }

    /// The same so many milliseconds later, where nothing has been charged or freed in between.
    func aged(_ milliseconds: Int) -> OutcomeDetails {
        var details = self
        details.age += milliseconds
        return details
    }
}

// MARK: - What they share

extension OutcomeDetails {
    /// The plan of a call, with what Redis said of its terms.
    private struct Limits: Sendable {
        let plan: CallPlan
        let caller: PlanCaller
        var states: [LimitState]
        /// The place among the plan's terms of the limit that denied.
        let decider: Int?
        /// The place of the limit that binds.
        let binding: Int?
    }

    /// A lease lies apart, so that details without one are small: the memory of denials keeps many.
    private indirect enum Given: Sendable {
        case lease(Lease)
    }

    /// A report lies apart likewise.
    private indirect enum Reported: Sendable {
        case report(CallReport)
    }

    private struct Contents: Sendable {
        /// Nil where no limit was asked.
        var limits: Limits?
        var given: Given?
        var reported: Reported?
        var leaseMilliseconds = 0
        var estimate: CallEstimate?
        var ignored: [IgnoredMember] = []
        var retryAfterAtMostMilliseconds: Int?
        var uncounted: [Uncounted] = []
        var lacking: LackingLimit?
        var descriptors: [DescriptorStanding] = []
        var described: DescribedRequest?
    }

    /// Unchecked: it is changed only where one value alone refers to it, and so nobody else reads it then.
    private final class Shared: @unchecked Sendable {
        static let none = Shared(Contents())

        var contents: Contents

        init(_ contents: Contents) { self.contents = contents }
    }

    /// How many bytes details without a lease take, apart from 24 for each limit.
    static var sharedBytes: Int { MemoryLayout<Contents>.size }

    /// Gives `change` the contents, this value's own from then on.
    private mutating func change(_ change: (inout Contents) -> Void) {
        if age != 0 || !isKnownUniquelyReferenced(&shared) {
            var contents = shared.contents
            contents.retryAfterAtMostMilliseconds = retryAfterAtMostMilliseconds
            for place in 0..<limitCount { contents.limits?.states[place] = state(place) }
            shared = Shared(contents)
            age = 0
        }
        change(&shared.contents)
    }

    /// How the term at a place of the plan stands by now.
    private func state(_ place: Int) -> LimitState {
        guard var state = shared.contents.limits?.states[place] else { preconditionFailure("there is no such limit") }
        if age > 0 { state.resetAfterMilliseconds = max(0, state.resetAfterMilliseconds - age) }
        return state
    }
}

// MARK: - What they tell

extension OutcomeDetails {
    /// The lease that was given or renewed.
    public var lease: Lease? {
        get { if case .lease(let lease) = shared.contents.given { lease } else { nil } }
        set { change { $0.given = newValue.map { .lease($0) } } }
    }

    /// How long it lives without being renewed, in milliseconds.
    public var leaseMilliseconds: Int {
        get { shared.contents.leaseMilliseconds }
        set { change { $0.leaseMilliseconds = newValue } }
    }

    /// What there is to tell of a call that was only tried.
    public var report: CallReport? {
        get { if case .report(let report) = shared.contents.reported { report } else { nil } }
        set { change { $0.reported = newValue.map { .report($0) } } }
    }

    /// What a reservation expects its call to come to; nil for everything else.
    public var estimate: CallEstimate? {
        get { shared.contents.estimate }
        set { change { $0.estimate = newValue } }
    }

    /// What the call said and was passed over.
    public var ignored: [IgnoredMember] {
        get { shared.contents.ignored }
        set { change { $0.ignored = newValue } }
    }

    /// The wait after which the call certainly passes, with nobody else consuming and no lease renewed; nil where it is not
    /// denied, or no wait helps. It is what the verdict says, or longer.
    public var retryAfterAtMostMilliseconds: Int? {
        get { shared.contents.retryAfterAtMostMilliseconds.map { max(1, $0 - age) } }
        set { change { $0.retryAfterAtMostMilliseconds = newValue } }
    }

    /// What of the call no limit could count.
    public var uncounted: [Uncounted] {
        get { shared.contents.uncounted }
        set { change { $0.uncounted = newValue } }
    }

    /// What the call does not say, where it is denied for that.
    public var lacking: LackingLimit? {
        get { shared.contents.lacking }
        set { change { $0.lacking = newValue } }
    }

    /// How each descriptor of a ``DescriptorRequest`` stands, in the request's order; none of anything else.
    public var descriptors: [DescriptorStanding] {
        get { shared.contents.descriptors }
        set { change { $0.descriptors = newValue } }
    }

    /// What was asked of the descriptors, where a limit that one of them met has metadata; else nil.
    public var described: DescribedRequest? {
        get { shared.contents.described }
        set { change { $0.described = newValue } }
    }

    /// How the limits that apply stand, by subject and there in the order of the file. It is made anew each time.
    public var standings: [LimitStanding] {
        guard let limits = shared.contents.limits else { return [] }
        return limits.plan.toldOrder.map { limits.plan.standing($0, state($0), of: limits.caller) }
    }

    /// The limits of which a window counts more than their soft line, each once, in the order of ``standings``.
    package var overLimits: [LimitName] {
        var names: [LimitName] = []
        for place in 0..<limitCount {
            let (term, state) = told(place)
            if term.isOver(state), !names.contains(term.limit.name) { names.append(term.limit.name) }
        }
        return names
    }

    /// How many limits apply.
    package var limitCount: Int { shared.contents.limits?.states.count ?? 0 }

    /// The limit at a place of ``standings``, and how it stands.
    package func told(_ place: Int) -> (term: CallTerm, state: LimitState) {
        guard let plan = shared.contents.limits?.plan else { preconditionFailure("there is no such limit") }
        return (plan.terms[plan.toldOrder[place]], state(plan.toldOrder[place]))
    }

    /// The place in ``standings`` of the limit that denied.
    public var decider: Int? {
        guard let limits = shared.contents.limits, let decider = limits.decider else { return nil }
        return limits.plan.toldOrder.firstIndex(of: decider)
    }

    /// Whether a settle or usage was charged to at least one limit.
    public var isCharged: Bool { shared.contents.limits?.states.contains { $0.isCharged } ?? false }

    /// Whether a limit that denied the call does so for what leases hold.
    var isHeld: Bool { shared.contents.limits?.states.contains { $0.isDenied && $0.isHeld } ?? false }

    /// The limit whose numbers stand for all in a short answer: the one that denied, else the one of which the least share
    /// is left; nil where no limit applies.
    public var binding: LimitStanding? {
        guard let limits = shared.contents.limits, let binding = limits.binding else { return nil }
        return limits.plan.standing(binding, state(binding), of: limits.caller)
    }

    /// The limit that ``binding`` is about, by reference.
    public var bindingTerm: CallTerm? {
        guard let limits = shared.contents.limits, let binding = limits.binding else { return nil }
        return limits.plan.terms[binding]
    }

    /// The numbers of the limit that binds, where it has a quota.
    var bindingState: BindingState? {
        guard let limits = shared.contents.limits, let binding = limits.binding else { return nil }
        return limits.plan.terms[binding].bindingState(state(binding))
    }

    /// Gives `read` each limit that applies with how it stands, in the order in which Redis told of them.
    func forEachTerm(_ read: (CallTerm, LimitState) -> Void) {
        guard let limits = shared.contents.limits else { return }
        for place in limits.states.indices { read(limits.plan.terms[place], state(place)) }
    }
}

extension OutcomeDetails: Hashable {
    /// Whether both tell the same, of whichever call.
    public static func == (left: OutcomeDetails, right: OutcomeDetails) -> Bool {
        left.standings == right.standings && left.decider == right.decider && left.lease == right.lease
            && left.leaseMilliseconds == right.leaseMilliseconds && left.estimate == right.estimate
            && left.ignored == right.ignored && left.uncounted == right.uncounted && left.report == right.report
            && left.descriptors == right.descriptors && left.described?.request == right.described?.request
            && left.retryAfterAtMostMilliseconds == right.retryAfterAtMostMilliseconds
    }

    /// Takes how the limits stand, and the lease.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(standings)
        hasher.combine(lease)
    }
}

extension CallPlan {
    /// The place of the term of which the least share is left, of several the first that is told.
    fileprivate func binding(_ states: [LimitState]) -> Int? {
        var binding: Int?
        for place in toldOrder where terms[place].limit.denies && terms[place].quota.amount != nil {
            if let other = binding, !terms[place].hasLessLeft(states[place], than: terms[other], states[other]) {
                continue
            }
            binding = place
        }
        return binding
    }
}

extension Outcome {
    /// The same with these details, and the limit that binds by them.
    func with(_ details: OutcomeDetails) -> Outcome {
        var outcome = self
        outcome.details = details
        outcome.binding = details.bindingState
        return outcome
    }
}
