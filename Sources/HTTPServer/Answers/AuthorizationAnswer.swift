import NIOCore
package import RateLimitCore
package import RateLimitService

/// What `/v1/auth` answers, for whoever tells it by another protocol than HTTP/1.1.
package struct AuthorizationAnswer {
    /// The status of HTTP: 200, 429, 503 or 403.
    package var status = 200
    /// The headers in their order, but none that is about the connection, the length or the time.
    package var headers: [(name: String, value: String)] = []
    /// The body; empty where it is allowed.
    package var body = ""

    /// Headers that whoever passes the answer on writes himself.
    private static let left: Set<String> = ["Content-Length", "Date", "Connection"]

    /// Takes an answer apart that an ``AnswerWriter`` has written: so it tells what HTTP tells.
    fileprivate init(_ text: String) {
        // A carriage return with its line feed is one character.
        let lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
        let end = lines.firstIndex(of: "") ?? lines.endIndex
        guard let status = lines.first?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
            preconditionFailure("an answer begins with a line of its status")
        }
        self.status = status
        for line in lines[..<end].dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, !Self.left.contains(String(parts[0])) else { continue }
            headers.append((String(parts[0]), String(parts[1].drop { $0 == " " })))
        }
        body = lines[end...].dropFirst().joined(separator: "\r\n")
    }
}

/// Writes what `/v1/auth` answers, for another protocol. One for each event loop.
package final class AuthorizationAnswers {
    private let writer: AnswerWriter
    private var buffer = ByteBuffer()

    /// Makes a writer of answers about the one limit of checks, where there are no others.
    package init(limitName: String) { writer = AnswerWriter(limitName: limitName) }

    /// Which headers say how a quota stands, from the next answer on.
    package var quotaHeaders: QuotaHeaders {
        get { writer.quotaHeaders }
        set { writer.quotaHeaders = newValue }
    }

    /// The answer that tells an outcome.
    package func answer(_ outcome: Outcome) -> AuthorizationAnswer {
        answer { writer.write(outcome, as: .authorization(.tooManyRequests), AnswerForm(), to: &$0) }
    }

    /// The answer where nobody can be named who calls.
    package func answer(_ problem: CallerProblem) -> AuthorizationAnswer {
        answer { writer.write(Answer.unnamed(problem, .tooManyRequests), AnswerForm(), to: &$0) }
    }

    private func answer(_ write: (inout ByteBuffer) -> Void) -> AuthorizationAnswer {
        buffer.clear()
        write(&buffer)
        return AuthorizationAnswer(String(decoding: buffer.readableBytesView, as: UTF8.self))
    }
}
