import Foundation
import TestSupport
import Testing

/// Whom the gateways' configurations have charged, and that a client cannot choose it.
@Suite("Whom a gateway has charged", .serialized, .needs("nginx", "haproxy"))
struct CallerTests {
    private static let addressHeader = "X-Test-Address"

    /// Addresses, and what the daemon makes of them at `/v1/auth`.
    private static let addresses = [
        ("192.0.2.7", "address:192.0.2.7"), ("0.0.0.0", "address:0.0.0.0"),
        ("203.0.113.255", "address:203.0.113.255"),
        ("2001:db8:0:1:aaaa:bbbb:cccc:dddd", "address:2001:db8:0:1::/64"),
        ("2001:DB8:0:1::1", "address:2001:db8:0:1::/64"), ("2001:db8::1", "address:2001:db8::/64"),
        ("2001:db8:0:0:1::", "address:2001:db8::/64"), ("2001:db8:0:ff00::", "address:2001:db8:0:ff00::/64"),
        ("2001:0db8:00a0:0b00:1:2:3:4", "address:2001:db8:a0:b00::/64"),
        ("fe80::1:2:3:4", "address:fe80::/64"), ("0:0:0:1::5", "address:0:0:0:1::/64"),
        ("0:1::", "address:0:1::/64"), ("1::", "address:1::/64"), ("1::2:3:4:5:6:7", "address:1:0:2:3::/64"),
        ("::2:3:4:5:6:7:8", "address:0:2:3:4::/64"), ("1:2:3:4:5:6::", "address:1:2:3:4::/64"),
        ("1:2:3:4:5:6:1.2.3.4", "address:1:2:3:4::/64"), ("64:ff9b::192.0.2.33", "address:64:ff9b::/64"),
        ("::ffff:192.0.2.8", "address:192.0.2.8"), ("::FFFF:c000:209", "address:192.0.2.9"),
        ("::ffff:0:1", "address:0.0.0.1"), ("::", "address:::/64"), ("::2", "address:::/64"),
        ("::192.0.2.10", "address:::/64"), ("::1:ffff:c000:207", "address:::/64"),
    ]

    @Test(
        "A client's address is the same user at the gateway and at the daemon: of IPv6 the first 64 bits",
        arguments: Door.countingAddresses)
    func addresses(door: Door) throws {
        let setting = try GatewaySetting(door, addressHeader: Self.addressHeader, ["REQUESTS": "1000"])
        let (client, daemon) = (try setting.connect(), try setting.daemon.connect())
        for (address, user) in Self.addresses {
            let before = try setting.requests(of: user)
            #expect(try client.request("GET", "/x", [Self.addressHeader: address]).status == 200)
            #expect(try setting.requests(of: user) == before + 1, "\(address) at the gateway")
            #expect(try daemon.request("GET", "/v1/auth", ["X-Forwarded-For": address]).status == 200)
            #expect(try setting.requests(of: user) == before + 2, "\(address) at the daemon")
        }
        let users = Set(Self.addresses.map { "llm-rate:user:\($0.1)" })
        #expect(Set(try setting.redis.keys().filter { $0.contains("address:") }) == users)
    }

    @Test(
        "Two clients of one network of IPv6 share a quota, over connections of IPv6", arguments: Door.countingAddresses)
    func network(door: Door) throws {
        let setting = try GatewaySetting(door, addressHeader: Self.addressHeader, ["REQUESTS": "2"])
        let client = try HTTPConnection(.tcp6(setting.port))
        #expect(try client.request("GET", "/x").status == 200)
        #expect(try setting.requests(of: "address:::/64") == 1)
        let other = try setting.connect()
        #expect(try other.request("GET", "/x", [Self.addressHeader: "::7"]).status == 200)
        #expect(try client.request("GET", "/x").status == 429)
        #expect(try other.request("GET", "/x", [Self.addressHeader: "0:0:0:1::7"]).status == 200)
        #expect(try other.request("GET", "/x").status == 200)
    }

    @Test(
        "A user's text that is an address's or a key's is refused, and charges neither",
        arguments: Door.countingAddresses)
    func reserved(door: Door) throws {
        let setting = try GatewaySetting(door)
        for user in ["address:192.0.2.7", "address:::/64", "api-key:0"] {
            for response in [try setting.get(user), try setting.call(user)] {
                #expect([400, 403].contains(response.status), "\(response)")
                #expect(response.text.contains("not for users"), "\(response.text)")
            }
            #expect(try setting.requests(of: user) == 0)
        }
    }

