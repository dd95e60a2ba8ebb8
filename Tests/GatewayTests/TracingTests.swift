import Foundation
import TestSupport
import Testing

/// A collector that reads spans with OpenTelemetry's own classes.
private final class Collector {
    /// A request as it was read.
    struct Request: Decodable {
        var path: String
        var headers: [String: String]
        var spans: [Span]
        /// Whether those classes would write it byte for byte.
        var isCanonical: Bool
    }

    struct Span: Decodable {
        var trace: String
        var span: String
        var parent: String
        var name: String
        var kind: Int
        var start: Int
        var end: Int
        var attributes: [String: String]
        var status: Int
        var message: String
        var scope: String
        var resource: [String: String]
    }

    private let process: ChildProcess
    private let folder: TemporaryFolder
    let port: Int

    init(answering order: String = "200", certificate: CertificateAuthority.Certificate? = nil) throws {
        folder = try TemporaryFolder()
        let file = try folder.write(order, to: "order")
        let script = #filePath.replacing("TracingTests.swift", with: "otlp.py")
        let files = certificate.map { [$0.file, $0.keyFile] } ?? []
        let process = try ChildProcess(try PythonEnvironment.interpreter(of: "otlp"), [script, file] + files)
        self.process = process
        guard eventually(within: 30, { process.output.contains("\n") }),
            let port = Int(process.output.prefix { $0 != "\n" })
        else { throw TestFailure("the collector does not listen: \(process.errors)") }
        self.port = port
    }

    deinit { process.end() }

    /// Has it answer otherwise from the next request on.
    func answer(_ order: String) throws { try folder.write(order, to: "order") }

    var requests: [Request] {
        get throws {
            let lines = process.output.split(separator: "\n").dropFirst()
            return try lines.map { try JSONDecoder().decode(Request.self, from: Data($0.utf8)) }
        }
    }

    var spans: [Span] { get throws { try requests.flatMap(\.spans) } }
}

