import CoreMetrics
import NIOCore
import RateLimitService
import Testing

@testable import DecisionTracing
@testable import GRPCServer

@Suite("A traced gRPC call")
struct TracedCallTests {
    private static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    private static let value = "00-\(trace)-00f067aa0ba902b7-01"

    /// The spans of what a client does, where decisions are traced whose callers say so.
    private func spans(
        _ body: @escaping @Sendable (EmbeddedClient, EmbeddedGRPC) -> Void
    ) async throws -> [DecisionSpan] {
        let queue = SpanQueue()
        let tracing = Tracing(
            sampler: TraceSampler(.never, followsParent: true), queue: queue,
            metrics: SpanMetrics(factory: NOOPMetricsHandler.instance))
        try await EmbeddedGRPC.run(tracing: tracing) { server in
            let client = server.connect()
            body(client, server)
            client.close()
        }
        return queue.take()
    }

    private static func call(_ path: String, _ values: [String]) -> [(String, String)] {
        EmbeddedClient.call(path, values.map { ("traceparent", $0) })
    }

    @Test("is in the trace that its metadata name once, and one that names none, or breaks off, is none")
    func metadata() async throws {
        let spans = try await spans { client, _ in
            let given = [
                [Self.value], [], [Self.value, Self.value], ["00-\(Self.trace)-00f067aa0ba902b7"], [Self.value],
            ]
            for (index, values) in given.enumerated() {
                let stream = Int32(2 * index + 1)
                client.send(
                    .headers(stream, Self.call(CheckingMethod.path, values)), .data(stream, framed(Array("a".utf8))))
                #expect(client.answer(stream).message == [1])
            }
        }
        #expect(spans.count == 2 && Set(spans.map(\.id)).count == 2)
        for span in spans {
            #expect(span.trace == TraceID(high: 0x4bf9_2f35_77b3_4da6, low: 0xa3ce_929d_0e0e_4736))
            #expect(span.parent == 0x00f0_67aa_0ba9_02b7 && span.transport == .grpc && span.operation == .descriptors)
            #expect(span.outcome?.source == .local)
        }
    }

    @Test("that is answered with an error has no outcome, and a method that decides nothing no span")
    func errors() async throws {
        let spans = try await spans { client, _ in
            client.send(.headers(1, Self.call(CheckingMethod.path, [Self.value])), .data(1, framed([])))
            client.send(.headers(3, Self.call(EchoMethod.path, [Self.value])), .data(3, framed([1])))
            #expect(client.answer(1).code == 3 && client.answer(3).code == 0)
        }
        #expect(spans.count == 1 && spans[0].outcome == nil)
    }

    @Test("that is reset before it is decided is a span all the same")
    func reset() async throws {
        let spans = try await spans { client, server in
            client.send(.headers(1, Self.call(PatientMethod.path, [Self.value])), .data(1, framed([1])))
            client.send(.reset(1))
            server.methods.patient.answer()
        }
        #expect(spans.count == 1)
    }

    @Test("is no span where decisions are not traced")
    func untraced() async throws {
        try await EmbeddedGRPC.run { server in
            let client = server.connect()
            client.send(
                .headers(1, Self.call(CheckingMethod.path, [Self.value])), .data(1, framed(Array("a".utf8))))
            #expect(client.answer(1).message == [1])
            client.close()
        }
    }
}
