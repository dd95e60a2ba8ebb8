import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("HTTP/1.1")
    struct ProtocolTests {
        let redis: RedisServer
        let daemon: Daemon

        init() throws {
            redis = try RedisServer()
            daemon = try Daemon(redis: redis.url)
        }

        @Test("Many mixed requests on one connection are answered in their order, a malformed one at the end")
        func pipelining() throws {
            let client = try daemon.connect()
            let user = newUser()
            let text = HTTPConnection.text
            var requests = ""
            for index in 0..<40 {
                requests += HTTPConnection.checkText(user)
                if index % 4 == 0 { requests += text("GET", "/livez", [:], nil) }
                if index % 8 == 0 { requests += text("GET", "/v1/check?user=\(newUser())", [:], nil) }
                if index % 10 == 0 { requests += text("GET", "/nowhere", [:], nil) }
                if index % 16 == 0 { requests += text("GET", "/v1/users/\(newUser())", [:], nil) }
            }
            try client.send(requests + "NOT HTTP\r\n\r\n")
            for index in 0..<40 {
                let response = try client.response()
                #expect(response.status == (index < 20 ? 200 : 429))
                #expect(try response.number("remaining") == max(0, 19 - index))
                if index % 4 == 0 { #expect(try client.response().text == #"{"status":"alive"}"#) }
                if index % 8 == 0 { #expect(try client.response().number("remaining") == 19) }
                if index % 10 == 0 { #expect(try client.response().status == 404) }
                if index % 16 == 0 { #expect(try client.response().number("used") == 0) }
            }
            #expect(try client.response().status == 400)
            #expect(try client.isClosed())
        }

        @Test("A thousand checks sent at once on one connection are all answered, in order")
        func deepPipeline() throws {
            let client = try daemon.connect()
            let users = (0..<100).map { _ in newUser() }
            let requests = (0..<1_000).map { HTTPConnection.checkText(users[$0 % 100]) }.joined()
            let sender = Background { [daemon] in
                let other = try daemon.connect()
                for _ in 0..<50 { guard try other.request("GET", "/livez").status == 200 else { return false } }
                return true
            }
            try client.send(requests)
            for index in 0..<1_000 { #expect(try client.response().number("remaining") == 19 - index / 100) }
            #expect(try sender.value())
        }

        @Test("A request split at any byte gets the same answer", arguments: ["check", "url", "chunked", "page"])
        func split(kind: String) throws {
            let client = try daemon.connect()
            let shape = HTTPConnection.checkText(newUser())
            let chunked = #"{"user":"UUID"}"#.replacingOccurrences(of: "UUID", with: newUser())
            for position in 1..<shape.utf8.count + 30 {
                let user = newUser()
                let request =
                    switch kind {
                    case "check": HTTPConnection.checkText(user)
                    case "url": HTTPConnection.text("GET", "/v1/check?user=\(user)&cost=1", ["Accept": "*/*"])
                    case "chunked":
                        HTTPConnection.text("POST", "/v1/check", ["Transfer-Encoding": "chunked"])
                            + "5\r\n{\"use\r\n" + String(chunked.utf8.count - 5, radix: 16)
                            + "\r\nr\":\"\(user)\"}\r\n0\r\n\r\n"
                    default: HTTPConnection.text("GET", "/v1/users/\(user)")
                    }
                guard position < request.utf8.count else { break }
                let bytes = Array(request.utf8)
                try client.send(String(decoding: bytes[..<position], as: UTF8.self))
                usleep(300)
                try client.send(String(decoding: bytes[position...], as: UTF8.self))
                let response = try client.response()
                let expected = kind == "page" ? 20 : 19
                #expect(try response.status == 200 && response.number("remaining") == expected, "at \(position)")
            }
        }

        @Test("A chunked body is taken")
        func chunked() throws {
            let client = try daemon.connect()
            let user = newUser()
            let head = HTTPConnection.text(
                "POST", "/v1/check", ["Transfer-Encoding": "chunked", "Content-Type": "application/json"]
            )
            for remaining in [19, 18] {
                try client.send(head + "8\r\n{\"user\":\r\n26\r\n\"\(user)\"\r\n1;x=y\r\n}\r\n0\r\nT: x\r\n\r\n")
                #expect(try client.response().number("remaining") == remaining)
            }
            #expect(try client.check(user).number("remaining") == 17)
        }

        @Test("A client that waits for 100 Continue gets it")
        func expectContinue() throws {
            let client = try daemon.connect()
            let user = newUser()
            let body = #"{"user":"\#(user)"}"#
            for remaining in [19, 18] {
                let headers = ["Expect": "100-continue", "Content-Length": "\(body.utf8.count)"]
                try client.send(HTTPConnection.text("POST", "/v1/check", headers))
                #expect(try client.response().status == 100)
                try client.send(body)
                #expect(try client.response().number("remaining") == remaining)
            }
            // What would be refused is refused before the body is sent.
            try client.send(
                HTTPConnection.text("POST", "/v1/check", ["Expect": "100-continue", "Content-Length": "99999"]))
            #expect(try client.response().status == 413)
        }

        @Test("Connection: close closes behind the answer, and so does HTTP/1.0 without or with keep-alive")
        func closing() throws {
            let user = newUser()
            let body = #"{"user":"\#(user)"}"#
            let requests = [
                HTTPConnection.text("POST", "/v1/check", ["Connection": "close"], body: body),
                HTTPConnection.text("GET", "/v1/check?user=\(user)", ["Connection": "close"]),
                "GET /v1/check?user=\(user) HTTP/1.0\r\n\r\n",
                "POST /v1/check HTTP/1.0\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)",
                // A client of HTTP/1.0 that is not told that the connection is kept reads until it ends.
                "GET /v1/check?user=\(user) HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            ]
            for (index, request) in requests.enumerated() {
                let client = try daemon.connect()
                try client.send(request)
                let response = try client.response()
                #expect(try response.status == 200 && response.number("remaining") == 19 - index)
                #expect(response["Connection"] == "close")
                #expect(try client.isClosed(withinSeconds: 20))
            }
        }

        @Test("A client that has said all it will say still gets its answers")
        func halfClosed() throws {
            let client = try daemon.connect()
            let user = newUser()
            try client.send(HTTPConnection.checkText(user) + HTTPConnection.checkText(user))
            client.finish()
            #expect(try client.response().number("remaining") == 19)
            #expect(try client.response().number("remaining") == 18)
        }

        @Test("A client that goes away with checks under way harms nobody else")
        func abrupt() throws {
            for _ in 0..<50 {
                let client = try daemon.connect()
                try client.send(String(repeating: HTTPConnection.checkText(newUser()), count: 10))
            }
            #expect(try daemon.connect().check(newUser()).status == 200)
            #expect(
                try eventually(within: 20) { try daemon.metric("llm_rate_limit_connections") == 1 }
            )
        }

        @Test("An ordinary header more, another case, or blank lines before a request change nothing")
        func variations() throws {
            let client = try daemon.connect()
            let user = newUser()
            let body = #"{"user":"\#(user)"}"#
            let requests = [
                "\r\n" + HTTPConnection.text("POST", "/v1/check", body: body),
                "POST /v1/check HTTP/1.1\r\nhost:a\r\ncontent-length:\(body.utf8.count)\r\nCONTENT-TYPE:application/json"
                    + "; charset=utf-8\r\nX-Request-Id: \u{e9}\r\n\r\n" + body,
                "POST /v1/check HTTP/1.1\r\nHost:  a \r\nContent-Length: 0\(body.utf8.count)\r\n\r\n" + body,
                HTTPConnection.text("POST", "/v1/check?", body: body),
                HTTPConnection.text("GET", "http://localhost/v1/check?user=\(user)"),
            ]
            for (index, request) in requests.enumerated() {
                try client.send(request)
                let response = try client.response()
                #expect(try response.status == 200 && response.number("remaining") == 19 - index, "\(request)")
            }
        }
    }
}
