import NIOCore
import RateLimitCore
import RedisClient

/// Hears from Redis, on a connection of its own, that denials no longer hold, after a reset or a changed limit, and that
/// a budget was changed.
///
/// A message is a ``ChangeNotice``. While the subscription is lost messages are missed, so both its loss and its return
/// end all denials. What is missed in silence shows within a second, by the version (``KnownVersion``).
final class InvalidationListener: RedisLinkDelegate {
    /// The channel's name for a key prefix.
    static func channel(keyPrefix: String) -> String { "\(keyPrefix):invalidate" }

    let link: RedisLink
    private let forbidden: ForbiddenCommands
    private let forgetAll: () -> Void
    private let heard: (ChangeNotice) -> Void

    init(
        link: RedisLink, forbidden: ForbiddenCommands, forgetAll: @escaping () -> Void,
        heard: @escaping (ChangeNotice) -> Void
    ) {
        self.link = link
        self.forbidden = forbidden
        self.forgetAll = forgetAll
        self.heard = heard
        link.delegate = self
    }

    deinit { link.delegate = nil }

    func start() { link.start() }

    func stop() { link.stop() }

    func linkDidChange(_ availability: LinkAvailability) { forgetAll() }

    func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool {
        if let refusal = reply.errorText { forbidden.note(refusal, to: .subscribe) }
        return true
    }

    func received(_ reply: Reply) {}

    func lost(because failure: LinkFailure) {}

    func pushed(_ reply: Reply) {
        guard reply.elements.count == 4, let text = reply.text(of: reply.elements[3]),
            let notice = ChangeNotice(text)
        else { return }
        heard(notice)
    }

    func repliesDelivered() {}
}

/// What the daemons tell each other of denials that no longer hold.
enum Invalidation: Hashable {
    /// A limit was changed: nobody's denials hold. `*`.
    case everyone
    /// All windows of somebody were reset: their ``WindowOwner/name``.
    case reset(WindowOwner)
    /// One limit of somebody was reset: `denials ` and the name in their key.
    case denials(WindowOwner)

    /// Whom a reset concerns.
    init(_ reset: LimitReset) {
        self = reset.limit == nil ? .reset(reset.owner) : .denials(reset.owner)
    }

    private static let denialsPrefix = "denials "

    /// Reads a message; nil for one about something else.
    init?(_ text: String) {
        if text == "*" {
            self = .everyone
        } else if let owner = WindowOwner(name: text) {
            self = .reset(owner)
        } else if text.hasPrefix(Self.denialsPrefix),
            let owner = WindowOwner(name: text.dropFirst(Self.denialsPrefix.count))
        {
            self = .denials(owner)
        } else {
            return nil
        }
    }

    /// The message that ``init(_:)-(String)`` reads.
    var text: String {
        switch self {
        case .everyone: "*"
        case .reset(let owner): owner.name
        case .denials(let owner): "\(Self.denialsPrefix)\(owner.name)"
        }
    }

    /// The user whose denials may not hold any more; nil where anybody's may not.
    var user: SubjectID? {
        switch self {
        case .reset(.user(let user)), .denials(.user(let user)): user
        case .everyone, .reset, .denials: nil
        }
    }
}