/// What became of spans, by the daemon's metrics.
private func spanCounts(_ daemon: Daemon) throws -> [String: Int] {
    let results = ["exported", "refused", "failed", "dropped", "abandoned"]
    return Dictionary(
        uniqueKeysWithValues: try results.map {
            ($0, Int(try #require(try daemon.metric("llm_rate_limit_spans_total{result=\"\($0)\"}"))))
        })
}

@Suite("Spans of decisions", .serialized, .needs("otlp"))
struct TracingTests {
    private let redis: RedisServer

    init() throws { redis = try RedisServer() }

    private func daemon(
        _ url: String, _ settings: [String: String] = [:], otel: [String: String] = [:]
    ) throws -> Daemon {
        let own = ["OTEL_EXPORTER_OTLP_ENDPOINT": url].merging(otel) { $1 }
        return try Daemon(redis: redis.url, settings, environment: own)
    }

    private static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    private static let parent = "00f067aa0ba902b7"
    private static let sampled = "traceparent: 00-\(trace)-\(parent)-01\r\n"
    private static let unsampled = "traceparent: 00-\(trace)-\(parent)-00\r\n"

    private func post(_ path: String, _ body: String, _ headers: String = "") -> String {
        "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\(headers)"
            + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    @Test("are one for each sampled decision, in the caller's trace, as OpenTelemetry's own classes read them")
    func decisions() throws {
        let collector = try Collector()
        let daemon = try daemon(
            "http://127.0.0.1:\(collector.port)/otlp/",
            ["REQUESTS": "1", "MAX_CONCURRENCY": "10", "LOG_USERS": "plain"],
            otel: [
                "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret%20one,x-tenant=a", "OTEL_SERVICE_NAME": "limiter",
                "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,deployment.environment.name=test",
            ])
        let connection = try daemon.connect()
        let user = newUser()
        // On the hot path, on the slow path for its header, as a call, and one whose trace begins here.
        try connection.send(post("/v1/check", "{\"user\":\"\(user)\"}", Self.sampled))
        try connection.send(post("/v1/check", "{\"user\":\"\(user)\"}", "Expect: x\r\n\(Self.sampled)"))
        try connection.send(post("/v1/reserve", "{\"user\":\"\(newUser())\"}", Self.sampled))
        try connection.send(post("/v1/check", "{\"user\":\"\(newUser())\"}"))
        let statuses = try (0..<4).map { _ in try connection.response().status }
        #expect(statuses == [200, 429, 200, 200])
        try connection.send(
            "GET /v1/auth HTTP/1.1\r\nHost: a\r\nX-User-Id: \(newUser())\r\n\(Self.sampled)\r\n")
        #expect(try connection.response().status == 200)
        #expect(eventually(within: 30) { (try? collector.spans.count) == 5 })

        let spans = try collector.spans
        #expect(
            spans.map(\.name) == [
                "rate_limit check", "rate_limit check", "rate_limit reserve", "rate_limit check",
                "rate_limit authorize",
            ])
        #expect(
            spans.map { $0.attributes["llm_rate_limit.decision"] } == ["allowed", "denied"] + [
                "allowed", "allowed", "allowed",
            ])
        for (index, span) in spans.enumerated() {
            #expect((span.trace == Self.trace) == (index != 3) && (span.parent == Self.parent) == (index != 3))
            #expect(index != 3 || span.parent.isEmpty)
            #expect(span.kind == 2 && span.span.count == 16 && span.trace.count == 32)
            #expect(span.start <= span.end && abs(span.start / 1_000 - systemMicroseconds()) < 120_000_000)
            #expect(span.attributes["llm_rate_limit.protocol"] == "http" && span.status == 0)
            #expect(span.attributes["llm_rate_limit.source"] == "redis" && span.attributes["user.id"] != nil)
            #expect(
                span.resource["service.name"] == "limiter" && span.resource["deployment.environment.name"] == "test"
                    && span.resource["service.version"]?.isEmpty == false && span.scope.hasPrefix("llm-rate-limit "))
        }
        #expect(Set(spans.map(\.span)).count == 5)
        #expect(spans[0].attributes["user.id"] == user && spans[1].attributes["llm_rate_limit.limit"] == "requests")
        let wait = spans[1].attributes["llm_rate_limit.retry_after_ms"].flatMap { Int($0) } ?? 0
        #expect((3_590_000...3_600_000).contains(wait) && spans[1].attributes["llm_rate_limit.remaining"] == "0")
        for request in try collector.requests {
            #expect(request.path == "/otlp/v1/traces" && request.isCanonical)
            #expect(request.headers["content-type"] == "application/x-protobuf")
            #expect(request.headers["api-key"] == "secret one" && request.headers["x-tenant"] == "a")
        }
        #expect(try spanCounts(daemon)["exported"] == 5)
        #expect(daemon.logLines.allSatisfy { !$0.contains("secret") })
    }

    @Test("are none where the caller does not record its own, and name users as log lines do, or not at all")
    func sampling() throws {
        let collector = try Collector()
        for (logUsers, names) in [("hash", ["user.hash"]), ("none", [])] {
            let before = try collector.spans.count
            let daemon = try daemon(
                "http://127.0.0.1:\(collector.port)", ["LOG_USERS": logUsers],
                otel: ["OTEL_TRACES_SAMPLER": "parentbased_always_off"])
            let connection = try daemon.connect()
            // Neither the caller's decision nor the sampler's own; a header that is none begins a trace of its own.
            for header in [Self.unsampled, "", "traceparent: 00-\(Self.trace)-\(Self.parent)-1\r\n"] {
                try connection.send(post("/v1/check", "{\"user\":\"\(newUser())\"}", header))
                #expect(try connection.response().status == 200)
            }
            try connection.send(post("/v1/check", "{\"user\":\"\(newUser())\"}", Self.sampled))
            #expect(try connection.response().status == 200)
            #expect(eventually(within: 30) { (try? spanCounts(daemon)["exported"]) == 1 })
            let spans = try collector.spans
            #expect(spans.count == before + 1)
            #expect(spans.last?.attributes.keys.filter { $0.hasPrefix("user.") } == names)
        }
    }

    @Test("reach a collector by TLS that the given authority vouches for")
    func encrypted() throws {
        let authority = try CertificateAuthority()
        let collector = try Collector(certificate: try authority.issue("collector"))
        let daemon = try daemon(
            "https://localhost:\(collector.port)", otel: ["OTEL_EXPORTER_OTLP_CERTIFICATE": authority.file])
        #expect(try daemon.connect().check(newUser()).status == 200)
        #expect(eventually(within: 30) { (try? collector.spans.count) == 1 })
    }

    @Test("that the collector will not have are counted, and those that it may take later are sent again")
    func refusals() throws {
        let collector = try Collector(answering: "reject 1")
        let daemon = try daemon("http://127.0.0.1:\(collector.port)")
        func check() throws {
            #expect(
                try daemon.connect().check(newUser()).status == 200)
        }
        try check()
        #expect(eventually(within: 30) { (try? spanCounts(daemon)["refused"]) == 1 })
        try collector.answer("400")
        try check()
        #expect(eventually(within: 30) { (try? spanCounts(daemon)["refused"]) == 2 })
        try collector.answer("503 1")
        try check()
        #expect(eventually(within: 30) { (try? collector.requests.count) ?? 0 >= 4 })
        try collector.answer("200")
        #expect(eventually(within: 60) { (try? spanCounts(daemon)["exported"]) == 1 })
        // One line where they were first not taken, and one where they were again.
        #expect(daemon.logLines(containing: "cannot send spans").count == 1)
        #expect(daemon.logLines(containing: "spans are sent again").count == 1)
        let spans = try collector.spans
        #expect(Set(spans.map(\.span)).count == 3)
    }

    @Test(
        "are lost where too many wait for a collector that hangs, and each is counted; decisions are made all the same")
    func hanging() throws {
        let collector = try Collector(answering: "hang")
        let daemon = try daemon(
            "http://127.0.0.1:\(collector.port)", ["REQUESTS": "0"], otel: ["OTEL_EXPORTER_OTLP_TIMEOUT": "600000"])
        let sent = 6_000
        let statuses = try concurrently(4) { _ in
            let connection = try daemon.connect()
            return try (0..<sent / 4).map { _ in
                try connection.check(newUser()).status
            }
        }
        #expect(statuses.joined().allSatisfy { $0 == 200 })
        let counts = try spanCounts(daemon)
        // One batch is being sent, and as many as may wait do.
        let dropped = counts["dropped"] ?? 0
        #expect((sent - 2_048 - 512...sent - 2_048 - 1).contains(dropped))
        #expect(counts.values.reduce(0, +) == dropped)
        // The end is not held up by what is not sent.
        let start = monotonicMilliseconds()
        #expect(try daemon.terminate() == 0)
        #expect(monotonicMilliseconds() - start < 60_000)
    }

    @Test("are all sent where the collector keeps up or comes back, and what is sent and lost is what was decided")
    func sum() throws {
        let collector = try Collector(answering: "503")
        let daemon = try daemon("http://127.0.0.1:\(collector.port)", ["REQUESTS": "0"])
        let sent = 5_000
        _ = try concurrently(4) { _ in
            let connection = try daemon.connect()
            for _ in 0..<sent / 4 {
                _ = try connection.check(newUser())
            }
        }
        try collector.answer("200")
        #expect(eventually(within: 90) { (try? spanCounts(daemon).values.reduce(0, +)) == sent })
        let counts = try spanCounts(daemon)
        #expect(counts["failed"] == 0 && counts["refused"] == 0 && counts["dropped"] ?? 0 > 0)
        // By their numbers: batches that were sent again are the same spans.
        #expect(try Set(collector.spans.map(\.span)).count == counts["exported"])
    }

    @Test("that wait are sent when the daemon ends")
    func end() throws {
        let collector = try Collector()
        let daemon = try daemon("http://127.0.0.1:\(collector.port)")
        #expect(try daemon.connect().check(newUser()).status == 200)
        #expect(try daemon.terminate() == 0)
        #expect(try collector.spans.count == 1)
    }
}
