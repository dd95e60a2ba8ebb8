public import RateLimitCore
import Synchronization

/// Whose windows a plan is about, before it is known who calls.
enum PlanSubject: Hashable, Sendable {
    /// The caller's own.
    case user
    /// Those of the caller's group at this place.
    case group(Int)
    /// Those of all.
    case global
    /// Those of one of these that are of the values at a place among the plan's.
    case values(Int, of: PlanOwner)

    /// Whose key they have.
    var owner: PlanOwner {
        switch self {
        case .user: .user
        case .group(let place): .group(place)
        case .global: .global
        case .values(_, of: let owner): owner
        }
    }
}

extension PlanSubject {
    /// How many windows for values like these there may be in their owner's slot; 0 for no bound.
    func mostValues(_ values: [PlanValues]) -> Int {
        if case .values(let place, of: _) = self { values[place].maximum } else { 0 }
    }
}

/// Whose key a plan's subject has.
enum PlanOwner: Hashable, Sendable {
    case user
    /// The caller's group at this place.
    case group(Int)
    case global
}

/// By which values some of a plan's windows are, before it is known what a call says.
struct PlanValues: Hashable, Sendable {
    let windows: ValueWindows
    /// The place of the caller's group that is one of the values.
    var group: Int?
    /// Whether it is not what the call says that counts, but what the one said to which its lease was given.
    var isOfLease = false
    /// How many such windows there may be in their owner's slot; 0 for no bound.
    var maximum = 0
}

/// Who calls and what the call says: what the keys of a plan's subjects are made of.
struct PlanCaller: Hashable, Sendable {
    /// The user.
    let user: SubjectID
    /// The user's groups, by their places.
    let groups: [SubjectID]
    /// The values of the plan's windows, by their places.
    var values: [WindowValues] = []

    /// Whose windows a subject's are.
    func owner(_ subject: PlanSubject) -> WindowOwner {
        switch subject.owner {
        case .user: .user(user)
        case .group(let place): .group(groups[place])
        case .global: .global
        }
    }

    /// By which values a subject's windows are; nil where there are none.
    func values(_ subject: PlanSubject) -> WindowValues? {
        if case .values(let place, of: _) = subject { values[place] } else { nil }
    }
}

/// One limit of one subject, as the calls of a plan meet it.
public final class CallTerm: Sendable {
    /// What a call costs under it.
    enum Cost: Hashable, Sendable {
        /// As much as each call says.
        case amount(PlanAmount)
        /// The same for each.
        case fixed(Int)
    }

    /// The limit.
    public let limit: LimitDefinition
    /// How much there is, and which rule gave it.
    public let quota: Quota
    /// When the period of a calendar window begins and ends, in Unix seconds; nil for other windows.
    public let period: CalendarPeriod?
    /// What is told when a call crosses it, by ascending amounts.
    let thresholds: [TermThreshold]
    /// The limit's place among those in force.
    let limitPlace: Int
    let subject: PlanSubject
    let kind: LimitKind
    let cost: Cost

    init(
        limit: LimitDefinition, at limitPlace: Int, subject: PlanSubject, quota: Quota, kind: LimitKind,
        period: CalendarPeriod?, cost: Cost
    ) {
        self.limit = limit
        self.limitPlace = limitPlace
        self.subject = subject
        self.quota = quota
        self.kind = kind
        self.period = period
        self.cost = cost
        thresholds = TermThreshold.all(of: limit, under: quota.amount)
    }

    /// What it is put to Redis with; nil where it is counted all the same and never denies: of what is unlimited, and of
    /// what is soft.
    var enforcedQuota: Int? { limit.mode == .soft ? nil : quota.amount }
}

/// What calls of one kind ask of the limits that apply to them: made once, laid out for Redis once, and shared by all calls
/// that differ in who calls, in leases and in costs alone.
final class CallPlan: Sendable {
    private static let numbers = Atomic<UInt64>(0)

    /// What tells it from every other plan of the process, also from those that are no more.
    let number = numbers.add(1, ordering: .relaxed).newValue
    let kind: CallKind
    /// The limits that apply, by their places among those in force.
    let applicable: LimitIndices
    /// What Redis is asked; nil where no limit applies.
    let decision: DecisionPlan?
    /// Whose windows, in the order of the keys.
    let subjects: [PlanSubject]
    /// By which values some of these are, each named by its place here.
    let values: [PlanValues]
    /// The terms in the order in which the script goes through them and answers.
    let terms: [CallTerm]
    /// The places of ``terms`` in the order in which they are told: by subject, and there in the order of the file.
    let toldOrder: [Int]
    /// What each call is put with, in this order.
    let amounts: [PlanAmount]
    /// The caller's groups whose limits count, by their places.
    let countedGroups: [Int]
    /// How many of the caller's groups are left out, because their limits do not fit into one decision.
    let groupsLeftOut: Int
    /// It holds from this instant on, in Unix milliseconds: a calendar's period began, or a grant had ended.
    let validFrom: Int
    /// It holds until before this instant, in Unix milliseconds: then a calendar's period ends, or a grant.
    let validUntil: Int
    /// Whether a limit counts what a call costs in money.
    let countsSpend: Bool
    /// Whether such a limit may deny.
    let enforcesSpend: Bool

    init(_ layout: PlanLayout) {
        kind = layout.kind
        applicable = layout.applicable
        (decision, subjects, terms) = layout.finished()
        values = layout.values
        amounts = layout.amounts
        countedGroups = layout.countedGroups
        groupsLeftOut = layout.groupCount - layout.countedGroups.count
        (validFrom, validUntil) = (layout.validFrom, layout.validUntil)
        toldOrder = Self.toldOrder(terms)
        let ofSpend = terms.filter { $0.limit.unit == .spend }
        countsSpend = kind.charges && !ofSpend.isEmpty
        enforcesSpend = kind.asks && ofSpend.contains(where: \.limit.denies)
    }

    /// The plan that so many limits make by themselves, whatever asked them.
    init(_ terms: [CallTerm]) {
        kind = CallKind(.check)
        applicable = LimitIndices(bits: 0)
        decision = nil
        (subjects, values) = ([], [])
        self.terms = terms
        toldOrder = Array(terms.indices)
        (amounts, countedGroups, groupsLeftOut) = ([], [], 0)
        (validFrom, validUntil) = (.min, .max)
        (countsSpend, enforcesSpend) = (false, false)
    }

    /// Whether it is what would be made now.
    func isValid(atUnixMilliseconds now: Int) -> Bool { validFrom <= now && now < validUntil }

    /// Whether a lease that it gives is held in the windows of groups, and in those of all.
    var isHeldInGroups: Bool { subjects.contains { if case .group = $0 { true } else { false } } }
    var isHeldByAll: Bool { subjects.contains(.global) }

    /// By which values a lease that it gives is held.
    var heldValues: [ValueWindows] {
        values.map(\.windows).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    /// Whether all its keys are in one slot of a cluster: in that of its first.
    var isInOneSlot: Bool { subjects.count < 2 || subjects.allSatisfy { $0.owner == .user } }

    private static func toldOrder(_ terms: [CallTerm]) -> [Int] {
        var order: [Int] = []
        var start = 0
        while start < terms.count {
            let end = terms[start...].firstIndex { $0.subject != terms[start].subject } ?? terms.count
            order += (start..<end).sorted { terms[$0].limitPlace < terms[$1].limitPlace }
            start = end
        }
        return order
    }
}
