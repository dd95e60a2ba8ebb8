extension SlidingWindowLog {
    /// Decides one check under a lifetime and, where it passes, charges it: all counts since the window began, and it begins
    /// anew where the last admission lies as long behind as the limit's window says.
    ///
    /// What a limit admitted that was a sliding window then counts as well, as far as it stands.
    ///
    /// - Parameters:
    ///   - cost: what the check consumes; 0 only looks.
    ///   - limit: the limit in force now; its window is for how long nothing has to be admitted.
    ///   - clockMicroseconds: a clock that may step back: time then stands still until it has caught up.
    public mutating func checkLifetime(cost: Int, limit: Limit, clockMicroseconds: Int) -> Decision {
        let idle = limit.windowMilliseconds * 1000
        let now = max(clockMicroseconds, newestMicroseconds ?? clockMicroseconds)
        let begun = newestMicroseconds.flatMap { total > 0 && now - $0 < idle ? $0 : nil }
        let used = begun == nil ? 0 : total
        func wait(from instant: Int) -> Int { (instant + idle - clockMicroseconds + 999) / 1000 }
        guard cost > 0, used + cost <= limit.quota else {
            let reset = begun.map(wait) ?? 0
            let verdict: Decision.Verdict =
                cost == 0 ? .allowed : cost > limit.quota ? .deniedForGood : .denied(retryAfterMilliseconds: reset)
            return Decision(verdict: verdict, quota: limit.quota, used: used, resetAfterMilliseconds: reset)
        }
        replace(by: used + cost, at: now)
        return Decision(
            verdict: .allowed, quota: limit.quota, used: total, resetAfterMilliseconds: wait(from: now))
    }

    /// Makes all that counts one admission.
    private mutating func replace(by cost: Int, at now: Int) {
        self = SlidingWindowLog()
        entries = [Entry(timeMicroseconds: now, cost: cost)]
        total = cost
        newestMicroseconds = now
    }
}
