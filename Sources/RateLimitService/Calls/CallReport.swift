/// What an outcome tells of a call that was only tried, or that had candidates.
public struct CallReport: Hashable, Sendable {
    /// Whether the call only asked what it would be answered: nothing was charged, held or remembered.
    public var isDryRun = false
    /// Of a dry run the limits in force that the call is not under; nil where that is not known.
    public var unmet: [UnmetLimit]?
    /// Which candidate the outcome is about; nil where the call has none, or where it is not known which was admitted before.
    public var candidate: CallCandidate?
    /// The candidates that were asked besides, none of which may be taken.
    public var passedOver: [PassedOverCandidate] = []

    /// None yet.
    public init() {}
}
