import DecisionTracing
import NIOCore
import RateLimitService

/// `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit` on one event loop.
final class ShouldRateLimitMethod: UnaryMethod {
    /// Where it is called.
    static let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

    let operation: TracedOperation? = .descriptors
    private let engine: CheckEngine
    /// Answers for the daemon's own limits.
    private let limitsDomain: LimitsDomain

    init(engine: CheckEngine) {
        self.engine = engine
        limitsDomain = LimitsDomain(engine: engine)
    }

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        let request = try DescriptorRequest(protobuf: message)
        if request.domain == LimitsDomainRequest.domain {
            return try limitsDomain.begin(request, arrivedAt: now, responder: responder, ticket: ticket)
        }
        return engine.call(request, arrivedAt: now, requester: responder, ticket: ticket)
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) {
        RateLimitResponse.write(outcome, isShadow: engine.isShadow, to: &message)
    }
}
