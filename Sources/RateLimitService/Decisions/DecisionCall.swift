/// What a call wants of the limits.
public enum DecisionOperation: UInt8, Hashable, Sendable {
    /// Charges every cost, or none where one does not fit; once for each id, where it has one that was admitted.
    case check = 1
    /// Holds every cost under a lease, or none where one does not fit.
    case reserve
    /// Lets a lease live for its time from now.
    case renew
    /// Frees a lease and charges, once for each id, without denying.
    case settle
    /// Frees a lease and charges nothing, nor does a later settle.
    case release
    /// Charges without denying, once for each id; each time where there is none.
    case usage
    /// Forgets the terms' limits, or everything of a subject without terms.
    case reset
    /// Takes back what was charged, from the newest charge on and never below nothing, once for each id; each time where
    /// there is none.
    case refund
    /// Says what a check would be answered, and charges and notes nothing.
    case dryCheck
    /// Says what a reserve would be answered, and holds nothing.
    case dryReserve

    /// Whether it may be denied, be it for the answer alone.
    var asks: Bool {
        switch self {
        case .check, .reserve, .dryCheck, .dryReserve: true
        case .renew, .settle, .release, .usage, .reset, .refund: false
        }
    }

    /// Whether it takes a slot of concurrency limits, or would.
    var takesSlots: Bool { self == .reserve || self == .dryReserve }

    /// Whether it only says what would be done.
    var isDry: Bool { self == .dryCheck || self == .dryReserve }

    /// Whether it gives or renews a lease.
    var givesLease: Bool { self == .reserve || self == .renew }

    /// Whether it charges, and so may cross thresholds.
    var charges: Bool {
        switch self {
        case .check, .settle, .usage: true
        case .reserve, .renew, .release, .reset, .refund, .dryCheck, .dryReserve: false
        }
    }
}

/// One request to `decide.lua` with keys of its own, laid out each time: what is asked off the hot path, and the parts that
/// several slots of a cluster have of a call. Everything of it is charged or nothing is.
public struct DecisionCall: Hashable, Sendable {
    /// How long a lease may live without being renewed, in milliseconds.
    public static let lives = 1...86_400_000
    /// For how long lapsed leases and the ids of usage may be remembered, in milliseconds.
    public static let memories = 1_000...86_400_000
    /// The most subjects, and the most terms of one of them.
    public static let largestCount = 255
    /// What it wants.
    public let operation: DecisionOperation
    /// The id of the lease, the usage, the refund or the check; nil where it has none.
    public let id: DecisionID?
    /// How long a lease that is given or renewed lives from now, in milliseconds.
    public let lifeMilliseconds: Int
    /// For how long a lease that lapses and the id of a usage, refund or check are remembered, in milliseconds.
    public let rememberMilliseconds: Int
    /// Whose limits apply, no key twice. The first carries what is known of the id: let it be the same for each id.
    public let subjects: [SubjectTerms]

    /// Makes a call; what ``isValid`` refuses is a programming error.
    public init(
        _ operation: DecisionOperation, id: DecisionID? = nil, lifeMilliseconds: Int = 60_000,
        rememberMilliseconds: Int = 3_600_000, subjects: [SubjectTerms]
    ) {
        self.operation = operation
        self.id = id
        self.lifeMilliseconds = lifeMilliseconds
        self.rememberMilliseconds = rememberMilliseconds
        self.subjects = subjects
        precondition(isValid)
    }

    /// How many terms its subjects have together.
    public var termCount: Int { subjects.reduce(0) { $0 + $1.terms.count } }

    private var isValid: Bool {
        let fits =
            switch (operation, id) {
            case (.reserve, .lease), (.renew, .lease), (.settle, .lease), (.release, .lease): true
            case (.check, nil), (.check, .check), (.reset, nil), (.usage, nil), (.usage, .usage): true
            case (.refund, nil), (.refund, .refund): true
            case (.dryCheck, nil), (.dryCheck, .check), (.dryReserve, nil): true
            case (.check, .candidate(_, let number)), (.dryCheck, .candidate(_, let number)):
                1...CallCandidate.largestCount ~= number
            default: false
            }
        return fits && Self.lives ~= lifeMilliseconds && Self.memories ~= rememberMilliseconds
            && 1...Self.largestCount ~= subjects.count
            && subjects.allSatisfy { $0.terms.count <= Self.largestCount }
    }
}

