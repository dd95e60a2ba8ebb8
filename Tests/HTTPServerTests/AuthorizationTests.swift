import NIOCore
import NIOHTTP1
import RateLimitCore
import TestSupport
import Testing

@testable import HTTPServer
@testable import RateLimitService

@Suite("What is read at /v1/auth")
struct AuthorizationRequestTests {
    private static let rules = CallerRules(
        tokenKey: TokenKey(secret: "0123456789abcdef"), trustedProxies: (try? TrustedProxies("unix")) ?? .none)

    private func asked(
        _ uri: String, _ headers: [(String, String)] = [("X-User-Id", "ada")], method: HTTPMethod = .GET,
        peer: ConnectionPeer = .unixSocket
    ) throws -> AuthorizationRequest {
        let request = Router.Request(
            method: method, uri: uri, contentType: "text/plain", hasLength: false, isAdmin: false,
            headers: HTTPHeaders(headers), peer: peer, callers: Self.rules, body: Array("{".utf8))
        guard case .authorize(let asked) = try Router.route(request) else {
            throw TestFailure("\(uri) comes to another route")
        }
        return asked
    }

    @Test("is the same whatever method, path and query the client has chosen")
    func path() throws {
        let expected = AuthorizationRequest(
            call: .success(CallRequest(user: SubjectID("ada")!)), denial: .tooManyRequests)
        for uri in [
            "/v1/auth", "/v1/auth/", "/v1/auth?", "/v1/auth?deny=403&user=x&cost=3", "/v1/auth/v1/chat?x=%zz",
            "/v1/auth/%64eny-403", "/v1/auth/x/deny-403", "/v1/auth//deny-403", "/v1/auth?/deny-403",
            "http://localhost/v1/auth/a",
        ] {
            for method in [HTTPMethod.GET, .HEAD, .POST, .OPTIONS, .TRACE, .RAW(value: "BREW")] {
                #expect(try asked(uri, method: method) == expected, "\(method) \(uri)")
            }
        }
    }

    @Test("is a denial by 403 where the first segment behind asks for it")
    func denial() throws {
        for uri in ["/v1/auth/deny-403", "/v1/auth/deny-403/", "/v1/auth/deny-403/v1/chat?x", "/v1/auth/deny-403?x"] {
            #expect(try asked(uri).denial == .forbidden, "\(uri)")
            #expect(try asked(uri, []) == AuthorizationRequest(call: .failure(.nobody), denial: .forbidden))
        }
    }

    @Test("has its body dropped, and no other route has")
    func bodies() {
        for uri in ["/v1/auth", "/v1/auth/deny-403/x?y", "http://localhost/v1/auth/a"] {
            #expect(Router.dropsBody(of: uri), "\(uri)")
        }
        for uri in ["/v1/check", "/v1/authx", "/v1/check?/v1/auth", "/", "*", "/v1/auth%2Fx"] {
            #expect(!Router.dropsBody(of: uri), "\(uri)")
        }
    }

    @Test("names the peer by its address on TCP, of either family, and no one on a Unix socket")
    func peers() throws {
        func peer(_ address: String) throws -> ConnectionPeer {
            ConnectionPeer(try SocketAddress(ipAddress: address, port: 1))
        }
        #expect(try peer("192.0.2.7") == .address(IPAddress(ipv4: 0xc000_0207)))
        #expect(try peer("::ffff:192.0.2.7") == .address(IPAddress(ipv4: 0xc000_0207)))
        #expect(try peer("2001:db8::1") == .address(#require(IPAddress("2001:db8::1"))))
        #expect(ConnectionPeer(try SocketAddress(unixDomainSocketPath: "/s")) == .unixSocket)
        #expect(ConnectionPeer(nil) == .unixSocket)
        #expect(
            try asked("/v1/auth", [], peer: peer("192.0.2.7")).call
                == .success(CallRequest(user: SubjectID("address:192.0.2.7")!)))
    }
}

@Suite("The answer at /v1/auth")
struct AuthorizationAnswerTests {
    private static let hourly = Limit.Numbers(quota: 20, windowMilliseconds: 3_600_000)

    /// An answer as its lines, Date taken out.
    private func written(_ outcome: Outcome, _ denial: DenialForm = .tooManyRequests, isHead: Bool = false) -> [String]
    {
        let writer = AnswerWriter(limitName: "requests")
        var buffer = ByteBuffer()
        // What an earlier answer left in the writer is none of the next one's.
        writer.write(Outcome(.deniedForGood, source: .redis), AnswerForm(), to: &buffer)
        buffer.clear()
        writer.write(outcome, as: .authorization(denial), AnswerForm(isHead: isHead), to: &buffer)
        return withoutDate(buffer.readableBytesView).components("\r\n")
    }

    private func check(_ verdict: Decision.Verdict, isAllowed: Bool = false) -> Outcome {
        let decision = Decision(verdict: verdict, quota: 20, used: 20, resetAfterMilliseconds: 3_600_000)
        return Outcome(isAllowed: isAllowed, decision: decision, source: .redis, under: Self.hourly)
    }

    private let policy = "RateLimit-Policy: \"requests\";q=20;w=3600"

    @Test("that allows has no body and no type, in shadow mode as well")
    func allowed() {
        let shadow = "X-Rate-Limit-Shadow: denied: Try again in 5 seconds."
        for (outcome, fields) in [
            (check(.allowed, isAllowed: true), []),
            (check(.denied(retryAfterMilliseconds: 5_000), isAllowed: true), [shadow]),
        ] {
            let lines =
                ["HTTP/1.1 200 OK", "Content-Length: 0"] + fields + [policy, "RateLimit: \"requests\";r=0", "", ""]
            #expect(written(outcome) == lines && written(outcome, .forbidden) == lines)
            #expect(written(outcome, isHead: true) == lines)
        }
    }

