import RateLimitCore

/// What calls have in common that ask the same of the same limits, whoever makes them and whatever they cost.
struct CallKind: Hashable, Sendable {
    private struct Flags: OptionSet, Hashable {
        let rawValue: UInt8

        static let isLook = Flags(rawValue: 1)
        static let hasID = Flags(rawValue: 2)
        static let isLearned = Flags(rawValue: 4)
        static let isHeldByUser = Flags(rawValue: 8)
        static let isHeldInGroups = Flags(rawValue: 16)
        static let isHeldByAll = Flags(rawValue: 32)
        static let hasOtherModel = Flags(rawValue: 64)
        static let hasOtherProvider = Flags(rawValue: 128)
    }

    /// What Redis is asked to do; a look is a check that costs nothing.
    let operation: DecisionOperation
    private let flags: Flags
    /// How long a lease that is given or renewed lives from now, in milliseconds; 0 for other operations.
    let lifeMilliseconds: Int
    /// By which values the lease that it is about is held.
    let heldValues: [ValueWindows]

    /// The kind of an operation.
    ///
    /// - Parameter isLearned: whether a reservation said nothing of tokens and cost, and is expected to come to what others
    ///   came to.
    /// - Parameter attributes: what the call says, which a settle may say otherwise than the call its lease was given to.
    /// - Parameter isDryRun: whether a check or a reservation only asks what it would be answered.
    init(
        _ operation: CallRequest.Operation, isLearned: Bool = false, servedAs attributes: CallAttributes = .none,
        isDryRun: Bool = false
    ) {
        var flags: Flags = isLearned ? .isLearned : []
        var life = 0
        switch operation {
        case .check: self.operation = isDryRun ? .dryCheck : .check
        case .checkOnce:
            self.operation = isDryRun ? .dryCheck : .check
            flags.insert(.hasID)
        case .look:
            self.operation = .check
            flags.insert(.isLook)
        case .reserve where isDryRun: self.operation = .dryReserve
        case .reserve(let milliseconds):
            (self.operation, life) = (.reserve, milliseconds)
            flags.insert(.hasID)
        case .renew(_, let milliseconds): (self.operation, life) = (.renew, milliseconds)
        case .settle: self.operation = .settle
        case .release: self.operation = .release
        case .usage(let id):
            self.operation = .usage
            if !id.isEmpty { flags.insert(.hasID) }
        case .refund(let id):
            self.operation = .refund
            if !id.isEmpty { flags.insert(.hasID) }
        }
        // Looked at first, because a copy of the operation costs more.
        if operation.isOfLease, let lease = operation.lease {
            heldValues = lease.heldValues
            flags.insert(.hasID)
            if !lease.holdsNothing { flags.insert(.isHeldByUser) }
            if lease.isHeldInGroups { flags.insert(.isHeldInGroups) }
            if lease.isGlobal { flags.insert(.isHeldByAll) }
            if !lease.heldValues.isEmpty {
                let said = lease.attributes
                if !Self.areSame(said.model, attributes.model) { flags.insert(.hasOtherModel) }
                if !Self.areSame(said.provider, attributes.provider) { flags.insert(.hasOtherProvider) }
            }
        } else {
            heldValues = []
        }
        self.flags = flags
        lifeMilliseconds = life
    }

    /// Byte for byte, as keys are.
    private static func areSame(_ one: String?, _ other: String?) -> Bool {
        guard let one, let other else { return one == nil && other == nil }
        return one.utf8.elementsEqual(other.utf8)
    }

    /// All of it but the values in one number; a life has 27 bits.
    var word: UInt64 {
        UInt64(lifeMilliseconds) << 16 | UInt64(operation.rawValue) << 8 | UInt64(flags.rawValue)
    }

    /// Whether it only asks how the user stands.
    var isLook: Bool { flags.contains(.isLook) }

    /// Whether it has an id under which it is done once.
    var hasID: Bool { flags.contains(.hasID) }

    /// Whether what it costs is learned from other calls: what nobody said must deny nobody for good.
    var isLearned: Bool { flags.contains(.isLearned) }

    /// Whether a cost in a unit that is above the quota is taken for the quota: what is learned denies nobody for good. The
    /// script does so by a flag of the term; where the daemon counts itself, and for a call in parts, it does so too.
    func isBoundedByQuota(_ unit: LimitUnit) -> Bool { isLearned && unit.isKnownAfterwards }

    /// Whether it may be denied: as its operation says, which a plan does not keep.
    var asks: Bool { operation.asks && !isLook }

    /// Whether a denial that is remembered answers it. Of a check with an id Redis alone knows whether it was admitted, and
    /// a dry run is to say what Redis says.
    var isDeniedFromMemory: Bool { asks && !operation.isDry && !(operation == .check && hasID) }

    /// Whether it charges anything, holds it, or gives it back, or would.
    var charges: Bool {
        switch operation {
        case .check: !isLook
        case .reserve, .settle, .usage, .refund, .dryCheck, .dryReserve: true
        case .renew, .release, .reset: false
        }
    }

    /// Whether it may cross thresholds: what a reservation holds has not been charged.
    var tellsThresholds: Bool { operation.charges && !isLook }

    /// Whether the lease that it is about is known under the plain subject of an owner.
    func isHeld(by owner: PlanOwner) -> Bool {
        switch owner {
        case .user: flags.contains(.isHeldByUser)
        case .group: flags.contains(.isHeldInGroups)
        case .global: flags.contains(.isHeldByAll)
        }
    }

    /// Whether a call says of these values something else than the one to which its lease was given.
    func saysOtherwise(_ values: [CallValue]) -> Bool {
        flags.contains(.hasOtherModel) && values.contains(.model)
            || flags.contains(.hasOtherProvider) && values.contains(.provider)
    }
}

extension CallRequest.Operation {
    /// The lease it is about, which another call gave.
    package var lease: Lease? {
        switch self {
        case .renew(let lease, _), .settle(let lease), .release(let lease): lease
        case .check, .checkOnce, .reserve, .usage, .refund, .look: nil
        }
    }

    /// Whether it is about a lease.
    var isOfLease: Bool {
        switch self {
        case .renew, .settle, .release: true
        case .check, .checkOnce, .reserve, .usage, .refund, .look: false
        }
    }

    /// Whether it may be denied.
    package var asks: Bool {
        switch self {
        case .check, .checkOnce, .reserve: true
        case .renew, .settle, .release, .usage, .refund, .look: false
        }
    }
}
