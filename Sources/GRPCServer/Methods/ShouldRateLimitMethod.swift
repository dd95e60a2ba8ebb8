import NIOCore
import RateLimitService

/// `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit` on one event loop.
final class ShouldRateLimitMethod: UnaryMethod {
    /// Where it is called.
    static let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

    private let engine: CheckEngine

    init(engine: CheckEngine) { self.engine = engine }

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        let request = try DescriptorRequest(protobuf: message)
        return engine.call(request, arrivedAt: now, requester: responder, ticket: ticket)
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) { RateLimitResponse.write(outcome, to: &message) }
}
