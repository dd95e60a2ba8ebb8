import NIOCore
import Synchronization

/// Spans that wait to be sent: event loops put them in, the exporter takes them out. Bounded; whatever does not find room
/// is dropped at once.
package final class SpanQueue: Sendable {
    /// How many may wait: as many as OpenTelemetry's own span processors keep.
    package static let bound = 2_048
    /// How many are sent together at most, and how many have the exporter begin before its time.
    package static let batch = 512

    private let waiting = Mutex(CircularBuffer<DecisionSpan>())
    private let (bell, ring) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    /// An empty one.
    package init() {}

    /// Puts a span in; false where there is no room.
    func put(_ span: DecisionSpan) -> Bool {
        let count: Int? = waiting.withLock { waiting in
            guard waiting.count < Self.bound else { return nil }
            waiting.append(span)
            return waiting.count
        }
        guard let count else { return false }
        // Once for each batch: ringing costs more than putting in.
        if count == Self.batch { ring.yield() }
        return true
    }

    /// Takes the oldest out, as many as go together.
    func take() -> [DecisionSpan] {
        waiting.withLock { waiting in
            let taken = Array(waiting.prefix(Self.batch))
            waiting.removeFirst(taken.count)
            return taken
        }
    }

    /// Comes by whenever the exporter has something to do; for one reader.
    var bells: AsyncStream<Void> { bell }

    /// Has the exporter look after what waits.
    func callExporter() { ring.yield() }

    /// Has the exporter end when it has done what it is at.
    func finish() { ring.finish() }
}
