import RateLimitCore

/// What the daemons tell each other: `<change> <version before> <version>`. Redis adds the versions, of which each change
/// makes a new one, so that whoever has missed a message knows it by the next one.
struct ChangeNotice: Hashable {
    /// What was changed, and what is remembered of it does not hold any more.
    enum Change: Hashable {
        /// `budget user <encoded>`, or `budget group <encoded>`.
        case budget(BudgetSubject)
        case denials(Invalidation)
    }

    var change: Change
    /// What stands for no version is `-`.
    var versionBefore: String
    var version: String

    init(_ change: Change, versionBefore: String, version: String) {
        self.change = change
        self.versionBefore = versionBefore
        self.version = version
    }

    /// Reads a message; nil for one about something else.
    init?(_ text: String) {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count > 2, let change = Change(words.dropLast(2)) else { return nil }
        self.init(change, versionBefore: String(words[words.count - 2]), version: String(words[words.count - 1]))
    }
}

extension ChangeNotice.Change {
    fileprivate init?(_ words: ArraySlice<Substring>) {
        guard words.first == "budget" else {
            guard let invalidation = Invalidation(words.joined(separator: " ")) else { return nil }
            self = .denials(invalidation)
            return
        }
        guard words.count == 3, let id = SubjectID(encoded: words[2]) else { return nil }
        switch words[1] {
        case "user": self = .budget(.user(id))
        case "group": self = .budget(.group(id))
        default: return nil
        }
    }

    /// The message up to the versions.
    var text: String {
        switch self {
        case .budget(.user(let user)): "budget user \(user.encoded)"
        case .budget(.group(let group)): "budget group \(group.encoded)"
        case .denials(let invalidation): invalidation.text
        }
    }

    /// The user whose denials may not hold any more; nil where anybody's may not: one may come from a quota that has just
    /// been raised.
    var user: SubjectID? {
        switch self {
        case .budget(.user(let user)): user
        case .budget(.group): nil
        case .denials(let invalidation): invalidation.user
        }
    }
}
