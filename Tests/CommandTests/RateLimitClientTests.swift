import Foundation
import Testing

@testable import LLMRateLimitClient

@Suite("The address of a daemon")
struct DaemonAddressTests {
    @Test(
        "is a path, or host and port",
        arguments: [
            ("/run/d.sock", DaemonAddress.unixSocket(path: "/run/d.sock"), "/run/d.sock"),
            ("unix:///run/d.sock", .unixSocket(path: "/run/d.sock"), "/run/d.sock"),
            ("http://localhost:8089", .tcp(host: "localhost", port: 8089), "localhost:8089"),
            ("http://[::1]:1/", .tcp(host: "::1", port: 1), "[::1]:1"),
        ])
    func accepted(text: String, address: DaemonAddress, shown: String) {
        #expect(DaemonAddress(text) == address && address.description == shown)
    }

    @Test(
        "is nothing else",
        arguments: [
            "", "run/d.sock", "unix://run/d.sock", "localhost:80", "http://localhost", "http://:80", "http://h:0",
            "http://h:65536", "http://h:+1", "http://h:80/x", "http://::1:80", "http://u@h:80", "https://h:80",
        ])
    func refused(text: String) { #expect(DaemonAddress(text) == nil) }
}

@Suite("What a client sends and reads")
struct ClientWireTests {
    private func decision(_ status: Int, _ body: String) throws -> Decision {
        try Decision(DaemonResponse(status: status, body: body), user: "ada")
    }

    @Test("A call has the members that are there, and no others")
    func members() throws {
        #expect(CallMembers(Call(user: "a\"ö")).json == #"{"user":"a\"ö"}"#)
        let call = Call(
            user: "ada", cost: 3, model: "m", provider: "p", groups: ["red"], labels: ["requestId": "x"],
            estimate: Usage(
                inputTokens: 1, outputTokens: 2, cacheReadInputTokens: 3, cacheWriteInputTokens: 4, costMicros: 5))
        var members = CallMembers(call)
        members.ttl = 60
        members.requestID = "id"
        let text = members.json
        for member in [
            #""user":"ada""#, #""cost":3"#, #""model":"m""#, #""provider":"p""#, #""groups":["red"]"#,
            #""labels":{"requestId":"x"}"#, #""input_tokens":1"#, #""output_tokens":2"#,
            #""cache_read_input_tokens":3"#,
            #""cache_write_input_tokens":4"#, #""cost_micros":5"#, #""ttl":60"#, #""request_id":"id""#,
        ] {
            #expect(text.contains(member), "\(member)")
        }
        let lease = CallMembers(Lease(token: "B", user: "ada")).json
        #expect(lease == #"{"user":"ada","lease":"B"}"# || lease == #"{"lease":"B","user":"ada"}"#)
    }

    @Test("A text of a path is one segment, whatever it holds")
    func path() {
        #expect(encoded("a/b?c=d&e%\u{0}ö+ ~") == "a%2Fb%3Fc%3Dd%26e%25%00%C3%B6%2B%20%7E")
    }

    @Test("A decision has a wait in a denial alone, and says whether Redis decided")
    func decisions() throws {
        let allowed = try decision(
            200,
            #"{"allowed":true,"limit_name":"l","limit":2,"remaining":1,"retry_after":0,"reset_after":9,"degraded":false}"#
        )
        #expect(
            allowed
                == Decision(isAllowed: true, limitName: "l", limit: 2, remaining: 1, resetAfterSeconds: 9))
        let denied = try decision(
            503,
            #"{"allowed":false,"at_capacity":true,"retry_after":3,"retry_after_at_most":8,"degraded":true,"reason":"r","#
                + #""message":"m"}"#)
        #expect(
            denied
                == Decision(
                    isAllowed: false, retryAfterSeconds: 3, retryAfterAtMostSeconds: 8,
                    degradation: .redis(reason: "r"),
                    message: "m", isAtCapacity: true))
        let lease = try decision(
            200,
            #"{"allowed":true,"shadow_denied":true,"retry_after":5,"lease":"B","expires_in":60,"estimate":{"source":"learned","output_tokens":7}}"#
        )
        #expect(lease.lease == Lease(token: "B", user: "ada", expiresInSeconds: 60, estimate: Usage(outputTokens: 7)))
        #expect(lease.isShadowDenied && lease.retryAfterSeconds == nil && lease.overLimits.isEmpty)
        #expect(try decision(200, #"{"allowed":true,"over":["a","b"]}"#).overLimits == ["a", "b"])
    }

    @Test("The failure mode closed is a denial; what is refused is an error, and so is what nobody knows")
    func others() throws {
        let problem = #"{"title":"t","status":503,"detail":"d"}"#
        #expect(
            try decision(503, problem)
                == Decision(
                    isAllowed: false, retryAfterSeconds: 1, degradation: .redis(reason: "closed"), message: "d"))
        #expect(throws: RateLimitClientError.refused(status: 400, detail: "d")) { try decision(400, problem) }
        #expect(throws: RateLimitClientError.unexpectedAnswer(status: 200)) { try decision(200, "{}") }
        #expect(throws: RateLimitClientError.unexpectedAnswer(status: 302)) { try decision(302, "") }
        #expect(throws: RateLimitClientError.unavailable(detail: "d")) {
            try Settlement(DaemonResponse(status: 503, body: problem))
        }
    }
}

