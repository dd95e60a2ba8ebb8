import NIOCore
import RateLimitCore

/// Denials that Redis gave and that still hold, so that a denied user who keeps asking costs Redis nothing.
///
/// A denial holds for the same user and the same question until the instant Redis gave. Two clocks are kept apart on
/// purpose: the memory denies only until the wait has passed since the question was *sent*, which is never after the
/// true instant, and tells the wait since the answer was *received*, which is never before it. So nobody is denied
/// too long, and nobody who waits as told comes too early.
///
/// A table of fixed size, made at the first denial, in which a new denial takes the place of an old one: bounded, and no
/// allocation on the hot path.
struct DenialMemory<Question: Equatable, Answer> {
    private struct Entry {
        var user: SubjectID
        var question: Question
        var answer: Answer
        var deniesUntil: NIODeadline
        var receivedAt: NIODeadline
    }

    /// How many denials fit; a power of two.
    static var capacity: Int { 8192 }

    private var entries: [Entry?] = []
    private let seed = UInt64.random(in: 0 ... .max) | 1

    /// Whether nothing is remembered.
    var isEmpty: Bool { entries.isEmpty }

    /// What Redis answered to this very question, and how many milliseconds ago, if it is remembered and still holds.
    @inline(__always)
    func denial(of user: SubjectID, _ question: Question, now: NIODeadline) -> (answer: Answer, age: Int)? {
        guard !entries.isEmpty, let entry = entries[place(of: user)], entry.deniesUntil > now, entry.user == user,
            entry.question == question
        else { return nil }
        return (entry.answer, max(0, Int((now - entry.receivedAt).nanoseconds / 1_000_000)))
    }

    /// Remembers a denial until a millisecond before the end of the wait that is certain, and for at most
    /// `cacheMilliseconds`.
    ///
    /// - Parameter certainMilliseconds: for how long it holds since it was sent, whatever anybody but an operator does.
    mutating func remember(
        _ user: SubjectID, _ question: Question, _ answer: Answer, certainMilliseconds: Int, sentAt: NIODeadline,
        receivedAt: NIODeadline, cacheMilliseconds: Int
    ) {
        guard cacheMilliseconds > 0, certainMilliseconds > 1 else { return }
        if entries.isEmpty { entries = [Entry?](repeating: nil, count: Self.capacity) }
        entries[place(of: user)] = Entry(
            user: user, question: question, answer: answer,
            deniesUntil: sentAt + .milliseconds(Int64(min(certainMilliseconds - 1, cacheMilliseconds))),
            receivedAt: receivedAt)
    }

    /// Forgets what is remembered of one user.
    mutating func forget(_ user: SubjectID) {
        guard !entries.isEmpty else { return }
        let place = place(of: user)
        if entries[place]?.user == user { entries[place] = nil }
    }

    /// Forgets everything.
    mutating func forgetAll() { entries = [] }

    private func place(of user: SubjectID) -> Int {
        Int(truncatingIfNeeded: ((user.high ^ (user.low &* 0x9e37_79b9_7f4a_7c15)) &* seed) &>> 51)
    }
}

/// The denials of checks, by what they cost.
typealias CheckDenials = DenialMemory<Int, Decision>

extension CheckDenials {
    /// The denial of this very check, as it stands now, if it is remembered.
    func denial(of user: SubjectID, cost: Int, quota: Int, now: NIODeadline) -> Decision? {
        guard let (decision, age) = denial(of: user, cost, now: now),
            case .denied(let retryAfterMilliseconds) = decision.verdict
        else { return nil }
        return Decision(
            verdict: .denied(retryAfterMilliseconds: max(1, retryAfterMilliseconds - age)), quota: quota,
            used: decision.used, resetAfterMilliseconds: max(1, decision.resetAfterMilliseconds - age))
    }

    /// Remembers a denial for at most `cacheMilliseconds`, and only for as long as it is certain.
    mutating func remember(
        _ user: SubjectID, cost: Int, decision: Decision, certainMilliseconds: Int, sentAt: NIODeadline,
        receivedAt: NIODeadline, cacheMilliseconds: Int
    ) {
        guard case .denied = decision.verdict else { return }
        remember(
            user, cost, decision, certainMilliseconds: certainMilliseconds, sentAt: sentAt, receivedAt: receivedAt,
            cacheMilliseconds: cacheMilliseconds)
    }
}

/// The denials of calls, by what was asked of Redis: the plan, whose windows, and the costs.
typealias CallDenials = DenialMemory<CallQuestion, CallAnswer>

/// What a call asks that may be denied: the same question meets the same limits, whatever became of budgets, groups,
/// grants and the file in between.
struct CallQuestion: Equatable {
    let plan: CallPlan
    let costs: CallCosts
    let groups: [SubjectID]

    init(_ call: PlannedCall) {
        plan = call.plan
        costs = call.costs
        groups = call.caller.groups
    }

    static func == (left: CallQuestion, right: CallQuestion) -> Bool {
        left.plan === right.plan && left.costs == right.costs && left.groups == right.groups
    }
}

extension CallDenials {
    /// The denial of this very call, as it stands now, if it is remembered.
    func denial(of call: PlannedCall, at now: NIODeadline) -> CallAnswer? {
        if isEmpty { return nil }
        return denial(of: call.request.user, CallQuestion(call), now: now).map { $0.answer.aged(by: $0.age) }
    }

    /// Remembers a denial for at most `cacheMilliseconds`, and only for as long as what has been charged needs: leases may
    /// end at any time.
    mutating func remember(
        _ call: PlannedCall, _ answer: CallAnswer, sentAt: NIODeadline, receivedAt: NIODeadline, cacheMilliseconds: Int
    ) {
        switch answer.verdict {
        case .denied, .atCapacity: break
        case .done, .deniedForGood, .unknownLease, .repeated, .tooLate: return
        }
        remember(
            call.request.user, CallQuestion(call), answer, certainMilliseconds: answer.leastWaitMilliseconds,
            sentAt: sentAt, receivedAt: receivedAt, cacheMilliseconds: cacheMilliseconds)
    }
}

extension CallAnswer {
    /// The same so many milliseconds later, where nothing has been charged or freed in between.
    fileprivate func aged(by age: Int) -> CallAnswer {
        var answer = self
        switch verdict {
        case .denied(let term, let wait):
            answer.verdict = .denied(term: term, retryAfterMilliseconds: max(1, wait - age))
        case .atCapacity(let term, let wait):
            answer.verdict = .atCapacity(term: term, retryAfterMilliseconds: max(1, wait - age))
        case .done, .deniedForGood, .unknownLease, .repeated, .tooLate: break
        }
        answer.leastWaitMilliseconds = max(0, leastWaitMilliseconds - age)
        for index in answer.states.indices {
            let reset = answer.states[index].resetAfterMilliseconds
            answer.states[index].resetAfterMilliseconds = max(0, reset - age)
        }
        return answer
    }
}
