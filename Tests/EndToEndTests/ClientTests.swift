import Foundation
import Glibc
import LLMRateLimitClient
import TestSupport
import Testing

extension EndToEnd {
    @Suite("The Swift client")
    struct ClientTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let limits = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
            """

        private func daemon(_ settings: [String: String] = [:], limits: String? = nil) throws -> Daemon {
            var settings = settings
            if let limits { settings["LIMITS_FILE"] = try folder.write(limits, to: "limits.yaml") }
            return try Daemon(redis: redis.url, settings)
        }

        /// A client whose deadline no busy machine comes near.
        private func client(_ daemon: Daemon, connections: Int = 64) -> RateLimitClient {
            RateLimitClient(
                at: .unixSocket(path: daemon.socketPath), deadline: .seconds(60), maximumConnections: connections)
        }

        private func used(_ limit: String, _ user: String, _ client: RateLimitClient) async throws -> Int? {
            try await client.limits(of: user).first { $0.name == limit }?.used
        }

        @Test("is told what is allowed, and of a denial when to come again")
        func check() async throws {
            let daemon = try daemon(["REQUESTS": "2"])
            let client = client(daemon)
            let user = "tenant/αβγ \(newUser())"
            for left in [1, 0] {
                let decision = try await client.check(Call(user: user))
                #expect(decision.isAllowed && decision.limit == 2 && decision.remaining == left)
                #expect(decision.limitName == "requests" && decision.degradation == nil && decision.lease == nil)
            }
            let denied = try await client.check(Call(user: user))
            #expect(!denied.isAllowed && denied.remaining == 0)
            #expect(denied.retryAfterSeconds.map { 1...3_600 ~= $0 } == true)
            #expect(denied.message?.hasPrefix("Try again in ") == true)
            #expect(denied.headers["Retry-After"].flatMap { Int($0) } == denied.retryAfterSeconds)
            #expect(Set(denied.headers.keys) == ["Retry-After", "RateLimit", "RateLimit-Policy"])
            let tooLarge = try await client.check(Call(user: user, cost: 3))
            #expect(!tooLarge.isAllowed && tooLarge.retryAfterSeconds == nil)
            let status = try await client.status(of: user)
            #expect(status.user == user && status.used == 2 && status.limit == 2 && status.remaining == 0)
            let tooLong = Call(user: String(repeating: "x", count: 257))
            await #expect(throws: RateLimitClientError.self) { try await client.check(tooLong) }
        }

        @Test("answers over TCP as over the Unix socket")
        func tcp() async throws {
            let port = try freePort()
            let daemon = try daemon(["REQUESTS": "5", "LISTEN": "127.0.0.1:\(port)"])
            let client = RateLimitClient(at: .tcp(host: "127.0.0.1", port: Int(port)), deadline: .seconds(60))
            let user = newUser()
            #expect(try await client.check(Call(user: user)).remaining == 4)
            #expect(try await self.client(daemon).check(Call(user: user)).remaining == 3)
        }

        @Test("charges of a reservation what the call reports, whether it returns or throws")
        func settles() async throws {
            let daemon = try daemon(limits: Self.limits)
            defer { withExtendedLifetime(daemon) {} }
            let client = client(daemon)
            let user = newUser()
            let call = Call(user: user, estimate: Usage(outputTokens: 900))
            let reserved = try await client.reserve(call) { reservation in
                #expect(reservation.decision.lease?.estimate.outputTokens == 900)
                // It is held: another of the kind does not fit.
                guard case .denied(let other) = try await client.reserve(call, { _ in 0 }) else { throw Failure() }
                #expect(other.limitName == "tokens" && !other.isAllowed)
                reservation.report(Usage(outputTokens: 40))
                return "an answer"
            }
            guard case .done("an answer", .settled(let settlement)) = reserved else { throw Failure() }
            #expect(settlement.isCharged && !settlement.isRepeated)
            #expect(try await used("tokens", user, client) == 40)
            await #expect(throws: Failure.self) {
                try await client.reserve(call) { reservation in
                    reservation.report(Usage(outputTokens: 2))
                    throw Failure()
                }
            }
            #expect(try await used("tokens", user, client) == 42)
        }

        @Test(
            "gives a reservation back where the call fails, and charges the estimate where it was cut off or tells nothing"
        )
        func ends() async throws {
            let daemon = try daemon(limits: Self.limits)
            defer { withExtendedLifetime(daemon) {} }
            let client = client(daemon)
            let user = newUser()
            let call = Call(user: user, estimate: Usage(outputTokens: 100))
            await #expect(throws: Failure.self) { try await client.reserve(call) { _ in throw Failure() } }
            #expect(try await used("tokens", user, client) == 0)
            #expect(try await used("requests", user, client) == 0)
            await #expect(throws: CancellationError.self) {
                try await client.reserve(call) { _ in throw CancellationError() }
            }
            #expect(try await used("tokens", user, client) == 100)
            _ = try await client.reserve(call) { _ in }
            #expect(try await used("tokens", user, client) == 200)
        }

        @Test("settles in a task that was cancelled")
        func cancelled() async throws {
            let daemon = try daemon(limits: Self.limits)
            defer { withExtendedLifetime(daemon) {} }
            let client = client(daemon)
            let user = newUser()
            let task = Task {
                try await client.reserve(Call(user: user, estimate: Usage(outputTokens: 100))) { _ in
                    try await Task.sleep(for: .seconds(3_600))
                }
            }
            #expect(try eventually(within: 60) { try redis.keys().contains { $0.contains(user) } })
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(try await used("tokens", user, client) == 100)
        }

        @Test(
            "renews, releases and settles a lease by itself, each as often as one likes, and reports and refunds usage once by its id"
        )
        func leases() async throws {
            let daemon = try daemon(limits: Self.limits)
            defer { withExtendedLifetime(daemon) {} }
            let client = client(daemon)
            let user = newUser()
            let call = Call(user: user, estimate: Usage(outputTokens: 100))
            let first = try #require(try await client.takeLease(call, timeToLiveSeconds: 30).lease)
            #expect(first.expiresInSeconds == 30)
            let renewed = try #require(try await client.renew(first, timeToLiveSeconds: 600))
            #expect(renewed.expiresInSeconds == 600)
            #expect(try await client.release(renewed))
            #expect(try await !client.release(renewed))
            #expect(try await client.renew(renewed, timeToLiveSeconds: 5) == nil)
            let second = try #require(try await client.takeLease(call).lease)
            #expect(try await client.settle(second, Usage(inputTokens: 1, outputTokens: 2)).isCharged)
            #expect(try await client.settle(second, Usage(outputTokens: 2)).isRepeated)
            for isRepeated in [false, true] {
                let settlement = try await client.usage(of: call, Usage(outputTokens: 50), requestID: "r1")
                #expect(settlement.isCharged != isRepeated && settlement.isRepeated == isRepeated)
            }
            #expect(try await used("tokens", user, client) == 53)
            for isRepeated in [false, true] {
                let refund = try await client.refund(of: call, Usage(outputTokens: 50), requests: 1, requestID: "r1")
                #expect(refund.isRefunded != isRepeated && refund.isRepeated == isRepeated)
            }
            #expect(try await used("tokens", user, client) == 3)
        }

        @Test("names several models, is told which one is admitted, and asks without being charged")
        func candidates() async throws {
            let limits = """
                limits:
                  - {name: large, per: user, unit: requests, quota: 1, window: 1h, match: {model: large}}
                  - {name: small, per: user, unit: requests, quota: 1, window: 1h, match: {model: small}}
                """
            let daemon = try daemon(["REQUESTS": "0"], limits: limits)
            let client = client(daemon)
            var call = Call(user: newUser())
            call.candidates = [Call.Candidate(model: "large"), Call.Candidate(model: "small", provider: "p")]
            for place in [0, 1] {
                let dry = try await client.check(call, isDryRun: true)
                #expect(dry.isAllowed && dry.isDryRun && dry.candidate == place)
                let leased = try await client.takeLease(call, isDryRun: true)
                #expect(leased.isAllowed && leased.isDryRun && leased.lease == nil && leased.candidate == place)
                let taken = try await client.check(call)
                #expect(taken.isAllowed && !taken.isDryRun && taken.candidate == place)
            }
            #expect(try await !client.check(call).isAllowed)
        }

        @Test("keeps its connections, and opens no more than it may")
        func connections() async throws {
            let daemon = try daemon(["REQUESTS": "1000"])
            let client = client(daemon, connections: 3)
            let accepted = #"llm_rate_limit_connections_total{result="accepted"}"#
            let before = try #require(try daemon.metric(accepted))
            for _ in 0..<20 { #expect(try await client.check(Call(user: "ada")).isAllowed) }
            // One is the question itself.
            #expect(try daemon.metric(accepted) == before + 2)
            try await withThrowingTaskGroup(of: Decision.self) { group in
                for _ in 0..<300 { group.addTask { try await client.check(Call(user: "ada")) } }
                for try await decision in group { #expect(decision.isAllowed && decision.degradation == nil) }
            }
            #expect(try daemon.metric(accepted).map { $0 <= before + 5 } == true)
            #expect(try await client.status(of: "ada").used == 320)
        }

        @Test("lets calls pass while the daemon is away or hangs, says so, and is limited again once it is back")
        func away() async throws {
            let daemon = try daemon(["REQUESTS": "1"])
            let address = DaemonAddress.unixSocket(path: daemon.socketPath)
            let patient = client(daemon)
            let hasty = RateLimitClient(at: address, deadline: .milliseconds(100))
            let user = newUser()
            #expect(try await patient.check(Call(user: user)).isAllowed)
            #expect(try await !patient.check(Call(user: user)).isAllowed)

            daemon.process.send(SIGSTOP)
            let late = try await hasty.check(Call(user: user))
            #expect(late.isAllowed)
            #expect(late.degradation == .daemonUnreachable(.noAnswer(address: address, milliseconds: 100)))
            daemon.process.send(SIGCONT)
            #expect(try await !patient.check(Call(user: user)).isAllowed)

            daemon.kill()
            // Its deadline is a minute off: that nobody listens is known at once.
            let away = try await patient.check(Call(user: user))
            guard case .daemonUnreachable(let error)? = away.degradation else { throw Failure() }
            #expect(away.isAllowed && error.description.hasPrefix("cannot "))

            try daemon.restart()
            #expect(try await !patient.check(Call(user: user)).isAllowed)
        }

        @Test("The example of the pages does what they say")
        func example() async throws {
            let daemon = try daemon(["REQUESTS": "1"], limits: Self.limits)
            let client = client(daemon)
            let user = newUser()
            #expect(try await ClientExample.answer(to: user, client) == "an answer")
            #expect(try await ClientExample.answer(to: user, client).hasPrefix("429"))
            #expect(try await used("tokens", user, client) == 980)
        }

        private struct Failure: Error {}
    }
}
