package import RateLimitCore
package import RateLimitService

/// What a gateway asked, as a span is named after it.
package enum TracedOperation: String, Hashable, Sendable, CaseIterable {
    case check, reserve, renew, settle, release, usage, refund
    /// Forward auth and Envoy's ext_authz.
    case authorize
    /// Envoy's rate limit service.
    case descriptors

    /// Nil for what decides nothing.
    package init?(_ operation: CallRequest.Operation) {
        switch operation {
        case .check, .checkOnce: self = .check
        case .reserve: self = .reserve
        case .renew: self = .renew
        case .settle: self = .settle
        case .release: self = .release
        case .usage: self = .usage
        case .refund: self = .refund
        case .look: return nil
        }
    }
}

/// By which protocol it was asked.
package enum TracedProtocol: String, Hashable, Sendable {
    case http, grpc
}

/// One decision that has been answered, as a span: what is known of it on the event loop. What is made of that for people
/// is made when it is sent.
package struct DecisionSpan: Sendable {
    package var trace: TraceID
    package var id: UInt64
    /// The caller's span; nil where the trace begins here.
    package var parent: UInt64?
    package var operation: TracedOperation
    package var transport: TracedProtocol
    /// Nanoseconds since 1970.
    package var start: UInt64
    /// Not before ``start``, whatever the system's clock did meanwhile.
    package var end: UInt64
    /// Whose call it was; nil where descriptors were asked for.
    package var user: SubjectID?
    /// Nil where the request was answered with an error.
    package var outcome: Outcome?
}
