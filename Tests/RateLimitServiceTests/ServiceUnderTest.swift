import Logging
import NIOCore
import NIOPosix
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import RateLimitService

/// A check service on one event loop, asked as a connection would ask it.
final class ServiceUnderTest: Sendable {
    let service: CheckService
    let metrics = RecordingMetrics()
    let eventLoop: any EventLoop
    private let asker: NIOLoopBound<Asker>

    /// Makes a service and, unless told not to, waits until it can ask Redis.
    ///
    /// - Parameter path: the socket through which it goes, where not Redis's own.
    init(
        _ redis: RedisServer, _ policy: CheckPolicy, deadlineMilliseconds: Int = 2_000, queueLimit: Int = 8_192,
        startsConnected: Bool = true, through path: String? = nil
    ) async throws {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        var options = CheckServiceOptions(
            redis: .single(RedisEndpoint(address: .unix(path: path ?? redis.socketPath))),
            deadlineMilliseconds: deadlineMilliseconds,
            queueLimit: queueLimit
        )
        // The one at the start is enough: tests count what Redis is asked.
        options.heartbeatInterval = .hours(1)
        var logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        logger.logLevel = .critical
        let service = try await CheckService.make(
            options: options, policy: policy, eventLoops: [eventLoop], metrics: CheckMetrics(factory: metrics),
            logger: logger
        )
        self.service = service
        self.eventLoop = eventLoop
        asker = try await eventLoop.submit {
            NIOLoopBound(Asker(engine: service.engine(on: eventLoop)), eventLoop: eventLoop)
        }.get()
        guard startsConnected else {
            await service.start(patience: .zero)
            return
        }
        await service.start(patience: .seconds(10))
        try #require(service.health.state.isEnforcing)
        // A subscription that begins forgets all denials: the tests begin behind that.
        let isSubscribed = try await eventually {
            try await eventLoop.submit { service.listener.value.link.availability == .available }.get()
        }
        try #require(isSubscribed)
    }

    /// Asks for all of these in one turn of the loop.
    func checks(_ checks: [(user: SubjectID, cost: Int)]) async throws -> [Outcome] {
        try await eventLoop.flatSubmit { [asker, eventLoop] in
            let outcomes = checks.map { asker.value.check($0.user, cost: $0.cost) }
            return EventLoopFuture.whenAllSucceed(outcomes, on: eventLoop)
        }.get()
    }

    /// Puts all of these requests about descriptors in one turn of the loop.
    func requests(_ requests: [DescriptorRequest], matching: [DescriptorMatch]? = nil) async throws -> [Outcome] {
        try await eventLoop.flatSubmit { [asker, eventLoop] in
            let outcomes = requests.map { asker.value.request($0, matching: matching) }
            return EventLoopFuture.whenAllSucceed(outcomes, on: eventLoop)
        }.get()
    }

    /// Puts all of these calls in one turn of the loop.
    func calls(_ calls: [CallRequest]) async throws -> [Outcome] {
        try await eventLoop.flatSubmit { [asker, eventLoop] in
            let outcomes = calls.map { asker.value.call($0) }
            return EventLoopFuture.whenAllSucceed(outcomes, on: eventLoop)
        }.get()
    }

    func check(_ user: SubjectID, cost: Int = 1) async throws -> Outcome {
        try await checks([(user, cost)])[0]
    }

    /// Asks, and says how long the decision took: measured on the loop, since a test may wait long for its turn.
    func timedCheck(_ user: SubjectID) async throws -> (outcome: Outcome, took: TimeAmount) {
        try await eventLoop.flatSubmit { [asker] in
            let start = NIODeadline.now()
            return asker.value.check(user, cost: 1).map { ($0, NIODeadline.now() - start) }
        }.get()
    }

    func reset(_ user: SubjectID) async throws {
        try await eventLoop.flatSubmit { [service, eventLoop] in service.reset(LimitReset(.user(user)), on: eventLoop) }
            .get().get()
    }

    func reportMetrics() async throws { try await service.reportMetrics(on: eventLoop).get() }

    /// Waits until `condition` holds, for some seconds at most.
    func eventually(_ condition: () async throws -> Bool) async throws -> Bool {
        for _ in 0..<10_000 {
            if try await condition() { return true }
            try await Task.sleep(for: .milliseconds(1))
        }
        return false
    }
}

private final class Asker: DecisionRequester {
    private let engine: CheckEngine
    private var waiting: [Int: EventLoopPromise<Outcome>] = [:]
    private var next = 0

    init(engine: CheckEngine) { self.engine = engine }

    func check(_ user: SubjectID, cost: Int) -> EventLoopFuture<Outcome> {
        ask { engine.check(user, cost: cost, arrivedAt: .now(), requester: self, ticket: $0) }
    }

    func call(_ request: CallRequest) -> EventLoopFuture<Outcome> {
        ask { engine.call(request, arrivedAt: .now(), requester: self, ticket: $0) }
    }

    func request(_ request: DescriptorRequest, matching: [DescriptorMatch]?) -> EventLoopFuture<Outcome> {
        ask { ticket in
            guard let matching else { return engine.call(request, arrivedAt: .now(), requester: self, ticket: ticket) }
            return engine.call(engine.descriptorPlanner.plan(request, matching), arrivedAt: .now(), self, ticket)
        }
    }

    private func ask(_ ask: (Int) -> Outcome?) -> EventLoopFuture<Outcome> {
        let ticket = next
        next += 1
        let promise = engine.eventLoop.makePromise(of: Outcome.self)
        waiting[ticket] = promise
        if let outcome = ask(ticket) { deliver(outcome, ticket: ticket) }
        return promise.futureResult
    }

    func deliver(_ outcome: Outcome, ticket: Int) {
        guard let promise = waiting.removeValue(forKey: ticket) else {
            Issue.record("ticket \(ticket) was decided twice")
            return
        }
        promise.succeed(outcome)
    }
}

/// A user nobody else has.
func someUser() -> SubjectID { SubjectID(high: .random(in: 0 ... .max), low: .random(in: 0 ... .max)) }

func limit(_ quota: Int, windowMilliseconds: Int = 3_600_000) -> Limit {
    Limit(name: "requests", quota: quota, windowMilliseconds: windowMilliseconds)
}
