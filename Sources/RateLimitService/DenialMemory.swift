import NIOCore
import RateLimitCore

/// Denials that Redis gave and that still hold, so that a denied user who keeps asking costs Redis nothing.
///
/// A denial holds for the same user and the same question until the instant Redis gave. Two clocks are kept apart on
/// purpose: the memory denies only until the wait has passed since the question was *sent*, which is never after the
/// true instant, and tells the wait since the answer was *received*, which is never before it. So nobody is denied
/// too long, and nobody who waits as told comes too early.
///
/// What an operator changes ends it earlier. So a denial is repeated without more ado for ``unprovenMilliseconds`` since it
/// was received, and for longer only before ``believedUntil``: while Redis says that nothing was changed that is not known
/// here (``KnownVersion``).
///
/// At most ``capacity`` of them are kept, each found by a hash of the user and the kind of question: of one kind a user has
/// one, and a later one takes its place. They stand in a row that grows as it is used; a new one takes the place of one
/// that has ended, where the next in turn has, and of the next in turn where the row is full. Nothing is allocated for a
/// denial but when the row or its index grows, which doubles.
struct DenialMemory<Question: DenialQuestion, Denial> {
    private struct Entry {
        var user: SubjectID
        var question: Question
        /// How long before ``receivedAt`` it was sent, rounded up.
        var travelMicroseconds: UInt32
        var denial: Denial
        var deniesUntil: NIODeadline
        var receivedAt: NIODeadline
    }

    /// How many denials fit.
    static var capacity: Int { 65_536 }
    /// How many bytes each takes, beside eight in the index.
    static var entryBytes: Int { MemoryLayout<Entry>.stride }
    /// For how long a denial is repeated where nobody knows whether something was changed.
    static var unprovenMilliseconds: Int { 1_000 }
    private static var smallestIndex: Int { 1_024 }
    /// The bits of a slot of the index that say the entry's place, from 1 on; those above are some of its hash.
    private static var placeBits: UInt32 { 17 }
    private static var placeMask: UInt32 { 1 << placeBits - 1 }

    private var entries: [Entry] = []
    /// The next entry whose place is taken.
    private var turn = 0
    /// Where entries stand, by their hash, each as near behind its own slot as there is room; at least half is 0, for none.
    private var index: [UInt32] = []
    private let seeds = (UInt64.random(in: 0 ... .max), UInt64.random(in: 0 ... .max))

    /// Until when what is remembered for longer than ``unprovenMilliseconds`` is known to hold.
    var believedUntil = NIODeadline.distantPast

    /// Whether nothing is remembered.
    var isEmpty: Bool { entries.isEmpty }

    /// For how many there is memory.
    var count: Int { entries.count }

    /// How many bytes it has asked for, used or not.
    var reservedBytes: Int { entries.capacity * Self.entryBytes + index.capacity * MemoryLayout<UInt32>.stride }

    /// What Redis answered to this very question, how many milliseconds ago, and when it was asked at the earliest, if it
    /// is remembered and still holds.
    @inline(__always)
    func denial(
        of user: SubjectID, kind: UInt64, now: NIODeadline, isSame: (Question) -> Bool
    ) -> (denial: Denial, age: Int, sentAt: NIODeadline)? {
        guard !entries.isEmpty, let slot = slot(of: user, kind) else { return nil }
        let place = place(at: slot)
        guard entries[place].deniesUntil > now, isSame(entries[place].question) else { return nil }
        let age = Int((now - entries[place].receivedAt).nanoseconds / 1_000_000)
        guard now < believedUntil || age < Self.unprovenMilliseconds else { return nil }
        let travel = TimeAmount.microseconds(Int64(entries[place].travelMicroseconds))
        return (entries[place].denial, max(0, age), entries[place].receivedAt - travel)
    }

    /// Remembers a denial until a millisecond before the end of the wait that is certain, and for at most
    /// `cacheMilliseconds`.
    ///
    /// - Parameter certainMilliseconds: for how long it holds since it was sent, whatever anybody but an operator does.
    mutating func remember(
        _ user: SubjectID, _ question: Question, _ denial: Denial, certainMilliseconds: Int, sentAt: NIODeadline,
        receivedAt: NIODeadline, cacheMilliseconds: Int
    ) {
        let travel = UInt32(exactly: max(0, (receivedAt - sentAt).nanoseconds + 999) / 1_000)
        guard cacheMilliseconds > 0, certainMilliseconds > 1, let travel else { return }
        let entry = Entry(
            user: user, question: question, travelMicroseconds: travel, denial: denial,
            deniesUntil: sentAt + .milliseconds(Int64(min(certainMilliseconds - 1, cacheMilliseconds))),
            receivedAt: receivedAt)
        if index.isEmpty {
            // The memory behind it is used as entries come.
            entries.reserveCapacity(Self.capacity)
            index = [UInt32](repeating: 0, count: Self.smallestIndex)
        } else if let slot = slot(of: user, question.kind) {
            entries[place(at: slot)] = entry
            return
        }
        insert(entry, at: receivedAt)
    }

