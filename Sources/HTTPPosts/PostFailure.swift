/// Why a body has got no answer. After any but ``unreachable(reason:)``, ``files(reason:)`` and ``closed`` the server may
/// have taken it all the same.
package enum PostFailure: Error, Hashable, Sendable {
    /// There is no connection, and nothing has been sent.
    case unreachable(reason: String)
    /// A file of TLS cannot be used, and nothing has been sent.
    case files(reason: String)
    /// The connection ended before the whole answer was there.
    case lost(reason: String)
    /// The time for it is over; in milliseconds.
    case noAnswer(milliseconds: Int64)
    /// The same, and the connection was still being encrypted.
    case noHandshake
    /// What came is no HTTP.
    case notHTTP
    /// The answer is longer than what is taken in.
    case answerTooLong(maximumBytes: Int)
    /// The task that waited for it was cancelled.
    case cancelled
    /// The poster was closed.
    case closed
}

extension PostFailure: CustomStringConvertible {
    /// The reason, which stands behind "cannot …: ".
    package var description: String {
        switch self {
        case .unreachable(let reason), .files(let reason), .lost(let reason): reason
        case .noAnswer(let milliseconds): "no answer within \(milliseconds) ms"
        case .noHandshake: "TLS: no handshake in time; the server may not speak TLS on this port"
        case .notHTTP: "what the server sent is no HTTP"
        case .answerTooLong(let maximumBytes): "the answer is longer than \(maximumBytes) bytes"
        case .cancelled: "nobody waits for the answer any more"
        case .closed: "nothing is posted any more"
        }
    }
}
