import NIOCore
import RateLimitCore
import RedisClient

/// Hears from Redis, on a connection of its own, that denials no longer hold, after a reset or a changed limit, and that
/// a budget was changed.
///
/// A message is a user's UUID, `*` for all users, or a ``BudgetNotice``. While the subscription is lost messages are missed, so both its
/// loss and its return count as `*`.
final class InvalidationListener: RedisLinkDelegate {
    /// The message that stands for every user.
    static let everyone = "*"

    /// The channel's name for a key prefix.
    static func channel(keyPrefix: String) -> String { "\(keyPrefix):invalidate" }

    let link: RedisLink
    private let forbidden: ForbiddenCommands
    private let invalidate: (UserID?) -> Void
    private let budgetChanged: (BudgetNotice) -> Void

    init(
        link: RedisLink, forbidden: ForbiddenCommands, invalidate: @escaping (UserID?) -> Void,
        budgetChanged: @escaping (BudgetNotice) -> Void
    ) {
        self.link = link
        self.forbidden = forbidden
        self.invalidate = invalidate
        self.budgetChanged = budgetChanged
        link.delegate = self
    }

    deinit { link.delegate = nil }

    func start() { link.start() }

    func stop() { link.stop() }

    func linkDidChange(_ availability: LinkAvailability) { invalidate(nil) }

    func acceptsSetupReply(_ reply: Reply, step: Int) -> Bool {
        if let refusal = reply.errorText { forbidden.note(refusal, to: .subscribe) }
        return true
    }

    func received(_ reply: Reply) {}

    func lost(because failure: LinkFailure) {}

    func pushed(_ reply: Reply) {
        guard reply.elements.count == 4, let text = reply.text(of: reply.elements[3]) else { return }
        if let user = UserID(text) {
            invalidate(user)
        } else if text == Self.everyone {
            invalidate(nil)
        } else if let notice = BudgetNotice(text) {
            budgetChanged(notice)
        }
    }

    func repliesDelivered() {}
}
