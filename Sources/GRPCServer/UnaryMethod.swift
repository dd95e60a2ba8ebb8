import DecisionTracing
import NIOCore
import RateLimitService

/// A method of a gRPC service that takes one message and answers one, as it stands on one event loop.
///
/// The connection knows HTTP/2 and gRPC's framing, a method its two messages; what a method asks of the engine is answered
/// through the connection, which is the ``DecisionRequester``.
protocol UnaryMethod: AnyObject {
    /// What its calls are in traces; nil where they decide nothing.
    var operation: TracedOperation? { get }

    /// Takes in a call.
    ///
    /// - Parameters:
    ///   - message: the bytes behind gRPC's prefix, only for as long as this runs.
    ///   - now: when the call arrived.
    ///   - responder: who is answered, now or later, once under `ticket`.
    /// - Returns: the outcome where it is known at once; nil where the responder is answered otherwise.
    /// - Throws: what the call is answered that is not understood.
    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome?

    /// Writes the message that tells an outcome.
    func write(_ outcome: Outcome, to message: inout ByteBuffer)
}

extension UnaryMethod {
    var operation: TracedOperation? { nil }
}

/// Where a call is answered: through ``DecisionRequester/deliver(_:ticket:)`` by ``UnaryMethod/write(_:to:)``, or by a
/// message of the method's own.
protocol UnaryResponder: DecisionRequester {
    /// Answers a call with a message, at any time on the event loop.
    func respond(_ message: ByteBuffer, ticket: Int)

    /// Answers a call with an error, at any time on the event loop.
    func fail(_ error: GRPCError, ticket: Int)
}

/// A call that ends without an answer: a code of gRPC's and a text for people.
struct GRPCError: Error, Hashable {
    /// The codes of gRPC's that are used here.
    enum Code: Int, Hashable {
        case invalidArgument = 3
        case deadlineExceeded = 4
        case notFound = 5
        case resourceExhausted = 8
        case unimplemented = 12
        case internalError = 13
        case unavailable = 14
    }

    var code: Code
    /// `cannot X: reason`.
    var message: String
}
