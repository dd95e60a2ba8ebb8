import HTTPServer
import NIOCore
import NIOPosix
import RateLimitCore
import TestSupport
import Testing

@testable import EventWebhook
@testable import HTTPPosts
@testable import RateLimitService

/// An event about a user that nobody else has.
private func someEvent() throws -> ThresholdEvent {
    ThresholdEvent(
        ThresholdCrossing(
            limit: try #require(LimitName("calls")), unit: .requests, mode: .enforce,
            owner: .user(SubjectID(high: .random(in: 0 ... .max), low: 1)), values: nil,
            threshold: .share(perMille: 800), amount: 80, quota: 100, used: 81, period: nil,
            windowMilliseconds: 3_600_000, unixMilliseconds: 1_764_370_800_123))
}

@Suite("A webhook's secret")
struct WebhookSecretTests {
    @Test("signs as the specification of Standard Webhooks shows it")
    func vector() throws {
        let secret = try #require(WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
        let signature = secret.signature(
            of: Array(#"{"test": 2432232314}"#.utf8), id: "msg_p5jXN8AQM9LWM0D4loKWxJek", at: 1_614_265_330)
        #expect(signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    }

    @Test("is the base64 of 24 to 64 bytes behind whsec_, and nothing else")
    func forms() {
        func text(_ count: Int) -> String {
            let bits = count * 8
            let full = String(repeating: "A", count: (bits + 5) / 6)
            return "whsec_" + full + String(repeating: "=", count: (4 - full.count % 4) % 4)
        }
        for count in [24, 25, 26, 32, 64] { #expect(WebhookSecret(text(count)) != nil, "\(count)") }
        for count in [0, 1, 23, 65, 66, 1_000] { #expect(WebhookSecret(text(count)) == nil, "\(count)") }
        for other in ["", "whsec_", text(32) + "!", " " + text(32), String(text(32).dropFirst(6)), "WHSEC_\(text(32))"]
        {
            #expect(WebhookSecret(other) == nil, "\(other)")
        }
        #expect("\(String(describing: WebhookSecret(text(32))))" == "Optional(***)")
    }
}

@Suite("What an answer says of an event")
struct AnswerTests {
    @Test("Whatever may be otherwise the next time is tried again, and the rest is refused")
    func statuses() {
        for status in [200, 201, 204, 299] { #expect(result(status) == .accepted) }
        for status in [300, 301, 307, 400, 401, 403, 404, 410, 413, 422, 499] {
            #expect(result(status) == .refused(reason: "status \(status)"))
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            #expect(result(status) == .failed(reason: "status \(status)", retryAfterSeconds: nil))
            #expect(result(status, 7) == .failed(reason: "status \(status)", retryAfterSeconds: 7))
        }
    }

    private func result(_ status: Int, _ seconds: Int? = nil) -> DeliveryResult {
        DeliveryResult(PostAnswer(status: status, retryAfterSeconds: seconds, body: ByteBuffer()))
    }
}

@Suite("A webhook and a real HTTP server")
struct EventWebhookTests {
    private let eventLoop = MultiThreadedEventLoopGroup.singleton.next()

    private func webhook(
        _ receiver: HTTPReceiver, secret: WebhookSecret? = nil, deadline: TimeAmount = .seconds(5)
    ) throws -> EventWebhook {
        EventWebhook(
            url: try PostURL(receiver.url()), secret: secret, userAgent: "llm-rate-limit/1", deadline: deadline,
            eventLoop: eventLoop, json: \.json)
    }

    @Test("is told the event as JSON, with the id by which one that comes twice is known, and signed")
    func form() async throws {
        let receiver = try HTTPReceiver()
        let secret = try #require(WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
        let signing = try webhook(receiver, secret: secret)
        let plain = try webhook(receiver)
        let event = try someEvent()
        #expect(await signing.post(event) == .accepted)
        #expect(await plain.post(event) == .accepted)
        let (first, second) = (receiver.requests[0], receiver.requests[1])
        #expect(first.head.hasPrefix("POST /hook HTTP/1.1\r\n") && first.header("content-type") == "application/json")
        #expect(first.header("user-agent") == "llm-rate-limit/1")
        #expect(first.body == second.body && Array(first.body.utf8) == event.json)
        #expect(try first.json["id"] as? String == event.id && first.header("webhook-id") == event.id)
        let time = try #require(first.header("webhook-timestamp").flatMap { Int($0) })
        #expect(abs(time - systemMicroseconds() / 1_000_000) < 60)
        #expect(
            first.header("webhook-signature") == secret.signature(of: Array(first.body.utf8), id: event.id, at: time))
        #expect(second.header("webhook-signature") == nil)
        signing.close()
        plain.close()
    }

    @Test("is tried again where it fails, hangs, closes mid-answer or is not there, and told each event once besides")
    func failures() async throws {
        // One event after the other: the first meets each of these, and then all are taken.
        let replies: [HTTPReceiver.Reply] = [
            .status(500), .status(429, ["Retry-After": "1"]), .close, .half, .silence, .status(503),
        ]
        let receiver = try HTTPReceiver { _, number in number < replies.count ? replies[number] : .status(204) }
        let webhook = try webhook(receiver, deadline: .milliseconds(500))
        let events = try (0..<3).map { _ in try someEvent() }
        var queue = EventQueue(bounds: ThresholdEvents.webhookBounds)
        for event in events { queue.append(event, at: .now()) }
        // Its clock is the queue's own, so that no wait takes any time here.
        var now = NIODeadline.now()
        var tries = 0
        var random = SeededGenerator(seed: 1)
        loop: while true {
            switch queue.next(at: now) {
            case .idle: break loop
            case .wait(let end):
                // The receiver said that it is to be left alone for a second.
                if tries == 2 { #expect(end - now >= .seconds(1)) }
                now = end
            case .deliver(let batch):
                tries += 1
                _ = queue.settle(await webhook.post(batch[0]), at: now, using: &random)
            }
        }
        #expect(queue.takeCounts() == EventQueue.Counts(delivered: 3) && tries == replies.count + 3)
        let ids = receiver.requests.map { $0.header("webhook-id") }
        #expect(ids == Array(repeating: events[0].id, count: replies.count + 1) + [events[1].id, events[2].id])

        receiver.stop()
        guard case .failed = await webhook.post(events[0]) else {
            Issue.record("it was told to nobody")
            return
        }
        try receiver.start()
        #expect(await webhook.post(events[0]) == .accepted)
        webhook.close()
    }

    @Test("that refuses an event is not asked again, and told the next")
    func refuses() async throws {
        let receiver = try HTTPReceiver { _, number in number == 0 ? .status(400) : .status(200) }
        let webhook = try webhook(receiver)
        #expect(await webhook.post(try someEvent()) == .refused(reason: "status 400"))
        #expect(await webhook.post(try someEvent()) == .accepted)
        webhook.close()
    }

    @Test("that is closed fails what is under way, so that another can be told it")
    func closed() async throws {
        let receiver = try HTTPReceiver { _, _ in .silence }
        let webhook = try webhook(receiver)
        let event = try someEvent()
        async let result = webhook.post(event)
        #expect(try await eventually { receiver.requests.count == 1 })
        webhook.close()
        guard case .failed = await result else {
            Issue.record("it was told")
            return
        }
        guard case .failed = await webhook.post(event) else {
            Issue.record("what is closed posts")
            return
        }
    }

    private func eventually(_ condition: () -> Bool) async throws -> Bool {
        for _ in 0..<10_000 {
            if condition() { return true }
            try await Task.sleep(for: .milliseconds(1))
        }
        return false
    }
}