/// What became of a call. Terms are counted from 0, over all subjects.
public enum CallVerdict: Hashable, Sendable {
    /// It was done: admitted, held, renewed, charged, freed or forgotten.
    case done
    /// Nothing was charged; with nobody else consuming and no lease renewed, the same passes after this long.
    case denied(term: Int, retryAfterMilliseconds: Int)
    /// Nothing was charged, and no wait helps: the cost is above the quota.
    case deniedForGood(term: Int)
    /// Nothing was held: a concurrency limit has no slot free. The wait is as for a denial.
    case atCapacity(term: Int, retryAfterMilliseconds: Int)
    /// There is no lease with this id, or not any more.
    case unknownLease
    /// The id is that of a lease that stands, or was settled, released, charged, given back or admitted before; nothing
    /// was done.
    case repeated
    /// The lease lapsed so long ago that Redis does not know whether it was settled; nothing was done.
    case tooLate

    /// Whether it denies: of a call's candidates the next one is asked then.
    var isDenial: Bool { decider != nil }

    /// The place of the term that denied.
    var decider: Int? {
        switch self {
        case .denied(let term, _), .deniedForGood(let term), .atCapacity(let term, _): term
        case .done, .unknownLease, .repeated, .tooLate: nil
        }
    }
}

/// How one limit stands after a call.
public struct LimitState: Hashable, Sendable {
    /// What its window counts, with what leases hold.
    public var used: Int
    /// How long until its window is empty; what leases hold is not waited for.
    public var resetAfterMilliseconds: Int
    /// Whether it denied the call.
    public var isDenied: Bool
    /// Whether it would have denied the call, were it not a shadow.
    public var isShadowDenied: Bool
    /// Whether no wait helps.
    public var isForGood: Bool
    /// Whether a settle or usage was charged to it, or a refund took something back.
    public var isCharged: Bool
    /// Whether it denied the call, or would have, while leases held some of ``used``.
    public var isHeld: Bool
    /// Whether the call's subject took the place of another value's, whose windows were forgotten for that.
    public var hasDisplaced: Bool

    /// Makes a state from its parts.
    public init(
        used: Int, resetAfterMilliseconds: Int, isDenied: Bool = false, isShadowDenied: Bool = false,
        isForGood: Bool = false, isCharged: Bool = false, isHeld: Bool = false, hasDisplaced: Bool = false
    ) {
        self.used = used
        self.resetAfterMilliseconds = resetAfterMilliseconds
        self.isDenied = isDenied
        self.isShadowDenied = isShadowDenied
        self.isForGood = isForGood
        self.isCharged = isCharged
        self.isHeld = isHeld
        self.hasDisplaced = hasDisplaced
    }
}

/// Which of a term's thresholds a call has crossed.
public struct TermCrossing: Hashable, Sendable {
    /// The place of the term, as ``CallVerdict`` counts them.
    public var term: Int
    /// The places of those thresholds among the term's, from 0 on.
    public var thresholds: ClosedRange<Int>
    /// What the window counts with the call, without what leases hold.
    public var used: Int
    /// When it was, by Redis's clock, in milliseconds since 1970.
    public var unixMilliseconds: Int
}

/// The answer to one call.
public struct CallAnswer: Hashable, Sendable {
    /// What became of it.
    public var verdict: CallVerdict
    /// How each term's limit stands, in the order of the subjects and their terms; none after a reset.
    public var states: [LimitState]
    /// Of the wait that a denial says, how much is needed however early leases end, in milliseconds: what has been charged
    /// leaves its window only then. 0 where leases alone deny, and where nothing does.
    public var leastWaitMilliseconds: Int
    private var more = More.nothing
    /// As a byte, 0 for none, and behind the other: so that the memory of denials keeps no more for each.
    private var candidateNumber: UInt8 = 0

    /// What one answer has of two that none has both of, for the same reason.
    private enum More: Hashable {
        case nothing
        case lease(LeaseInstants)
        case crossings([TermCrossing])
    }

    /// Makes an answer from its parts.
    public init(
        verdict: CallVerdict, states: [LimitState], leastWaitMilliseconds: Int = 0, leaseInstants: LeaseInstants? = nil
    ) {
        self.verdict = verdict
        self.states = states
        self.leastWaitMilliseconds = leastWaitMilliseconds
        if let leaseInstants { more = .lease(leaseInstants) }
    }

    /// When the lease that was given or renewed was given and lapses; nil where there is none.
    public var leaseInstants: LeaseInstants? { if case .lease(let instants) = more { instants } else { nil } }

    /// For which of its candidates, from 1, a check was admitted before that is repeated; nil where that is not known.
    public var admittedCandidate: Int? {
        get { candidateNumber > 0 ? Int(candidateNumber) : nil }
        set { candidateNumber = UInt8(newValue ?? 0) }
    }

    /// The thresholds that this very call has crossed: none of what gives a lease, which charges nothing.
    public var crossings: [TermCrossing] {
        get { if case .crossings(let crossings) = more { crossings } else { [] } }
        set {
            if !newValue.isEmpty {
                precondition(leaseInstants == nil, "what gives a lease charges nothing")
                more = .crossings(newValue)
            } else if case .crossings = more {
                more = .nothing
            }
        }
    }
}