@Suite("A client whose daemon does not answer as it should")
struct ClientFailureTests {
    private func withClient(
        _ behaviour: FakeDaemon.Behaviour, deadline: Duration = .milliseconds(100), connections: Int = 2,
        _ body: (FakeDaemon, RateLimitClient) async throws -> Void
    ) async throws {
        let daemon = try await FakeDaemon(behaviour)
        let client = RateLimitClient(at: daemon.address, deadline: deadline, maximumConnections: connections)
        do {
            try await body(daemon, client)
        } catch {
            try await daemon.stop()
            throw error
        }
        try await daemon.stop()
    }

    @Test("lets calls pass at the deadline, those too that wait for a connection, and says why")
    func hangs() async throws {
        try await withClient(.silence) { daemon, client in
            let decisions = try await withThrowingTaskGroup(of: Decision.self) { group in
                for _ in 0..<20 { group.addTask { try await client.check(Call(user: "ada")) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let expected = RateLimitClientError.noAnswer(address: daemon.address, milliseconds: 100)
            #expect(decisions.count == 20)
            #expect(decisions.allSatisfy { $0 == Decision.open(because: expected) && $0.isAllowed })
        }
    }

    @Test("holds no more questions than its bound, and lets the others pass at once")
    func overloaded() async throws {
        try await withClient(.silence, connections: 1) { daemon, client in
            let decisions = try await withThrowingTaskGroup(of: Decision.self) { group in
                for _ in 0..<ConnectionPool.maximumWaiting + 20 {
                    group.addTask { try await client.check(Call(user: "ada")) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let expected = RateLimitClientError.overloaded(address: daemon.address, maximum: 1_024)
            #expect(decisions.allSatisfy { $0.isAllowed })
            #expect(decisions.contains { $0.degradation == .daemonUnreachable(expected) })
        }
    }

    @Test("lets calls pass where the connection ends or what answers is no daemon")
    func broken() async throws {
        try await withClient(.hangUp) { daemon, client in
            let decision = try await client.check(Call(user: "ada"))
            #expect(decision.degradation == .daemonUnreachable(.closed(address: daemon.address)))
        }
        try await withClient(.answer("SSH-2.0-OpenSSH\r\n\r\n")) { daemon, client in
            let decision = try await client.check(Call(user: "ada"))
            #expect(decision.degradation == .daemonUnreachable(.notHTTP(address: daemon.address)))
        }
        try await withClient(httpAnswer("200 OK", "{}")) { _, client in
            let decision = try await client.check(Call(user: "ada"))
            #expect(decision.degradation == .daemonUnreachable(.unexpectedAnswer(status: 200)))
        }
    }

    @Test("asks again what may be asked twice where a connection that was kept has ended, and nothing else")
    func resends() async throws {
        let answer = #"{"user":"ada","limit":1,"used":0,"remaining":1,"reset_after":0,"allowed":true}"#
        let once = "HTTP/1.1 200 OK\r\nContent-Length: \(answer.utf8.count)\r\n\r\n\(answer)"
        try await withClient(.answerOnce(once), deadline: .seconds(60)) { daemon, client in
            for _ in 0..<3 {
                let status = try await client.status(of: "ada")
                #expect(status.limit == 1)
            }
            // The second and the third were each sent on a connection that ended, and then on one of their own.
            #expect(daemon.received.components(separatedBy: "GET /v1/users/ada ").count == 1 + 5)
        }
        try await withClient(.answerOnce(once), deadline: .seconds(60)) { daemon, client in
            let first = try await client.check(Call(user: "ada"))
            #expect(first.degradation == nil)
            let decision = try await client.check(Call(user: "ada"))
            #expect(decision.degradation == .daemonUnreachable(.closed(address: daemon.address)))
            #expect(daemon.received.components(separatedBy: "POST /v1/check ").count == 1 + 2)
        }
    }

    @Test("says of TCP why nobody answers")
    func refused() async throws {
        // Nobody listens on the port of tcpmux.
        let address = DaemonAddress.tcp(host: "127.0.0.1", port: 1)
        let decision = try await RateLimitClient(at: address, deadline: .seconds(60)).check(Call(user: "ada"))
        #expect(decision.degradation == .daemonUnreachable(.unreachable(address: address, code: ECONNREFUSED)))
    }

    @Test("makes the call without a lease, and charges nothing where the daemon is still away")
    func reservation() async throws {
        let client = RateLimitClient(at: .unixSocket(path: "/nonexistent/daemon.sock"))
        let reserved = try await client.reserve(Call(user: "ada")) { reservation in
            #expect(reservation.decision.lease == nil && reservation.decision.degradation != nil)
            reservation.report(Usage(outputTokens: 5))
            return 7
        }
        guard case .done(7, .unreserved) = reserved else { throw TestFailure() }
        await #expect(throws: RateLimitClientError.self) { try await client.status(of: "ada") }
    }

    private struct TestFailure: Error {}
}
