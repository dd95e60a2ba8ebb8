import CoreMetrics
import LimitsFile
import Logging
import NIOCore
import NIOPosix
import RateLimitCore
import RedisClient
import TestSupport

@testable import GRPCServer
@testable import HTTPServer
@testable import RateLimitService

#if canImport(HTTPServerTests)
    @testable import HTTPServerTests
#endif

/// HTTP's door and that of gRPC, each before a service of its own under the same limits, with a ``NotingRedis`` behind each:
/// what one is asked and told changes nothing for the other. All of it lives on one event loop.
final class DoorPair {
    /// What a call was answered at both.
    struct Answers: Sendable {
        var http: String
        var grpc: GRPCAnswer
        /// What HTTP would have answered to what the door of gRPC was told; nil where it was told nothing.
        var grpcAsHTTP: String?
        var asked: (http: [AskedDecision], grpc: [AskedDecision])
    }

    enum GRPCAnswer: Sendable {
        case outcome(Outcome)
        case message([UInt8])
        case error(GRPCError)
    }

    /// One of the two services.
    struct Side {
        let service: CheckService
        let engine: CheckEngine
        let redis: NotingRedis
    }

    private let http: Side
    private let grpc: Side
    private let httpLoop: EventLoopState
    private let callers: CallerRules
    private let policy: CheckPolicy
    /// Writes what the door of gRPC was told as HTTP's would.
    private let writer: AnswerWriter
    private var methods: (ShouldRateLimitMethod, AuthorizationCheckMethod)
    private var connections: [IPAddress?: EmbeddedConnection] = [:]
    private var waiting: (connection: EmbeddedConnection, from: Int, promise: EventLoopPromise<[UInt8]>)?
    private var responder = DoorResponder()
    /// Of each id that is held, who holds it, and under which lease at HTTP's door.
    private var held: [String: (user: String?, lease: String?)] = [:]

    init(_ limits: DoorLimits, http: Side, grpc: Side) {
        self.http = http
        self.grpc = grpc
        callers = limits.callers
        policy = limits.policy
        let pages = ServerPages(version: "1", configuration: { [] }, metrics: { [] })
        httpLoop = EventLoopState(
            service: http.service, eventLoop: http.engine.eventLoop, pages: pages, requestTimeout: .hours(1),
            callers: callers)
        writer = AnswerWriter(limitName: policy.limit.name)
        methods = Self.methods(grpc.engine, callers, policy)
        // Behind the loop's own, which writes the answers.
        http.engine.whenDelivered(self) { [unowned self] in lookForAnswer() }
    }

    private static func methods(
        _ engine: CheckEngine, _ callers: CallerRules, _ policy: CheckPolicy
    ) -> (ShouldRateLimitMethod, AuthorizationCheckMethod) {
        (
            ShouldRateLimitMethod(engine: engine),
            AuthorizationCheckMethod(engine: engine, callers: callers, limitName: policy.limit.name)
        )
    }

    /// Forgets all that earlier calls have left, so that what is found is found again.
    func begin(_ decisions: [UInt8]) {
        for side in [http, grpc] {
            side.engine.apply(policy)
            if policy.denyCacheMilliseconds > 0 { side.engine.forgetDenials(of: nil) }
            side.engine.estimates = LearnedEstimates()
            side.engine.durations = LeaseDurations()
            side.redis.begin(decisions)
        }
        methods = Self.methods(grpc.engine, callers, policy)
        for connection in connections.values { connection.close() }
        connections = [:]
        held = [:]
    }

    /// Whether both can ask.
    var isConnected: Bool {
        [http, grpc].allSatisfy { $0.engine.lanes.link?.availability == .available }
    }
}

// MARK: - Calls

extension DoorPair {
    /// Makes a call at both doors; nil for one that one of them cannot say.
    func ask(_ call: DoorCall) -> EventLoopFuture<Answers>? {
        var call = call
        var id: String?
        var lease: String?
        switch call.kind {
        case .check:
            // In shadow mode gRPC's door lets also pass what HTTP's refuses as unusable, and charges what it came to.
            if call.charges.isEmpty || call.manners.contains(.query) || policy.isShadow { call.manners.remove(.inOne) }
            call.id = nil
        case .authorize: break
        case .reserve:
            call.manners.remove(.inOne)
            guard let text = call.id, 1...128 ~= text.utf8.count, held[text] == nil else { return nil }
            id = text
        case .settle, .usage:
            guard !call.charges.isEmpty else { return nil }
            id = call.id
            if let id, let known = held[id] {
                // Who tells what was held under an id is who asked.
                call.user = known.user
                lease = known.lease
                held[id] = nil
                call.kind = .settle
            } else {
                call.kind = .usage
            }
        }
        return ask(call, id: id, lease: lease)
    }

    private func ask(_ call: DoorCall, id: String?, lease: String?) -> EventLoopFuture<Answers> {
        let told = askGRPC(call, call.protobuf(id: id))
        return askHTTP(call, lease: lease).and(told).assumeIsolated().map { [self] http, grpc in
            if call.kind == .reserve, let id { held[id] = (call.user, Self.lease(in: http)) }
            return Answers(
                http: Self.comparable(http), grpc: grpc, grpcAsHTTP: asHTTP(grpc, call),
                asked: (self.http.redis.asked, self.grpc.redis.asked))
        }.nonisolated()
    }

