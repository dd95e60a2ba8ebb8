/// What a limit counts.
public enum LimitUnit: Hashable, Sendable {
    /// Calls.
    case requests
    /// Tokens of one kind, or of all kinds together.
    case tokens(TokenKind)
    /// Micro-dollars: millionths of a dollar, as whole numbers.
    case spend
    /// Calls that are under way at one time.
    case concurrency

    /// Every unit, in the order in which messages list them.
    public static let all: [LimitUnit] = [
        .requests, .tokens(.total), .tokens(.input), .tokens(.output), .tokens(.cacheRead), .tokens(.cacheWrite),
        .spend, .concurrency,
    ]

    /// The unit as limits files and answers write it; `tokens` alone is the total.
    public var text: String {
        switch self {
        case .requests: "requests"
        case .tokens(.total): "tokens"
        case .tokens(let kind): "tokens.\(kind.rawValue)"
        case .spend: "spend"
        case .concurrency: "concurrency"
        }
    }

    /// Which tokens it counts; nil for what is no limit of tokens.
    public var tokenKind: TokenKind? { if case .tokens(let kind) = self { kind } else { nil } }

    /// Reads a unit as limits files write it; nil for anything else. `tokens.total` is `tokens`.
    public init?(_ text: String) {
        if text == "tokens.total" {
            self = .tokens(.total)
        } else if let unit = Self.all.first(where: { $0.text == text }) {
            self = unit
        } else {
            return nil
        }
    }
}

/// Which tokens a limit counts.
public enum TokenKind: String, CaseIterable, Hashable, Sendable {
    /// Tokens sent to the model that came from no cache.
    case input
    /// Tokens the model wrote.
    case output
    /// Tokens read from the provider's cache.
    case cacheRead = "cache_read"
    /// Tokens written into the provider's cache.
    case cacheWrite = "cache_write"
    /// All of them together.
    case total
}

/// Who shares a limit's window.
public enum LimitScope: String, CaseIterable, Hashable, Sendable {
    /// Every user has a window of their own.
    case user
    /// Every group has one; a call meets that of each of its groups.
    case group
    /// There is one for all.
    case global
}

/// What becomes of a call when Redis cannot decide about a limit.
public enum FailureMode: String, CaseIterable, Hashable, Sendable {
    /// It passes.
    case open
    /// It is denied.
    case closed
    /// Each replica counts its share on its own.
    case local
}
