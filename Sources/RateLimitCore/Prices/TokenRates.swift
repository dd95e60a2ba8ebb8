/// How much one token of each kind counts for: a price, or a weight. A part without a rate of its own counts as its kind
/// does, so that no token counts twice.
public struct TokenRates: Hashable, Sendable {
    /// The rate of input.
    public let input: Int
    /// The rate of output.
    public let output: Int
    /// The rate of what is read from a cache.
    public let cacheRead: Int
    /// The rate of what is written into a cache.
    public let cacheWrite: Int
    /// The rate of each part of input and output.
    public let parts: PerTokenPart<Int>

    /// Makes rates, none below 0. What is read from a cache or written into one counts as input does where it has no rate
    /// of its own, and each part as its kind.
    public init(
        input: Int, output: Int, cacheRead: Int? = nil, cacheWrite: Int? = nil, parts: [TokenPart: Int] = [:]
    ) {
        precondition(([input, output, cacheRead ?? 0, cacheWrite ?? 0] + parts.values).allSatisfy { $0 >= 0 })
        self.input = input
        self.output = output
        self.cacheRead = cacheRead ?? input
        self.cacheWrite = cacheWrite ?? input
        self.parts = PerTokenPart { parts[$0] ?? ($0.kind == .input ? input : output) }
    }

    /// The rate of a kind; of the total nothing is said.
    func rate(of kind: TokenKind) -> Int {
        switch kind {
        case .input: input
        case .output: output
        case .cacheRead: cacheRead
        case .cacheWrite: cacheWrite
        case .total: preconditionFailure("the total has no rate of its own")
        }
    }

    /// All rates.
    public var all: [Int] { [input, output, cacheRead, cacheWrite] + TokenPart.allCases.map { parts[$0] } }

    /// What a usage comes to, of one kind or of all: each token at its rate, nothing rounded.
    func sum(of usage: TokenUsage, _ kind: TokenKind = .total) -> Int128 {
        func ofKind(_ kind: TokenKind) -> Int128 {
            var sum = Int128(usage.count(of: kind)) * Int128(rate(of: kind))
            guard usage.hasParts else { return sum }
            for part in TokenPart.allCases where part.kind == kind {
                // The part is in its kind's count: what it counts for otherwise is the difference.
                sum += Int128(usage.count(of: part)) * Int128(parts[part] - rate(of: kind))
            }
            return sum
        }
        guard kind == .total else { return ofKind(kind) }
        return ofKind(.input) + ofKind(.output) + ofKind(.cacheRead) + ofKind(.cacheWrite)
    }

    /// Whether a call certainly comes to nothing of a kind, or of all, by what it told of its tokens: each counts for
    /// nothing, or was told as 0.
    func isCertainlyNothing(_ kind: TokenKind = .total, for usage: TokenUsage, told: ToldTokens) -> Bool {
        func isNothing(_ kind: TokenKind) -> Bool {
            rate(of: kind) == 0 && TokenPart.allCases.allSatisfy { $0.kind != kind || parts[$0] == 0 }
                || told.isCertainlyNone(of: kind, in: usage)
        }
        guard kind == .total else { return isNothing(kind) }
        return isNothing(.input) && isNothing(.output) && isNothing(.cacheRead) && isNothing(.cacheWrite)
    }
}

/// How much tokens weigh in a limit of tokens, in thousandths: a token that weighs 1000 counts as one.
public struct TokenWeights: Hashable, Sendable {
    /// The weights.
    public let rates: TokenRates

    /// The bounds of each weight, in thousandths: from nothing to a thousand tokens.
    public static let weights = 0...1_000_000
    /// The weight of what is not said.
    public static let usual = 1_000

    /// Makes weights of kinds and parts. A kind without one weighs ``usual``, a part without one as its kind; nil where one
    /// is outside ``weights``.
    public init?(_ kinds: [TokenKind: Int], parts: [TokenPart: Int] = [:]) {
        guard (kinds.values + Array(parts.values)).allSatisfy(Self.weights.contains) else { return nil }
        func weight(_ kind: TokenKind) -> Int { kinds[kind] ?? Self.usual }
        rates = TokenRates(
            input: weight(.input), output: weight(.output), cacheRead: weight(.cacheRead),
            cacheWrite: weight(.cacheWrite), parts: parts)
    }

    /// What a usage weighs in whole tokens, of one kind or of all, rounded up once; at most the upper bound of
    /// ``TokenUsage/counts``.
    public func weight(of usage: TokenUsage, _ kind: TokenKind) -> Int {
        let tokens = (rates.sum(of: usage, kind) + 999) / 1_000
        return Int(min(tokens, Int128(TokenUsage.counts.upperBound)))
    }

    /// Whether a call certainly weighs nothing, by what it told of its tokens.
    public func isCertainlyNothing(_ kind: TokenKind, for usage: TokenUsage, told: ToldTokens) -> Bool {
        rates.isCertainlyNothing(kind, for: usage, told: told)
    }
}

extension TokenWeights {
    /// The weights that are not what is usual: of kinds other than one token, of parts other than their kind's; in the order
    /// in which they are told, named as limits files name them.
    public var told: [(name: String, perMille: Int)] {
        let kinds = [TokenKind.input, .output, .cacheRead, .cacheWrite]
        let ofKinds = kinds.filter { rates.rate(of: $0) != Self.usual }.map { ($0.rawValue, rates.rate(of: $0)) }
        let ofParts = TokenPart.allCases.filter { rates.parts[$0] != rates.rate(of: $0.kind) }
        return ofKinds + ofParts.map { ($0.rawValue, rates.parts[$0]) }
    }
}

/// Thousandths as a decimal number: `0.1` of 100, `2` of 2000.
public func shareText(perMille: Int) -> String {
    guard perMille % 1_000 > 0 else { return "\(perMille / 1_000)" }
    var places = String(perMille % 1_000 + 1_000).dropFirst()
    while places.hasSuffix("0") { places = places.dropLast() }
    return "\(perMille / 1_000).\(places)"
}
