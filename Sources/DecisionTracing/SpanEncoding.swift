package import NIOCore
package import RateLimitCore
import RateLimitService

/// What is told of all spans of a daemon, and how their users are named.
package struct SpanDescription: Sendable {
    /// `service.name` and what else tells this daemon from others, in the order in which it is told.
    package var resource: [(name: String, value: String)]
    /// The daemon's version.
    package var version: String
    /// What the limit of checks is called, which outcomes under it alone do not say.
    package var limitName: String
    /// The attribute that names a user; nil where users are not to be named.
    package var user: @Sendable (SubjectID) -> (name: String, value: String)?

    /// Makes one.
    package init(
        resource: [(name: String, value: String)], version: String, limitName: String,
        user: @escaping @Sendable (SubjectID) -> (name: String, value: String)?
    ) {
        self.resource = resource
        self.version = version
        self.limitName = limitName
        self.user = user
    }
}

extension SpanDescription {
    /// An `ExportTraceServiceRequest` of OTLP's with these spans.
    package func request(_ spans: [DecisionSpan]) -> ByteBuffer {
        var request = ByteBuffer()
        request.writeField(1) { resourceSpans in
            resourceSpans.writeField(1) { message in
                for attribute in resource { message.writeAttribute(1, attribute.name, attribute.value) }
            }
            resourceSpans.writeField(2) { scopeSpans in
                scopeSpans.writeField(1) { scope in
                    scope.writeField(1, text: "llm-rate-limit")
                    scope.writeField(2, text: version)
                }
                for span in spans { scopeSpans.writeField(2) { write(span, to: &$0) } }
            }
        }
        return request
    }

    /// Of `Span.SpanKind`.
    private static let server: UInt64 = 2
    /// Of `Status.StatusCode`.
    private static let error: UInt64 = 2

    private func write(_ span: DecisionSpan, to message: inout ByteBuffer) {
        message.writeField(1, bytesOf: span.trace.high, span.trace.low)
        message.writeField(2, bytesOf: span.id)
        if let parent = span.parent { message.writeField(4, bytesOf: parent) }
        message.writeField(5, text: "rate_limit \(span.operation.rawValue)")
        message.writeField(6, varint: Self.server)
        message.writeField(7, fixed64: span.start)
        message.writeField(8, fixed64: span.end)
        message.writeAttribute(9, "llm_rate_limit.operation", span.operation.rawValue)
        message.writeAttribute(9, "llm_rate_limit.protocol", span.transport.rawValue)
        if let user = span.user.flatMap(user) { message.writeAttribute(9, user.name, user.value) }
        if let outcome = span.outcome { write(outcome, of: span.operation, to: &message) }
        guard let problem = span.problem else { return }
        message.writeField(15) { status in
            status.writeField(2, text: problem)
            status.writeField(3, varint: Self.error)
        }
    }

    private func write(_ outcome: Outcome, of operation: TracedOperation, to message: inout ByteBuffer) {
        message.writeAttribute(9, "llm_rate_limit.decision", outcome.decision(of: operation))
        message.writeAttribute(9, "llm_rate_limit.source", outcome.source.rawValue)
        if let reason = outcome.degradedReason {
            message.writeAttribute(9, "llm_rate_limit.degraded_reason", reason.rawValue)
        }
        let details = outcome.details
        let own = outcome.limit == nil || outcome.source == .off ? nil : limitName
        if let name = details?.bindingTerm?.limit.name.text ?? details?.lacking?.limit.text ?? own {
            message.writeAttribute(9, "llm_rate_limit.limit", name)
        }
        if let binding = outcome.binding {
            message.writeAttribute(9, "llm_rate_limit.quota", binding.quota)
            message.writeAttribute(9, "llm_rate_limit.remaining", binding.remaining)
        }
        if let wait = outcome.verdict.retryAfterMilliseconds {
            message.writeAttribute(9, "llm_rate_limit.retry_after_ms", wait)
        }
    }
}

extension DecisionSpan {
    /// Why nothing was decided, where that is so: a denial is a decision, and no error.
    fileprivate var problem: String? {
        guard let outcome else { return "the request was answered with an error" }
        return outcome.degradedReason?.rawValue
    }
}

extension Outcome {
    /// What became of the request, in a word.
    fileprivate func decision(of operation: TracedOperation) -> String {
        switch verdict {
        case .unknownLease: return "unknown_lease"
        case .tooLate: return "too_late"
        case .repeated: return "repeated"
        case .allowed, .denied, .deniedForGood, .atCapacity, .unknownModel, .missingValue, .refused: break
        }
        if source == .failureMode { return isAllowed ? "failed_open" : "failed_closed" }
        if isShadowDenied { return "shadow_denied" }
        switch operation {
        case .check, .reserve, .authorize, .descriptors: return isAllowed ? "allowed" : "denied"
        case .renew, .settle, .release, .usage, .refund: return isAllowed ? "done" : "refused"
        }
    }
}

extension Outcome.Verdict {
    fileprivate var retryAfterMilliseconds: Int? {
        switch self {
        case .denied(let milliseconds), .atCapacity(let milliseconds): milliseconds
        case .allowed, .deniedForGood, .unknownModel, .missingValue, .refused, .unknownLease, .repeated, .tooLate: nil
        }
    }
}

extension ByteBuffer {
    /// Writes a `KeyValue` with a text.
    fileprivate mutating func writeAttribute(_ field: Int, _ name: String, _ value: String) {
        writeField(field) { attribute in
            attribute.writeField(1, text: name)
            attribute.writeField(2) { $0.writeField(1, text: value) }
        }
    }

    /// Writes a `KeyValue` with a whole number; as one of several alternatives it is written also where it is 0.
    fileprivate mutating func writeAttribute(_ field: Int, _ name: String, _ value: Int) {
        writeField(field) { attribute in
            attribute.writeField(1, text: name)
            attribute.writeField(2) { $0.writeField(3, alternative: UInt64(bitPattern: Int64(value))) }
        }
    }
}