    @Test("in shadow mode says what the failure mode closed would have refused, and what no wait would have helped")
    func shadow() {
        var refused = Outcome(
            isAllowed: false, decision: nil, source: .failureMode, degradedReason: .redisTimeout, under: Self.hourly)
        refused.isShadowDenied = true
        #expect(
            written(refused).contains(
                "X-Rate-Limit-Shadow: denied: No decision can be had (redis_timeout), and the failure mode is closed."))
        #expect(written(refused)[0] == "HTTP/1.1 200 OK" && !written(refused).contains { $0.hasPrefix("Retry-After") })
        #expect(
            written(check(.deniedForGood, isAllowed: true)).contains(
                "X-Rate-Limit-Shadow: denied: The cost is above the quota of 20 requests of requests."))
        let denial = written(check(.denied(retryAfterMilliseconds: 5_000)))
        #expect(!denial.contains { $0.hasPrefix("X-Rate-Limit-Shadow") })
    }

    @Test("names the limits that are over, which deny nobody, whether it allows or denies")
    func over() throws {
        let limit = LimitDefinition(
            name: try #require(LimitName("soft")), scope: .user, unit: .spend, quota: 5,
            window: .sliding(milliseconds: 1_000), mode: .soft)
        let standing = LimitStanding(
            limit: limit, subject: .user, quota: Quota(amount: 5, rule: .default),
            state: LimitState(used: 6, resetAfterMilliseconds: 1), period: nil)
        for verdict in [Outcome.Verdict.allowed, .denied(retryAfterMilliseconds: 1)] {
            let outcome = Outcome(verdict, source: .redis).with(OutcomeDetails(standings: [standing]))
            #expect(written(outcome).contains("X-Rate-Limit-Over: soft"))
            #expect(written(outcome, .forbidden).contains("X-Rate-Limit-Over: soft"))
        }
    }

    @Test("that denies says why in its headers, whatever its status")
    func denied() {
        let fields = [
            "X-Rate-Limit-Status: 429", "X-Rate-Limit-Message: Try again in 5 seconds.", policy,
            "RateLimit: \"requests\";r=0;t=5", "Retry-After: 5", "",
        ]
        let denial = check(.denied(retryAfterMilliseconds: 5_000))
        #expect(written(denial, .forbidden) == ["HTTP/1.1 403 Forbidden", "Content-Length: 0"] + fields + [""])
        let lines = written(denial)
        #expect(lines[0] == "HTTP/1.1 429 Too Many Requests" && lines[1] == "Content-Type: application/json")
        #expect(lines[2] == "Content-Length: \(lines[9].utf8.count)" && Array(lines[3..<9]) == fields)
        #expect(
            lines[9].hasPrefix(#"{"allowed":false,"limit_name":"requests","limit":20,"remaining":0,"retry_after":5,"#))
        #expect(
            written(denial, isHead: true).dropLast() == lines.dropLast() && written(denial, isHead: true).last == "")
    }

    @Test("that denies for good has no time to come again")
    func deniedForGood() {
        let lines = written(check(.deniedForGood), .forbidden)
        #expect(!lines.contains { $0.hasPrefix("Retry-After") })
        #expect(lines.contains("X-Rate-Limit-Message: The cost is above the quota of 20 requests of requests."))
    }

    @Test(
        "is never 5xx for a denial",
        arguments: [
            Outcome.Verdict.denied(retryAfterMilliseconds: 1), .deniedForGood, .atCapacity(retryAfterMilliseconds: 1),
            .unknownModel, .missingValue,
        ])
    func statuses(_ verdict: Outcome.Verdict) {
        let outcome = Outcome(verdict, source: .redis).with(OutcomeDetails())
        #expect(written(outcome)[0] == "HTTP/1.1 429 Too Many Requests")
        #expect(written(outcome, .forbidden)[0] == "HTTP/1.1 403 Forbidden")
        #expect(written(outcome).contains("X-Rate-Limit-Status: 429"))
    }

    @Test("that nobody decided says so, and the failure mode's refusal is 503 or 403")
    func degraded() {
        let open = Outcome(
            isAllowed: true, decision: nil, source: .failureMode, degradedReason: .redisTimeout, under: Self.hourly)
        let lines = ["HTTP/1.1 200 OK", "Content-Length: 0", "X-Rate-Limit-Degraded: redis_timeout", "", ""]
        #expect(written(open) == lines && written(open, .forbidden) == lines)
        let closed = Outcome(
            isAllowed: false, decision: nil, source: .failureMode, degradedReason: .redisTimeout, under: Self.hourly)
        let fields = [
            "Retry-After: 1", "X-Rate-Limit-Status: 503",
            "X-Rate-Limit-Message: No decision can be had (redis_timeout), and the failure mode is closed.",
            "X-Rate-Limit-Degraded: redis_timeout", "",
        ]
        #expect(written(closed, .forbidden) == ["HTTP/1.1 403 Forbidden", "Content-Length: 0"] + fields + [""])
        #expect(written(closed)[0] == "HTTP/1.1 503 Service Unavailable")
        #expect(Array(written(closed)[3..<8]) == fields && written(closed).last?.hasPrefix("{\"type\":") == true)
    }
}
