import CoreMetrics
import Logging
import NIOCore
import Synchronization

/// Hands events to one outlet, in their order, as long as it runs: bounded, and away from whoever tells of them.
final class EventDelivery: Sendable {
    /// Where events go, as labels and log lines call it.
    enum Outlet: String, CaseIterable {
        case log
        case stream
        case webhook
    }

    private struct State {
        var queue: EventQueue
        /// Nil where there is no such outlet.
        var deliver: (@Sendable ([ThresholdEvent]) async -> DeliveryResult)?
        /// What wakes the run when a wait is over.
        var alarm: Scheduled<Void>?
    }

    private let outlet: Outlet
    private let metrics: EventMetrics.Series
    private let logger: Logger
    /// For its clock alone.
    private let eventLoop: any EventLoop
    private let state: Mutex<State>
    /// Each says that there may be something to do; one that has not been heard stands for all behind it.
    private let wakes: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation

    init(
        _ outlet: Outlet, _ bounds: DeliveryBounds, metrics: EventMetrics, logger: Logger, eventLoop: any EventLoop
    ) {
        self.outlet = outlet
        self.metrics = metrics.series(of: outlet)
        self.logger = logger
        self.eventLoop = eventLoop
        state = Mutex(State(queue: EventQueue(bounds: bounds)))
        (wakes, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Has events delivered so from the next on; nil for no more, and what waits is lost.
    func setOutlet(_ deliver: (@Sendable ([ThresholdEvent]) async -> DeliveryResult)?) {
        state.withLock { $0.deliver = deliver }
        wake.yield()
    }

    /// Takes an event, where there is such an outlet.
    func enqueue(_ event: ThresholdEvent) {
        let isOn = state.withLock { state in
            guard state.deliver != nil else { return false }
            state.queue.append(event, at: .now())
            report(&state)
            return true
        }
        if isOn { wake.yield() }
    }

    /// Delivers until the task is cancelled.
    func run() async {
        for await _ in wakes {
            while let (events, deliver) = next() {
                let result = await deliver(events)
                settle(result)
            }
            if Task.isCancelled { break }
        }
        let lost = state.withLock { state in
            state.alarm?.cancel()
            state.queue.beginFinishing()
            state.queue.loseAll()
            report(&state)
            return state.queue.lostAtEnd
        }
        guard lost > 0 else { return }
        logger.warning(
            "events are lost: the daemon ends", metadata: ["outlet": "\(outlet.rawValue)", "lost": "\(lost)"])
    }

    /// Has everything that waits tried once more, at once, and waits until nothing does, for `patience` at most.
    func finish(patience: Duration) async {
        state.withLock { $0.queue.beginFinishing() }
        wake.yield()
        let end = ContinuousClock.now + patience
        while state.withLock({ $0.queue.count }) > 0, ContinuousClock.now < end, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    /// What is to be delivered now, and how; nil where it is to be waited for, or nothing is there.
    private func next() -> ([ThresholdEvent], @Sendable ([ThresholdEvent]) async -> DeliveryResult)? {
        guard !Task.isCancelled else { return nil }
        return state.withLock { state in
            guard let deliver = state.deliver else {
                state.queue.loseAll()
                report(&state)
                return nil
            }
            let step = state.queue.next(at: .now())
            report(&state)
            switch step {
            case .deliver(let events): return (events, deliver)
            case .idle: return nil
            case .wait(let end):
                state.alarm?.cancel()
                state.alarm = eventLoop.scheduleTask(deadline: end) { [wake] () -> Void in wake.yield() }
                return nil
            }
        }
    }

    private func settle(_ result: DeliveryResult) {
        let news = state.withLock { state in
            var random = SystemRandomNumberGenerator()
            let news = state.queue.settle(result, at: .now(), using: &random)
            report(&state)
            return news
        }
        switch news {
        case .troubled(let reason)?:
            logger.warning(
                "cannot deliver events", metadata: ["outlet": "\(outlet.rawValue)", "reason": "\(reason)"])
        case .recovered(let refused, let lost)?:
            logger.notice(
                "events are delivered again",
                metadata: ["outlet": "\(outlet.rawValue)", "refused": "\(refused)", "lost": "\(lost)"])
        case nil: break
        }
    }

    private func report(_ state: inout State) {
        metrics.report(state.queue.takeCounts(), waiting: state.queue.count)
    }
}

/// What becomes of events, by where they go.
struct EventMetrics: Sendable {
    struct Series: Sendable {
        fileprivate let delivered: Counter
        fileprivate let refused: Counter
        fileprivate let lost: Counter
        fileprivate let waiting: Gauge

        fileprivate init(_ outlet: EventDelivery.Outlet, _ factory: any MetricsFactory) {
            func counter(_ result: String) -> Counter {
                Counter(
                    label: CheckMetrics.Name.events, dimensions: [("outlet", outlet.rawValue), ("result", result)],
                    factory: factory)
            }
            delivered = counter("delivered")
            refused = counter("refused")
            lost = counter("lost")
            waiting = Gauge(
                label: CheckMetrics.Name.eventsWaiting, dimensions: [("outlet", outlet.rawValue)], factory: factory)
        }

        func report(_ counts: EventQueue.Counts, waiting count: Int) {
            if counts.delivered > 0 { delivered.increment(by: counts.delivered) }
            if counts.refused > 0 { refused.increment(by: counts.refused) }
            if counts.lost > 0 { lost.increment(by: counts.lost) }
            waiting.record(count)
        }
    }

    private let all: [EventDelivery.Outlet: Series]

    init(factory: any MetricsFactory) {
        all = Dictionary(
            uniqueKeysWithValues: EventDelivery.Outlet.allCases.map { ($0, Series($0, factory)) })
    }

    func series(of outlet: EventDelivery.Outlet) -> Series {
        guard let series = all[outlet] else { preconditionFailure("each outlet has its series") }
        return series
    }
}
