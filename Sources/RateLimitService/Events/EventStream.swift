public import NIOCore
import RateLimitCore
import RedisClient

/// The stream in Redis in which all daemons on it tell of thresholds.
public final class EventStream: Sendable {
    /// How many entries it keeps, more or less: Redis removes them by whole nodes of the stream.
    public static let entries = 10_000
    /// How many events of it are given at a time.
    public static let pageSizes = 1...100
    /// How events are written: many at once, and again while Redis is away.
    static let bounds = DeliveryBounds(
        batch: 64, patienceMilliseconds: 600_000, initialWaitMilliseconds: 100, longestWaitMilliseconds: 5_000)
    /// For how long it is known what was written, in milliseconds: longer than anything is tried again.
    static let memoryMilliseconds = 2 * bounds.patienceMilliseconds

    let key: String
    private let engines: [NIOLoopBound<CheckEngine>]

    init(keyPrefix: String, _ engines: [NIOLoopBound<CheckEngine>]) {
        key = Self.key(prefix: keyPrefix)
        self.engines = engines
    }

    /// What the stream is called.
    static func key(prefix: String) -> String { "\(prefix):events" }

    /// What says that events of a stream were written of which the first has this id; in the slot of the stream.
    static func writtenKey(of key: String, _ id: String) -> String { "{\(key)}:written:\(id)" }

    /// Writes some events behind all others. Those that were written before, with the same first one, stay as they are.
    func append(_ events: [ThresholdEvent]) async -> DeliveryResult {
        let command = command(events)
        let promise = engines[0].eventLoop.makePromise(of: DeliveryResult.self)
        engines[0].execute { [key] engine in
            engine.perform(command, forKey: key, .integer) { result in promise.succeed(DeliveryResult(result)) }
        }
        // The promise never fails.
        return (try? await promise.futureResult.get()) ?? .failed(reason: "", retryAfterSeconds: nil)
    }

    private func command(_ events: [ThresholdEvent]) -> [String] {
        let entries = events.flatMap { event in
            let fields = event.fields
            return ["\(fields.count / 2)"] + fields
        }
        return [
            "EVAL", String(decoding: PackageResources.event_lua, as: UTF8.self), "2", key,
            Self.writtenKey(of: key, events[0].id),
        ]
            + ["\(Self.entries)", "\(Self.memoryMilliseconds)"] + entries
    }

    /// The oldest events behind a cursor.
    ///
    /// - Parameters:
    ///   - limit: how many at most, within ``pageSizes``.
    ///   - cursor: nil for the oldest that are kept.
    ///   - eventLoop: one of the service's, on which this is called and answered.
    public func page(
        limit: Int, after cursor: StreamCursor?, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Result<EventPage, FailureReason>> {
        precondition(Self.pageSizes.contains(limit))
        guard let engine = engines.first(where: { $0.eventLoop === eventLoop })?.value else {
            preconditionFailure("the event loop is none of this service's")
        }
        let promise = eventLoop.makePromise(of: Result<EventPage, FailureReason>.self)
        // Nothing is behind the last place there is.
        guard let start = (cursor ?? .start).after else {
            promise.succeed(.success(EventPage(behind: cursor)))
            return promise.futureResult
        }
        // One more says whether there are more. A place behind another's text needs Redis 6.2.
        let command = ["XRANGE", key, "\(start)", "+", "COUNT", "\(limit + 1)"]
        engine.perform(command, forKey: key, .array) { result in
            promise.succeed(
                Result { () throws(FailureReason) in
                    guard let page = EventPage(try result.get(), limit: limit, after: cursor) else { throw .redisError }
                    return page
                })
        }
        return promise.futureResult
    }
}

extension DeliveryResult {
    /// What Redis answered to `event.lua`. Whatever it says, the next try may come to a server that takes them.
    fileprivate init(_ result: CommandResult) {
        switch result {
        case .failure(let reason): self = .failed(reason: reason.rawValue, retryAfterSeconds: nil)
        case .success(let reply):
            self = reply.errorText.map { .failed(reason: $0, retryAfterSeconds: nil) } ?? .accepted
        }
    }
}

/// Some events of the stream, oldest first.
public struct EventPage: Hashable, Sendable {
    /// One of them, and where it stands.
    public struct Entry: Hashable, Sendable {
        /// Where it stands.
        public var cursor: StreamCursor
        /// What it tells.
        public var event: ThresholdEvent
    }

    /// At most as many as were asked for.
    public var entries: [Entry] = []
    /// Where to go on: behind the last that was looked at.
    public var next: StreamCursor
    /// Whether there are more by now.
    public var hasMore = false
    /// Whether events between the cursor and the first of these have gone, since the stream keeps no more.
    public var isTrimmed = false

    /// No events behind a cursor.
    init(behind cursor: StreamCursor?) { next = cursor ?? .start }

    /// Reads what XRANGE replied; nil where it is no such reply. An entry that nobody here has written is passed over.
    init?(_ reply: Reply, limit: Int, after cursor: StreamCursor?) {
        guard case .array(let count)? = reply.elements.first else { return nil }
        self.init(behind: cursor)
        var position = 1
        for index in 0..<count {
            guard position + 1 < reply.elements.count, case .array(2) = reply.elements[position],
                let place = reply.text(of: reply.elements[position + 1]).flatMap({ StreamCursor($0) })
            else { return nil }
            position += 2
            guard let fields = reply.texts(at: &position) else { return nil }
            guard index < limit else {
                hasMore = true
                return
            }
            if index == 0, let cursor { isTrimmed = Self.hasGap(between: cursor, and: fields) }
            next = place
            if let event = ThresholdEvent(fields: fields) { entries.append(Entry(cursor: place, event: event)) }
        }
    }

    /// Whether an entry was not the first one behind a cursor when it was written: whether another than the cursor's, or an
    /// earlier one, stood before it. Where none did, the stream has begun anew.
    private static func hasGap(between cursor: StreamCursor, and fields: [String]) -> Bool {
        guard let index = fields.firstIndex(of: "previous"), index + 1 < fields.count else { return true }
        if fields[index + 1].isEmpty { return cursor > .start }
        return StreamCursor(fields[index + 1]).map { $0 > cursor } ?? true
    }
}
