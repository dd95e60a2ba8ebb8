import DecisionTracing
import NIOCore
import NIOHTTP1
import RateLimitCore
import RateLimitService

/// How spans of requests begin, by what stands in their heads.
extension DecisionTracer {
    /// Begins the span of a request that the fast path has recognised at the start of `bytes`.
    func begin(
        _ operation: TracedOperation, of user: SubjectID, in bytes: ByteBuffer, arrivedAt now: NIODeadline
    ) -> OpenSpan? {
        begin(operation, of: user, in: bytes.withUnsafeReadableBytes { TraceContext(requestHead: $0) }, arrivedAt: now)
    }

    /// The same of a call; nil also of one that decides nothing.
    func begin(_ call: CallRequest, in bytes: ByteBuffer, arrivedAt now: NIODeadline) -> OpenSpan? {
        TracedOperation(call.operation).flatMap { begin($0, of: call.caller, in: bytes, arrivedAt: now) }
    }

    /// Begins the span of a request whose headers NIOHTTP1 has decoded.
    func begin(_ operation: TracedOperation, of user: SubjectID?, in headers: HTTPHeaders) -> OpenSpan? {
        // Without the blanks around it, which are no part of a value.
        let given = headers[canonicalForm: "traceparent"]
        var parent: TraceContext?
        if given.count == 1, var text = given.first.map(String.init) {
            parent = text.withUTF8 { TraceContext(traceparent: UnsafeRawBufferPointer($0)) }
        }
        return begin(operation, of: user, in: parent, arrivedAt: .now())
    }

    /// The same of a call; nil also of one that decides nothing.
    func begin(_ call: CallRequest, in headers: HTTPHeaders) -> OpenSpan? {
        TracedOperation(call.operation).flatMap { begin($0, of: call.caller, in: headers) }
    }
}

extension CallRequest {
    /// Whose call it is: a lease says it of what is asked about it.
    fileprivate var caller: SubjectID { operation.lease?.owner ?? user }
}
