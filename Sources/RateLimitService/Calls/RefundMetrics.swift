import CoreMetrics

/// What becomes of refunds of calls, each counted where Redis has done it.
struct RefundMetrics: Sendable {
    /// What a refund came to, as the label has it.
    enum Result: String, CaseIterable {
        /// A window was given something back.
        case refunded
        /// There was nothing left to give back, or no limit counts what was named.
        case empty
        /// It was told before, by its id.
        case repeated

        /// Nil for what is no refund, and for one that Redis did not decide.
        init?(_ operation: CallRequest.Operation, _ outcome: Outcome) {
            guard case .refund = operation else { return nil }
            switch outcome.verdict {
            case .allowed: self = outcome.details?.isCharged == true ? .refunded : .empty
            case .repeated: self = .repeated
            default: return nil
            }
        }
    }

    private let counters: [Result: Counter]

    init(factory: any MetricsFactory) {
        counters = Dictionary(
            uniqueKeysWithValues: Result.allCases.map { result in
                let dimensions = [("result", result.rawValue)]
                return (result, Counter(label: CheckMetrics.Name.refunds, dimensions: dimensions, factory: factory))
            })
    }

    func count(_ operation: CallRequest.Operation, _ outcome: Outcome) {
        guard let result = Result(operation, outcome) else { return }
        counters[result]?.increment()
    }
}