    /// Forgets what is remembered of one user.
    mutating func forget(_ user: SubjectID) {
        for place in entries.indices where entries[place].user == user {
            unlink(place)
            entries[place].deniesUntil = .distantPast
        }
    }

    /// Forgets everything, and keeps its memory for what comes: the allocator would cut what is given back into pieces that
    /// stay resident, and find as much again elsewhere.
    mutating func forgetAll() {
        guard !entries.isEmpty else { return }
        entries.removeAll(keepingCapacity: true)
        for slot in index.indices { index[slot] = 0 }
        turn = 0
    }

    private mutating func insert(_ entry: Entry, at now: NIODeadline) {
        if turn == entries.count { turn = 0 }
        let place: Int
        if !entries.isEmpty, entries[turn].deniesUntil <= now || entries.count == Self.capacity {
            place = turn
            turn += 1
            unlink(place)
            entries[place] = entry
        } else {
            place = entries.count
            entries.append(entry)
            if 2 * entries.count > index.count { return growIndex() }
        }
        link(place)
    }

    // MARK: The index

    /// Two multiplications of 128 bits by seeds that nobody knows: so nobody can choose users that stand in one run of the
    /// index.
    private func hash(_ user: SubjectID, _ kind: UInt64) -> UInt64 {
        let of = (user.high ^ seeds.0).multipliedFullWidth(by: user.low ^ seeds.1)
        let mixed = (of.high ^ of.low ^ kind ^ seeds.1).multipliedFullWidth(by: seeds.0 | 1)
        return mixed.high ^ mixed.low
    }

    private func tag(_ hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash &>> 32) & ~Self.placeMask }

    private func home(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash) & (index.count - 1) }

    private func next(_ slot: Int) -> Int { (slot + 1) & (index.count - 1) }

    private func place(at slot: Int) -> Int { Int(index[slot] & Self.placeMask) - 1 }

    /// The slot of the entry of a user and a kind of question.
    private func slot(of user: SubjectID, _ kind: UInt64) -> Int? {
        let hash = hash(user, kind)
        let tag = tag(hash)
        var slot = home(hash)
        while index[slot] != 0 {
            if index[slot] & ~Self.placeMask == tag {
                let place = place(at: slot)
                if entries[place].user == user, entries[place].question.kind == kind { return slot }
            }
            slot = next(slot)
        }
        return nil
    }

    /// How many slots of the index are looked at for a user and a kind of question; for tests.
    func steps(to user: SubjectID, kind: UInt64) -> Int {
        guard let slot = slot(of: user, kind) else { return 0 }
        return (slot - home(hash(user, kind))) & (index.count - 1) + 1
    }

    private mutating func link(_ place: Int) {
        let hash = hash(entries[place].user, entries[place].question.kind)
        var slot = home(hash)
        while index[slot] != 0 { slot = next(slot) }
        index[slot] = tag(hash) | UInt32(place + 1)
    }

    /// Takes an entry out of the index, and moves those behind it up that belong there.
    private mutating func unlink(_ place: Int) {
        guard var hole = slot(of: entries[place].user, entries[place].question.kind), self.place(at: hole) == place
        else { return }
        var slot = next(hole)
        while index[slot] != 0 {
            let entry = self.place(at: slot)
            let home = home(hash(entries[entry].user, entries[entry].question.kind))
            let mask = index.count - 1
            if (slot - home) & mask >= (slot - hole) & mask {
                index[hole] = index[slot]
                hole = slot
            }
            slot = next(slot)
        }
        index[hole] = 0
    }

    private mutating func growIndex() {
        index = [UInt32](repeating: 0, count: 2 * index.count)
        // Those that were forgotten stand in no index.
        for place in entries.indices where entries[place].deniesUntil != .distantPast { link(place) }
    }
}

/// What was asked and denied.
protocol DenialQuestion {
    /// Of questions of several kinds a user's denials are remembered side by side.
    var kind: UInt64 { get }
}

/// A check that was denied.
struct CheckQuestion: DenialQuestion {
    let cost: UInt32

    var kind: UInt64 { 0 }
}

/// What a check was told that was denied.
struct CheckDenial {
    let retryAfterMilliseconds: Int
    let used: Int
    let resetAfterMilliseconds: Int
}

/// The denials of checks, by what they cost.
typealias CheckDenials = DenialMemory<CheckQuestion, CheckDenial>

extension CheckDenials {
    /// The denial of this very check, as it stands now, if it is remembered and the user was given nothing back since it
    /// was asked.
    @inline(__always)
    func denial(
        of user: SubjectID, cost: Int, quota: Int, after refunds: RefundTimes, now: NIODeadline
    ) -> Decision? {
        guard
            let (denial, age, sentAt) = denial(of: user, kind: 0, now: now, isSame: { Int($0.cost) == cost }),
            refunds.isQuiet(CollectionOfOne(CallWindows(owner: .user(user), values: nil)), since: sentAt)
        else { return nil }
        return Decision(
            verdict: .denied(retryAfterMilliseconds: max(1, denial.retryAfterMilliseconds - age)), quota: quota,
            used: denial.used, resetAfterMilliseconds: max(1, denial.resetAfterMilliseconds - age))
    }