    @Test(
        "Of two headers that name a user none is believed", arguments: [Door.nginxLua, .nginxNJS, .haproxy])
    func repeated(door: Door) throws {
        let setting = try GatewaySetting(door)
        let (mine, other) = (newUser(), newUser())
        for (method, path) in [("GET", "/x"), ("POST", "/v1/chat/completions")] {
            let client = try setting.connect()
            try client.send(
                "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nX-User-Id: \(mine)\r\nx-user-id: \(other)\r\n"
                    + "Content-Length: 2\r\n\r\n{}")
            let response = try client.response()
            #expect(response.status == 400 && response.text.contains("more than once"), "\(response)")
        }
        #expect(try setting.requests(of: mine) == 0)
        #expect(try setting.requests(of: other) == 0)
    }

    @Test("Nothing in a call's path, headers or body chooses another's user, lease or cost", arguments: Door.settling)
    func chosen(door: Door) throws {
        let setting = try GatewaySetting(door, limits: GatewaySetting.limits, ["REQUESTS": "1000"])
        let victim = newUser()
        let lease =
            try setting.daemon.connect().request(
                "POST", "/v1/reserve", body: #"{"user":"\#(victim)","input_tokens":7}"#
            ).json["lease"] as? String ?? ""
        let before = try setting.used(victim)
        let told = ["requests": 1, "tokens": 980, "input": 900, "output": 80]
        for members in [
            #""user":"\#(victim)","cost":9,"lease":"\#(lease)","input_tokens":0"#,
            #""model":"m\",\"user\":\"\#(victim)\",\"cost\":9,\"x\":\"""#,
            #""model":{"user":"\#(victim)"}"#, #""model":["m"],"mod\u0065l":"m","usage":{"prompt_tokens":1}"#,
        ] {
            let user = newUser()
            let response = try setting.connect().request(
                "POST", "/v1/chat/completions?user=\(victim)&cost=9&lease=\(lease)",
                [
                    "X-User-Id": user, "Lease": lease, "X-Rate-Limit-User": victim, "Rate-Limit-Lease": lease,
                    "X-Forwarded-For": "192.0.2.1",
                ], body: #"{"messages":[],\#(members)}"#)
            #expect(response.status == 200, "\(members): \(response)")
            let isReached = try eventually(within: 10) { try setting.used(user) == told }
            let found = try setting.used(user)
            #expect(isReached, "\(members): \(found)")
        }
        #expect(try setting.used(victim) == before)
    }

    @Test("A client cannot ask the daemon by the paths of nginx's own", arguments: [Door.nginxNJS, .nginxAuthRequest])
    func ownPaths(door: Door) throws {
        let setting = try GatewaySetting(door)
        let user = newUser()
        for path in ["/_rate_limit", "/_rate_limit/check", "/_rate_limit/reserve", "/_rate_limit/end"] {
            let response = try setting.connect().request(
                "POST", path, ["X-User-Id": newUser()], body: #"{"user":"\#(user)","cost":3}"#)
            #expect(!response.text.contains("allowed"), "\(path): \(response)")
        }
        #expect(try setting.requests(of: user) == 0)
    }

    @Test(
        "A user or a model that the daemon does not read for its length is refused, and not let through",
        arguments: Door.settling)
    func lengths(door: Door) throws {
        let setting = try GatewaySetting(door)
        for user in [String(repeating: "x", count: 257), String(repeating: #"""#, count: 14_000)] {
            #expect(try setting.get(user).status == 400, "\(user.count)")
            #expect(try setting.call(user).status == 400, "\(user.count)")
        }
        for model in [String(repeating: "m", count: 50_000), String(repeating: #"\u0022"#, count: 1_100)] {
            let response = try setting.connect().request(
                "POST", "/v1/chat/completions", ["X-User-Id": newUser()], body: #"{"model":"\#(model)"}"#)
            #expect(response.status == 400 && response.text.contains("invalid_model"), "\(model.count): \(response)")
        }
        #expect(try setting.call(newUser()).status == 200)
    }

    @Test("A call is one however its path is written", arguments: Door.settling)
    func paths(door: Door) throws {
        let setting = try GatewaySetting(door, limits: GatewaySetting.limits, ["REQUESTS": "1000"])
        for path in [
            "/v1/chat/completions/", "/v1/chat/%63ompletions", "/V1/Chat/Completions", "//v1//chat/completions",
            "/v1/./chat/completions",
        ] {
            let user = newUser()
            #expect(try setting.call(user, path: path).status == 200)
            #expect(try eventually(within: 10) { try setting.used(user)["tokens"] == 980 }, "\(path)")
        }
    }
}
