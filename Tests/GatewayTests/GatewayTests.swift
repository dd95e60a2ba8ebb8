import Foundation
import TestSupport
import Testing

/// Every configuration of `deploy/` for a gateway, run by the real one.
@Suite("Gateways", .serialized, .needs("nginx", "haproxy", "caddy", "envoy"))
struct GatewayTests {
    private func degraded(_ response: HTTPResponse) -> String? {
        response["X-Rate-Limit-Degraded"].flatMap { $0.isEmpty ? nil : $0 }
    }

    @Test(
        "What is within the limit passes, the rest is 429 with Retry-After at the client", arguments: Door.failingOpen)
    func limit(door: Door) throws {
        let setting = try GatewaySetting(door)
        let user = newUser()
        let client = try setting.connect()
        for left in [2, 1, 0] {
            let response = try setting.get(user, on: client)
            #expect(response.status == 200 && response.text.contains(#""host""#), "\(response)")
            #expect(response["RateLimit"] == #""requests";r=\#(left)"#)
            #expect(response["RateLimit-Policy"] == #""requests";q=3;w=3600"#)
            #expect(degraded(response) == nil)
        }
        let denied = try setting.get(user, on: client)
        #expect(denied.status == 429)
        #expect(denied["Retry-After"].flatMap { Int($0) }.map { $0 > 3_000 && $0 <= 3_600 } == true, "\(denied)")
        #expect(denied["RateLimit"]?.hasPrefix(#""requests";r=0;t="#) == true)
        #expect(denied["Content-Type"] == "application/json")
        let error = door.answersItself ? try denied.json["error"] as? [String: Any] : try denied.json
        #expect((error?["message"] as? String)?.hasPrefix("Try again in ") == true, "\(denied.text)")
        // Also a call of a model, on the same connection, and nobody else.
        #expect(try setting.call(user, on: client).status == 429)
        #expect(try setting.get(newUser(), on: client).status == 200)
        // Whom nobody names is limited by the address.
        let nameless = try client.request("GET", "/x")
        #expect(nameless.status == 200 && nameless["RateLimit"] == #""requests";r=2"#, "\(nameless)")
        let addresses = try setting.redis.keys().filter { $0.hasPrefix("llm-rate:user:address:") }
        // Of a client on its own machine Envoy tells the machine's address.
        #expect(addresses.count == 1 && (door == .envoy || addresses[0].hasSuffix(":127.0.0.1")), "\(addresses)")
    }

    @Test(
        "The older headers of quotas come to the client where the daemon sends them, in a denial too",
        arguments: Door.failingOpen.filter(\.copiesOlderHeaders))
    func olderHeaders(door: Door) throws {
        let setting = try GatewaySetting(door, ["REQUESTS": "1", "HEADERS": "both"])
        let user = newUser()
        for (status, left) in [(200, "0"), (429, "0")] {
            let response = try setting.get(user)
            #expect(response.status == status && response["RateLimit"] != nil)
            #expect(response["X-RateLimit-Limit"] == "1" && response["X-RateLimit-Remaining"] == left, "\(response)")
            #expect(response["X-RateLimit-Reset"].flatMap { Int($0) }.map { 3_500...3_600 ~= $0 } == true)
        }
    }

    @Test("Connections to the daemon are kept", arguments: Door.failingOpen)
    func connections(door: Door) throws {
        let setting = try GatewaySetting(door, ["REQUESTS": "20"])
        let client = try setting.connect()
        let user = newUser()
        #expect(try setting.get(user, on: client).status == 200)
        let before = try setting.connections()
        for _ in 0..<40 { _ = try setting.get(user, on: client) }
        // One of them is the question itself. A denial's connection is kept as well.
        #expect(try setting.connections() - before <= 2)
    }

