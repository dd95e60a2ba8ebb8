/// What the last calls came to of one thing, and what the next is to be expected to: as much as seven of eight came
/// to.
///
/// A quantile over few calls, and not a mean: one call that is a thousand times as large moves a mean to where no call
/// is, and here is left out; and what is remembered is so short that an estimate follows calls that become larger or
/// smaller within some of them.
public struct RecentAmounts: Hashable, Sendable {
    /// How many calls are remembered, those noted last.
    public static let capacity = 16
    /// From how many on the largest are left out.
    public static let fewest = 4
    /// What may be noted; more counts as the upper bound.
    public static let amounts = 0...Int(UInt32.max)

    private var amounts: [UInt32] = []
    private var oldest = 0

    /// Remembers nothing.
    public init() {}

    /// How many calls are remembered.
    public var count: Int { amounts.count }

    /// Notes what one more call came to.
    public mutating func note(_ amount: Int) {
        let amount = UInt32(min(max(amount, Self.amounts.lowerBound), Self.amounts.upperBound))
        if amounts.count < Self.capacity {
            amounts.append(amount)
        } else {
            amounts[oldest] = amount
            oldest = (oldest + 1) % Self.capacity
        }
    }

    /// The largest amount but for the largest tenth, which is rounded up; the largest of all where there are fewer than
    /// ``fewest``, and nil where there is none.
    public var estimate: Int? {
        guard !amounts.isEmpty else { return nil }
        let leftOut = amounts.count < Self.fewest ? 0 : (amounts.count + 9) / 10
        // The largest three, for at most two are left out.
        var largest: (UInt32, UInt32, UInt32) = (0, 0, 0)
        for amount in amounts {
            if amount > largest.0 {
                largest = (amount, largest.0, largest.1)
            } else if amount > largest.1 {
                largest = (largest.0, amount, largest.1)
            } else if amount > largest.2 {
                largest.2 = amount
            }
        }
        switch leftOut {
        case 0: return Int(largest.0)
        case 1: return Int(largest.1)
        default: return Int(largest.2)
        }
    }
}

/// What the last calls used of each kind of tokens, and what they cost where that was told.
public struct RecentUsage: Hashable, Sendable {
    private var input = RecentAmounts()
    private var output = RecentAmounts()
    private var cacheRead = RecentAmounts()
    private var cacheWrite = RecentAmounts()
    /// Of each part, from the first call on that told of one.
    private var parts: [RecentAmounts] = []
    private var costs = RecentAmounts()

    /// Remembers nothing.
    public init() {}

    /// How many calls are remembered, of that of tokens and costs of which there are more.
    public var count: Int { max(input.count, costs.count) }

    /// Notes what one more call came to.
    public mutating func note(_ tokens: TokenUsage?, costMicros: Int?) {
        if let tokens {
            input.note(tokens.input)
            output.note(tokens.output)
            cacheRead.note(tokens.cacheRead)
            cacheWrite.note(tokens.cacheWrite)
            noteParts(of: tokens)
        }
        if let costMicros { costs.note(costMicros) }
    }

    private mutating func noteParts(of tokens: TokenUsage) {
        guard tokens.hasParts || !parts.isEmpty else { return }
        if parts.isEmpty { parts = TokenPart.allCases.map { _ in RecentAmounts() } }
        for (place, part) in TokenPart.allCases.enumerated() { parts[place].note(tokens.count(of: part)) }
    }

    private var expectedParts: PerTokenPart<Int>? {
        guard !parts.isEmpty else { return nil }
        var expected = PerTokenPart { _ in 0 }
        for (place, part) in TokenPart.allCases.enumerated() { expected[part] = parts[place].estimate ?? 0 }
        return expected
    }

    /// What the next call is to be expected to use, each kind on its own; nil where no call told its tokens.
    public var tokens: TokenUsage? {
        guard let input = input.estimate else { return nil }
        return TokenUsage(
            input: input, output: output.estimate ?? 0, cacheRead: cacheRead.estimate ?? 0,
            cacheWrite: cacheWrite.estimate ?? 0, parts: expectedParts)
    }

    /// What the next call is to be expected to cost, in micro-dollars; nil where no call told its cost.
    public var costMicros: Int? { costs.estimate }
}
