import Foundation
import TestSupport
import Testing

extension EndToEnd {
    @Suite("Bounds")
    struct BoundsTests {
        let redis: RedisServer

        init() throws { redis = try RedisServer() }

        @Test("More checks than may wait are overloaded, the others time out, and each is answered in its order")
        func overload() throws {
            let daemon = try Daemon(redis: redis.url, ["MAX_QUEUE": "4", "REDIS_TIMEOUT_MS": "2000"])
            let client = try daemon.connect()
            redis.stop()
            try client.send(String(repeating: HTTPConnection.checkText(newUser()), count: 50))
            let answers = try (0..<50).map { _ in try client.response().text }
            #expect(answers.allSatisfy { $0.hasPrefix(#"{"allowed":true"#) && $0.contains(#""degraded":true"#) })
            #expect(answers.count { $0.contains("redis_timeout") } == 4)
            #expect(answers[4...].allSatisfy { $0.contains("overloaded") })
            #expect(try daemon.metric(#"llm_rate_limit_degraded_checks_total{reason="overloaded"}"#) == 46)
            redis.resume()
            #expect(try eventually(within: 10) { try !client.check(newUser()).isDegraded })
        }

        @Test("Many clients at a tiny queue while Redis stops and goes on: always an answer, never a denial")
        func overloadUnderLoad() throws {
            let daemon = try Daemon(redis: redis.url, ["MAX_QUEUE": "2", "REDIS_TIMEOUT_MS": "100"])
            let load = Load(on: daemon, clients: 16)
            for _ in 0..<4 {
                #expect(load.hasAnswers(more: 50))
                redis.stop()
                #expect(load.hasAnswers(more: 50), "no answers while Redis is stopped")
                redis.resume()
            }
            let result = try load.end()
            #expect(result.checks.allSatisfy { $0.status == 200 })
            #expect(result.checks.contains { $0.isDegraded } && result.checks.contains { !$0.isDegraded })
        }

        @Test("Connections that send hundreds of checks at once leave room for one that sends a single check")
        func crowd() throws {
            let daemon = try Daemon(redis: redis.url, ["MAX_QUEUE": "2048"])
            let greedy = try (0..<20).map { _ in try daemon.connect() }
            let client = try daemon.connect()
            #expect(try client.check(newUser()).status == 200)
            redis.stop()
            // More than twice as many as may wait, and no more than a connection may have unanswered.
            for connection in greedy {
                try connection.send((0..<256).map { _ in HTTPConnection.checkText(newUser()) }.joined())
            }
            pause(milliseconds: 300)
            try client.send(HTTPConnection.checkText(newUser()))
            pause(milliseconds: 200)
            redis.resume()
            #expect(try client.response().number("remaining") == 19)
            for connection in greedy {
                let answers = try (0..<256).map { _ in try connection.response() }
                #expect(answers.allSatisfy { $0.status == 200 && !$0.isDegraded })
            }
        }

        @Test("One connection above the bound is closed at once, and its place is free again after another leaves")
        func connections() throws {
            let daemon = try Daemon(redis: redis.url, ["MAX_CONNECTIONS": "3"])
            var held: [HTTPConnection] = []
            // The connection with which the test saw the daemon start may still be on its way out.
            #expect(try eventually(within: 20) { try daemon.metric("llm_rate_limit_connections") == 1 })
            for _ in 0..<3 {
                let client = try daemon.connect()
                #expect(try client.request("GET", "/livez").status == 200)
                held.append(client)
            }
            for _ in 0..<5 { #expect(try daemon.connect().isClosed()) }
            for client in held { #expect(try client.check(newUser()).status == 200) }
            held.removeLast()
            #expect(eventually(within: 20) { (try? daemon.connect().request("GET", "/livez").status) == 200 })
            #expect(try held[0].request("GET", "/metrics").text.contains(#"connections_total{result="refused"}"#))
        }

        @Test("A client that sends and never reads is not read either: it costs neither memory nor the others' time")
        func neverReads() throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            #expect(try client.check(newUser()).status == 200)
            let before = daemon.residentKilobytes
            let requests = String(repeating: HTTPConnection.text("GET", "/v1/config"), count: 200)
            let sender = Background { [daemon] in
                let greedy = try daemon.connect(timeoutSeconds: 1)
                var sent = 0
                while sent < 1_000, (try? greedy.send(requests)) == true { sent += 1 }
                return (sent, daemon.residentKilobytes)
            }
            for _ in 0..<50 { #expect(try client.check(newUser()).status == 200) }
            let (sent, resident) = try sender.value()
            // A thousand times 200 pages would be more than a gigabyte.
            #expect(sent < 1_000)
            print("never reads: \(resident - before) kB more")
            // A sanitizer keeps what is freed, to see whether it is used again.
            #expect(resident - before < 8_192 || Sanitizer.isOn)
        }

        @Test("Pages that are asked for at once and read late all come, half-closed or not", arguments: [false, true])
        func readsLate(isHalfClosed: Bool) throws {
            let daemon = try Daemon(redis: redis.url)
            let client = try daemon.connect()
            let user = newUser()
            let pair = HTTPConnection.text("GET", "/v1/config") + HTTPConnection.checkText(user)
            let other = Background { [daemon] in try daemon.connect().check(newUser()).status == 200 }
            try client.send(String(repeating: pair, count: 100))
            if isHalfClosed { client.finish() }
            pause(milliseconds: 200)
            for _ in 0..<100 {
                #expect(try client.response().text.hasPrefix(#"{"options""#))
                #expect(try client.response().number("limit") == 20)
            }
            #expect(try other.value())
            #expect(try client.isClosed(withinSeconds: isHalfClosed ? 20 : 0.2) == isHalfClosed)
        }

        @Test("Memory stays flat over a long outage in which many clients come, ask and go")
        func memoryInOutage() throws {
            let daemon = try Daemon(redis: "unix:///nonexistent/redis.sock")
            func ask(_ rounds: Int) throws {
                _ = try concurrently(4) { _ in
                    for _ in 0..<rounds { _ = try daemon.connect().check(newUser()) }
                }
            }
            try ask(200)
            let before = daemon.residentKilobytes
            try ask(2_000)
            let growth = daemon.residentKilobytes - before
            print("outage: \(growth) kB more after 8,000 clients")
            #expect(growth < 4_096 || Sanitizer.isOn)
        }
    }
}

extension Daemon {
    /// Memory in use, by the kernel's count.
    var residentKilobytes: Int { status("VmRSS") }

    /// Memory in use that is no file's.
    var anonymousKilobytes: Int { status("RssAnon") }

    private func status(_ name: String) -> Int {
        let line = readFile("/proc/\(process.id)/status").split(separator: "\n").first { $0.hasPrefix(name + ":") }
        return line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }
}
