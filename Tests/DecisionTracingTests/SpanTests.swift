import CoreMetrics
import HTTPPosts
import NIOCore
import RateLimitCore
import RateLimitService
import Synchronization
import Testing

@testable import DecisionTracing

/// Counts what is counted.
private final class Counts: MetricsFactory {
    private let totals = Mutex<[String: Int64]>([:])

    subscript(_ result: SpanMetrics.Result) -> Int64 { totals.withLock { $0[result.rawValue] ?? 0 } }

    private final class Series: CounterHandler {
        private let name: String
        private let counts: Counts

        init(name: String, counts: Counts) {
            self.name = name
            self.counts = counts
        }

        func increment(by amount: Int64) { counts.totals.withLock { $0[name, default: 0] += amount } }
        func reset() {}
    }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        Series(name: dimensions[0].1, counts: self)
    }

    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        NOOPMetricsHandler.instance
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { NOOPMetricsHandler.instance }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
}

@Suite("The spans of an event loop")
struct DecisionTracerTests {
    private let counts = Counts()
    private let queue = SpanQueue()

    private func tracer(_ root: TraceSampler.Root = .always) -> DecisionTracer {
        let sampler = TraceSampler(root, followsParent: true)
        return DecisionTracer(
            Tracing(sampler: sampler, queue: queue, metrics: SpanMetrics(factory: counts)), .http)
    }

    @Test("wait in the order in which they end, with the caller's trace or one of their own")
    func order() throws {
        let tracer = tracer()
        let parent = TraceContext(trace: TraceID(high: 1, low: 2), parent: 3)
        let first = try #require(tracer.begin(.check, of: nil, in: nil, arrivedAt: .now()))
        let second = try #require(tracer.begin(.settle, of: nil, in: parent, arrivedAt: .now() - .seconds(1)))
        second.end(Outcome(.allowed, source: .redis))
        first.end(nil)
        let spans = queue.take()
        #expect(spans.map(\.operation) == [.settle, .check] && spans.map(\.parent) == [3, nil])
        #expect(spans[0].trace == parent.trace && spans[1].trace != parent.trace)
        #expect(spans[0].outcome?.isAllowed == true && spans[1].outcome == nil)
        #expect(spans[0].end - spans[0].start >= 1_000_000_000 && spans[1].end >= spans[1].start)
        #expect(queue.take().isEmpty)
    }

    @Test("have numbers of their own that are not 0")
    func numbers() {
        let tracer = tracer()
        for _ in 0..<1_000 { tracer.begin(.check, of: nil, in: nil, arrivedAt: .now())?.end(nil) }
        let spans = queue.take() + queue.take()
        #expect(spans.count == 1_000 && Set(spans.map(\.id)).count == 1_000 && Set(spans.map(\.trace)).count == 1_000)
        #expect(spans.allSatisfy { $0.id != 0 && $0.trace.high != 0 })
    }

    @Test("that find no room are dropped, those that nobody waits for abandoned, and each is counted")
    func bound() {
        let tracer = tracer()
        for _ in 0..<SpanQueue.bound + 100 { tracer.begin(.check, of: nil, in: nil, arrivedAt: .now())?.end(nil) }
        _ = tracer.begin(.check, of: nil, in: nil, arrivedAt: .now())
        #expect(counts[.dropped] == 100 && counts[.abandoned] == 1)
        #expect(queue.take().count == SpanQueue.batch)
        for _ in 0..<SpanQueue.batch + 1 { tracer.begin(.check, of: nil, in: nil, arrivedAt: .now())?.end(nil) }
        #expect(counts[.dropped] == 101)
    }

    @Test("are none where the sampler takes none")
    func unsampled() {
        #expect(tracer(.never).begin(.check, of: nil, in: nil, arrivedAt: .now()) == nil)
    }
}

