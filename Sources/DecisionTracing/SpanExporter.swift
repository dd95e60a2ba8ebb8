package import HTTPPosts
package import Logging
package import NIOCore
import RedisClient
import Synchronization

/// Sends spans to a collector by OTLP/HTTP, one batch after another: off the event loops that decide, and for as long as it
/// takes without holding up any of them.
///
/// A batch that could not be sent is tried again, later each time; spans wait meanwhile, as many as ``SpanQueue/bound``.
package final class SpanExporter: Sendable {
    /// Where spans go, and how.
    package struct Options: Sendable {
        /// The whole URL.
        package var url: PostURL
        /// Headers and files of TLS.
        package var post: PostOptions
        /// How long one attempt may take.
        package var limit: TimeAmount
        /// What is told of all spans.
        package var description: SpanDescription

        /// Makes them.
        package init(url: PostURL, post: PostOptions, limit: TimeAmount, description: SpanDescription) {
            self.url = url
            self.post = post
            self.limit = limit
            self.description = description
        }
    }

    /// How long a span waits at most for others to go with.
    package static let interval = TimeAmount.seconds(1)
    /// How long the end takes at most: what is still waiting then is lost, and counted.
    package static let lastMilliseconds = 2_000
    /// How often a batch is tried: with the waits in between for a minute or so.
    static let attempts = 8

    private let tracing: Tracing
    private let options: Options
    private let poster: HTTPPoster
    private let eventLoop: any EventLoop
    private let logger: Logger

    /// An exporter that posts on a loop of its own, which must be none that decides.
    package init(_ tracing: Tracing, _ options: Options, eventLoop: any EventLoop, logger: Logger) {
        self.tracing = tracing
        self.options = options
        self.eventLoop = eventLoop
        self.logger = logger
        poster = HTTPPoster(url: options.url, options: options.post, eventLoop: eventLoop)
    }

    /// Sends what comes until ``beginEnd()``, and then what is left.
    package func run() async {
        let queue = tracing.queue
        let timer = eventLoop.scheduleRepeatedTask(initialDelay: Self.interval, delay: Self.interval) { _ in
            queue.callExporter()
        }
        var state = ExportState()
        for await _ in queue.bells { await sendAll(&state, isLast: false) }
        timer.cancel()
        await sendAll(&state, isLast: true)
        poster.close()
    }

    /// Has ``run()`` end: it tries what is left once, within ``lastMilliseconds``.
    package func beginEnd() {
        tracing.queue.finish()
        eventLoop.scheduleTask(in: .milliseconds(Int64(Self.lastMilliseconds))) { [poster] in poster.close() }
    }

    /// Sends batches until none is left, or one has to wait.
    private func sendAll(_ state: inout ExportState, isLast: Bool) async {
        while isLast || state.mayTry(at: .now()) {
            let batch = state.begin(from: tracing.queue)
            guard !batch.isEmpty else { return }
            let verdict = await send(batch)
            settle(verdict, batch.count, &state, isLast: isLast)
        }
    }

    private func send(_ batch: [DecisionSpan]) async -> ExportVerdict {
        let body = options.description.request(batch)
        do throws(PostFailure) {
            return ExportVerdict(
                try await poster.post(body, contentType: "application/x-protobuf", within: options.limit))
        } catch {
            return ExportVerdict(error)
        }
    }

    private func settle(_ verdict: ExportVerdict, _ count: Int, _ state: inout ExportState, isLast: Bool) {
        switch verdict {
        case .taken(let rejected, let reason):
            let rejected = min(max(0, rejected), count)
            tracing.metrics.count(.exported, count - rejected)
            tracing.metrics.count(.refused, rejected)
            state.end()
            if rejected > 0 {
                tell("the collector refuses \(rejected) of \(count): \(reason)", &state)
            } else {
                tellOK(&state)
            }
        case .refused(let reason):
            tracing.metrics.count(.refused, count)
            state.end()
            tell(reason, &state)
        case .later(let seconds, let reason):
            tell(reason, &state)
            guard isLast || !state.retryLater(at: .now(), seconds: seconds) else { return }
            tracing.metrics.count(.failed, count)
            state.end()
        case .given:
            tracing.metrics.count(.failed, count)
            state.end()
        }
    }

    /// Says that spans are not taken: once, until they are.
    private func tell(_ reason: String, _ state: inout ExportState) {
        guard !state.isFailing else { return }
        state.isFailing = true
        logger.warning("cannot send spans", metadata: ["endpoint": "\(options.url)", "reason": "\(reason)"])
    }

    private func tellOK(_ state: inout ExportState) {
        guard state.isFailing else { return }
        state.isFailing = false
        logger.notice("spans are sent again", metadata: ["endpoint": "\(options.url)"])
    }
}

/// The batch that is being sent, and when it may be tried again: a value without a connection.
struct ExportState {
    private var batch: [DecisionSpan] = []
    private var attempts = 0
    private var notBefore: NIODeadline?
    private var backoff = Backoff(initial: .seconds(1), cap: .seconds(30))
    /// Whether somebody has been told that spans are not taken.
    var isFailing = false

    /// The longest wait that a collector may ask for, in seconds.
    static let longestWaitSeconds = 60

    /// Whether something may be sent by now.
    func mayTry(at now: NIODeadline) -> Bool { notBefore.map { $0 <= now } ?? true }

    /// The batch that is to be sent: the one that was not taken, or the next.
    mutating func begin(from queue: SpanQueue) -> [DecisionSpan] {
        if batch.isEmpty { batch = queue.take() }
        attempts += 1
        notBefore = nil
        return batch
    }

    /// The batch was not taken; false where it was tried often enough.
    mutating func retryLater(at now: NIODeadline, seconds: Int?) -> Bool {
        guard attempts < SpanExporter.attempts else { return false }
        var random = SystemRandomNumberGenerator()
        let own = backoff.next(using: &random)
        notBefore = now + max(own, .seconds(Int64(min(seconds ?? 0, Self.longestWaitSeconds))))
        return true
    }

    /// The batch is done with.
    mutating func end() {
        batch = []
        attempts = 0
        notBefore = nil
        backoff.reset()
    }
}
