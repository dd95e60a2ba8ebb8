import Glibc
package import NIOCore
package import RateLimitCore
package import RateLimitService

/// What the tracers of all event loops share.
package struct Tracing: Sendable {
    /// Which decisions become spans.
    package let sampler: TraceSampler
    /// Where they wait to be sent.
    package let queue: SpanQueue
    /// What becomes of them.
    package let metrics: SpanMetrics

    /// Makes what they share.
    package init(sampler: TraceSampler, queue: SpanQueue, metrics: SpanMetrics) {
        self.sampler = sampler
        self.queue = queue
        self.metrics = metrics
    }
}

/// Begins the spans of one event loop's decisions by one protocol. Not thread-safe.
package final class DecisionTracer {
    private let tracing: Tracing
    private let transport: TracedProtocol
    private var numbers = NumberGenerator(seed: .random(in: 0...UInt64.max))

    /// A tracer whose numbers nobody else draws.
    package init(_ tracing: Tracing, _ transport: TracedProtocol) {
        self.tracing = tracing
        self.transport = transport
    }

    /// Begins the span of a decision; nil where it is not to be one.
    ///
    /// - Parameters:
    ///   - parent: what the caller says of its trace, where it does.
    ///   - arrival: when the request was there.
    package func begin(
        _ operation: TracedOperation, of user: SubjectID?, in parent: TraceContext?, arrivedAt arrival: NIODeadline
    ) -> OpenSpan? {
        let low = parent?.trace.low ?? numbers.next()
        guard tracing.sampler.samples(parent, low: low) else { return nil }
        let now = unixNanoseconds()
        let waited = max(0, (NIODeadline.now() - arrival).nanoseconds)
        // A trace's number and a span's are never 0, which numbers that were drawn are once in 2^64 times.
        let trace = parent?.trace ?? TraceID(high: numbers.next() | 1, low: low)
        return OpenSpan(
            tracing: tracing, arrival: arrival,
            span: DecisionSpan(
                trace: trace, id: numbers.next() | 1, parent: parent?.parent, operation: operation,
                transport: transport, start: now - UInt64(waited), end: 0, user: user, outcome: nil))
    }
}

/// The span of a request that has not been answered. One that is let go of before was left by its client, and is counted.
package final class OpenSpan {
    private let tracing: Tracing
    private let arrival: NIODeadline
    private var span: DecisionSpan
    private var hasEnded = false

    fileprivate init(tracing: Tracing, arrival: NIODeadline, span: DecisionSpan) {
        self.tracing = tracing
        self.arrival = arrival
        self.span = span
    }

    deinit {
        if !hasEnded { tracing.metrics.count(.abandoned) }
    }

    /// Ends it with the answer.
    ///
    /// - Parameter outcome: nil where that is an error.
    package func end(_ outcome: Outcome?) {
        precondition(!hasEnded, "a request is answered once")
        hasEnded = true
        span.outcome = outcome
        span.end = span.start + UInt64(max(0, (NIODeadline.now() - arrival).nanoseconds))
        if !tracing.queue.put(span) { tracing.metrics.count(.dropped) }
    }
}

extension OpenSpan: Hashable {
    /// Whether both are the same one.
    package static func == (one: OpenSpan, other: OpenSpan) -> Bool { one === other }

    /// Takes which one it is.
    package func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

private func unixNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// SplitMix64: numbers that repeat nowhere near, at the cost of a few instructions; the system's own cost a call each.
private struct NumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
