public import NIOCore

/// How long to wait before the next attempt to reach Redis: doubling, jittered, and never long.
///
/// The cap is what keeps "exact again within a second of Redis's return" true; the jitter keeps the replicas of a
/// gateway from coming back all at once.
public struct Backoff: Sendable {
    /// The wait before the first retry.
    public let initial: TimeAmount
    /// The longest wait.
    public let cap: TimeAmount
    private var attempts = 0

    /// Makes a back-off at its start.
    public init(initial: TimeAmount = .milliseconds(10), cap: TimeAmount = .milliseconds(400)) {
        self.initial = initial
        self.cap = cap
    }

    /// The next wait: half of the doubled time is certain, half is drawn.
    public mutating func next(using random: inout some RandomNumberGenerator) -> TimeAmount {
        let full = min(cap.nanoseconds, initial.nanoseconds << min(attempts, 16))
        attempts = min(attempts + 1, 16)
        return .nanoseconds(full / 2 + Int64.random(in: 0...max(1, full / 2), using: &random))
    }

    /// Starts again from the shortest wait.
    public mutating func reset() { attempts = 0 }
}
