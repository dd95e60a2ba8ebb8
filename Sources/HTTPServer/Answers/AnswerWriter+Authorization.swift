import NIOCore
import RateLimitCore
import RateLimitService

/// Answers to gateways that read no more than the status and the headers.
extension AnswerWriter {
    /// Writes whether a call may go on: allowed without a body, so that no gateway has to close the connection because of one
    /// that it does not read.
    func writeAuthorization(
        _ outcome: Outcome, _ denial: DenialForm, _ form: AnswerForm, to buffer: inout ByteBuffer
    ) {
        if let own = outcome.limit, own != limit { prepare(for: own) }
        let isAllowed = outcome.isAllowed
        if outcome.verdict == .refused, !isAllowed {
            return write(.closed(reason: outcome.degradedReason?.rawValue ?? "", denial), form, to: &buffer)
        }
        let wait = isAllowed ? nil : outcome.verdict.retryAfterSeconds
        text.removeAll()
        if !isAllowed, denial == .tooManyRequests {
            writeBody(outcome, outcome.details, wait: wait, isVerbose: false)
        }
        let bodyCount = text.count
        if let details = outcome.details, outcome.degradedReason == nil {
            RateLimitFields.write(quotaHeaders, about: details, isDenied: !isAllowed, wait: wait, to: &text)
            RateLimitFields.writeOver(details, to: &text)
        }
        if let reason = outcome.degradedReason { writeField(AuthorizationField.degraded, reason.rawValue) }
        if outcome.isShadowDenied { writeShadow(outcome) }
        if !isAllowed {
            writeField(AuthorizationField.status, "\(HTTPStatus.tooManyRequests.rawValue)")
            text.write(text: "\(AuthorizationField.message): ")
            writeMessage(outcome, wait: wait)
            text.write("\r\n")
        }
        let status: StaticString =
            if isAllowed {
                "HTTP/1.1 200 OK\r\n"
            } else if denial == .forbidden {
                "HTTP/1.1 403 Forbidden\r\n"
            } else {
                "HTTP/1.1 429 Too Many Requests\r\n"
            }
        let state = outcome.limit != nil && outcome.degradedReason == nil ? outcome.binding : nil
        writeText(status, bodyCount: bodyCount, form, state: state, wait: wait, to: &buffer)
    }

    /// Writes that it would be a denial, and why.
    private func writeShadow(_ outcome: Outcome) {
        text.write(text: "\(AuthorizationField.shadow): denied: ")
        if outcome.verdict == .refused {
            text.write(text: Answer.closedDetail(outcome.degradedReason?.rawValue ?? ""))
        } else {
            writeMessage(outcome, wait: outcome.verdict.retryAfterSeconds)
        }
        text.write("\r\n")
    }

    private func writeField(_ name: String, _ value: String) { text.write(text: "\(name): \(value)\r\n") }
}

/// The headers of an answer that others have in the body.
enum AuthorizationField {
    /// Why Redis did not decide, where it should have.
    static let degraded = "X-Rate-Limit-Degraded"
    /// That it would be a denial, were it not for shadow mode, and why.
    static let shadow = "X-Rate-Limit-Shadow"
    /// Why a call may not go on, for people.
    static let message = "X-Rate-Limit-Message"
    /// The status that says why, where 403 does not.
    static let status = "X-Rate-Limit-Status"
}

extension Answer {
    /// Nobody can be named who calls.
    static func unnamed(_ problem: CallerProblem, _ denial: DenialForm) -> Answer {
        Answer.problem(.forbidden, problem.description).refusing(problem.description, denial)
    }

    /// Nobody can decide, and the failure mode is `closed`.
    static func closed(reason: String, _ denial: DenialForm) -> Answer {
        var answer = closed(reason: reason).refusing(closedDetail(reason), denial)
        answer.headers.append((AuthorizationField.degraded, reason))
        return answer
    }

    private func refusing(_ message: String, _ denial: DenialForm) -> Answer {
        var answer = self
        answer.headers.append((AuthorizationField.status, "\(status.rawValue)"))
        answer.headers.append((AuthorizationField.message, message))
        if denial == .forbidden {
            answer.status = .forbidden
            answer.body = []
        }
        return answer
    }
}
