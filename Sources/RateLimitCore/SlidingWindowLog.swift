/// The sliding-window log of one user: the reference for `check.lua`, and the window of failure mode `local`.
///
/// It keeps each admission's time and cost. A check passes when the cost admitted in (now − W, now] and its own stay
/// within the quota. The newest ``exactEntries`` stay apart; past ``slackEntries`` more, each older entry joins the one
/// before it if that keeps both within W/1024 of the entry before those, and carries the later of their times: so an
/// admission never leaves the window early, and at most W/1024 late. Property tests hold the script against it.
public struct SlidingWindowLog: Sendable {
    /// How many of the newest entries never merge.
    public static let exactEntries = 1024
    /// How many more may stand before a rewrite merges them, and how many dead ones before it removes them.
    public static let slackEntries = 256

    struct Entry: Hashable, Sendable {
        var timeMicroseconds: Int
        var cost: Int
    }

    var entries: [Entry] = []
    var dead = 0
    var merged = 0
    var total = 0
    /// The time of the last admission, also of one that was given back: time never goes behind it.
    var newestMicroseconds: Int?

    /// An empty window.
    public init() {}

    /// How many entries stand for the admissions in the window.
    public var liveEntries: Int { entries.count - dead }

    /// Decides one check and, where it passes, charges it.
    ///
    /// - Parameters:
    ///   - cost: what the check consumes; 0 only looks.
    ///   - limit: the limit in force now; what earlier ones admitted stays counted.
    ///   - clockMicroseconds: a clock that may step back: time then stands still until it has caught up.
    public mutating func check(cost: Int, limit: Limit, clockMicroseconds: Int) -> Decision {
        let window = limit.windowMilliseconds * 1000
        let now = max(clockMicroseconds, newestMicroseconds ?? clockMicroseconds)
        let (first, expired) = firstLive(now: now, window: window)
        var used = total - expired
        var newest = first < entries.count ? newestMicroseconds : nil
        var verdict = Decision.Verdict.allowed
        if cost > limit.quota {
            verdict = .deniedForGood
        } else if used + cost > limit.quota {
            let passes = timeWhenFree(cost, quota: limit.quota, from: first, used: used) + window
            verdict = .denied(retryAfterMilliseconds: Self.milliseconds(passes - clockMicroseconds))
        } else if cost > 0 {
            // Only an admission drops what has left the window: a denial could not take it back when the clock
            // steps back, and so would let more through.
            merged = max(0, merged - (first - dead))
            dead = first
            total = used
            admit(cost: cost, now: now, window: window)
            used = total
            newest = now
        }
        let reset = newest.map { Self.milliseconds($0 + window - clockMicroseconds) } ?? 0
        return Decision(verdict: verdict, quota: limit.quota, used: used, resetAfterMilliseconds: reset)
    }

    /// Takes back what is in the window, from the newest admission on, and says how much: never more than there is.
    ///
    /// What has left the window stays, as at a denial.
    @discardableResult
    public mutating func refund(_ cost: Int, limit: Limit, clockMicroseconds: Int) -> Int {
        let now = max(clockMicroseconds, newestMicroseconds ?? clockMicroseconds)
        let (first, expired) = firstLive(now: now, window: limit.windowMilliseconds * 1000)
        let refunded = max(0, min(cost, total - expired))
        var left = refunded
        while left > 0, let last = entries.indices.last, last >= first {
            let taken = min(left, entries[last].cost)
            left -= taken
            entries[last].cost -= taken
            if entries[last].cost == 0 { entries.removeLast() }
        }
        total -= refunded
        merged = min(merged, liveEntries)
        return refunded
    }

    /// Whether nothing is left in the window at `clockMicroseconds`.
    public func isEmpty(limit: Limit, clockMicroseconds: Int) -> Bool {
        guard let newestMicroseconds else { return true }
        return clockMicroseconds - newestMicroseconds >= limit.windowMilliseconds * 1000
    }

    private func firstLive(now: Int, window: Int) -> (index: Int, expired: Int) {
        var index = dead
        var expired = 0
        while index < entries.count, now - entries[index].timeMicroseconds >= window {
            expired += entries[index].cost
            index += 1
        }
        return (index, expired)
    }

    private func timeWhenFree(_ cost: Int, quota: Int, from first: Int, used: Int) -> Int {
        var left = used
        for entry in entries[first...] {
            left -= entry.cost
            if left + cost <= quota { return entry.timeMicroseconds }
        }
        return entries.last?.timeMicroseconds ?? 0
    }

    private mutating func admit(cost: Int, now: Int, window: Int) {
        if dead >= Self.slackEntries || liveEntries - merged >= Self.exactEntries + Self.slackEntries {
            rewrite(window: window)
        }
        total += cost
        newestMicroseconds = now
        entries.append(Entry(timeMicroseconds: now, cost: cost))
    }

    private mutating func rewrite(window: Int) {
        let live = Array(entries[dead...])
        let cut = max(merged, live.count + 1 - Self.exactEntries)
        var kept: [Entry] = []
        kept.reserveCapacity(live.count)
        for (index, entry) in live[..<max(cut, 0)].enumerated() {
            if index >= merged, kept.count > 1, let last = kept.last,
                (entry.timeMicroseconds - kept[kept.count - 2].timeMicroseconds) * 1024 <= window
            {
                kept[kept.count - 1] = Entry(timeMicroseconds: entry.timeMicroseconds, cost: last.cost + entry.cost)
            } else {
                kept.append(entry)
            }
        }
        merged = kept.count
        entries = kept + live[max(cut, 0)...]
        dead = 0
    }

    private static func milliseconds(_ microseconds: Int) -> Int { (microseconds + 999) / 1000 }
}
