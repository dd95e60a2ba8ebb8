import Glibc

/// Why a question has no answer.
public enum RateLimitClientError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The path of the socket does not have 1 to 107 bytes.
    case badPath(path: String)
    /// Nobody listens there, or nobody may connect.
    ///
    /// - Parameter code: the system's error number.
    case unreachable(address: DaemonAddress, code: Int32)
    /// The deadline was over; what was asked may have been done.
    case noAnswer(address: DaemonAddress, milliseconds: Int)
    /// The connection ended first; what was asked may have been done.
    case closed(address: DaemonAddress)
    /// What answers there does not speak HTTP.
    case notHTTP(address: DaemonAddress)
    /// The answer is too long to be one.
    case answerTooLong(address: DaemonAddress, maximumBytes: Int)
    /// As many questions wait as may.
    case overloaded(address: DaemonAddress, maximum: Int)
    /// The daemon does not accept what was asked: a status of 400 to 499, with its own words.
    case refused(status: Int, detail: String)
    /// The daemon cannot answer now, since Redis is away: 503, with its own words.
    case unavailable(detail: String)
    /// An answer that this client does not know.
    case unexpectedAnswer(status: Int)

    /// What could not be done and why, in one sentence.
    public var description: String {
        switch self {
        case .badPath(let path):
            "cannot reach the daemon at \"\(path)\": a socket path has 1 to 107 bytes"
        case .unreachable(let address, let code):
            "cannot reach the daemon at \(address): \(String(cString: strerror(code)))\(Self.advice(code))"
        case .noAnswer(let address, let milliseconds):
            "cannot get an answer from the daemon at \(address): none came within \(milliseconds) ms"
        case .closed(let address):
            "cannot get an answer from the daemon at \(address): it closed the connection"
        case .notHTTP(let address):
            "cannot get an answer from the daemon at \(address): what came is not HTTP"
        case .answerTooLong(let address, let maximumBytes):
            "cannot get an answer from the daemon at \(address): it is longer than \(maximumBytes) bytes"
        case .overloaded(let address, let maximum):
            "cannot ask the daemon at \(address): \(maximum) questions wait already"
        case .refused(let status, let detail): "cannot use what was asked (status \(status)): \(detail)"
        case .unavailable(let detail): "cannot get an answer from the daemon now: \(detail)"
        case .unexpectedAnswer(let status): "cannot read the daemon's answer: it has the status \(status)"
        }
    }

    private static func advice(_ code: Int32) -> String {
        switch code {
        case ENOENT, ECONNREFUSED: "; is it running?"
        case EACCES, EPERM: "; the socket's mode and group say who may connect"
        default: ""
        }
    }
}
