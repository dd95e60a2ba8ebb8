import NIOCore

/// Whether decisions are being made, as a value: without a clock, and of no more servers than it is told of.
///
/// A refusal of a decision begins an episode, which is told once. What ends it is a heartbeat, which goes the way of a
/// decision: one that was decided, some time after the last refusal. A decision that was made says nothing here, so that
/// it costs nothing; and it proves nothing, since a denial writes nothing.
///
/// An episode must not flicker. Where a heartbeat was refused as well, the next ones tell when it is over. Where none
/// was, only some decisions are refused, and nobody knows of the others; and where episodes follow each other closely
/// (memory that is full every other second), the same patience makes them one.
struct EnforcementState: Sendable {
    /// What was to be decided.
    enum Path: String, Sendable {
        /// A check against a user's one window.
        case checks
        /// A call under the limits of the file.
        case calls
        /// The reading of what somebody has been given at run time, before a call can be decided.
        case budgets
    }

    /// What there is to tell.
    enum Transition: Hashable, Sendable {
        /// A server refuses decisions from now on.
        case begun(server: String?, path: Path, words: String)
        /// It decides again, or is none that decides any more.
        case over(server: String?, milliseconds: Int64, isGone: Bool)
    }

    /// How long after the last refusal an episode is over where a heartbeat was refused too.
    static let patience = TimeAmount.milliseconds(1_500)
    /// The same where no heartbeat was, or where the episode before has just ended.
    static let longPatience = TimeAmount.seconds(10)
    /// For how long an episode that has ended counts as the one just before.
    static let recurrence = TimeAmount.seconds(60)

    private struct Episode {
        var words: String
        let beganAt: NIODeadline
        var refusedAt: NIODeadline
        var isSeenByHeartbeat = false
        /// When the last one ended before it began; nil for long ago.
        let isRecurrent: Bool

        var endsAt: NIODeadline {
            refusedAt
                + (isSeenByHeartbeat && !isRecurrent ? EnforcementState.patience : EnforcementState.longPatience)
        }
    }

    /// By the server: a master's address in a cluster, nil for the one server and for a whole cluster.
    private var episodes: [String?: Episode] = [:]
    private var endedAt: [String?: NIODeadline] = [:]

    /// Whether no server refuses.
    var isEnforcing: Bool { episodes.isEmpty }

    /// A server that refuses, with its words as they were last.
    var refusal: (server: String?, words: String)? {
        episodes.min { $0.value.beganAt < $1.value.beganAt }.map { ($0.key, $0.value.words) }
    }

    /// Whether a server refuses.
    func isRefusing(_ server: String?) -> Bool { episodes[server] != nil }

    /// Takes note that a server has refused a decision, or a heartbeat in its place.
    mutating func refused(
        by server: String?, _ words: String, on path: Path, isHeartbeat: Bool, at now: NIODeadline
    ) -> Transition? {
        let isKnown = episodes[server] != nil
        let isRecurrent = endedAt[server].map { now < $0 + Self.recurrence } ?? false
        var episode =
            episodes[server]
            ?? Episode(words: words, beganAt: now, refusedAt: now, isRecurrent: isRecurrent)
        episode.words = words
        episode.refusedAt = max(episode.refusedAt, now)
        if isHeartbeat { episode.isSeenByHeartbeat = true }
        episodes[server] = episode
        return isKnown ? nil : .begun(server: server, path: path, words: words)
    }

    /// Takes note that a server has decided a heartbeat.
    mutating func decidedHeartbeat(by server: String?, at now: NIODeadline) -> Transition? {
        guard let episode = episodes[server], now >= episode.endsAt else { return nil }
        return end(server, episode, at: now, isGone: false)
    }

    /// Forgets servers that decide no more, but never the cluster as a whole.
    mutating func keep(_ servers: [String], at now: NIODeadline) -> [Transition] {
        func isGone(_ server: String?) -> Bool { server.map { !servers.contains($0) } ?? false }
        let over = episodes.filter { isGone($0.key) }.sorted { $0.value.beganAt < $1.value.beganAt }
            .map { end($0.key, $0.value, at: now, isGone: true) }
        endedAt = endedAt.filter { !isGone($0.key) }
        return over
    }

    private mutating func end(_ server: String?, _ episode: Episode, at now: NIODeadline, isGone: Bool) -> Transition {
        episodes[server] = nil
        endedAt[server] = now
        let milliseconds = (now - episode.beganAt).nanoseconds / 1_000_000
        return .over(server: server, milliseconds: milliseconds, isGone: isGone)
    }
}
