import RateLimitCore
import RateLimitService
import TestSupport
import Testing

@testable import GRPCServer

@Suite("Envoy's ext_authz, on a real Redis")
struct AuthorizationMethodTests {
    private func method(
        _ redis: RedisServer, _ policy: CheckPolicy, _ callers: CallerRules = CallerRules(),
        startsConnected: Bool = true
    ) async throws -> MethodUnderTest {
        try await MethodUnderTest(redis, policy, startsConnected: startsConnected) { engine in
            let methods = EnvoyMethods.make(
                engine, callers: callers, quotaHeaders: .ietf, limitName: "requests")
            guard let own = methods.first(where: { $0.path == "/envoy.service.auth.v3.Authorization/Check" }) else {
                preconditionFailure("it is not served")
            }
            return own.method
        }
    }

    /// A request with these headers.
    private func request(
        _ headers: KeyValuePairs<String, String>, from address: String? = nil,
        extensions: KeyValuePairs<String, String> = [:]
    ) -> [UInt8] {
        func pair(_ key: String, _ value: String) -> [UInt8] {
            Protoc.field(1, Array(key.utf8)) + Protoc.field(2, Array(value.utf8))
        }
        let http = headers.flatMap { Protoc.field(3, pair($0, $1)) }
        let source = address.map { Protoc.field(1, Protoc.field(1, Protoc.field(1, Protoc.field(2, Array($0.utf8))))) }
        return Protoc.field(
            1,
            (source ?? []) + Protoc.field(4, Protoc.field(2, http))
                + extensions.flatMap { Protoc.field(10, pair($0, $1)) })
    }

    private func texts(_ answers: [MethodAnswer]) throws -> [String] {
        try Protoc.decode(answers.compactMap(\.message), as: "CheckResponse")
    }

    @Test("admits as many as there may be, and denies the next by 429, as /v1/auth does")
    func decides() async throws {
        let redis = try RedisServer()
        let limit = Limit(name: "requests", quota: 2, windowMilliseconds: 60_000)
        let method = try await method(redis, CheckPolicy(limit: limit))
        let ask = request(["x-user-id": "ada"])
        let texts = try texts(try await method.calls([ask, ask, ask, request(["x-user-id": "bob"])]))
        #expect(texts.count == 4)
        for (text, left) in [(texts[0], 1), (texts[1], 0), (texts[3], 1)] {
            #expect(
                text.hasPrefix("status { } ok_response { response_headers_to_add { header { key: \"ratelimit-policy\""))
            #expect(text.contains("value: \"\\\"requests\\\";q=2;w=60\""))
            #expect(text.contains("key: \"ratelimit\" value: \"\\\"requests\\\";r=\(left)\""), "\(text)")
        }
        #expect(texts[2].hasPrefix("status { code: 8 } denied_response { status { code: TooManyRequests }"))
        for part in [
            "key: \"retry-after\" value: \"60\"", "key: \"x-rate-limit-status\" value: \"429\"",
            "key: \"content-type\" value: \"application/json\"", "body: \"{\\\"allowed\\\":false,",
        ] {
            #expect(texts[2].contains(part), "\(texts[2])")
        }
    }

    @Test("names who calls by header, token or address, and refuses whom nobody names by 403")
    func callers() async throws {
        let redis = try RedisServer()
        let rules = CallerRules(
            tokenKey: TokenKey(secret: "0123456789abcdef"), trustedProxies: try TrustedProxies("10.0.0.0/8"))
        let limit = Limit(name: "requests", quota: 1, windowMilliseconds: 60_000)
        let method = try await method(redis, CheckPolicy(limit: limit), rules)
        // Each is somebody else, so that each passes once and no more.
        let requests = [
            request(["x-user-id": "ada"], from: "192.0.2.1"), request(["authorization": "Bearer t"], from: "192.0.2.1"),
            request(["x-api-key": "u"], from: "192.0.2.1"), request([:], from: "192.0.2.1"),
            request(["x-forwarded-for": "198.51.100.1"], from: "10.0.0.1"), request([:], from: "2001:db8::1"),
        ]
        let first = try await method.calls(requests)
        #expect(first.map { $0.outcome?.isAllowed } == requests.map { _ in true })
        let second = try await method.calls([
            request(["x-user-id": "ada"]), request(["x-api-key": "t"]), request(["authorization": "bearer u"]),
            // Whom an untrusted client names is nobody.
            request(["x-forwarded-for": "203.0.113.9"], from: "192.0.2.1"), request([:], from: "198.51.100.1"),
            request([:], from: "2001:db8::2"),
        ])
        #expect(second.map { $0.outcome?.isAllowed } == requests.map { _ in false })
        for unnamed in [request([:]), request(["x-user-id": "api-key:1"], from: "192.0.2.1")] {
            let answer = try await method.call(unnamed)
            #expect(answer.outcome == nil)
            #expect(try texts([answer])[0].hasPrefix("status { code: 7 } denied_response { status { code: Forbidden }"))
        }
    }

    @Test("charges once for each id in the header that is configured, whatever else a client sends")
    func ids() async throws {
        let redis = try RedisServer()
        let rules = CallerRules(idHeader: HeaderName("X-Request-Id"))
        let limit = Limit(name: "requests", quota: 2, windowMilliseconds: 60_000)
        let method = try await method(redis, CheckPolicy(limit: limit), rules)
        let once = request(["x-user-id": "ada", "x-request-id": "a"])
        let other = request(["x-user-id": "ada", "idempotency-key": "a"])
        let outcomes = try await method.calls([once, once, other, once, other, once]).map(\.outcome)
        #expect(outcomes.map { $0?.isAllowed } == [true, true, true, true, false, true])
        #expect(outcomes.map { $0?.verdict == .repeated } == [false, true, false, true, false, true])
    }

    @Test("meets the limits of the file by what headers and the proxy's context extensions say of the call")
    func attributes() async throws {
        let redis = try RedisServer()
        let definition = LimitDefinition(
            name: try #require(LimitName("per-route")), scope: .user, values: [.label("route"), .model],
            unit: .requests,
            quota: 1, window: .sliding(milliseconds: 60_000))
        let rules = CallerRules(headers: try HeaderMap("model=X-Model, label.route=X-Route"))
        let method = try await method(redis, try policy([definition]), rules)
        let headers: KeyValuePairs = ["x-user-id": "ada", "x-model": "m", "x-route": "a"]
        func isAllowed(_ message: [UInt8]) async throws -> Bool? { try await method.call(message).outcome?.isAllowed }
        #expect(try await isAllowed(request(headers)) == true)
        #expect(try await isAllowed(request(headers)) == false)
        // The configuration's word counts, not the client's.
        #expect(try await isAllowed(request(headers, extensions: ["label.route": "b"])) == true)
        #expect(try await isAllowed(request(headers, extensions: ["label.route": "b"])) == false)
        #expect(try await isAllowed(request(headers, extensions: ["label.route": "b", "model": "n"])) == true)
    }

    @Test("is allowed while Redis is away, and says so")
    func withoutRedis() async throws {
        let redis = try RedisServer(isStarted: false)
        let limit = Limit(name: "requests", quota: 2, windowMilliseconds: 60_000)
        let method = try await method(redis, CheckPolicy(limit: limit), startsConnected: false)
        let answer = try await method.call(request(["x-user-id": "ada"]))
        #expect(try texts([answer])[0].contains("key: \"x-rate-limit-degraded\" value: \"redis_unreachable\""))
    }
}
