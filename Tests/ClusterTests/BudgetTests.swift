import CoreMetrics
import Foundation
import Logging
import NIOCore
import NIOPosix
import RateLimitCore
import RateLimitService
import RedisClient
import TestSupport
import Testing

extension ClusterSuite {
    @Suite("Budgets")
    struct BudgetTests {
        let cluster: ClusterDeployment

        init() throws { cluster = try ClusterSuite.cluster() }

        @Test(
            "What one daemon changes another reads, for users and groups of every master, and the audit has all of it")
        func everywhere() throws {
            let folder = try TemporaryFolder()
            let file = """
                limits:
                  - {name: tokens, per: user, unit: tokens, window: 1d}
                  - {name: money, per: user, unit: spend, window: 1d}
                """
            let settings = ["LIMITS_FILE": try folder.write(file, to: "limits.yaml")]
            let daemons = try (0..<2).map { _ in try Daemon(redis: cluster.url(), settings) }
            let admins = try daemons.map { try $0.connectAdmin() }
            let group = newUser()
            for round in 0..<30 {
                let user = newUser()
                let (here, there) = (admins[round % 2], admins[(round + 1) % 2])
                let body = #"{"group_id":"\#(group)","spend_limit_micros":\#(round)}"#
                #expect(try here.request("PUT", "/v1/users/\(user)/budget", body: body).status == 400)
                #expect(try here.request("PUT", "/v1/groups/\(group)/members/\(user)").status == 200)
                #expect(try there.request("PUT", "/v1/users/\(user)/budget", body: body).status == 200)
                #expect(try here.request("GET", "/v1/users/\(user)/budget").number("spend_limit_micros") == round)
                let limits = #"{"limits":{"tokens":\#(round)}}"#
                #expect(try here.request("PUT", "/v1/groups/\(newUser())/budget", body: limits).status == 200)
                #expect(try there.request("DELETE", "/v1/groups/\(group)/members/\(user)").status == 204)
                #expect(try here.request("GET", "/v1/users/\(user)/budget").status == 404)
                let audit = try here.request("GET", "/v1/audit?limit=4").text
                let operations = ["delete_member", "put_group_budget", "put_user_budget", "put_member"]
                let places = operations.compactMap { audit.range(of: "\"\($0)\"")?.lowerBound }
                #expect(places.count == 4 && places == places.sorted(), "\(audit)")
            }
        }

        @Test("A membership that goes while an override is put takes it along, whichever daemon writes when")
        func race() throws {
            let daemons = try (0..<2).map { _ in try Daemon(redis: cluster.url()) }
            let group = newUser()
            var refused = 0
            for _ in 0..<40 {
                let user = newUser()
                let path = "/v1/groups/\(group)/members/\(user)"
                #expect(try daemons[0].connectAdmin().request("PUT", path).status == 200)
                let statuses = try concurrently(2) { index in
                    let admin = try daemons[index].connectAdmin()
                    guard index == 0 else { return try admin.request("DELETE", path).status }
                    let body = #"{"group_id":"\#(group)"}"#
                    return try admin.request("PUT", "/v1/users/\(user)/budget", body: body).status
                }
                #expect([200, 400].contains(statuses[0]) && statuses[1] == 204)
                refused += statuses[0] == 400 ? 1 : 0
                #expect(try daemons[1].connectAdmin().request("GET", "/v1/users/\(user)/budget").status == 404)
            }
            print("cluster: the override came second in \(refused) of 40 rounds")
        }

