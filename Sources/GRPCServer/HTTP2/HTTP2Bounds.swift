/// The bounds on one connection, and on what all of an event loop hold.
enum HTTP2Bounds {
    /// Calls that a client may have open; one more is refused, and may be made again.
    static let concurrentCalls = 1024
    /// Records of calls: those that are open, and those that were reset within the read that opened them.
    static let callRecords = 8192
    /// Names and values of one call's headers, with 32 bytes for each as HTTP/2 counts them.
    static let headerListBytes = 8 << 10
    /// What a client may send on a connection before the window is opened again.
    static let connectionWindowBytes: Int32 = 1 << 20
    /// The message of a call.
    static let messageBytes = 64 << 10
    /// What a call of many messages may send before any of it is taken in.
    static let gatheredStreamBytes = 128 << 10
    /// Messages of all connections of an event loop that have arrived in part.
    static let gatheredBytes = 16 << 20
    /// Frames without data that do not end their call.
    static let emptyDataFrames = 100
    /// Resets by the client at once, and those of a second. Each of Envoy's timeouts is one, so that a Redis that hangs
    /// under 16,000 calls a second must stay far below.
    static let resetBurst: UInt64 = 100_000
    static let resetsPerSecond: UInt64 = 50_000
    /// Calls that wait for their decision, reset ones included; beyond it the connection is not read.
    static let pendingCalls = 1024
    /// The same while many wait for Redis.
    static let pendingCallsWhenBacklogged = 64
    /// Bytes that are taken from the library at a time.
    static let outputBytes = 64 << 10
    /// What waits to be sent on a call of many messages; one that asks for more is ended.
    static let streamedBytes = 256 << 10
    /// Calls of many messages that are open on a connection.
    static let streamingCalls = 16
}
