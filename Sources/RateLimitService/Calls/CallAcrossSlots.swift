import NIOCore
import RateLimitCore
import RedisClient

/// One call whose subjects are in several slots of a cluster, which no script can decide at once.
///
/// A check or a reservation is first reserved in each slot, at the same time. Where all of them admit it, it is admitted:
/// a check is then settled in each, a reservation stays. Where one denies it, or does not answer, the others are
/// released. So a slot may for that moment hold what is then given back, and deny somebody else meanwhile; nothing is
/// ever admitted above a quota, and what a daemon that dies in between has held lapses by itself, uncharged.
///
/// A check with an id is settled once the user's slot has noted that, which it does once for each id; one that was admitted
/// before is released, and is known for that also where a slot denies it.
final class CallAcrossSlots {
    /// How long what a check holds lives: longer than any slot takes to answer.
    private static let checkMilliseconds = 5_000

    /// Sends one slot's part of a call: the subjects whose keys are there.
    typealias Send = (_ part: DecisionCall, _ done: @escaping (Result<CallAnswer, FailureReason>) -> Void) -> Void

    private let call: DecisionCall
    /// The places of the subjects that one slot has, for each slot.
    private let slots: [[Int]]
    private let id: DecisionID
    private let send: Send
    private let whenCrossed: ([TermCrossing]) -> Void
    private let done: (Result<CallAnswer, FailureReason>) -> Void
    private var results: [Result<CallAnswer, FailureReason>?]
    private var missing: Int

    /// - Parameter whenCrossed: told of the thresholds that a check crosses: it charges where it is settled, and is done by
    ///   then.
    init(
        _ call: DecisionCall, send: @escaping Send, whenCrossed: @escaping ([TermCrossing]) -> Void = { _ in },
        done: @escaping (Result<CallAnswer, FailureReason>) -> Void, using random: inout some RandomNumberGenerator
    ) {
        self.call = call
        self.send = send
        self.whenCrossed = whenCrossed
        self.done = done
        id = call.operation == .check ? Self.newLease(&random) : call.id ?? Self.newLease(&random)
        slots = Self.slots(of: call)
        results = Array(repeating: nil, count: slots.count)
        missing = slots.count
    }

    private static func newLease(_ random: inout some RandomNumberGenerator) -> DecisionID {
        .lease(LeaseMark(id: random.next()))
    }

    private static func slots(of call: DecisionCall) -> [[Int]] {
        var places: [HashSlot: Int] = [:]
        var slots: [[Int]] = []
        for (index, subject) in call.subjects.enumerated() {
            let place = places[HashSlot(key: subject.key), default: slots.count]
            if place == slots.count {
                places[HashSlot(key: subject.key)] = place
                slots.append([])
            }
            slots[place].append(index)
        }
        return slots
    }

    /// Begins; it lives until the last slot has answered.
    func begin() {
        for index in slots.indices {
            let part =
                switch call.operation {
                case .check: part(index, .reserve)
                default: part(index, call.operation)
                }
            send(part) { result in self.received(result, from: index) }
        }
    }

    /// One slot's part of the call.
    private func part(_ index: Int, _ operation: DecisionOperation) -> DecisionCall {
        let id: DecisionID?
        switch operation {
        // A usage or refund without an id is done each time, in each slot.
        case .usage, .refund, .check, .reset, .dryCheck, .dryReserve: id = call.id
        case .reserve, .renew, .settle, .release: id = self.id
        }
        return DecisionCall(
            operation, id: id,
            lifeMilliseconds: call.operation == .check ? Self.checkMilliseconds : call.lifeMilliseconds,
            rememberMilliseconds: call.operation == .check ? Self.checkMilliseconds : call.rememberMilliseconds,
            subjects: slots[index].map { call.subjects[$0] })
    }

    private func received(_ result: Result<CallAnswer, FailureReason>, from index: Int) {
        results[index] = result
        missing -= 1
        guard missing == 0 else { return }
        let merged = merged(results.compactMap { $0 })
        let isDone = if case .success(let answer) = merged { answer.verdict == .done } else { false }
        switch call.operation {
        case .check:
            switch call.id {
            case .check(let digest)?, .candidate(let digest, number: _)?:
                return finishOnce(digest, merged, isAdmitted: isDone)
            default: finishAll(isDone ? .settle : .release)
            }
        case .reserve: if !isDone { finishAll(.release) }
        case .dryCheck: return done(withKnownID(merged))
        case .renew, .settle, .release, .usage, .refund, .reset, .dryReserve: break
        }
        done(merged)
    }

    /// Ends a check as the user's slot knows its id: where it is admitted the id is noted, where it is not it is asked for.
    private func finishOnce(
        _ digest: UsageDigest, _ merged: Result<CallAnswer, FailureReason>, isAdmitted: Bool
    ) {
        guard case .success(let answer) = merged else {
            finishAll(.release)
            return done(merged)
        }
        // A usage without a term charges nothing and notes its id, and a check without one notes nothing.
        let part = DecisionCall(
            isAdmitted ? .usage : .check, id: isAdmitted ? .usage(digest) : .check(digest),
            rememberMilliseconds: call.rememberMilliseconds,
            subjects: [SubjectTerms(key: call.subjects[0].key, terms: [])])
        send(part) { [self] result in
            switch result {
            case .success(let known) where known.verdict == .repeated:
                finishAll(.release)
                done(.success(CallAnswer(verdict: .repeated, states: withoutReserved(answer.states))))
            case .success:
                finishAll(isAdmitted ? .settle : .release)
                done(merged)
            case .failure(let reason):
                // The id may have been noted: what then is never charged must be charged now.
                finishAll(isAdmitted ? .settle : .release)
                done(.failure(reason))
            }
        }
    }

