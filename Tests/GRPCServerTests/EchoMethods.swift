import DecisionTracing
import NIOCore
import RateLimitCore
import RateLimitService

@testable import GRPCServer

/// A method that answers each message with itself, at once.
final class EchoMethod: UnaryMethod {
    static let path = "/test.Echo/Now"
    private(set) var asked: [[UInt8]] = []

    func forget() { asked = [] }

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        asked.append(Array(message))
        responder.respond(ByteBuffer(bytes: message), ticket: ticket)
        return nil
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) {}
}

/// A method that answers when it is told to.
final class PatientMethod: UnaryMethod {
    static let path = "/test.Echo/Later"
    let operation: TracedOperation? = .descriptors
    private(set) var waiting: [(responder: any UnaryResponder, ticket: Int, message: [UInt8])] = []

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        waiting.append((responder, ticket, Array(message)))
        return nil
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) {}

    /// Answers all that wait.
    func answer() {
        let answered = waiting
        waiting = []
        for call in answered { call.responder.respond(ByteBuffer(bytes: call.message), ticket: call.ticket) }
    }
}

/// A method that asks the engine about a user of its own: a byte says whether it may go on.
final class CheckingMethod: UnaryMethod {
    static let path = "/test.Echo/Check"
    let operation: TracedOperation? = .descriptors
    private let engine: CheckEngine

    init(_ engine: CheckEngine) { self.engine = engine }

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        guard let user = SubjectID(String(decoding: message, as: UTF8.self)) else {
            throw GRPCError(code: .invalidArgument, message: "cannot read the user: 100 % 'wrong'\u{e9}")
        }
        return engine.check(user, cost: 1, arrivedAt: .now(), requester: responder, ticket: ticket)
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) {
        message.writeInteger(UInt8(outcome.isAllowed ? 1 : 0))
    }
}

/// A method that answers a quarter of a second later.
final class SlowMethod: UnaryMethod {
    static let path = "/test.Echo/Slow"
    private let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        let answer = ByteBuffer(bytes: message)
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(250)) {
            responder.respond(answer, ticket: ticket)
        }
        return nil
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) {}
}
