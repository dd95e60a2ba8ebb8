import CoreMetrics
import NIOCore
import RateLimitCore
import RateLimitService
import Testing

@testable import DecisionTracing
@testable import HTTPServer

@Suite("A traced request")
struct TracedRequestTests {
    private static let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    /// The spans of what a client sends on one of the two paths, where decisions are traced whose callers say so.
    private func spans(fast: Bool, _ text: String) async throws -> [DecisionSpan] {
        let queue = SpanQueue()
        let tracing = Tracing(
            sampler: TraceSampler(.never, followsParent: true), queue: queue,
            metrics: SpanMetrics(factory: NOOPMetricsHandler.instance))
        try await withEventLoop { eventLoop in
            let server = try await EmbeddedServer(tracing: tracing, eventLoop: eventLoop)
            try await eventLoop.submit {
                let connection = server.connect(usesFastPath: fast)
                connection.send(text.utf8)
                connection.close()
            }.get()
        }
        return queue.take()
    }

    private func post(_ path: String, _ body: String, _ headers: String) -> String {
        "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\(headers)"
            + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    @Test("is in the caller's trace on both paths, whatever stands around the header", arguments: [true, false])
    func paths(fast: Bool) async throws {
        let body = "{\"user\":\"0e3b6a33-7c1c-4a70-9d5c-6c7a5d5b1f11\"}"
        let good = [
            "traceparent: \(Self.value)\r\n", "TraceParent:\(Self.value)\r\n",
            "X: y\r\ntraceparent:  \(Self.value)\r\n",
            "traceparent: \(Self.value) \r\n", "traceparent: \(Self.value)\r\n",
        ]
        let bad = [
            "", "traceparent: \(Self.value)\r\ntraceparent: \(Self.value)\r\n", "traceparent:\r\n",
            "traceparent: \(Self.value)-\r\n", "x-traceparent: \(Self.value)\r\n",
        ]
        // Pipelined, so that one that is traced stands before and behind one that is not.
        let text = zip(good, bad).flatMap { [post("/v1/check", body, $0), post("/v1/check", body, $1)] }.joined()
        let spans = try await spans(fast: fast, text)
        #expect(spans.count == good.count)
        for span in spans {
            #expect(span.trace == TraceID(high: 0x4bf9_2f35_77b3_4da6, low: 0xa3ce_929d_0e0e_4736))
            #expect(span.parent == 0x00f0_67aa_0ba9_02b7 && span.operation == .check && span.transport == .http)
            #expect(span.user?.text == "0e3b6a33-7c1c-4a70-9d5c-6c7a5d5b1f11" && span.outcome?.isAllowed == true)
        }
    }

    @Test(
        "is named after what it asks, and is none where it decides nothing or cannot be read", arguments: [true, false])
    func operations(fast: Bool) async throws {
        let header = "traceparent: \(Self.value)\r\n"
        let text =
            post("/v1/reserve", "{\"user\":\"a\"}", header) + post("/v1/usage", "{\"user\":\"a\"}", header)
            + "GET /v1/check?user=a HTTP/1.1\r\nHost: a\r\n\(header)\r\n"
            + "GET /v1/auth HTTP/1.1\r\nHost: a\r\nX-User-Id: a\r\n\(header)\r\n"
            + "GET /v1/auth HTTP/1.1\r\nHost: a\r\n\(header)\r\n"
            + "GET /v1/users/a HTTP/1.1\r\nHost: a\r\n\(header)\r\n"
            + post("/v1/check", "{}", header) + "GET /livez HTTP/1.1\r\nHost: a\r\n\(header)\r\n"
        let spans = try await spans(fast: fast, text)
        #expect(spans.map(\.operation) == [.reserve, .usage, .check, .authorize, .authorize])
        // The last says who calls in no way.
        #expect(spans.map { $0.user?.text } == ["a", "a", "a", "a", nil])
        #expect(spans.map { $0.outcome == nil } == [false, false, false, false, true])
    }
}
