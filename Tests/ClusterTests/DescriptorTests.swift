import CoreMetrics
import Logging
import NIOCore
import NIOPosix
import RedisClient
import TestSupport
import Testing

@testable import RateLimitCore
@testable import RateLimitService

extension ClusterSuite {
    @Suite("Descriptors whose windows are in several slots")
    struct DescriptorTests {
        let cluster: ClusterDeployment

        init() throws { cluster = try ClusterSuite.cluster() }

        /// A window of this run's that another master has than the others.
        private func matches(_ run: String, _ quotas: [Int]) throws -> [DescriptorMatch] {
            var masters: Set<String> = []
            var matches: [DescriptorMatch] = []
            for number in 0..<1_000 where matches.count < quotas.count {
                let key = DescriptorKey(text: "descriptor:edge:run=\(run),number=\(number)")
                guard
                    masters.insert(try cluster.master(of: HashSlots.slot(of: "llm-rate:\(key.text)")).address).inserted
                else { continue }
                let quota = DescriptorQuota(quotas[matches.count], per: .hour)
                let limit = DescriptorLimit.Definition(domain: "edge", path: "run.number", quota: quota)
                matches.append(DescriptorMatch(DescriptorLimit(limit), in: key))
            }
            try #require(matches.count == quotas.count)
            return matches
        }

        private func request(_ hits: Int?...) -> DescriptorRequest {
            let descriptors = hits.map { Descriptor([DescriptorEntry("key", "value")], hits: $0) }
            return DescriptorRequest(domain: "edge", descriptors: descriptors)
        }

        @Test("One window is in its key's slot, and admits exactly its quota")
        func oneSlot() async throws {
            let services = [try await DescriptorService(cluster), try await DescriptorService(cluster)]
            for match in try matches(newUser(), [20, 20, 20]) {
                var outcomes: [Outcome] = []
                for service in services {
                    outcomes += try await service.requests(Array(repeating: request(nil), count: 16), matching: [match])
                }
                #expect(outcomes.count(where: \.isAllowed) == 20)
                #expect(outcomes.allSatisfy { $0.source == .redis })
                let key = "llm-rate:\(try #require(match.key).text)"
                let owner = try cluster.master(of: HashSlots.slot(of: key))
                #expect(try owner.command("EXISTS", key) == .integer(1))
            }
            for service in services { await service.service.stop() }
        }