@Suite("What comes of sending spans")
struct ExportTests {
    @Test(
        "is to send them again for the statuses that OTLP names, and for broken connections",
        arguments: [
            (200, ExportVerdict.taken(rejected: 0, "")), (202, .taken(rejected: 0, "")),
            (429, .later(seconds: 7, "status 429")), (502, .later(seconds: 7, "status 502")),
            (503, .later(seconds: 7, "status 503")), (504, .later(seconds: 7, "status 504")),
            (302, .refused("status 302")), (400, .refused("status 400")), (404, .refused("status 404")),
            (413, .refused("status 413")), (500, .refused("status 500")),
        ])
    private func statuses(status: Int, verdict: ExportVerdict) {
        #expect(ExportVerdict(PostAnswer(status: status, retryAfterSeconds: 7, body: ByteBuffer())) == verdict)
    }

    @Test("is by failure the same for all whose end the collector may have seen otherwise")
    func failures() {
        let reason = "Connection refused"
        #expect(ExportVerdict(PostFailure.unreachable(reason: reason)) == .later(seconds: nil, reason))
        #expect(ExportVerdict(PostFailure.noAnswer(milliseconds: 5)) == .later(seconds: nil, "no answer within 5 ms"))
        for failure in [PostFailure.notHTTP, .answerTooLong(maximumBytes: 1)] {
            #expect(ExportVerdict(failure) == .refused(failure.description))
        }
        #expect(ExportVerdict(PostFailure.closed) == .given(PostFailure.closed.description))
    }

    @Test("counts what a collector rejects of a batch, and nothing where its answer cannot be read")
    func partialSuccess() {
        func verdict(_ bytes: [UInt8]) -> ExportVerdict {
            ExportVerdict(PostAnswer(status: 200, retryAfterSeconds: nil, body: ByteBuffer(bytes: bytes)))
        }
        #expect(verdict([0x0a, 0x07, 0x08, 0xac, 0x02, 0x12, 0x02, 0x6e, 0x6f]) == .taken(rejected: 300, "no"))
        #expect(verdict([0x7a, 0x01, 0x00, 0x0a, 0x02, 0x08, 0x05]) == .taken(rejected: 5, ""))
        for bytes in [[0x0a], [0x0a, 0x7f, 0x08], [0xff, 0xff], Array(repeating: 0xff, count: 20)] as [[UInt8]] {
            #expect(verdict(bytes) == .taken(rejected: 0, ""))
        }
    }

    @Test("is tried as often as the bound has it, later each time, and not before the collector says")
    func schedule() throws {
        let queue = SpanQueue()
        let tracing = Tracing(
            sampler: TraceSampler(.always, followsParent: true), queue: queue,
            metrics: SpanMetrics(factory: NOOPMetricsHandler.instance))
        let tracer = DecisionTracer(tracing, .grpc)
        tracer.begin(.check, of: nil, in: nil, arrivedAt: .now())?.end(nil)
        var state = ExportState()
        var now = NIODeadline.now()
        let first = try #require(state.begin(from: queue).first)
        for attempt in 1..<SpanExporter.attempts {
            let isTried = state.retryLater(at: now, seconds: nil)
            #expect(isTried && !state.mayTry(at: now + .milliseconds(400)))
            let longest = min(30, 1 << (attempt - 1))
            now = now + .seconds(Int64(longest)) + .milliseconds(1)
            #expect(state.mayTry(at: now))
            let batch = state.begin(from: queue)
            #expect(batch.map(\.id) == [first.id])
        }
        let isTried = state.retryLater(at: now, seconds: nil)
        #expect(!isTried)
        state.end()
        let next = state.begin(from: queue)
        #expect(next.isEmpty)
        _ = state.retryLater(at: now, seconds: 20)
        #expect(!state.mayTry(at: now + .seconds(19)) && state.mayTry(at: now + .seconds(31)))
        // Nobody waits for a year.
        _ = state.begin(from: queue)
        _ = state.retryLater(at: now, seconds: .max)
        #expect(state.mayTry(at: now + .seconds(61)))
    }
}
