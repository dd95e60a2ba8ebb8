import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Reservations")
    struct LeaseTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private static let file = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 1000, window: 1h}
              - {name: calls, per: user, unit: concurrency, quota: 2}
            """

        private func start(_ settings: [String: String] = [:]) throws -> Daemon {
            let path = try folder.write(Self.file, to: "limits.yaml")
            return try Daemon(redis: redis.url, ["LIMITS_FILE": path, "REQUESTS": "100"].merging(settings) { $1 })
        }

        private func post(_ client: HTTPConnection, _ path: String, _ members: String) throws -> HTTPResponse {
            try client.request("POST", path, body: "{\(members)}")
        }

        private func reserve(
            _ client: HTTPConnection, _ user: String, tokens: Int, seconds: Int = 60
        ) throws -> (response: HTTPResponse, lease: String) {
            let response = try post(
                client, "/v1/reserve", #""user":"\#(user)","output_tokens":\#(tokens),"ttl":\#(seconds)"#)
            return (response, try response.json["lease"] as? String ?? "")
        }

        private func state(_ user: String, _ client: HTTPConnection) throws -> [String: Int] {
            let page = try client.request("GET", "/v1/users/\(user)/usage").json
            let limits = try #require(page["limits"] as? [[String: Any]])
            return Dictionary(
                uniqueKeysWithValues: limits.map { ($0["name"] as? String ?? "", $0["used"] as? Int ?? -1) })
        }

        @Test("A reservation holds its estimate and a slot; settling charges what was used in its place, once")
        func settle() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let (response, lease) = try reserve(client, user, tokens: 600)
            #expect(try response.status == 200 && !lease.isEmpty && response.number("expires_in") == 60)
            #expect(try state(user, client) == ["tokens": 600, "calls": 1, "requests": 1])
            // What is held is not there for others.
            #expect(try reserve(client, user, tokens: 500).response.status == 429)
            let members = #""user":"\#(user)","lease":"\#(lease)","output_tokens":150"#
            #expect(try post(client, "/v1/settle", members).text.hasPrefix(#"{"charged":true"#))
            #expect(try state(user, client) == ["tokens": 150, "calls": 0, "requests": 1])
            #expect(try post(client, "/v1/settle", members).text.hasPrefix(#"{"charged":false"#))
            #expect(try state(user, client) == ["tokens": 150, "calls": 0, "requests": 1])
        }

        @Test("Released, it charges nothing, and a later settle does not either")
        func release() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let (_, lease) = try reserve(client, user, tokens: 600)
            let members = #""user":"\#(user)","lease":"\#(lease)""#
            #expect(try post(client, "/v1/release", members).text == #"{"released":true}"#)
            #expect(try state(user, client) == ["tokens": 0, "calls": 0, "requests": 0])
            #expect(
                try post(client, "/v1/settle", members + #","output_tokens":9"#).text.hasPrefix(#"{"charged":false"#))
            #expect(try post(client, "/v1/renew", members).status == 404)
            #expect(try state(user, client) == ["tokens": 0, "calls": 0, "requests": 0])
        }

        @Test("That Redis has lost in a restart it is charged once when it is settled, whatever was reserved since")
        func lost() throws {
            let daemon = try start(["DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let user = newUser()
            func settle(_ lease: String) throws -> String {
                let members = #""user":"\#(user)","lease":"\#(lease)","output_tokens":100"#
                return String(try post(client, "/v1/settle", members).text.prefix { $0 != "," && $0 != "}" })
            }
            let kept = try reserve(client, user, tokens: 1).lease
            try redis.command("SAVE")
            let lost = try reserve(client, user, tokens: 1).lease
            #expect(try settle(kept) == #"{"charged":true"#)
            let second = try reserve(client, user, tokens: 1).lease
            redis.end()
            try redis.restart()
            try #require(try eventually(within: 20) { try !client.check(newUser()).isDegraded })

            #expect(try settle(second) == #"{"charged":true"#)
            #expect(try settle(kept) == #"{"charged":true"#, "its settlement was lost too")
            let since = try reserve(client, user, tokens: 1).lease
            #expect(try settle(since) == #"{"charged":true"#)
            #expect(try settle(lost) == #"{"charged":true"#)
            for lease in [kept, lost, second, since] { #expect(try settle(lease) == #"{"charged":false"#) }
            #expect(try state(user, client)["tokens"] == 400)
        }

        @Test("At capacity it answers 503 with the wait, and a freed slot is free at once")
        func capacity() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let leases = try (0..<2).map { _ in try reserve(client, user, tokens: 1).lease }
            let (full, _) = try reserve(client, user, tokens: 1)
            #expect(try full.status == 503 && full.json["at_capacity"] as? Bool == true)
            #expect(try full.json["limit_name"] as? String == "calls")
            let wait = try #require(full["Retry-After"].flatMap { Int($0) })
            #expect((1...60).contains(wait))
            // A check takes no slot.
            #expect(try client.check(user).status == 200)
            #expect(try post(client, "/v1/release", #""user":"\#(user)","lease":"\#(leases[0])""#).status == 200)
            #expect(try reserve(client, user, tokens: 1).response.status == 200)
        }

        @Test("The global bound on calls under way is looked at first, over all users and daemons")
        func globalCapacity() throws {
            let daemons = try (0..<2).map { _ in try start(["MAX_CONCURRENCY": "5"]) }
            let clients = try daemons.map { try $0.connect() }
            for number in 0..<5 {
                #expect(try reserve(clients[number % 2], newUser(), tokens: 1).response.status == 200)
            }
            for client in clients {
                let (full, _) = try reserve(client, newUser(), tokens: 2_000)
                #expect(try full.status == 503 && full.json["limit_name"] as? String == "max-concurrency")
            }
        }

        @Test("A gateway that is killed in the middle of its calls gives slots and budgets back by itself")
        func lapse() throws {
            let daemons = try (0..<2).map { _ in try start() }
            let user = newUser()
            let client = try daemons[0].connect()
            let begin = monotonicMilliseconds()
            let lease = try reserve(client, user, tokens: 400, seconds: 2).lease
            _ = try reserve(client, user, tokens: 500, seconds: 2)
            daemons[0].kill()
            let other = try daemons[1].connect()
            if monotonicMilliseconds() - begin < 1_500 {
                #expect(try reserve(other, user, tokens: 1).response.status == 503)
            }
            #expect(try eventually(within: 20) { try state(user, other)["calls"] == 0 })
            #expect(monotonicMilliseconds() - begin >= 1_990)
            #expect(try state(user, other) == ["tokens": 0, "calls": 0, "requests": 0])
            // The call went on all the same: what it came to is charged, late and once.
            let members = #""user":"\#(user)","lease":"\#(lease)","output_tokens":350"#
            #expect(try post(other, "/v1/settle", members).text.hasPrefix(#"{"charged":true"#))
            #expect(try post(other, "/v1/settle", members).text.hasPrefix(#"{"charged":false"#))
            #expect(try state(user, other)["tokens"] == 350)
        }

        @Test("The file says how long a lease lives that does not say, and how long one may ask for")
        func times() throws {
            let path = try folder.write(Self.file + "\nlease: {ttl: 30s, max_ttl: 2m}\n", to: "times.yaml")
            let daemon = try start(["LIMITS_FILE": path])
            let client = try daemon.connect()
            let user = #""user":"\#(newUser())""#
            let reserved = try post(client, "/v1/reserve", user)
            #expect(try reserved.number("expires_in") == 30)
            let lease = try #require(try reserved.json["lease"] as? String)
            for (ttl, seconds) in [(#","ttl":120"#, 120), ("", 30)] {
                let renewed = try post(client, "/v1/renew", #"\#(user),"lease":"\#(lease)"\#(ttl)"#)
                #expect(try renewed.status == 200 && renewed.number("expires_in") == seconds)
            }
            for path in ["/v1/reserve", "/v1/renew"] {
                let refused = try post(client, path, #"\#(user),"lease":"\#(lease)","ttl":121"#)
                #expect(refused.status == 400 && refused.text.contains("accepted are 1 to 120 seconds"))
            }
        }

        @Test("A lease that is renewed lives on")
        func renew() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            // On a machine that stands still for a second the lease lapses before it is renewed; then the next one tells.
            var renewed: HTTPResponse?
            for _ in 0..<20 where renewed?.status != 200 {
                let lease = try reserve(client, user, tokens: 400, seconds: 1).lease
                renewed = try post(client, "/v1/renew", #""user":"\#(user)","lease":"\#(lease)","ttl":60"#)
            }
            #expect(try renewed?.status == 200 && renewed?.number("expires_in") == 60)
            pause(milliseconds: 1_200)
            #expect(try state(user, client)["tokens"] == 400)
        }

        @Test("With reservations nobody passes the quota, however many ask at once")
        func noOvershoot() throws {
            let daemons = try (0..<2).map { _ in
                try start(["LIMITS_FILE": try folder.write(Self.wide, to: "wide"), "REQUESTS": "100000"])
            }
            let user = newUser()
            let settled = try concurrently(8) { index in
                let client = try daemons[index % 2].connect()
                var tokens = 0
                for round in 0..<40 {
                    let (response, lease) = try reserve(client, user, tokens: 30)
                    guard response.status == 200 else { continue }
                    // Estimates hold: nothing uses more than was held.
                    let real = 10 + (index + round) % 21
                    let members = #""user":"\#(user)","lease":"\#(lease)","output_tokens":\#(real)"#
                    #expect(try post(client, "/v1/settle", members).text.hasPrefix(#"{"charged":true"#))
                    tokens += real
                }
                return tokens
            }
            let total = settled.reduce(0, +)
            #expect(total <= 2_000 && total > 2_000 - 30)
            #expect(try state(user, daemons[0].connect())["tokens"] == total)
        }

        private static let wide = """
            limits:
              - {name: tokens, per: user, unit: tokens, quota: 2000, window: 1h}
            """

        @Test("What is no lease, and what a lease cannot be, is refused")
        func refused() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            for lease in ["", "00", "zz", String(repeating: "01", count: 40)] {
                #expect(try post(client, "/v1/settle", #""user":"\#(user)","lease":"\#(lease)""#).status == 400)
            }
            #expect(try post(client, "/v1/settle", #""user":"\#(user)""#).status == 400)
            #expect(try post(client, "/v1/reserve", #""user":"\#(user)","ttl":0"#).status == 400)
            #expect(try client.request("GET", "/v1/reserve").status == 405)
        }
    }
}
