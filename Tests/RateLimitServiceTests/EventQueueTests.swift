import NIOCore
import RateLimitCore
import TestSupport
import Testing

@testable import RateLimitService

/// An event about a user that nobody else has.
func someEvent(
    _ owner: WindowOwner? = nil, values: WindowValues? = nil, threshold: LimitThreshold = .share(perMille: 800),
    quota: Int? = 100, period: CalendarPeriod? = nil, windowMilliseconds: Int? = 3_600_000
) -> ThresholdEvent {
    guard let name = LimitName("calls") else { preconditionFailure("calls is a name") }
    return ThresholdEvent(
        ThresholdCrossing(
            limit: name, unit: .requests, mode: .enforce, owner: owner ?? .user(someUser()), values: values,
            threshold: threshold, amount: 80, quota: quota, used: 81, period: period,
            windowMilliseconds: windowMilliseconds, unixMilliseconds: 1_764_370_800_123))
}

@Suite("The queue of events")
struct EventQueueTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    /// Batches of 2, 4 waiting at most, 3 tries, ten seconds of patience, waits of 100 ms to a second.
    private func queue(capacity: Int = 4, batch: Int = 2, tries: Int? = 3) -> EventQueue {
        EventQueue(
            bounds: DeliveryBounds(
                capacity: capacity, batch: batch, tries: tries, patienceMilliseconds: 10_000,
                initialWaitMilliseconds: 100, longestWaitMilliseconds: 1_000))
    }

    private func at(_ milliseconds: Int64) -> NIODeadline { start + .milliseconds(milliseconds) }

    private func failed(_ retryAfterSeconds: Int? = nil) -> DeliveryResult {
        .failed(reason: "down", retryAfterSeconds: retryAfterSeconds)
    }

    /// What is to be delivered; nothing where it is to be waited for.
    private func delivered(_ queue: inout EventQueue, at milliseconds: Int64) -> [ThresholdEvent] {
        if case .deliver(let events) = queue.next(at: at(milliseconds)) { events } else { [] }
    }

    @Test("hands out the events in their order, so many at a time")
    func order() {
        var queue = queue()
        var random = SeededGenerator(seed: 1)
        let events = (0..<3).map { _ in someEvent() }
        for event in events { queue.append(event, at: start) }
        #expect(delivered(&queue, at: 0) == Array(events[..<2]) && queue.count == 3)
        #expect(queue.settle(.accepted, at: start, using: &random) == nil)
        #expect(delivered(&queue, at: 0) == [events[2]])
        _ = queue.settle(.accepted, at: start, using: &random)
        #expect(queue.next(at: start) == .idle && queue.count == 0)
        #expect(queue.takeCounts() == EventQueue.Counts(delivered: 3) && queue.takeCounts() == EventQueue.Counts())
    }

    @Test("loses exactly what comes above its capacity, what is under way counted")
    func capacity() {
        var queue = queue()
        let events = (0..<7).map { _ in someEvent() }
        for event in events[..<4] { queue.append(event, at: start) }
        #expect(delivered(&queue, at: 0).count == 2)
        for event in events[4...] { queue.append(event, at: start) }
        #expect(queue.count == 4 && queue.takeCounts() == EventQueue.Counts(lost: 3))
    }

    @Test("hands out the very same events until they are accepted, whatever comes meanwhile")
    func sameBatch() {
        var queue = queue()
        var random = SeededGenerator(seed: 2)
        let first = someEvent()
        queue.append(first, at: start)
        #expect(delivered(&queue, at: 0) == [first])
        queue.append(someEvent(), at: start)
        _ = queue.settle(failed(), at: start, using: &random)
        #expect(delivered(&queue, at: 1_000) == [first])
    }

    @Test("waits twice as long behind each failure, half of it drawn, and no longer than the bound; success ends that")
    func backoff() {
        var queue = queue(tries: nil)
        var random = SeededGenerator(seed: 3)
        var now = start
        queue.append(someEvent(), at: start)
        for full in [100, 200, 400, 800, 1_000, 1_000] as [Int64] {
            guard case .deliver = queue.next(at: now) else {
                Issue.record("nothing is tried")
                return
            }
            _ = queue.settle(failed(), at: now, using: &random)
            guard case .wait(let end) = queue.next(at: now) else {
                Issue.record("nothing is waited for")
                return
            }
            #expect((.milliseconds(full / 2)...(.milliseconds(full))).contains(end - now), "\(full)")
            #expect(queue.next(at: end - .nanoseconds(1)) == .wait(until: end))
            now = end
        }
        _ = queue.next(at: now)
        _ = queue.settle(.accepted, at: now, using: &random)
        queue.append(someEvent(), at: now)
        _ = queue.next(at: now)
        _ = queue.settle(failed(), at: now, using: &random)
        guard case .deliver = queue.next(at: now + .milliseconds(100)) else {
            Issue.record("it waits too long")
            return
        }
    }

    @Test("leaves a receiver alone for as long as it asks, up to the bound, and never shorter than it would anyway")
    func retryAfter() {
        for (asked, seconds) in [(7, 7), (300, 300), (301, 300), (Int.max, 300)] {
            var queue = EventQueue(
                bounds: DeliveryBounds(
                    batch: 1, patienceMilliseconds: 1_000_000, initialWaitMilliseconds: 100,
                    longestWaitMilliseconds: 100))
            var random = SeededGenerator(seed: 4)
            queue.append(someEvent(), at: start)
            _ = queue.next(at: start)
            _ = queue.settle(failed(asked), at: start, using: &random)
            #expect(queue.next(at: start) == .wait(until: start + .seconds(Int64(seconds))))
        }
        for asked in [0, -1] {
            var queue = queue()
            var random = SeededGenerator(seed: 5)
            queue.append(someEvent(), at: start)
            _ = queue.next(at: start)
            _ = queue.settle(failed(asked), at: start, using: &random)
            guard case .wait(let end) = queue.next(at: start) else {
                Issue.record("nothing is waited for")
                return
            }
            #expect(end >= at(50))
        }
    }

    @Test("gives up what has been tried so often, and goes on with the next when the wait is over")
    func tries() {
        var queue = queue(batch: 1)
        var random = SeededGenerator(seed: 6)
        let events = [someEvent(), someEvent()]
        for event in events { queue.append(event, at: start) }
        for (try_, milliseconds) in [0, 1_000, 2_000].enumerated() {
            #expect(delivered(&queue, at: Int64(milliseconds)) == [events[0]])
            _ = queue.settle(failed(), at: at(Int64(milliseconds)), using: &random)
            #expect(queue.takeCounts() == EventQueue.Counts(lost: try_ == 2 ? 1 : 0))
        }
        #expect(queue.next(at: at(2_000)) != .deliver([events[1]]))
        #expect(delivered(&queue, at: 3_000) == [events[1]])
    }

    @Test("gives up what has waited too long, though it was never tried")
    func patience() {
        var queue = queue(batch: 1, tries: nil)
        let late = someEvent()
        queue.append(someEvent(), at: start)
        queue.append(late, at: at(5_000))
        #expect(delivered(&queue, at: 10_000) == [late])
        #expect(queue.takeCounts() == EventQueue.Counts(lost: 1))
    }

    @Test("tries what was refused no more, and the next at once")
    func refused() {
        var queue = queue(batch: 1)
        var random = SeededGenerator(seed: 7)
        let events = [someEvent(), someEvent()]
        for event in events { queue.append(event, at: start) }
        _ = queue.next(at: start)
        _ = queue.settle(.refused(reason: "status 400"), at: start, using: &random)
        #expect(delivered(&queue, at: 0) == [events[1]])
        #expect(queue.takeCounts() == EventQueue.Counts(refused: 1))
    }

    @Test("says once that an outlet is in trouble, and once that it is over, with what that cost")
    func news() {
        var queue = queue(capacity: 3, batch: 1, tries: 2)
        var random = SeededGenerator(seed: 8)
        for _ in 0..<3 { queue.append(someEvent(), at: start) }
        let results: [(DeliveryResult, EventQueue.News?)] = [
            (failed(), .troubled(reason: "down")), (failed(), nil), (.refused(reason: "status 400"), nil),
            (.accepted, .recovered(refused: 1, lost: 1)),
        ]
        for (index, (result, news)) in results.enumerated() {
            let now = at(Int64(index) * 1_000)
            _ = queue.next(at: now)
            // One above the capacity, while the first is under way.
            if index == 0 { queue.append(someEvent(), at: now) }
            #expect(queue.settle(result, at: now, using: &random) == news)
        }
    }

    @Test("at the end tries everything once, without a wait, and loses what fails")
    func finishing() {
        var queue = queue(batch: 1)
        var random = SeededGenerator(seed: 9)
        let events = (0..<3).map { _ in someEvent() }
        for event in events { queue.append(event, at: start) }
        _ = queue.next(at: start)
        _ = queue.settle(failed(), at: start, using: &random)
        queue.beginFinishing()
        #expect(delivered(&queue, at: 0) == [events[0]])
        _ = queue.settle(failed(), at: start, using: &random)
        #expect(delivered(&queue, at: 0) == [events[1]])
        _ = queue.settle(.accepted, at: start, using: &random)
        #expect(queue.count == 1)
        queue.loseAll()
        #expect(queue.takeCounts() == EventQueue.Counts(delivered: 1, lost: 2) && queue.next(at: start) == .idle)
        #expect(queue.lostAtEnd == 2)
    }

    @Test("loses no count: whatever happens, what was taken was delivered, refused or lost, or still waits")
    func conservation() {
        var random = SeededGenerator(seed: 10)
        for _ in 0..<200 {
            var queue = queue(capacity: .random(in: 1...6, using: &random), batch: .random(in: 1...4, using: &random))
            var now = start
            var taken = 0
            var counts = EventQueue.Counts()
            for _ in 0..<100 {
                now = now + .milliseconds(.random(in: 0...3_000, using: &random))
                for _ in 0..<Int.random(in: 0...3, using: &random) {
                    queue.append(someEvent(), at: now)
                    taken += 1
                }
                if case .deliver(let events) = queue.next(at: now) {
                    #expect((1...queue.bounds.batch).contains(events.count))
                    let results: [DeliveryResult] = [.accepted, .refused(reason: ""), failed(), failed(2)]
                    _ = queue.settle(results.randomElement(using: &random) ?? .accepted, at: now, using: &random)
                }
                let new = queue.takeCounts()
                counts.delivered += new.delivered
                counts.refused += new.refused
                counts.lost += new.lost
                #expect(queue.count <= queue.bounds.capacity)
                #expect(taken == counts.delivered + counts.refused + counts.lost + queue.count)
            }
        }
    }
}
