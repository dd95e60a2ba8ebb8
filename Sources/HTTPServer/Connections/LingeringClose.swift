import NIOCore

/// The end of a connection whose client may still be sending, as a value: no channel.
///
/// To close such a connection at once would throw the answer away: the kernel resets it, and many clients send
/// everything before they read. So the connection says that it sends no more, and takes what comes without looking at
/// it until the client closes, or one of these bounds is met.
struct LingeringClose {
    /// How many bytes are taken and dropped.
    static let maximumBytes = 8 << 20
    /// How long a client may take to close.
    static let patience = TimeAmount.seconds(2)

    /// Whether the client may send more than what was answered.
    var isDue = false
    private var droppedBytes = 0

    /// Drops bytes that nobody will look at; false where they are more than the bound.
    mutating func drop(_ count: Int) -> Bool {
        isDue = true
        droppedBytes += count
        return droppedBytes <= Self.maximumBytes
    }
}
