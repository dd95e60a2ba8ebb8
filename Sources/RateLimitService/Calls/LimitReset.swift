import NIOCore
public import RateLimitCore

/// Whose windows they are.
public enum WindowOwner: Hashable, Sendable {
    /// Those of a user's own.
    case user(SubjectID)
    /// Those that a group's members share.
    case group(SubjectID)
    /// Those of all.
    case global

    /// Whose windows limits of which scope have.
    public var scope: LimitScope {
        switch self {
        case .user: .user
        case .group: .group
        case .global: .global
        }
    }

    /// Their key in Redis.
    func key(prefix: String) -> String { "\(prefix):\(keyName)" }

    /// What their key is called behind the prefix, at most ``SubjectID/longestInKeys`` bytes of a text in it.
    private var keyName: String {
        switch self {
        case .user(let user): user.keyName(of: .user)
        case .group(let group): group.keyName(of: .group)
        case .global: "global"
        }
    }

    /// What a message calls them: as their key is called, with the whole text.
    var name: String {
        switch self {
        case .user(let user): user.isUUID ? "\(user)" : "user:\(user.encoded)"
        case .group(let group): "group:\(group.encoded)"
        case .global: "global"
        }
    }

    /// Reads a ``name``, which a key's is where it holds no digest; nil for anything else.
    init?(name: some StringProtocol) {
        if name == "global" {
            self = .global
        } else if name.hasPrefix("group:"), let group = SubjectID(encoded: name.dropFirst(6)) {
            self = .group(group)
        } else if name.hasPrefix("user:"), let user = SubjectID(encoded: name.dropFirst(5)), !user.isUUID {
            self = .user(user)
        } else if let user = SubjectID(encoded: name), user.isUUID {
            self = .user(user)
        } else {
            return nil
        }
    }
}

/// What is to begin anew.
public struct LimitReset: Hashable, Sendable {
    /// Whose windows.
    public var owner: WindowOwner
    /// The window of this limit; nil for all there are, with everything that leases hold in them.
    public var limit: LimitName?

    /// Names what is to begin anew.
    public init(_ owner: WindowOwner, limit: LimitName? = nil) {
        self.owner = owner
        self.limit = limit
    }
}

/// Why a reset was not done.
public enum ResetError: Error, Hashable, Sendable {
    /// Redis did not answer, or answered with an error.
    case redis(FailureReason)
    /// No limit of this name is in force for such windows; those that are.
    case unknownLimit(known: [LimitName])
}

extension CheckPolicy {
    /// The limits in force whose windows somebody has, with what these are kept under and how many there may be for
    /// values. Nobody knows all the windows that all share by value.
    func limits(of owner: WindowOwner) -> [(name: LimitName, id: UInt32, maximumValues: Int?)] {
        guard limits.isEmpty else {
            return limits.definitions.filter {
                $0.scope == owner.scope && (owner != .global || $0.values.isEmpty)
            }.map { ($0.name, $0.id, $0.maximumValues) }
        }
        return owner.scope == .user && !limit.isOff ? [(.requests, LimitDefinition.requestsID, nil)] : []
    }
}

extension CheckEngine {
    /// Forgets in Redis the windows of one limit, by its id, or everything of somebody; `done` is told why that failed,
    /// where it did.
    ///
    /// - Parameter hasValues: whether the limit has a window for each value.
    func reset(_ owner: WindowOwner, limitID: UInt32?, hasValues: Bool, _ done: @escaping (FailureReason?) -> Void) {
        // How the limit counts is of no interest to who forgets it.
        let terms = limitID.map { [LimitTerm(id: $0, kind: .concurrency, quota: 0, cost: 0)] } ?? []
        let key = Array(owner.key(prefix: keyPrefix).utf8)
        let call = DecisionCall(.reset, subjects: [SubjectTerms(key: key, terms: terms, mostValues: hasValues ? 1 : 0)])
        reset(call, done)
    }

    /// Sends a reset; `done` is told why it was not done.
    func reset(_ call: DecisionCall, _ done: @escaping (FailureReason?) -> Void) {
        let pending = PendingRequest(call, arrivedAt: .now()) { result in
            switch result {
            case .success: done(nil)
            case .failure(let reason): done(reason)
            }
        }
        if let reason = lanes.enqueue(pending, queueLimit: bounds.queue) { return done(reason) }
        askForFlush()
    }
}