    @Test("A user's text cannot be anything but a user", arguments: Door.failingOpen)
    func texts(door: Door) throws {
        let setting = try GatewaySetting(door)
        for user in [
            #"a","cost":3,"user":"b"#, "a&cost=3&user=b", "a b", "a%26cost%3d3", "tenant/αβγ", #"\"#, "$remote_addr",
            "%[src]",
            "{http.request.host}", "a\tb", "a,b", "a;b", "address", "{\"user\":\"b\"}",
        ] {
            let response = try setting.get(user)
            #expect(response.status == 200 && response["RateLimit"] == #""requests";r=2"#, "\(user): \(response)")
            #expect(try setting.requests(of: user) == 1, "\(user)")
        }
        // Nor does the client's query say anything, and whom the daemon cannot limit does not pass unlimited.
        let response = try setting.get(newUser(), path: "/x?user=b&cost=3&deny=403")
        #expect(response.status == 200 && response["RateLimit"] == #""requests";r=2"#)
        let refused = try setting.get(String(repeating: "x", count: 300)).status
        #expect([400, 403].contains(refused), "\(refused)")
    }

    @Test(
        "Without the daemon requests pass within the deadline; once it is back they are limited",
        arguments: Door.failingOpen)
    func daemonAway(door: Door) throws {
        let setting = try GatewaySetting(door, ["REQUESTS": "1"])
        let user = newUser()
        let client = try setting.connect()
        #expect(try setting.get(user, on: client).status == 200)
        #expect(try setting.get(user, on: client).status == 429)
        // Gone, and hanging: a request that waited for an answer would wait for ever.
        setting.daemon.kill()
        for _ in 0..<3 {
            let response = try setting.get(user, on: client)
            #expect(response.status == 200, "\(response)")
            #expect(degraded(response) == (door == .envoy ? "true" : "daemon_unreachable"))
        }
        #expect(try setting.call(user).status == 200)
        try setting.daemon.restart()
        #expect(try setting.get(user, on: client).status == 429)
        try setting.holdDaemon()
        #expect(try setting.get(user, on: client).status == 200)
        setting.daemon.process.send(SIGCONT)
        #expect(try eventually(within: 10) { try setting.get(user, on: client).status == 429 })
    }

    @Test("A check that the daemon answers late is charged once", arguments: Door.failingOpen)
    func late(door: Door) throws {
        let setting = try GatewaySetting(door, ["REQUESTS": "10"])
        let user = newUser()
        #expect(try setting.get(user).status == 200)
        try setting.holdDaemon()
        #expect(try setting.get(user).status == 200)
        setting.daemon.process.send(SIGCONT)
        let sentinel = try setting.get(user)
        #expect(sentinel.status == 200)
        let used = try setting.daemon.connect().request("GET", "/v1/users/\(user)").number("used") ?? -1
        #expect((2...3).contains(used), "\(used)")
    }

    @Test(
        "A model that is away is an error of the model's, asked for once and charged once", arguments: Door.failingOpen)
    func modelAway(door: Door) throws {
        let setting = try GatewaySetting(door)
        let user = newUser()
        setting.endModel()
        let response = try setting.get(user)
        #expect([502, 503].contains(response.status) && degraded(response) == nil, "\(response)")
        #expect(try setting.daemon.connect().request("GET", "/v1/users/\(user)").number("used") == 1)
    }

    @Test("Without Redis requests pass, and the client is told why; closed refuses them", arguments: Door.failingOpen)
    func redisAway(door: Door) throws {
        let setting = try GatewaySetting(door)
        let user = newUser()
        #expect(try setting.get(user).status == 200)
        setting.redis.end()
        let reasons = ["redis_unreachable", "redis_timeout", "redis_error"]
        for _ in 0..<5 {
            let response = try setting.get(user)
            #expect(response.status == 200)
            #expect(reasons.contains(degraded(response) ?? ""), "\(response)")
        }
        try setting.redis.restart()
        #expect(try eventually(within: 20) { try degraded(setting.get(newUser())) == nil })

        let closed = try GatewaySetting(door, ["FAILURE_MODE": "closed"])
        closed.redis.end()
        let refused = try closed.get(user)
        #expect(refused.status == 503, "\(refused)")
        // To Envoy it is a failure of the daemon's, whose headers it does not pass on.
        #expect(door == .envoy || refused["Retry-After"] == "1", "\(refused)")
    }
}