    /// The answer to a dry check: its id, which the user's slot knows, may have been admitted before.
    private func withKnownID(
        _ merged: Result<CallAnswer, FailureReason>
    ) -> Result<CallAnswer, FailureReason> {
        guard case .success(let answer) = merged,
            results.contains(where: { if case .success(let part) = $0 { part.verdict == .repeated } else { false } })
        else { return merged }
        let states = answer.states.map { state in
            LimitState(used: state.used, resetAfterMilliseconds: state.resetAfterMilliseconds)
        }
        return .success(CallAnswer(verdict: .repeated, states: states))
    }

    /// How the limits stand without what the call reserved, denying nothing.
    private func withoutReserved(_ states: [LimitState]) -> [LimitState] {
        let terms = call.subjects.flatMap(\.terms)
        var standing = states.map { state in
            LimitState(used: state.used, resetAfterMilliseconds: state.resetAfterMilliseconds)
        }
        for (result, places) in zip(results, termPlaces()) {
            guard case .success(let answer)? = result, answer.verdict == .done else { continue }
            for place in places where !states[place].isShadowDenied { standing[place].used -= terms[place].cost }
        }
        return standing
    }

    /// Ends what was reserved, wherever it was; where it was not, this does nothing.
    private func finishAll(_ operation: DecisionOperation) {
        let places = termPlaces()
        for (index, result) in results.enumerated() {
            // One that did not answer may have reserved.
            if case .success(let answer)? = result, answer.verdict != .done { continue }
            send(part(index, operation)) { [whenCrossed] result in
                guard case .success(let answer) = result, !answer.crossings.isEmpty else { return }
                whenCrossed(answer.crossings.map { $0.placed(places[index]) })
            }
        }
    }

    /// One answer of all: the failure if there is one, else the denial with the longest wait of all, else what the first
    /// says.
    private func merged(_ results: [Result<CallAnswer, FailureReason>]) -> Result<CallAnswer, FailureReason> {
        var states = [LimitState?](repeating: nil, count: call.termCount)
        var verdict: CallVerdict?
        var waits = (most: 0, least: 0)
        var instants: LeaseInstants?
        var crossings: [TermCrossing] = []
        let places = termPlaces()
        for (result, places) in zip(results, places) {
            guard case .success(let answer) = result else { return result }
            let own = answer.verdict.placed(places)
            if verdict.map({ own.rank > $0.rank }) ?? true { verdict = own }
            waits = (max(waits.most, own.rank.wait), max(waits.least, answer.leastWaitMilliseconds))
            if let own = answer.leaseInstants { instants = instants?.latest(own) ?? own }
            // A slot that was not asked about its terms has none to tell.
            assert(answer.states.count == places.count)
            for (place, state) in zip(places, answer.states) { states[place] = state }
            crossings += answer.crossings.map { $0.placed(places) }
        }
        let whole = verdict?.waiting(waits.most) ?? .done
        let least = whole.rank.wait > 0 ? waits.least : 0
        var answer = CallAnswer(
            verdict: whole, states: states.compactMap { $0 }, leastWaitMilliseconds: least,
            leaseInstants: whole == .done ? instants : nil)
        answer.crossings = crossings
        return .success(answer)
    }

    /// For each slot the places that its terms have among those of the call.
    private func termPlaces() -> [[Int]] {
        var start = 0
        let ofSubjects = call.subjects.map { subject in
            defer { start += subject.terms.count }
            return start..<start + subject.terms.count
        }
        return slots.map { $0.flatMap { ofSubjects[$0] } }
    }
}

extension TermCrossing {
    /// The same with its term as the call counts it, by the places of the part's terms there.
    fileprivate func placed(_ places: [Int]) -> TermCrossing {
        var crossing = self
        crossing.term = places[term]
        return crossing
    }
}

extension CallVerdict {
    /// The same with its term as the call counts it, by the places of the part's terms there.
    fileprivate func placed(_ places: [Int]) -> CallVerdict {
        switch self {
        case .denied(let term, let wait): .denied(term: places[term], retryAfterMilliseconds: wait)
        case .deniedForGood(let term): .deniedForGood(term: places[term])
        case .atCapacity(let term, let wait): .atCapacity(term: places[term], retryAfterMilliseconds: wait)
        case .done, .unknownLease, .repeated, .tooLate: self
        }
    }

    /// The same where another part of the call has a longer wait, which counts for the whole.
    fileprivate func waiting(_ wait: Int) -> CallVerdict {
        switch self {
        case .denied(let term, _): .denied(term: term, retryAfterMilliseconds: wait)
        case .atCapacity(let term, _): .atCapacity(term: term, retryAfterMilliseconds: wait)
        case .done, .deniedForGood, .unknownLease, .repeated, .tooLate: self
        }
    }

    /// Of two verdicts the higher one counts, as in `decide.lua`: capacity, then for good, then the longest wait.
    fileprivate var rank: (kind: Int, wait: Int) {
        switch self {
        case .done: (0, 0)
        case .tooLate: (1, 0)
        case .repeated: (2, 0)
        case .unknownLease: (3, 0)
        case .denied(_, let wait): (4, wait)
        case .deniedForGood: (5, 0)
        case .atCapacity(_, let wait): (6, wait)
        }
    }
}
