import NIOCore
import RateLimitCore

/// Requests in one call to Redis.
struct ScriptBatch {
    var count: Int
    /// How many requests to the script these are: a call with candidates is one for each.
    var width: Int
    /// The limit that its checks are decided under, whatever is in force when the answer comes.
    var limit: Limit.Numbers
    var sentAt: NIODeadline
    /// Which memory the batch belongs to: a denial that was asked for before a reset must not be remembered.
    var memoryEpoch: Int
    /// Whether it went with the script's whole text.
    var carriesSource: Bool
    var route: ScriptRoute
}
