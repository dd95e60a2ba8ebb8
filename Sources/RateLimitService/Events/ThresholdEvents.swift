import Logging
import NIOCore

/// Tells of thresholds that are crossed: in the log, in the stream of Redis's that all daemons share, and to a webhook where
/// there is one. Each of the three has a queue of its own, so that one that hangs keeps nothing from the others.
public final class ThresholdEvents: Sendable {
    /// The events of all daemons, as they can be read.
    public let stream: EventStream
    private let log: EventDelivery
    private let streamDelivery: EventDelivery
    private let webhook: EventDelivery

    /// Lines of the log need no other try.
    private static let logBounds = DeliveryBounds(
        batch: 64, patienceMilliseconds: 60_000, initialWaitMilliseconds: 1, longestWaitMilliseconds: 1)
    /// How a webhook is tried: some three minutes where it fails one event again and again, and what waits behind that for a
    /// quarter of an hour.
    static let webhookBounds = DeliveryBounds(
        batch: 1, tries: 10, patienceMilliseconds: 900_000, initialWaitMilliseconds: 500,
        longestWaitMilliseconds: 60_000)

    init(stream: EventStream, metrics: EventMetrics, logger: Logger, eventLoop: any EventLoop) {
        self.stream = stream
        func delivery(_ outlet: EventDelivery.Outlet, _ bounds: DeliveryBounds) -> EventDelivery {
            EventDelivery(outlet, bounds, metrics: metrics, logger: logger, eventLoop: eventLoop)
        }
        log = delivery(.log, Self.logBounds)
        streamDelivery = delivery(.stream, EventStream.bounds)
        webhook = delivery(.webhook, Self.webhookBounds)
        streamDelivery.setOutlet { await stream.append($0) }
    }

    /// Has each event given to `write`, which logs it.
    public func setLog(_ write: @escaping @Sendable (ThresholdEvent) -> Void) {
        log.setOutlet { events in
            for event in events { write(event) }
            return .accepted
        }
    }

    /// Has each event given to `post` from the next try on; nil for no webhook, and what waits for it is lost.
    public func setWebhook(_ post: (@Sendable (ThresholdEvent) async -> DeliveryResult)?) {
        guard let post else { return webhook.setOutlet(nil) }
        webhook.setOutlet { events in await post(events[0]) }
    }

    /// Takes an event; from any thread, without a wait.
    public func tell(_ event: ThresholdEvent) {
        log.enqueue(event)
        streamDelivery.enqueue(event)
        webhook.enqueue(event)
    }

    /// Delivers until the task is cancelled; what waits then is lost.
    public func run() async {
        await withTaskGroup { tasks in
            for delivery in [log, streamDelivery, webhook] { tasks.addTask { await delivery.run() } }
        }
    }

    /// Has everything that waits tried once more, at once, and waits until nothing does, for `patience` at most.
    public func finish(patience: Duration) async {
        await withTaskGroup { tasks in
            for delivery in [log, streamDelivery, webhook] {
                tasks.addTask { await delivery.finish(patience: patience) }
            }
        }
    }
}
