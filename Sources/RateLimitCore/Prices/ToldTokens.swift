/// The kinds of tokens that a call told: a ``TokenUsage`` has 0 of a kind that was told as 0, and of one that was left
/// out.
public struct ToldTokens: OptionSet, Hashable, Sendable {
    /// One bit for each kind.
    public let rawValue: UInt8

    /// Makes a set from its bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// ``TokenUsage/input`` was told.
    public static let input = ToldTokens(rawValue: 1)
    /// ``TokenUsage/output`` was told.
    public static let output = ToldTokens(rawValue: 2)
    /// ``TokenUsage/cacheRead`` was told.
    public static let cacheRead = ToldTokens(rawValue: 4)
    /// ``TokenUsage/cacheWrite`` was told.
    public static let cacheWrite = ToldTokens(rawValue: 8)
    /// Every kind was told.
    public static let all: ToldTokens = [.input, .output, .cacheRead, .cacheWrite]

    /// Whether a call that told these kinds of `usage` certainly uses none of a kind. A prompt whose input was told as 0
    /// has nothing from a cache either, unless the call says so.
    public func isCertainlyNone(of kind: TokenKind, in usage: TokenUsage) -> Bool {
        guard usage.count(of: kind) == 0 else { return false }
        let hasEmptyPrompt = contains(.input) && usage.input == 0
        switch kind {
        case .input: return contains(.input)
        case .output: return contains(.output)
        case .cacheRead: return contains(.cacheRead) || hasEmptyPrompt
        case .cacheWrite: return contains(.cacheWrite) || hasEmptyPrompt
        case .total: return contains(.output) && hasEmptyPrompt
        }
    }
}
