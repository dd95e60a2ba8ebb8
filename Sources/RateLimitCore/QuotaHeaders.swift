/// Which headers of an answer say how a quota stands; `Retry-After` is none of them, and always sent.
public enum QuotaHeaders: String, CaseIterable, Sendable {
    /// `RateLimit-Policy` and `RateLimit`, as in the IETF's draft.
    case ietf
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, the last in seconds.
    case x
    /// All five.
    case both
    /// None of them.
    case none

    /// Whether those of the draft are among them.
    public var hasDraft: Bool {
        switch self {
        case .ietf, .both: true
        case .x, .none: false
        }
    }

    /// Whether the three older ones are among them.
    public var hasX: Bool {
        switch self {
        case .x, .both: true
        case .ietf, .none: false
        }
    }
}
