import HTTPPosts
import NIOCore

/// What is to be done with spans that were sent, by what came of it.
enum ExportVerdict: Equatable {
    /// The collector has them, but for so many that it will not have; why it says of those.
    case taken(rejected: Int, String)
    /// They may be taken later; after so many seconds at least, where the collector says.
    case later(seconds: Int?, String)
    /// They never are.
    case refused(String)
    /// Nobody waits for the answer any more.
    case given(String)

    /// What OTLP/HTTP says of an answer: 429, 502, 503 and 504 alone are to be tried again.
    init(_ answer: PostAnswer) {
        switch answer.status {
        case 200...299:
            let (rejected, reason) = Self.partialSuccess(answer.body)
            self = .taken(rejected: rejected, reason)
        case 429, 502, 503, 504: self = .later(seconds: answer.retryAfterSeconds, "status \(answer.status)")
        default: self = .refused("status \(answer.status)")
        }
    }

    init(_ failure: PostFailure) {
        switch failure {
        case .unreachable, .files, .lost, .noAnswer, .noHandshake: self = .later(seconds: nil, "\(failure)")
        case .notHTTP, .answerTooLong: self = .refused("\(failure)")
        case .cancelled, .closed: self = .given("\(failure)")
        }
    }

    /// Reads an `ExportTraceServiceResponse`; one that cannot be read rejects nothing.
    private static func partialSuccess(_ body: ByteBuffer) -> (rejected: Int, reason: String) {
        var body = body
        var rejected = 0
        var reason = ""
        while let field = body.readField() {
            guard field.number == 1 else { continue }
            var message = field.bytes
            while let field = message.readField() {
                if field.number == 1 { rejected = Int(exactly: field.varint) ?? 0 }
                if field.number == 2 { reason = String(String(buffer: field.bytes).prefix(200)) }
            }
        }
        return (rejected, reason)
    }
}