        @Test("Several windows are charged all or none, whichever of them denies, and never above a quota")
        func acrossSlots() async throws {
            let service = try await DescriptorService(cluster)
            let (tenant, global) = (try matches(newUser(), [5, 100]), try matches(newUser(), [100, 5]))
            for both in [tenant, global] {
                var admitted = 0
                for _ in 0..<10 {
                    let outcome = try await service.requests([request(nil, nil)], matching: both)[0]
                    #expect(outcome.source == .redis)
                    let resets = outcome.details?.descriptors.map(\.resetAfterMilliseconds) ?? []
                    #expect(resets.allSatisfy { $0.map { 3_500_000...3_600_000 ~= $0 } ?? false })
                    admitted += outcome.isAllowed ? 1 : 0
                    guard !outcome.isAllowed else { continue }
                    #expect(outcome.details?.descriptors.map(\.isOver) == both.map { $0.limit?.quota == 5 })
                    #expect(outcome.details?.descriptors.map(\.remaining) == both.map { $0.limit?.quota == 5 ? 0 : 95 })
                }
                #expect(admitted == 5)
            }
            // At once they may take each other's room for a moment, but never more than there is.
            let crowded = try matches(newUser(), [30, 40, 50])
            let outcomes = try await service.requests(
                Array(repeating: request(nil, nil, nil), count: 64), matching: crowded)
            let admitted = outcomes.count(where: \.isAllowed)
            #expect(1...30 ~= admitted)
            // What is held for a moment is given back.
            var left: [Int?] = []
            for _ in 0..<200 where left != crowded.map({ ($0.limit?.quota ?? 0) - admitted }) {
                let looked = try await service.requests([request(0, 0, 0)], matching: crowded)[0]
                left = looked.details?.descriptors.map(\.remaining) ?? []
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(left == crowded.map { ($0.limit?.quota ?? 0) - admitted })
            await service.service.stop()
        }

        @Test("What is reported in several slots is charged whatever is left, beside what is asked or alone")
        func reports() async throws {
            let service = try await DescriptorService(cluster)
            let both = try matches(newUser(), [10, 10])
            let reported = try await service.requests([request(8, 3)], matching: both)[0]
            #expect(reported.isAllowed && reported.details?.descriptors.map(\.remaining) == [2, 7])
            let mixed = try await service.requests([request(nil, 30)], matching: both)[0]
            #expect(mixed.isAllowed && mixed.details?.descriptors.map(\.isOver) == [false, true])
            #expect(mixed.details?.descriptors.map(\.remaining) == [1, 0])
            let denied = try await service.requests([request(30, nil)], matching: both)[0]
            #expect(!denied.isAllowed && denied.details?.descriptors.map(\.remaining) == [1, 0])
            await service.service.stop()
        }

        @Test(
            "What is given back in several slots is given back in each, never below nothing, beside what is asked or alone"
        )
        func refunds() async throws {
            let service = try await DescriptorService(cluster)
            let three = try matches(newUser(), [10, 10, 10])
            func refund(_ hits: Int) -> Descriptor {
                Descriptor([DescriptorEntry("key", "value")], hits: hits, isRefund: true)
            }
            _ = try await service.requests([request(8, 3, 10)], matching: three)
            let alone = DescriptorRequest(domain: "edge", descriptors: [refund(5), refund(50), refund(0)])
            let given = try await service.requests([alone], matching: three)[0]
            #expect(given.isAllowed && given.source == .redis)
            #expect(given.details?.descriptors.map(\.remaining) == [7, 10, 0])
            let asked = Descriptor([DescriptorEntry("key", "value")])
            let mixed = DescriptorRequest(domain: "edge", descriptors: [asked, refund(1), refund(4)])
            let passed = try await service.requests([mixed], matching: three)[0]
            #expect(passed.isAllowed && passed.details?.descriptors.map(\.remaining) == [6, 10, 4])
            let denied = DescriptorRequest(domain: "edge", descriptors: [refund(3), asked, refund(4)], hits: 11)
            let outcome = try await service.requests([denied], matching: three)[0]
            #expect(!outcome.isAllowed && outcome.details?.descriptors.map(\.remaining) == [6, 10, 4])
            await service.service.stop()
        }
    }
}

extension DescriptorLimit {
    fileprivate var quota: Int? { definition.quota?.requestsPerUnit }
}

/// A replica's service without its listeners.
private struct DescriptorService {
    let service: CheckService
    private let asker: NIOLoopBound<Asker>

    init(_ cluster: ClusterDeployment) async throws {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let service = try await CheckService.make(
            options: CheckServiceOptions(redis: RedisTopology.parse(cluster.url()), deadlineMilliseconds: 2_000),
            policy: CheckPolicy(
                limit: Limit(name: "requests", quota: 0, windowMilliseconds: 60_000), denyCacheMilliseconds: 0),
            eventLoops: [eventLoop], metrics: CheckMetrics(factory: NOOPMetricsHandler.instance),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        self.service = service
        asker = try await eventLoop.submit {
            NIOLoopBound(Asker(engine: service.engine(on: eventLoop)), eventLoop: eventLoop)
        }.get()
        await service.start(patience: .seconds(10))
        try #require(service.health.state.isEnforcing)
    }

    /// Puts all of these in one turn of the loop.
    func requests(_ requests: [DescriptorRequest], matching: [DescriptorMatch]) async throws -> [Outcome] {
        try await asker.eventLoop.flatSubmit { [asker] in
            let outcomes = requests.map { asker.value.ask($0, matching) }
            return EventLoopFuture.whenAllSucceed(outcomes, on: asker.eventLoop)
        }.get()
    }
}

private final class Asker: DecisionRequester {
    private let engine: CheckEngine
    private var waiting: [EventLoopPromise<Outcome>] = []

    init(engine: CheckEngine) { self.engine = engine }

    func ask(_ request: DescriptorRequest, _ matches: [DescriptorMatch]) -> EventLoopFuture<Outcome> {
        let promise = engine.eventLoop.makePromise(of: Outcome.self)
        waiting.append(promise)
        let call = engine.descriptorPlanner.plan(request, matches)
        if let outcome = engine.call(call, arrivedAt: .now(), self, waiting.count - 1) { promise.succeed(outcome) }
        return promise.futureResult
    }

    func deliver(_ outcome: Outcome, ticket: Int) { waiting[ticket].succeed(outcome) }
}
