/// Why a connection ended, for the metrics.
enum ConnectionEndReason: String, CaseIterable {
    /// The client closed it, or it broke.
    case client
    /// The daemon ends.
    case drain
    /// What had begun to arrive did not arrive whole in time: half a frame, or not even the preface.
    case incomplete
    /// The client did not take in time what it was answered.
    case unread
    /// The client asked for too much: resets, frames without data, headers without end, wrong frames.
    case flood
    /// The client broke the rules of HTTP/2, or does not speak it.
    case protocolError = "protocol_error"
    /// No TLS was agreed on.
    case tls
}
