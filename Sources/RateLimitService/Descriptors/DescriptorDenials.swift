import NIOCore
import RateLimitCore

/// What was asked of descriptors' windows and denied: under which quotas, with how many hits.
struct DescriptorQuestion: DenialQuestion {
    let terms: [DescriptorTerm]

    var kind: UInt64 { 0 }
}

/// The denials of requests about descriptors that report nothing, by their windows: a proxy asks the same for each call
/// of a client that is over its limit. What the windows that did not deny have left is told as it was then.
typealias DescriptorDenials = DenialMemory<DescriptorQuestion, CallAnswer>

extension DescriptorDenials {
    /// The most windows of a request whose denial is remembered, and the most bytes of their keys together: so what is
    /// remembered is bounded.
    static var mostWindows: Int { 4 }
    static var mostKeyBytes: Int { 512 }

    /// What Redis said of this very request, as it stands now, if it is remembered and none of its windows was given
    /// something back since it was asked.
    func denial(
        of call: PlannedDescriptors, after refunds: RefundTimes, at now: NIODeadline
    ) -> CallAnswer? {
        guard !isEmpty, call.isRememberedWhereDenied,
            let (answer, age, sentAt) = denial(
                of: Self.owner(of: call.terms), kind: 0, now: now, isSame: { $0.terms == call.terms }),
            refunds.isQuiet(call.terms.lazy.map(\.key), since: sentAt)
        else { return nil }
        return answer.aged(age)
    }

    /// Remembers a denial for at most `cacheMilliseconds`, and only for as long as it is certain.
    mutating func remember(
        _ call: PlannedDescriptors, _ answer: CallAnswer, sentAt: NIODeadline, receivedAt: NIODeadline,
        cacheMilliseconds: Int
    ) {
        guard case .denied = answer.verdict, call.isRememberedWhereDenied else { return }
        remember(
            Self.owner(of: call.terms), DescriptorQuestion(terms: call.terms), answer,
            certainMilliseconds: answer.leastWaitMilliseconds, sentAt: sentAt, receivedAt: receivedAt,
            cacheMilliseconds: cacheMilliseconds)
    }

    /// Whose denial it is: that of these windows. Of two with one hash the later denial takes the other's place.
    private static func owner(of terms: [DescriptorTerm]) -> SubjectID {
        var hasher = Hasher()
        for term in terms { hasher.combine(term.key) }
        return SubjectID(high: UInt64(bitPattern: Int64(hasher.finalize())), low: UInt64(terms.count))
    }
}

extension PlannedDescriptors {
    /// Whether a denial of it is the same answer for all that ask the same.
    fileprivate var isRememberedWhereDenied: Bool {
        guard plan?.report == nil, plan?.refund == nil, asks, terms.count <= DescriptorDenials.mostWindows else {
            return false
        }
        return terms.reduce(0) { $0 + $1.key.text.utf8.count } <= DescriptorDenials.mostKeyBytes
    }
}

extension CallAnswer {
    /// The same denial so many milliseconds later, where nothing has been charged in between.
    fileprivate func aged(_ milliseconds: Int) -> CallAnswer {
        guard case .denied(let term, let wait) = verdict else { return self }
        var aged = self
        aged.verdict = .denied(term: term, retryAfterMilliseconds: max(1, wait - milliseconds))
        aged.leastWaitMilliseconds = max(0, leastWaitMilliseconds - milliseconds)
        for place in states.indices {
            aged.states[place].resetAfterMilliseconds = max(0, states[place].resetAfterMilliseconds - milliseconds)
        }
        return aged
    }
}
