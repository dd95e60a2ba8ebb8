import NIOCore
import RateLimitCore
import RedisClient
import TestSupport
import Testing

@testable import RateLimitService

@Suite("An event as the stream keeps it")
struct ThresholdEventTests {
    private func values() throws -> WindowValues {
        let call = CallAttributes(model: "gpt-4o", labels: ["session": "a b"])
        return try #require(WindowValues([.model, .label("session")], of: call, group: nil))
    }

    @Test("is read as it was written, whatever there is of it, in any order and among other fields")
    func roundTrip() throws {
        let group = try #require(SubjectID("team a/ü\u{1}"))
        let events = [
            someEvent(), someEvent(.group(group), values: try values(), threshold: .share(perMille: 1_000)),
            someEvent(.global, threshold: .softQuota, quota: nil, windowMilliseconds: nil),
            someEvent(period: CalendarPeriod(start: 1_764_288_000, nextStart: 1_764_374_400), windowMilliseconds: nil),
        ]
        for event in events {
            #expect(ThresholdEvent(fields: event.fields) == event)
            let pairs = stride(from: 0, to: event.fields.count, by: 2).map { Array(event.fields[$0...$0 + 1]) }
            #expect(ThresholdEvent(fields: ["previous", "1-1"] + pairs.reversed().flatMap(\.self)) == event)
        }
        #expect(Set(events.map(\.id)).count == events.count)
    }

    @Test("is nothing where a field is missing, or holds what nobody writes here")
    func others() throws {
        let fields = someEvent(values: try values()).fields
        let optional = ["values", "quota", "window", "start", "end"]
        for index in stride(from: 0, to: fields.count, by: 2) {
            var without = fields
            without.removeSubrange(index...index + 1)
            #expect((ThresholdEvent(fields: without) == nil) == !optional.contains(fields[index]), "\(fields[index])")
            guard !["quota", "window"].contains(fields[index]) else { continue }
            for text in ["", "\u{1b}[2J", String(repeating: "x", count: 4_000), "é"] {
                var changed = fields
                changed[index + 1] = text
                let isUser = fields[index] == "user" && SubjectID(encoded: text) != nil
                #expect(
                    (ThresholdEvent(fields: changed) == nil) == !(isUser || fields[index] == "values" && text.isEmpty))
            }
        }
        #expect(ThresholdEvent(fields: []) == nil && ThresholdEvent(fields: ["id"]) == nil)
    }
}

@Suite("The stream of events in a real Redis")
struct EventStreamTests {
    private let redis: RedisServer

    init() throws { redis = try RedisServer() }

    private func makeService(_ redis: RedisServer? = nil) async throws -> ServiceUnderTest {
        try await ServiceUnderTest(redis ?? self.redis, CheckPolicy(limit: limit(20)))
    }

    private func append(_ events: [ThresholdEvent], _ service: ServiceUnderTest) async -> DeliveryResult {
        await service.service.events.stream.append(events)
    }

    private func page(
        _ service: ServiceUnderTest, limit: Int = 100, after cursor: StreamCursor? = nil
    ) async throws -> EventPage {
        try await service.eventLoop.flatSubmit { [events = service.service.events, eventLoop = service.eventLoop] in
            events.stream.page(limit: limit, after: cursor, on: eventLoop)
        }.get().get()
    }