        @Test("A grant that one daemon makes another sees within a second, once for each id, for users of every master")
        func grants() throws {
            let folder = try TemporaryFolder()
            let file = try folder.write(
                "limits:\n  - {name: day, per: user, unit: requests, quota: 2, window: {calendar: day}}\n", to: "file")
            let daemons = try (0..<2).map { _ in try Daemon(redis: cluster.url(), ["LIMITS_FILE": file]) }
            let (admins, client) = (try daemons.map { try $0.connectAdmin() }, try daemons[1].connect())
            let users = (0..<12).map { _ in newUser() }
            let body = #"{"limit":"day","amount":1,"request_id":"once"}"#
            for user in users {
                for expected in [200, 200, 429] { #expect(try client.check(user).status == expected) }
                let grants = try admins.map { try $0.request("POST", "/v1/users/\(user)/grants", body: body) }
                #expect(try grants.map { try $0.json["granted"] as? Bool } == [true, false])
                #expect(try grants.allSatisfy { try $0.status == 200 && $0.number("amount") == 1 })
            }
            pause(milliseconds: 1_000)
            for user in users {
                for expected in [200, 429] { #expect(try client.check(user).status == expected) }
                #expect(try admins[0].request("DELETE", "/v1/users/\(user)/grants").status == 204)
                #expect(try admins[1].request("GET", "/v1/users/\(user)/budget").status == 404)
            }
        }

        @Test("A change on one replica shows on another within a second, and costs it no call where nothing changes")
        func bound() async throws {
            let (writer, reader) = (try await ClusterService(cluster), try await ClusterService(cluster))
            let user = SubjectID(high: .random(in: 0 ... .max), low: .random(in: 0 ... .max))
            let isOver = Flag()
            async let looks = { () async throws -> [(startedAt: Double, value: Int)] in
                var looks: [(startedAt: Double, value: Int)] = []
                while !isOver.isSet {
                    let startedAt = monotonicMilliseconds()
                    looks.append((startedAt, try await reader.lookUp(user).budget?.spendLimitMicros ?? 0))
                    try await Task.sleep(for: .milliseconds(1))
                }
                return looks
            }()
            var endedAt: [Double] = []
            for value in 1...20 {
                try await writer.change(.putUserBudget(user, BudgetTerms(spendLimitMicros: value), attributedTo: nil))
                endedAt.append(monotonicMilliseconds())
                try await Task.sleep(for: .milliseconds(value.isMultiple(of: 10) ? 1_300 : 50))
            }
            isOver.set()
            let all = try await looks
            for look in all {
                let certain = endedAt.lastIndex { $0 + 1_000 <= look.startedAt }.map { $0 + 1 } ?? 0
                #expect(look.value >= certain)
            }
            #expect(all.last?.value == 20)
            await writer.service.stop()
            await reader.service.stop()
        }
    }
}

/// A replica's service without its gateway.
private struct ClusterService {
    let service: CheckService
    private let eventLoop: any EventLoop

    init(_ cluster: ClusterDeployment) async throws {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let limit = Limit(name: "requests", quota: 20, windowMilliseconds: 60_000)
        service = try await CheckService.make(
            options: CheckServiceOptions(redis: RedisTopology.parse(cluster.url()), deadlineMilliseconds: 2_000),
            policy: CheckPolicy(limit: limit), eventLoops: [eventLoop],
            metrics: CheckMetrics(factory: NOOPMetricsHandler.instance),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
        self.eventLoop = eventLoop
        await service.start(patience: .seconds(10))
        try #require(service.health.state.isEnforcing)
    }

    func change(_ change: BudgetChange) async throws {
        _ = try await eventLoop.flatSubmit { [service, eventLoop] in
            service.budgets.change(change, by: BudgetActor(), on: eventLoop)
        }.get().get()
    }

    func lookUp(_ user: SubjectID) async throws -> CallerBudgets {
        try await eventLoop.flatSubmit { [service, eventLoop] in
            let reader = service.budgets.reader(on: eventLoop)
            let promise = eventLoop.makePromise(of: CallerBudgets.self)
            let now = NIODeadline.now()
            if let known = reader.known(user, groups: nil, at: now) {
                promise.succeed(known)
            } else {
                reader.load(user, groups: nil, at: now) { promise.completeWith($0.mapError { $0 as any Error }) }
            }
            return promise.futureResult
        }.get()
    }
}
