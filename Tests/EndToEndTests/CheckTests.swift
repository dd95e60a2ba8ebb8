import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("A check")
    struct CheckTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        @Test("An allowed one answers 200 with body and headers exactly as the contract has them")
        func allowed() throws {
            let daemon = try Daemon(redis: redis.url)
            let response = try daemon.connect().check(newUser())
            #expect(response.status == 200)
            #expect(
                response.text
                    == #"{"allowed":true,"limit_name":"requests","#
                    + #""limit":20,"remaining":19,"retry_after":0,"reset_after":3600,"degraded":false}"#
            )
            #expect(response["Content-Type"] == "application/json")
            #expect(response["RateLimit-Policy"] == #""requests";q=20;w=3600"#)
            #expect(response["RateLimit"] == #""requests";r=19"#)
            #expect(response["Retry-After"] == nil)
            #expect(response["Date"]?.hasSuffix(" GMT") == true)
        }

        @Test("A denied one answers 429, says when to come again in three places alike, and consumes nothing")
        func denied() throws {
            let daemon = try Daemon(redis: redis.url, ["WINDOW": "725", "DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let user = newUser()
            for used in 1...20 {
                let response = try client.check(user)
                #expect(try response.status == 200 && response.number("remaining") == 20 - used)
            }
            let response = try client.check(user)
            #expect(response.status == 429)
            let seconds = try #require(try response.number("retry_after"))
            // The first of the 20 was admitted a moment ago.
            #expect((700...725).contains(seconds))
            let minutes = "12 minutes\(seconds > 720 ? " \(seconds - 720) second\(seconds == 721 ? "" : "s")" : "")"
            let expected =
                #"{"allowed":false,"limit_name":"requests","#
                + #""limit":20,"remaining":0,"retry_after":\#(seconds),"reset_after":"#
            #expect(response.text.hasPrefix(expected))
            if seconds > 720 { #expect(response.text.contains(#""message":"Try again in \#(minutes).""#)) }
            #expect(response.text.contains(#""degraded":false"#))
            #expect(response["Retry-After"] == "\(seconds)")
            #expect(response["RateLimit-Policy"] == #""requests";q=20;w=725"#)
            #expect(response["RateLimit"] == #""requests";r=0;t=\#(seconds)"#)
            for _ in 0..<10 { #expect(try client.check(user).status == 429) }
            #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 20)
        }

        @Test("A cost above the limit is denied for good: retry_after is null and there is no Retry-After")
        func costAboveLimit() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            let user = newUser()
            let response = try client.check(user, cost: 21)
            #expect(response.status == 429 && response["Retry-After"] == nil)
            #expect(
                response.text.contains(
                    #""allowed":false,"limit_name":"requests","#
                        + #""limit":20,"remaining":20,"retry_after":null"#))
            #expect(try client.check(user, cost: 20).number("remaining") == 0)
            #expect(try redis.keys().count == 1)
        }

        @Test("A cost is charged whole, and a check that does not fit consumes nothing while a smaller one passes")
        func cost() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            let user = newUser()
            #expect(try client.check(user, cost: 15).number("remaining") == 5)
            #expect(try client.check(user, cost: 6).status == 429)
            #expect(try client.check(user, cost: 5).number("remaining") == 0)
            let large = newUser()
            #expect(try client.check(large, cost: 1_000_000).status == 429)
        }

        @Test(
            "A URL alone asks as well, by any method", arguments: ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
        func url(method: String) throws {
            let daemon = try Daemon(redis: redis.url)
            let user = newUser()
            let client = try daemon.connect()
            let response = try client.request(method, "/v1/check?user=\(user)&cost=3")
            #expect(try response.status == 200 && response.number("remaining") == 17)
            #expect(try client.request(method, "/v1/check?user=\(user)&other=1").number("remaining") == 16)
            // The body of a request that is only being asked about is not looked at.
            let withBody = try client.request(method, "/v1/check?user=\(user)", body: "not JSON")
            #expect(try withBody.number("remaining") == 15)
        }

        @Test("HEAD decides, and answers with the headers alone")
        func head() throws {
            let daemon = try Daemon(redis: redis.url)
            let user = newUser()
            let client = try daemon.connect()
            let response = try client.request("HEAD", "/v1/check?user=\(user)")
            #expect(response.status == 200 && response.body.isEmpty)
            #expect(response["RateLimit"] == #""requests";r=19"#)
            #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 1)
            #expect(try client.request("HEAD", "/v1/users/\(user)").status == 200)
        }

        @Test("Unknown members are ignored, whatever they hold")
        func unknownMembers() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            let user = newUser()
            let body = #"{"trace":{"a":[1,2.5e3,"\u00e9\\",null,{}]},"cost":2,"model":"x","user":"\#(user)","n":-1}"#
            let response = try client.request("POST", "/v1/check", body: body)
            #expect(try response.status == 200 && response.number("remaining") == 18)
            let spaced = "\r\n { \"user\" :\t\"\(user)\" } \n"
            #expect(try client.request("POST", "/v1/check", body: spaced).number("remaining") == 17)
        }

        @Test("An upper-case UUID is the same user, and the key in Redis is llm-rate: and the lower-case UUID")
        func keys() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            let user = newUser()
            #expect(try client.check(user.uppercased()).number("remaining") == 19)
            #expect(try client.check(user).number("remaining") == 18)
            #expect(try client.request("GET", "/v1/check?user=\(user.uppercased())").number("remaining") == 17)
            #expect(try client.request("GET", "/v1/users/\(user.uppercased())").text.contains(user))
            #expect(try redis.keys() == ["llm-rate:\(user)"])
        }

        @Test("The key's prefix can be chosen")
        func prefix() throws {
            let daemon = try Daemon(redis: redis.unrestrictedURL, ["KEY_PREFIX": "gateway-7"])
            let user = newUser()
            _ = try daemon.connect().check(user)
            #expect(try redis.keys(prefix: "gateway-7") == ["gateway-7:\(user)"])
        }

        @Test("A limit of 0 allows everybody, is said loudly at the start, and asks Redis nothing")
        func limitOff() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "0"])
            let client = try daemon.connect()
            for _ in 0..<50 {
                let response = try client.check("6f1c0a52-3f0e-4c7e-9b61-0d9a3c1e7b11")
                #expect(response.status == 200 && response["RateLimit"] == nil)
            }
            #expect(try redis.keys().count == 0)
            let warnings = daemon.logLines(containing: "switches the limit off")
            #expect(warnings.count == 1 && warnings[0].contains(#""level":"warning""#))
        }

        @Test("Shadow mode always allows, says what it would have denied, and that consumes nothing")
        func shadow() throws {
            let daemon = try Daemon(redis: redis.url, ["SHADOW": "yes", "REQUESTS": "3"])
            let client = try daemon.connect()
            let user = newUser()
            for _ in 0..<3 { #expect(try !client.check(user).text.contains("shadow_denied")) }
            for _ in 0..<5 {
                let response = try client.check(user)
                #expect(response.isAllowed && response.text.contains(#""shadow_denied":true"#))
                #expect(response["Retry-After"] == nil)
            }
            #expect(try client.check(newUser(), cost: 4).text.contains(#""shadow_denied":true"#))
            #expect(try client.request("GET", "/v1/users/\(user)").number("used") == 3)
            #expect(try daemon.metric(#"llm_rate_limit_checks_total{decision="shadow_denied",source="redis"}"#) == 2)
        }

        @Test("A check after retry_after passes, one just before does not, and the key goes with its window")
        func exactRetry() throws {
            let daemon = try Daemon(redis: redis.url, ["REQUESTS": "1", "WINDOW": "2", "DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let user = newUser()
            #expect(try client.check(user).status == 200)
            #expect((1...2).contains(try client.check(user).number("retry_after") ?? 0))
            // Redis's own word for the moment at which the window empties, in milliseconds, rounded up.
            let left = try #require(try redis.command("PTTL", "llm-rate:\(user)").integer)
            #expect((1...2_001).contains(left))
            #expect(try eventually(within: 10) { try redis.command("EXISTS", "llm-rate:\(user)") == .integer(0) })
            #expect(try client.check(user).status == 200)
            #expect(try client.check(user).status == 429)
            pause(milliseconds: 2_000)
            #expect(try client.check(user).status == 200)
        }
    }
}
