import CoreMetrics

/// What becomes of leases, each counted once where Redis has done it: what is given and neither settled nor released has
/// lapsed, or lives. A lease may end at another daemon than gave it, so the counts of all daemons belong together.
struct LeaseMetrics: Sendable {
    /// What a call did with a lease, as the label has it.
    enum Event: String, CaseIterable {
        case given, renewed, settled, released
        /// It was to be renewed or released, and had lapsed or been ended before.
        case unknown
        /// It was to be settled, and had lapsed so long ago that nothing was charged.
        case tooLate = "too_late"

        /// Nil for what does nothing to a lease.
        init?(_ operation: CallRequest.Operation, _ outcome: Outcome) {
            switch (operation, outcome.verdict) {
            case (.reserve, .allowed) where outcome.details?.lease != nil: self = .given
            case (.renew, .allowed): self = .renewed
            case (.settle, .allowed): self = .settled
            case (.settle, .tooLate): self = .tooLate
            case (.release, .allowed): self = .released
            case (.renew, .unknownLease), (.release, .unknownLease), (.release, .tooLate): self = .unknown
            default: return nil
            }
        }
    }

    private let counters: [Event: Counter]

    init(factory: any MetricsFactory) {
        counters = Dictionary(
            uniqueKeysWithValues: Event.allCases.map { event in
                (
                    event,
                    Counter(label: CheckMetrics.Name.leases, dimensions: [("event", event.rawValue)], factory: factory)
                )
            })
    }

    func count(_ operation: CallRequest.Operation, _ outcome: Outcome) {
        guard let event = Event(operation, outcome) else { return }
        counters[event]?.increment()
    }
}
