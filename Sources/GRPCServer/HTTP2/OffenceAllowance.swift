/// How many of its frames a client may get wrong, as a value.
///
/// Each such frame has the server reset a call, which then counts for none of the client's: what it costs is bounded here.
struct OffenceAllowance {
    /// At once.
    static let burst = 100
    /// One more is forgiven after so long.
    static let nanosecondsForOne: UInt64 = 1_000_000_000

    private var left = burst
    private var since: UInt64 = 0

    /// Notes one more; false where they are too many.
    mutating func take(at now: UInt64) -> Bool {
        let forgiven = now > since ? (now - since) / Self.nanosecondsForOne : 0
        if forgiven > 0 {
            left = forgiven > UInt64(Self.burst) ? Self.burst : min(Self.burst, left + Int(forgiven))
            since = now
        }
        left -= 1
        return left >= 0
    }
}
