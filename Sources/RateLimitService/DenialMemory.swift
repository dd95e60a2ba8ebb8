import NIOCore
import RateLimitCore

/// Denials that Redis gave and that still hold, so that a denied user who keeps asking costs Redis nothing.
///
/// A denial holds for the same user and the same cost until the instant Redis gave. Two clocks are kept apart on
/// purpose: the memory denies only until the wait has passed since the batch was *sent*, which is never after the
/// true instant, and tells the wait since the answer was *received*, which is never before it. So nobody is denied
/// too long, and nobody who waits as told comes too early.
///
/// A table of fixed size in which a new denial takes the place of an old one: bounded, and no allocation on the way
/// of a check.
struct DenialMemory {
    private struct Entry {
        var user = UserID(high: 0, low: 0)
        var cost = 0
        var used = 0
        var deniesUntil = NIODeadline.distantPast
        var passesAt = NIODeadline.distantPast
        var emptyAt = NIODeadline.distantPast
    }

    /// How many denials fit; a power of two.
    static let capacity = 8192

    private var entries = [Entry](repeating: Entry(), count: capacity)
    private let seed = UInt64.random(in: 0 ... .max) | 1
    private(set) var isEmpty = true

    /// The denial of this very check, if it is remembered and still holds.
    func denial(of user: UserID, cost: Int, quota: Int, now: NIODeadline) -> Decision? {
        guard !isEmpty else { return nil }
        let slot = slot(of: user)
        // Read in place: a copy would retain a text.
        guard entries[slot].deniesUntil > now, entries[slot].cost == cost, entries[slot].user == user else {
            return nil
        }
        let entry = entries[slot]
        return Decision(
            verdict: .denied(retryAfterMilliseconds: Self.milliseconds(from: now, to: entry.passesAt)),
            quota: quota,
            used: entry.used,
            resetAfterMilliseconds: Self.milliseconds(from: now, to: entry.emptyAt)
        )
    }

    /// Remembers a denial for at most `cacheMilliseconds`.
    mutating func remember(
        _ user: UserID, cost: Int, decision: Decision, sentAt: NIODeadline, receivedAt: NIODeadline,
        cacheMilliseconds: Int
    ) {
        guard case .denied(let retryAfterMilliseconds) = decision.verdict, cacheMilliseconds > 0 else { return }
        isEmpty = false
        entries[slot(of: user)] = Entry(
            user: user,
            cost: cost,
            used: decision.used,
            deniesUntil: sentAt + .milliseconds(Int64(min(retryAfterMilliseconds - 1, cacheMilliseconds))),
            passesAt: receivedAt + .milliseconds(Int64(retryAfterMilliseconds)),
            emptyAt: receivedAt + .milliseconds(Int64(decision.resetAfterMilliseconds))
        )
    }

    /// Forgets what is remembered of one user.
    mutating func forget(_ user: UserID) {
        let slot = slot(of: user)
        if entries[slot].user == user { entries[slot].deniesUntil = .distantPast }
    }

    /// Forgets everything.
    mutating func forgetAll() {
        guard !isEmpty else { return }
        for index in entries.indices { entries[index].deniesUntil = .distantPast }
        isEmpty = true
    }

    private func slot(of user: UserID) -> Int {
        Int(truncatingIfNeeded: ((user.high ^ (user.low &* 0x9e37_79b9_7f4a_7c15)) &* seed) &>> 51)
    }

    private static func milliseconds(from now: NIODeadline, to instant: NIODeadline) -> Int {
        Int(max(1, ((instant - now).nanoseconds + 999_999) / 1_000_000))
    }
}
