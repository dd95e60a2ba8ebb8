import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Forward auth at /v1/auth")
    struct AuthorizationTests {
        let redis: RedisServer
        let folder: TemporaryFolder

        init() throws {
            redis = try RedisServer()
            folder = try TemporaryFolder()
        }

        private func start(_ settings: [String: String] = [:]) throws -> Daemon {
            try Daemon(redis: redis.url, ["REQUESTS": "3"].merging(settings) { $1 })
        }

        private func user(_ text: String) -> [String: String] { ["X-User-Id": text] }

        @Test(
            "allows without a body, and denies with the body and the headers of a check",
            arguments: ["GET", "POST", "PURGE"])
        func decides(method: String) throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            for left in [2, 1, 0] {
                let answer = try client.request(method, "/v1/auth", self.user(user))
                #expect(answer.status == 200 && answer.body.isEmpty && answer["Content-Length"] == "0")
                #expect(answer["Content-Type"] == nil && answer["Connection"] == nil)
                #expect(answer["RateLimit"] == #""requests";r=\#(left)"#)
                #expect(answer["RateLimit-Policy"] == #""requests";q=3;w=3600"#)
                #expect(!answer.headers.contains { $0.name.hasPrefix("X-Rate-Limit-") })
            }
            let denied = try client.request(method, "/v1/auth/v1/chat/completions", self.user(user))
            let check = try client.check(user)
            #expect(denied.status == 429 && check.status == 429)
            #expect(try denied.json.keys.sorted() == check.json.keys.sorted())
            for name in ["Retry-After", "RateLimit", "RateLimit-Policy", "Content-Type"] {
                #expect(denied[name] != nil, "\(name)")
            }
            #expect(denied["X-Rate-Limit-Status"] == "429" && denied["X-Rate-Limit-Degraded"] == nil)
            #expect(try denied["X-Rate-Limit-Message"] == denied.json["message"] as? String)
        }

        @Test("denies with 403 and no body where the path asks for it, with the same headers")
        func forbidden() throws {
            let daemon = try start(["REQUESTS": "1"])
            let client = try daemon.connect()
            let headers = user(newUser())
            #expect(try client.request("GET", "/v1/auth/deny-403", headers).status == 200)
            for path in ["/v1/auth/deny-403", "/v1/auth/deny-403/", "/v1/auth/deny-403/v1/models"] {
                let denied = try client.request("GET", path, headers)
                #expect(denied.status == 403 && denied.body.isEmpty && denied["Content-Length"] == "0", "\(path)")
                #expect(denied["Retry-After"] != nil && denied["RateLimit"] != nil && denied["RateLimit-Policy"] != nil)
                #expect(denied["X-Rate-Limit-Status"] == "429")
                #expect(denied["X-Rate-Limit-Message"]?.hasPrefix("Try again in ") == true)
            }
            for path in [
                "/v1/auth", "/v1/auth/x/deny-403", "/v1/auth//deny-403", "/v1/auth/-/deny-403", "/v1/auth/DENY-403",
            ] {
                #expect(try client.request("GET", path, headers).status == 429, "\(path)")
            }
            #expect(try client.request("GET", "/v1/authx", headers).status == 404)
        }

        @Test("takes nothing from the query and the path")
        func query() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let user = newUser()
            let query = "?deny=403&user=\(newUser())&cost=3&cost=0&deny-403&group=x&verbose=1&%zz"
            for left in [2, 1, 0] {
                let answer = try client.request("GET", "/v1/auth/v1/check\(query)", self.user(user))
                #expect(answer.status == 200 && answer["RateLimit"] == #""requests";r=\#(left)"#)
            }
            #expect(try client.request("GET", "/v1/auth\(query)", self.user(user)).status == 429)
            #expect(try client.request("GET", "/v1/auth/?\(query)", self.user(user)).status == 429)
        }

        @Test("answers HEAD without a body, and charges for it")
        func head() throws {
            let daemon = try start(["REQUESTS": "1"])
            let client = try daemon.connect()
            let headers = user(newUser())
            #expect(try client.request("HEAD", "/v1/auth", headers).status == 200)
            let denied = try client.request("HEAD", "/v1/auth", headers)
            #expect(denied.status == 429 && denied["Retry-After"] != nil)
            // Nothing of a body stands before the next answer.
            #expect(try client.request("GET", "/v1/auth/deny-403", headers).status == 403)
        }

        @Test("drops bodies, empty and large, with a length and in chunks, and keeps the connection")
        func bodies() throws {
            let daemon = try start(["REQUESTS": "100"])
            let client = try daemon.connect()
            let headers = user(newUser())
            for body in ["", "{", #"{"user":"else","cost":50}"#, String(repeating: "x", count: 1 << 20)] {
                let answer = try client.request("POST", "/v1/auth/v1/messages", headers, body: body)
                #expect(answer.status == 200, "\(body.count)")
            }
            let chunk = String(repeating: "y", count: 0x8000)
            let chunks = String(repeating: "8000\r\n\(chunk)\r\n", count: 5) + "0\r\n\r\n"
            let head = headers.merging(["Transfer-Encoding": "chunked"]) { $1 }
            try client.send(HTTPConnection.text("PUT", "/v1/auth", head) + chunks)
            let answer = try client.response()
            #expect(answer.status == 200 && answer["RateLimit"] == #""requests";r=95"#)
            let tooLarge = headers.merging(["Content-Length": "8388609"]) { $1 }
            try client.send(HTTPConnection.text("POST", "/v1/auth", tooLarge))
            #expect(try client.response().status == 413)
        }

        @Test("keeps one connection for a thousand requests, allowed and denied")
        func keepAlive() throws {
            let daemon = try start(["REQUESTS": "500", "DENY_CACHE_MS": "0"])
            let client = try daemon.connect()
            let headers = user(newUser())
            var statuses: [Int: Int] = [:]
            for index in 0..<1_000 {
                let path = index.isMultiple(of: 2) ? "/v1/auth" : "/v1/auth/deny-403/x"
                let answer = try client.request("GET", path, headers)
                #expect(answer["Connection"] == nil)
                statuses[answer.status, default: 0] += 1
            }
            #expect(statuses == [200: 500, 429: 250, 403: 250])
        }

        @Test("and /v1/check charge one user for the same text, on whichever socket")
        func oneUser() throws {
            let daemon = try start()
            let client = try daemon.connect()
            let admin = try daemon.connectAdmin()
            for text in ["ada@example.org", "tenant/αβγ", newUser().uppercased(), "100% sure"] {
                #expect(try admin.request("GET", "/v1/auth", user(text)).status == 200)
                #expect(try client.request("POST", "/v1/check", body: #"{"user":"\#(text)","cost":2}"#).status == 200)
                #expect(try client.request("GET", "/v1/auth", user(text)).status == 429, "\(text)")
            }
        }

        @Test("denies whoever is not named, with 403 and what is wrong")
        func nobody() throws {
            let daemon = try start()
            let client = try daemon.connect()
            for headers in [[:], user(""), user("address:192.0.2.7"), user(String(repeating: "a", count: 257))] {
                let answer = try client.request("GET", "/v1/auth", headers)
                #expect(answer.status == 403 && answer["X-Rate-Limit-Status"] == "403" && answer["Retry-After"] == nil)
                #expect(try answer["X-Rate-Limit-Message"] == answer.json["detail"] as? String)
                let empty = try client.request("GET", "/v1/auth/deny-403", headers)
                #expect(empty.status == 403 && empty.body.isEmpty && empty["X-Rate-Limit-Status"] == "403")
            }
            let twice = "GET /v1/auth HTTP/1.1\r\nHost: a\r\nX-User-Id: a\r\nx-user-id: b\r\n\r\n"
            try client.send(twice)
            #expect(try client.response().status == 403)
        }

        @Test("never shows a token, in Redis, in a log line or on a page")
        func tokens() throws {
            let secret = try folder.write("0123456789abcdef0123\n", to: "secret")
            let daemon = try start([
                "AUTH_SECRET_FILE": secret, "DRAIN_TIMEOUT_MS": "0", "LOG_LEVEL": "trace", "LOG_USERS": "plain",
            ])
            let client = try daemon.connect()
            for headers in [["Authorization": "Bearer sk-t0ken"], ["X-Api-Key": "sk-t0ken"], ["X-Api-Key": "sk-t0ken"]]
            {
                #expect(try client.request("GET", "/v1/auth", headers).status == 200)
            }
            let denied = try client.request("GET", "/v1/auth", ["Authorization": "bearer sk-t0ken"])
            #expect(denied.status == 429 && !denied.text.contains("t0ken"))
            let keys = try redis.keys()
            #expect(keys.contains { $0.hasPrefix("llm-rate:user:api-key:") }, "\(keys)")
            var seen = keys.joined()
            for key in keys {
                guard case .bulk(let bytes) = try redis.command("DUMP", key) else { continue }
                seen += String(decoding: bytes, as: UTF8.self)
            }
            for path in ["/v1/config", "/metrics", "/healthz"] { seen += try client.request("GET", path).text }
            #expect(try daemon.terminate() == 0)
            seen += daemon.process.errors + daemon.process.output
            #expect(!seen.contains("t0ken") && !seen.contains("0123456789abcdef"))
        }

        @Test("while Redis is away and the mode is open allows, and says in a header that nobody decided")
        func open() throws {
            let daemon = try start(["REDIS_TIMEOUT_MS": "50"])
            redis.end()
            let client = try daemon.connect()
            let answer = try client.request("GET", "/v1/auth/deny-403", user(newUser()))
            #expect(answer.status == 200 && answer.body.isEmpty && answer["RateLimit"] == nil)
            #expect(["redis_unreachable", "redis_timeout"].contains(answer["X-Rate-Limit-Degraded"]))
        }

        @Test("while Redis is away and the mode is closed refuses with 503, and with 403 where the path asks for it")
        func closed() throws {
            let daemon = try start(["REDIS_TIMEOUT_MS": "50", "FAILURE_MODE": "closed"])
            redis.end()
            let client = try daemon.connect()
            let answer = try client.request("GET", "/v1/auth", user(newUser()))
            #expect(answer.status == 503 && answer["Retry-After"] == "1")
            #expect(try answer["X-Rate-Limit-Message"] == answer.json["detail"] as? String)
            let empty = try client.request("GET", "/v1/auth/deny-403", user(newUser()))
            #expect(empty.status == 403 && empty.body.isEmpty && empty["Content-Length"] == "0")
            for refused in [answer, empty] {
                #expect(refused["X-Rate-Limit-Status"] == "503" && refused["X-Rate-Limit-Degraded"] != nil)
            }
        }

        @Test("takes group, model and labels from the headers that are named, and others once the file names others")
        func headers() throws {
            let limits = """
                limits:
                  - {name: team, per: group, unit: requests, quota: 2, window: 1h}
                  - {name: gpt, per: user, unit: requests, quota: 1, window: 1h, match: {model: "gpt-4*"}}
                  - {name: tenant, per: "label:tenant", unit: requests, quota: 1, window: 1h}
                """
            let file = try folder.write(
                "LLM_RATE_LIMIT_AUTH_HEADERS=group=X-Team,model=X-Model,label.tenant=X-Tenant\n", to: "env")
            let daemon = try start([
                "REQUESTS": "100", "GROUPS": "given", "LIMITS_FILE": try folder.write(limits, to: "limits.yaml"),
                "ENV_FILE": file,
            ])
            let client = try daemon.connect()
            func ask(_ headers: [String: String]) throws -> HTTPResponse {
                try client.request("GET", "/v1/auth", user(newUser()).merging(headers) { $1 })
            }
            func denier(_ headers: [String: String]) throws -> String? {
                #expect(try ask(headers).status == 200)
                return try ask(headers).json["limit_name"] as? String
            }
            #expect(try denier(["X-Tenant": "t"]) == "tenant")
            #expect(try ask(["X-Team": "a"]).status == 200 && ask(["X-Team": "a"]).status == 200)
            #expect(try ask(["X-Team": "a"]).json["limit_name"] as? String == "team")
            let one = user(newUser()).merging(["X-Model": "gpt-4o"]) { $1 }
            #expect(try client.request("GET", "/v1/auth", one).status == 200)
            #expect(try client.request("GET", "/v1/auth", one).json["limit_name"] as? String == "gpt")

            _ = try folder.write(
                "LLM_RATE_LIMIT_AUTH_HEADERS=label.tenant=X-Other\nLLM_RATE_LIMIT_AUTH_USER_HEADER=X-Name\n", to: "env")
            try daemon.reload()
            #expect(daemon.logLines(containing: "LLM_RATE_LIMIT_AUTH_USER_HEADER: X-User-Id -> X-Name").count == 1)
            #expect(try ask(["X-Tenant": "t", "X-Name": newUser()]).status == 200)
            #expect(try ask([:]).status == 403)
            #expect(try ask(["X-Other": "t", "X-Name": newUser()]).json["limit_name"] as? String == "tenant")
        }

        private static func port(of daemon: Daemon) throws -> UInt16 {
            // It answers before its line has come through the pipe.
            #expect(eventually(within: 20) { !daemon.logLines(containing: "serving").isEmpty })
            let line = try #require(daemon.logLines(containing: "serving").first)
            let name = try #require(line.firstMatch(of: /127\.0\.0\.1:([0-9]+)/))
            return try #require(UInt16(name.1))
        }

        @Test("takes the client's address from the peer, and from X-Forwarded-For where the peer is trusted")
        func addresses() throws {
            let file = try folder.write("LLM_RATE_LIMIT_TRUSTED_PROXIES=\n", to: "env")
            let daemon = try start(["REQUESTS": "1", "LISTEN": "127.0.0.1:0", "ENV_FILE": file])
            let tcp = try HTTPConnection(.tcp(try Self.port(of: daemon)))
            let socket = try daemon.connect()
            func ask(_ client: HTTPConnection, _ chain: String? = nil) throws -> Int {
                try client.request("GET", "/v1/auth", chain.map { ["X-Forwarded-For": $0] } ?? [:]).status
            }
            // Nobody is trusted: what the client writes makes no new client of it.
            #expect(try ask(tcp) == 200 && ask(tcp, "203.0.113.1") == 429 && ask(tcp, "203.0.113.2") == 429)
            #expect(try ask(socket, "203.0.113.1") == 403)

            _ = try folder.write("LLM_RATE_LIMIT_TRUSTED_PROXIES=127.0.0.0/8,unix\n", to: "env")
            try daemon.reload()
            #expect(try ask(tcp, "203.0.113.1") == 200 && ask(socket, "203.0.113.1") == 429)
            #expect(try ask(tcp, "198.51.100.1, 203.0.113.1") == 429 && ask(tcp, "203.0.113.1, 127.0.0.9") == 429)
            #expect(try ask(socket, "198.51.100.7, 2001:db8::1") == 200 && ask(tcp, "2001:db8::2") == 429)
            #expect(try socket.request("GET", "/v1/users/address:203.0.113.1").number("used") == 1)
            #expect(try socket.request("GET", "/v1/users/address:2001:db8::%2F64").number("used") == 1)
        }
    }
}