    private func askHTTP(_ call: DoorCall, lease: String?) -> EventLoopFuture<[UInt8]> {
        let first = send(call.http(lease: lease), from: call.kind == .authorize ? call.peer : nil)
        guard call.kind == .check, call.manners.contains(.inOne) else { return first }
        return first.assumeIsolated().flatMap { [self] answer in
            guard answer.starts(with: "HTTP/1.1 200".utf8) else { return first }
            var usage = call
            usage.kind = .usage
            return send(usage.http(lease: nil), from: nil)
        }.nonisolated()
    }

    private func send(_ bytes: [UInt8], from peer: IPAddress?) -> EventLoopFuture<[UInt8]> {
        var connection = connections[peer]
        if connection?.isClosed ?? true {
            let address = peer.flatMap { try? SocketAddress(ipAddress: "\($0)", port: 1) }
            connection = EmbeddedConnection(ConnectionHandler(loop: httpLoop, isAdmin: false), from: address)
            connections[peer] = connection
        }
        guard let connection else { preconditionFailure("there is one now") }
        let promise = http.engine.eventLoop.makePromise(of: [UInt8].self)
        waiting = (connection, connection.received.count, promise)
        connection.send(bytes)
        lookForAnswer()
        return promise.futureResult
    }

    private func lookForAnswer() {
        guard let (connection, from, promise) = waiting else { return }
        connection.advance(by: .zero)
        guard connection.received.count > from else { return }
        waiting = nil
        promise.succeed(Array(connection.received[from...]))
    }

    private func askGRPC(_ call: DoorCall, _ message: ByteBuffer) -> EventLoopFuture<GRPCAnswer> {
        responder = DoorResponder()
        let promise = grpc.engine.eventLoop.makePromise(of: GRPCAnswer.self)
        responder.promise = promise
        let method: any UnaryMethod = call.kind == .authorize ? methods.1 : methods.0
        do {
            let outcome = try message.withUnsafeReadableBytes { bytes in
                // Of its very own size, so that the address sanitizer sees a read past its end.
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
                defer { copy.deallocate() }
                copy.copyMemory(from: bytes)
                return try method.begin(
                    UnsafeRawBufferPointer(copy), arrivedAt: .now(), responder: responder, ticket: 7)
            }
            if let outcome { responder.deliver(outcome, ticket: 7) }
        } catch let error as GRPCError {
            responder.fail(error, ticket: 7)
        } catch {
            promise.fail(error)
        }
        return promise.futureResult
    }
}

// MARK: - Answers

extension DoorPair {
    /// The answer of HTTP's door to what that of gRPC was told.
    private func asHTTP(_ answer: GRPCAnswer, _ call: DoorCall) -> String? {
        guard case .outcome(let outcome) = answer else { return nil }
        // Under the limit of checks alone a check lists none.
        let isVerbose = call.manners.contains(.verbose) && (call.kind != .check || !policy.limits.isEmpty)
        let topic: AnswerTopic =
            switch call.kind {
            case .check, .reserve: .decision(isVerbose: isVerbose)
            case .settle, .usage: .done(.charged, owner: nil, isVerbose: isVerbose)
            case .authorize: .authorization(.tooManyRequests)
            }
        var text = ByteBuffer()
        writer.write(outcome, as: topic, AnswerForm(), to: &text)
        return Self.comparable(Array(text.readableBytesView))
    }

    /// An answer without what is drawn, what the time is, and what was passed over, of which gRPC's messages tell nothing.
    private static func comparable(_ answer: [UInt8]) -> String {
        withoutDate(answer).replacing(/"lease":"[^"]*"/, with: "\"lease\":\"…\"")
            // The limit of checks alone is named by HTTP's door also where nobody counted it.
            .replacing(
                "\"limit_name\":\"requests\",\"limit\":100,\"remaining\":null",
                with: "\"limit_name\":null,\"limit\":null,\"remaining\":null"
            )
            // What tells no limit tells an empty list of them where it has anything to tell of descriptors.
            .replacing(",\"limits\":[]", with: "").replacing(/,"ignored":\[\{.*?\}\]/, with: "").replacing(
                /Content-Length: [0-9]+/, with: "Content-Length: …")
    }

    private static func lease(in answer: [UInt8]) -> String? {
        String(decoding: answer, as: UTF8.self).firstMatch(of: /"lease":"([^"]*)"/).map { String($0.1) }
    }
}

/// Whom the methods answer.
private final class DoorResponder: UnaryResponder {
    var promise: EventLoopPromise<DoorPair.GRPCAnswer>?

    private func answer(_ answer: DoorPair.GRPCAnswer, _ ticket: Int) {
        guard let promise, ticket == 7 else { preconditionFailure("a call is answered once, under its ticket") }
        self.promise = nil
        promise.succeed(answer)
    }

    func deliver(_ outcome: Outcome, ticket: Int) { answer(.outcome(outcome), ticket) }

    func respond(_ message: ByteBuffer, ticket: Int) { answer(.message(Array(message.readableBytesView)), ticket) }

    func fail(_ error: GRPCError, ticket: Int) { answer(.error(error), ticket) }
}