    @Test("gives the events oldest first, page by page, each once, and where to go on behind the last")
    func pages() async throws {
        let service = try await makeService()
        #expect(try await page(service) == EventPage(behind: nil))
        #expect(try await page(service).next == .start)
        let events = (0..<7).map { _ in someEvent() }
        #expect(await append(Array(events[..<5]), service) == .accepted)
        #expect(await append(Array(events[5...]), service) == .accepted)
        var cursor: StreamCursor?
        var read: [ThresholdEvent] = []
        for (count, hasMore) in [(3, true), (3, true), (1, false), (0, false)] {
            let page = try await page(service, limit: 3, after: cursor)
            #expect(page.entries.count == count && page.hasMore == hasMore && !page.isTrimmed)
            #expect(page.entries.last.map { $0.cursor == page.next } ?? (page.next == cursor))
            read += page.entries.map(\.event)
            cursor = page.next
        }
        #expect(read == events)
        // What comes later is found from where the last page ended.
        let late = someEvent()
        _ = await append([late], service)
        #expect(try await page(service, after: cursor).entries.map(\.event) == [late])
        #expect(
            try await page(service, after: StreamCursor("18446744073709551615-18446744073709551615")).entries.isEmpty)
        await service.service.stop()
    }

    @Test(
        "keeps events once that are written again, as where Redis's answer was lost, and forgets that they were in time"
    )
    func once() async throws {
        let service = try await makeService()
        let events = [someEvent(), someEvent()]
        for _ in 0..<3 { #expect(await append(events, service) == .accepted) }
        #expect(try await page(service).entries.map(\.event) == events)
        let key = EventStream.writtenKey(of: "llm-rate:events", events[0].id)
        let lives = try redis.command("PTTL", key).integer ?? 0
        #expect((600_000...EventStream.memoryMilliseconds).contains(Int64(lives)))
        #expect(try redis.keys().sorted() == ["llm-rate:events", key].sorted())
        await service.service.stop()
    }

    @Test("says of nothing that it was written where it was not: the same is written when Redis takes it again")
    func refused() async throws {
        let service = try await makeService()
        try redis.command("SET", "llm-rate:events", "a text")
        let event = someEvent()
        guard case .failed(let reason, nil) = await append([event], service) else {
            Issue.record("it was written into a text")
            return
        }
        #expect(reason.contains("WRONGTYPE"))
        try redis.command("DEL", "llm-rate:events")
        #expect(await append([event], service) == .accepted)
        #expect(try await page(service).entries.map(\.event) == [event])
        await service.service.stop()
    }

    @Test("keeps some 10,000 entries, and says to whoever reads on from one that has gone whether others have, too")
    func trimmed() async throws {
        let service = try await makeService()
        var written: [ThresholdEvent] = []
        for _ in 0..<164 {
            let batch = (0..<64).map { _ in someEvent() }
            #expect(await append(batch, service) == .accepted)
            written += batch
        }
        let count = try redis.command("XLEN", "llm-rate:events").integer ?? 0
        #expect((10_000...10_200).contains(count) && written.count == 10_496)
        let oldest = try await page(service, limit: 1)
        #expect(oldest.entries.map(\.event) == [written[written.count - count]] && !oldest.isTrimmed)
        // From before all: what is there does not begin where the reader ended.
        #expect(try await page(service, after: .start).isTrimmed)
        // From the one before the oldest, which has gone as well, but behind which nothing has.
        let previous = try #require(
            try redis.command("XRANGE", "llm-rate:events", "-", "+", "COUNT", "1").elements.first?.elements.last?
                .elements[1].text.flatMap { StreamCursor($0) })
        #expect(try await !page(service, after: previous).isTrimmed)
        #expect(try await page(service, after: previous.before).isTrimmed)
        #expect(try await !page(service, after: oldest.next).isTrimmed)
        await service.service.stop()
    }

    @Test("says that events may have gone where the stream has begun anew")
    func begunAnew() async throws {
        let service = try await makeService()
        _ = await append([someEvent()], service)
        let cursor = try await page(service).next
        try redis.command("DEL", "llm-rate:events")
        #expect(try await !page(service, after: cursor).isTrimmed)
        // Redis would give the place of the one that has gone again within its millisecond.
        pause(milliseconds: 2)
        _ = await append([someEvent()], service)
        let page = try await page(service, after: cursor)
        #expect(page.isTrimmed && page.entries.count == 1)
        await service.service.stop()
    }

    @Test("passes over what others write into it, and goes on behind that")
    func foreign() async throws {
        let service = try await makeService()
        _ = await append([someEvent()], service)
        try redis.command("XADD", "llm-rate:events", "*", "who", "knows")
        let event = someEvent()
        _ = await append([event], service)
        let first = try await page(service, limit: 2)
        #expect(first.entries.count == 1 && first.hasMore)
        #expect(try await page(service, after: first.next).entries.map(\.event) == [event])
        await service.service.stop()
    }
}

@Suite("The delivery of events")
struct EventDeliveryTests {
    private let redis: RedisServer

    init() throws { redis = try RedisServer() }

