import NIOCore
import RateLimitCore

/// What was asked of a descriptor's window and denied: under which quota, with how many hits.
struct DescriptorQuestion: DenialQuestion {
    let term: DescriptorTerm

    var kind: UInt64 { 0 }
}

/// What was told to a request that a descriptor's window denied.
struct DescriptorDenial {
    let waitMilliseconds: Int
    let used: Int
    let resetAfterMilliseconds: Int

    /// What Redis would say so many milliseconds later, where nothing has been charged in between.
    fileprivate func aged(_ milliseconds: Int) -> CallAnswer {
        let wait = max(1, waitMilliseconds - milliseconds)
        let state = LimitState(
            used: used, resetAfterMilliseconds: max(1, resetAfterMilliseconds - milliseconds), isDenied: true)
        return CallAnswer(
            verdict: .denied(term: 0, retryAfterMilliseconds: wait), states: [state], leastWaitMilliseconds: wait)
    }
}

/// The denials of requests that ask one window and report nothing, by the window: a proxy asks the same for each call
/// of a client that is over its limit.
typealias DescriptorDenials = DenialMemory<DescriptorQuestion, DescriptorDenial>

extension DescriptorDenials {
    /// What Redis said of this very request, as it stands now, if it is remembered.
    func denial(of call: PlannedDescriptors, at now: NIODeadline) -> CallAnswer? {
        guard !isEmpty, let term = call.onlyQuestion else { return nil }
        let remembered = denial(of: Self.owner(of: term), kind: 0, now: now) { $0.term == term }
        return remembered.map { $0.denial.aged($0.age) }
    }

    /// Remembers a denial for at most `cacheMilliseconds`, and only for as long as it is certain.
    mutating func remember(
        _ call: PlannedDescriptors, _ answer: CallAnswer, sentAt: NIODeadline, receivedAt: NIODeadline,
        cacheMilliseconds: Int
    ) {
        guard case .denied(0, let wait) = answer.verdict, let term = call.onlyQuestion else { return }
        let denial = DescriptorDenial(
            waitMilliseconds: wait, used: answer.states[0].used,
            resetAfterMilliseconds: answer.states[0].resetAfterMilliseconds)
        remember(
            Self.owner(of: term), DescriptorQuestion(term: term), denial,
            certainMilliseconds: answer.leastWaitMilliseconds, sentAt: sentAt, receivedAt: receivedAt,
            cacheMilliseconds: cacheMilliseconds)
    }

    /// Whose denial it is: a window's. Where two have one hash, the later denial takes the other's place.
    private static func owner(of term: DescriptorTerm) -> SubjectID {
        SubjectID(high: UInt64(bitPattern: Int64(term.key.hashValue)), low: 0)
    }
}

extension PlannedDescriptors {
    /// What it asks, where that is one window and all of it.
    fileprivate var onlyQuestion: DescriptorTerm? {
        terms.count == 1 && plan?.report == nil && terms[0].kind.question != .look ? terms[0] : nil
    }
}
