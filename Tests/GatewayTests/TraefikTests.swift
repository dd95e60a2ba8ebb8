import Foundation
import TestSupport
import Testing

/// The files of `deploy/traefik`, run by the real one. It asks over TCP, and nothing passes while the daemon is away.
@Suite("Traefik", .serialized, .needs("traefik"))
struct TraefikTests {
    /// The headers of the request as the model got them.
    private func seen(_ response: HTTPResponse) throws -> [String: String] {
        let headers = try #require(try response.json as? [String: String], "\(response)")
        return Dictionary(uniqueKeysWithValues: headers.map { ($0.lowercased(), $1) })
    }

    @Test("What is within the limit passes, the rest is the daemon's 429 with Retry-After at the client")
    func limit() throws {
        let setting = try GatewaySetting(.traefik)
        let client = try setting.connect()
        let user = newUser()
        for _ in 0..<3 {
            let response = try setting.get(user, on: client)
            #expect(response.status == 200, "\(response)")
            #expect(try seen(response)["x-rate-limit-degraded"] == nil && response["RateLimit"] == nil)
        }
        let denied = try setting.get(user, on: client)
        #expect(denied.status == 429 && denied["Content-Type"] == "application/json", "\(denied)")
        #expect(denied["Retry-After"].flatMap { Int($0) }.map { $0 > 3_000 && $0 <= 3_600 } == true, "\(denied)")
        #expect(denied["RateLimit"]?.hasPrefix(#""requests";r=0;t="#) == true)
        #expect((try denied.json["message"] as? String)?.hasPrefix("Try again in ") == true)
        // Also a call of a model, and nobody else; no query says anything, nor a path.
        #expect(try setting.call(user, on: client).status == 429)
        #expect(try setting.get(user, path: "/deny-403?user=b&cost=0").status == 429)
        #expect(try setting.get(newUser(), on: client).status == 200)
        // Whom nobody names is limited by the address, which no client can choose.
        _ = try client.request("GET", "/x", ["X-Forwarded-For": "192.0.2.1"])
        let addresses = try setting.redis.keys().filter { $0.hasPrefix("llm-rate:user:address:") }
        #expect(addresses.count == 1 && addresses[0].hasSuffix(":127.0.0.1"), "\(addresses)")
    }

    @Test("A user's text cannot be anything but a user")
    func texts() throws {
        let setting = try GatewaySetting(.traefik, ["REQUESTS": "1"])
        for user in [#"a","cost":3,"user":"b"#, "a&cost=3&user=b", "a b", "a%26cost%3d3", "tenant/αβγ", "a\tb"] {
            #expect(try setting.get(user).status == 200, "\(user)")
            #expect(try setting.get(user).status == 429, "\(user)")
        }
        #expect(try setting.get("a").status == 200)
        #expect(try setting.get(String(repeating: "x", count: 300)).status == 403)
    }

    @Test("Connections to the daemon are kept")
    func connections() throws {
        let setting = try GatewaySetting(.traefik, ["REQUESTS": "20"])
        let client = try setting.connect()
        let user = newUser()
        #expect(try setting.get(user, on: client).status == 200)
        let before = try setting.connections()
        for _ in 0..<40 { _ = try setting.get(user, on: client) }
        #expect(try setting.connections() - before <= 2)
    }

    @Test("While the daemon is away nothing passes; once it is back requests are limited as before")
    func daemonAway() throws {
        let setting = try GatewaySetting(.traefik, ["REQUESTS": "1"])
        let user = newUser()
        #expect(try setting.get(user).status == 200)
        setting.daemon.kill()
        #expect(try setting.get(user).status == 500)
        try setting.daemon.restart()
        #expect(try setting.get(user).status == 429)
        #expect(try setting.get(newUser()).status == 200)
    }

    @Test("Without Redis requests pass, and the model is told why; closed refuses them")
    func redisAway() throws {
        let setting = try GatewaySetting(.traefik)
        setting.redis.end()
        let reasons = ["redis_unreachable", "redis_timeout", "redis_error"]
        for _ in 0..<5 {
            let response = try setting.get(newUser())
            #expect(response.status == 200)
            #expect(reasons.contains(try seen(response)["x-rate-limit-degraded"] ?? ""), "\(response)")
        }
        let closed = try GatewaySetting(.traefik, ["FAILURE_MODE": "closed"])
        closed.redis.end()
        let refused = try closed.get(newUser())
        #expect(refused.status == 503 && refused["Retry-After"] == "1", "\(refused)")
    }
}