    @Test("waits while Redis is away, and brings each event once when it is back, in their order")
    func away() async throws {
        let redis = try RedisServer()
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(20)), deadlineMilliseconds: 200)
        let events = service.service.events
        async let _: Void = events.run()
        let told = (0..<150).map { _ in someEvent() }
        for event in told[..<50] { events.tell(event) }
        #expect(try await service.eventually { service.metrics.delivered("stream") == 50 })
        redis.end()
        for event in told[50...] { events.tell(event) }
        #expect(try await service.eventually { service.metrics.counted[waiting("stream")] == 100 })
        try redis.restart()
        #expect(try await service.eventually { service.metrics.delivered("stream") == 150 })
        let page = try await service.eventLoop.flatSubmit { [eventLoop = service.eventLoop] in
            events.stream.page(limit: 100, after: nil, on: eventLoop)
        }.get().get()
        // It came back empty: what waited is there, and nothing else.
        #expect(page.entries.map(\.event) == Array(told[50...]) && !page.hasMore)
        #expect(service.metrics.counted[waiting("stream")] == nil && service.metrics.lost("stream") == nil)
        await service.service.stop()
    }

    @Test(
        "has a queue for each outlet: one that hangs keeps nothing from the others, and loses only what is above its own"
    )
    func hangs() async throws {
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(20)))
        let events = service.service.events
        let gate = AsyncStream.makeStream(of: Void.self)
        events.setLog { _ in }
        events.setWebhook { _ in
            for await _ in gate.stream { break }
            return .accepted
        }
        let run = Task { await events.run() }
        let capacity = ThresholdEvents.webhookBounds.capacity
        for index in 0..<capacity + 30 {
            events.tell(someEvent())
            // The stream and the log are to keep up, so that they lose nothing.
            if index % 500 == 499 {
                #expect(try await service.eventually { service.metrics.delivered("stream") == Double(index + 1) })
            }
        }
        #expect(try await service.eventually { service.metrics.delivered("stream") == Double(capacity + 30) })
        #expect(try await service.eventually { service.metrics.delivered("log") == Double(capacity + 30) })
        #expect(service.metrics.lost("webhook") == 30 && service.metrics.delivered("webhook") == nil)
        gate.continuation.finish()
        #expect(try await service.eventually { service.metrics.delivered("webhook") == Double(capacity) })
        run.cancel()
        await run.value
        await service.service.stop()
    }

    @Test("at the end brings what waits, and counts as lost what it cannot bring in time")
    func finishes() async throws {
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(20)))
        let events = service.service.events
        events.setWebhook { _ in .failed(reason: "down", retryAfterSeconds: 300) }
        let run = Task { await events.run() }
        for _ in 0..<5 { events.tell(someEvent()) }
        #expect(try await service.eventually { service.metrics.delivered("stream") == 5 })
        // It waits for the receiver, which has asked for minutes.
        #expect(service.metrics.counted[waiting("webhook")] == 5)
        await events.finish(patience: .seconds(20))
        #expect(service.metrics.lost("webhook") == 5 && service.metrics.counted[waiting("webhook")] == nil)
        run.cancel()
        await run.value
        await service.service.stop()
    }

    @Test("takes nothing for a webhook that is not there, and loses what waits for one that goes")
    func noWebhook() async throws {
        let service = try await ServiceUnderTest(redis, CheckPolicy(limit: limit(20)))
        let events = service.service.events
        let run = Task { await events.run() }
        events.tell(someEvent())
        #expect(try await service.eventually { service.metrics.delivered("stream") == 1 })
        #expect(!service.metrics.counted.keys.contains { $0.contains("webhook") })
        events.setWebhook { _ in .failed(reason: "down", retryAfterSeconds: 300) }
        events.tell(someEvent())
        #expect(service.metrics.counted[waiting("webhook")] == 1)
        #expect(try await service.eventually { service.metrics.delivered("stream") == 2 })
        events.setWebhook(nil)
        #expect(try await service.eventually { service.metrics.lost("webhook") == 1 })
        run.cancel()
        await run.value
        await service.service.stop()
    }

    private func waiting(_ outlet: String) -> String { "llm_rate_limit_events_waiting{outlet=\(outlet)}" }
}

extension RecordingMetrics {
    fileprivate func delivered(_ outlet: String) -> Double? { count(outlet, "delivered") }

    fileprivate func lost(_ outlet: String) -> Double? { count(outlet, "lost") }

    private func count(_ outlet: String, _ result: String) -> Double? {
        counted["llm_rate_limit_events_total{outlet=\(outlet),result=\(result)}"]
    }
}