    /// Remembers a denial for at most `cacheMilliseconds`, and only for as long as it is certain.
    mutating func remember(
        _ user: SubjectID, cost: Int, decision: Decision, certainMilliseconds: Int, sentAt: NIODeadline,
        receivedAt: NIODeadline, cacheMilliseconds: Int
    ) {
        guard case .denied(let retry) = decision.verdict else { return }
        let denial = CheckDenial(
            retryAfterMilliseconds: retry, used: decision.used,
            resetAfterMilliseconds: decision.resetAfterMilliseconds)
        remember(
            user, CheckQuestion(cost: UInt32(cost)), denial, certainMilliseconds: certainMilliseconds, sentAt: sentAt,
            receivedAt: receivedAt, cacheMilliseconds: cacheMilliseconds)
    }
}

/// A call that was denied: under which plan, in whose windows, at which costs. The same question meets the same limits,
/// whatever became of budgets, grants and the file in between.
struct CallQuestion: DenialQuestion {
    /// The plan's number, and what tells its windows for values apart.
    let kind: UInt64
    let groups: [SubjectID]
    let values: [WindowValues]
    let costs: CallCosts

    init(_ call: PlannedCall) {
        kind = call.questionKind
        groups = call.caller.groups
        values = call.caller.values
        costs = call.costs
    }

    /// Whether a call of the same kind of question and user asks the same of Redis.
    func isAsked(by call: PlannedCall) -> Bool {
        // Where the values are the same and the kind is, the plan is.
        groups == call.caller.groups && values == call.caller.values
            && call.plan.amounts.allSatisfy {
                $0.amount(of: costs, call.plan.kind) == $0.amount(of: call.costs, call.plan.kind)
            }
    }
}

extension PlannedCall {
    /// The kind of its question: a user may be denied in the windows of several values.
    fileprivate var questionKind: UInt64 {
        if caller.values.isEmpty { return plan.number }
        return plan.number ^ UInt64(bitPattern: Int64(caller.values.hashValue))
    }
}

/// What a call was told that was denied.
struct CallDenial {
    let isAtCapacity: Bool
    /// After this long the call certainly passes.
    let mostWaitMilliseconds: Int
    /// How much of that what has been charged needs.
    let leastWaitMilliseconds: Int
    let details: OutcomeDetails

    /// The same so many milliseconds later, where nothing has been charged or freed in between.
    fileprivate func aged(_ milliseconds: Int) -> CallDenial {
        CallDenial(
            isAtCapacity: isAtCapacity, mostWaitMilliseconds: max(1, mostWaitMilliseconds - milliseconds),
            leastWaitMilliseconds: max(0, leastWaitMilliseconds - milliseconds), details: details.aged(milliseconds))
    }
}

/// The denials of calls, by what was asked of Redis.
typealias CallDenials = DenialMemory<CallQuestion, CallDenial>

extension CallDenials {
    /// The denial of this very call, as it stands now, if it is remembered and none of its windows was given something
    /// back since it was asked.
    func denial(of call: PlannedCall, after refunds: RefundTimes, at now: NIODeadline) -> CallDenial? {
        let remembered = denial(of: call.request.user, kind: call.questionKind, now: now) { $0.isAsked(by: call) }
        guard let (denial, age, sentAt) = remembered, refunds.isQuiet(call.windows, since: sentAt) else { return nil }
        return denial.aged(age)
    }

    /// Remembers a denial for at most `cacheMilliseconds`, and only for as long as what has been charged needs: leases may
    /// end at any time.
    ///
    /// - Parameter details: what the call was told.
    mutating func remember(
        _ call: PlannedCall, _ answer: CallAnswer, _ details: OutcomeDetails, sentAt: NIODeadline,
        receivedAt: NIODeadline, cacheMilliseconds: Int
    ) {
        let (retry, isAtCapacity): (Int, Bool)
        switch answer.verdict {
        case .denied(_, let wait): (retry, isAtCapacity) = (wait, false)
        case .atCapacity(_, let wait): (retry, isAtCapacity) = (wait, true)
        case .done, .deniedForGood, .unknownLease, .repeated, .tooLate: return
        }
        let denial = CallDenial(
            isAtCapacity: isAtCapacity, mostWaitMilliseconds: retry,
            leastWaitMilliseconds: answer.leastWaitMilliseconds, details: details)
        remember(
            call.request.user, CallQuestion(call), denial, certainMilliseconds: answer.leastWaitMilliseconds,
            sentAt: sentAt, receivedAt: receivedAt, cacheMilliseconds: cacheMilliseconds)
    }
}
