import CoreMetrics
import Logging
import NIOCore
import NIOPosix
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import GRPCServer
@testable import RateLimitService

/// A method on one event loop of a check service, asked as a connection would ask it.
final class MethodUnderTest: Sendable {
    let service: CheckService
    let eventLoop: any EventLoop
    private let caller: NIOLoopBound<MethodCaller>
    private let direct: NIOLoopBound<(method: DirectMethod, caller: MethodCaller)>

    /// Makes a service and, unless told not to, waits until it can ask Redis.
    init(
        _ redis: RedisServer, _ policy: CheckPolicy, deadlineMilliseconds: Int = 2_000, startsConnected: Bool = true,
        makeMethod: @escaping @Sendable (CheckEngine) -> any UnaryMethod = { ShouldRateLimitMethod(engine: $0) }
    ) async throws {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        var options = CheckServiceOptions(
            redis: .single(RedisEndpoint(address: .unix(path: redis.socketPath))),
            deadlineMilliseconds: deadlineMilliseconds)
        options.heartbeatInterval = .hours(1)
        let service = try await CheckService.make(
            options: options, policy: policy, eventLoops: [eventLoop],
            metrics: CheckMetrics(factory: NOOPMetricsHandler.instance),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        self.service = service
        self.eventLoop = eventLoop
        caller = try await eventLoop.submit {
            let method = makeMethod(service.engine(on: eventLoop))
            return NIOLoopBound(MethodCaller(method: method, eventLoop: eventLoop), eventLoop: eventLoop)
        }.get()
        direct = try await eventLoop.submit {
            let method = DirectMethod(engine: service.engine(on: eventLoop))
            let caller = MethodCaller(method: method, eventLoop: eventLoop)
            return NIOLoopBound((method: method, caller: caller), eventLoop: eventLoop)
        }.get()
        await service.start(patience: startsConnected ? .seconds(10) : .zero)
        if startsConnected { try #require(service.health.state.isEnforcing) }
    }

    /// Makes all of these calls in one turn of the loop.
    func calls(_ messages: [[UInt8]]) async throws -> [MethodAnswer] {
        try await eventLoop.flatSubmit { [caller, eventLoop] in
            EventLoopFuture.whenAllSucceed(messages.map { caller.value.call($0) }, on: eventLoop)
        }.get()
    }

    func call(_ message: [UInt8]) async throws -> MethodAnswer { try await calls([message])[0] }

    /// Makes a call that must be decided.
    func outcome(_ message: [UInt8]) async throws -> Outcome {
        let answer = try await call(message)
        return try #require(answer.outcome, "\(answer)")
    }

    /// What the engine says of a call that it is asked about as HTTP's doors ask it.
    func direct(_ request: CallRequest) async throws -> Outcome {
        let answer = try await eventLoop.flatSubmit { [direct] in
            direct.value.method.request = request
            return direct.value.caller.call([])
        }.get()
        return try #require(answer.outcome)
    }

    /// What is used of each limit, with what is held.
    func usage(of user: String) async throws -> [String: Int] {
        let outcome = try await direct(CallRequest(user: try #require(SubjectID(user)), operation: .look))
        let standings = try #require(outcome.details).standings
        return Dictionary(uniqueKeysWithValues: standings.map { ($0.limit.name.text, $0.state.used) })
    }
}

/// Asks the engine about a call that is put here.
private final class DirectMethod: UnaryMethod {
    private let engine: CheckEngine
    var request: CallRequest?

    init(engine: CheckEngine) { self.engine = engine }

    func begin(
        _ message: UnsafeRawBufferPointer, arrivedAt now: NIODeadline, responder: any UnaryResponder, ticket: Int
    ) throws(GRPCError) -> Outcome? {
        guard let request else { throw .invalid("no request") }
        return engine.call(request, arrivedAt: now, requester: responder, ticket: ticket)
    }

    func write(_ outcome: Outcome, to message: inout ByteBuffer) {}
}

/// What a call is answered.
enum MethodAnswer: Sendable, Equatable {
    /// By an outcome, and the message that tells it.
    case outcome(Outcome, [UInt8])
    case message([UInt8])
    case error(GRPCError)

    var outcome: Outcome? { if case .outcome(let outcome, _) = self { outcome } else { nil } }

    var error: GRPCError? { if case .error(let error) = self { error } else { nil } }

    /// The whole message, however it came.
    var message: [UInt8]? {
        switch self {
        case .outcome(_, let message), .message(let message): message
        case .error: nil
        }
    }
}

private final class MethodCaller: UnaryResponder {
    private let method: any UnaryMethod
    private let eventLoop: any EventLoop
    private var waiting: [Int: EventLoopPromise<MethodAnswer>] = [:]
    private var next = 0

    init(method: any UnaryMethod, eventLoop: any EventLoop) {
        self.method = method
        self.eventLoop = eventLoop
    }

    func call(_ message: [UInt8]) -> EventLoopFuture<MethodAnswer> {
        let ticket = next
        next += 1
        let promise = eventLoop.makePromise(of: MethodAnswer.self)
        waiting[ticket] = promise
        do throws(GRPCError) {
            let outcome = try begin(message, ticket: ticket)
            if let outcome { deliver(outcome, ticket: ticket) }
        } catch {
            fail(error, ticket: ticket)
        }
        return promise.futureResult
    }

    private func begin(_ message: [UInt8], ticket: Int) throws(GRPCError) -> Outcome? {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: message.count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyBytes(from: message)
        return try method.begin(UnsafeRawBufferPointer(copy), arrivedAt: .now(), responder: self, ticket: ticket)
    }

    func deliver(_ outcome: Outcome, ticket: Int) {
        var message = ByteBuffer()
        method.write(outcome, to: &message)
        answer(.outcome(outcome, Array(message.readableBytesView)), ticket: ticket)
    }

    func respond(_ message: ByteBuffer, ticket: Int) {
        answer(.message(Array(message.readableBytesView)), ticket: ticket)
    }

    func fail(_ error: GRPCError, ticket: Int) { answer(.error(error), ticket: ticket) }

    private func answer(_ answer: MethodAnswer, ticket: Int) {
        guard let promise = waiting.removeValue(forKey: ticket) else {
            Issue.record("ticket \(ticket) was answered twice")
            return
        }
        promise.succeed(answer)
    }
}

/// A descriptor of a message: its entries, and the hits of its own.
struct TestDescriptor {
    var entries: KeyValuePairs<String, String>
    var hits: Int?
    var isRefund = false
    var limit: [UInt8]?

    init(_ entries: KeyValuePairs<String, String>, hits: Int? = nil) {
        self.entries = entries
        self.hits = hits
    }

    fileprivate var bytes: [UInt8] {
        var bytes = entries.flatMap { key, value in
            Protoc.field(1, Protoc.field(1, Array(key.utf8)) + Protoc.field(2, Array(value.utf8)))
        }
        if let limit { bytes += Protoc.field(2, limit) }
        if let hits { bytes += Protoc.field(3, Protoc.field(1, UInt64(hits))) }
        if isRefund { bytes += Protoc.field(4, 1) }
        return bytes
    }
}

/// A request in the domain of the daemon's own limits.
func limitsRequest(_ descriptors: [TestDescriptor], hits: Int? = nil) -> [UInt8] {
    Protoc.field(1, Array("llm-rate-limit".utf8)) + descriptors.flatMap { Protoc.field(2, $0.bytes) }
        + (hits.map { Protoc.field(3, UInt64($0)) } ?? [])
}

/// A limit of the limits file per user.
func userLimit(
    _ name: String, _ unit: LimitUnit, _ quota: Int?, windowMilliseconds: Int = 3_600_000, isShadow: Bool = false,
    failureMode: FailureMode = .open
) throws -> LimitDefinition {
    LimitDefinition(
        name: try #require(LimitName(name)), scope: .user, unit: unit, quota: quota,
        window: unit == .concurrency ? nil : .sliding(milliseconds: windowMilliseconds),
        mode: isShadow ? .shadow : .enforce,
        failureMode: failureMode)
}

/// A policy of such limits.
func policy(_ limits: [LimitDefinition], isShadow: Bool = false) throws -> CheckPolicy {
    CheckPolicy(
        limit: Limit(name: "requests", quota: 0, windowMilliseconds: 1_000),
        limits: LimitsInForce(
            rules: QuotaRules(limits: try LimitSet(limits), policy: .min), prices: .free, groupsAreGiven: true),
        isShadow: isShadow)
}
