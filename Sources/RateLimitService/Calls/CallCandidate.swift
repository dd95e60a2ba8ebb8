/// A model and provider that a call may be made with, one of several.
public struct CallCandidate: Hashable, Sendable {
    /// How many a call may have.
    public static let largestCount = 16

    /// Its place among those that the call named, from 0.
    public let index: Int
    /// The model; nil where it names none.
    public let model: String?
    /// The provider; nil where it names none.
    public let provider: String?

    /// Names one.
    ///
    /// - Parameter index: below ``largestCount``.
    public init(index: Int, model: String?, provider: String?) {
        precondition(0..<Self.largestCount ~= index)
        self.index = index
        self.model = model
        self.provider = provider
    }
}

/// A candidate that was asked about and may not be taken, and why.
public struct PassedOverCandidate: Hashable, Sendable {
    /// Which one.
    public let candidate: CallCandidate
    /// What the call would have been told had it been asked about this one alone.
    public let outcome: Outcome

    init(_ candidate: CallCandidate, _ outcome: Outcome) {
        self.candidate = candidate
        self.outcome = outcome
    }
}
