import DaemonConfiguration
import EventWebhook
import HTTPPosts
import HTTPServer
import Logging
import NIOCore
import RateLimitCore
import RateLimitService
import ServiceLifecycle
import Synchronization

/// Writes one line for each threshold that a call of this daemon has crossed, with the members that the event has everywhere.
struct EventLog: Sendable {
    let inForce: ConfigurationInForce
    let logger: Logger

    func log(_ event: ThresholdEvent) {
        let users = inForce.value.settings.logUsers
        var metadata: Logger.Metadata = [:]
        for member in event.members { metadata[member.name] = "\(member.text)" }
        if case .user(let user) = event.owner { metadata["user_id"] = users.text(of: user).map { "\($0)" } }
        // A label's value may name a user as well.
        if users != .plain { metadata["values"] = nil }
        logger.notice("a threshold was crossed", metadata: metadata)
    }
}

/// The webhook in force, which a reload replaces.
final class EventWebhooks: Sendable {
    private struct Current {
        var url: PostURL?
        var secret: WebhookSecret?
        var webhook: EventWebhook?
    }

    private let events: ThresholdEvents
    private let eventLoop: any EventLoop
    private let current = Mutex(Current())

    init(_ events: ThresholdEvents, eventLoop: any EventLoop) {
        self.events = events
        self.eventLoop = eventLoop
    }

    /// Has events posted as settings say, from the next try on.
    func apply(_ settings: Settings) {
        let url = settings.eventsWebhook
        let secret = settings.eventsWebhookSecret?.secret
        let former: EventWebhook?? = current.withLock { current in
            guard current.url != url || current.secret != secret else { return nil }
            let webhook = url.map { url in
                EventWebhook(
                    url: url, secret: secret, userAgent: "llm-rate-limit/\(programVersion)", eventLoop: eventLoop,
                    json: \.json)
            }
            defer { current = Current(url: url, secret: secret, webhook: webhook) }
            events.setWebhook(webhook.map { webhook in { @Sendable event in await webhook.post(event) } })
            return .some(current.webhook)
        }
        // What it is posting fails, and is tried again by the new one.
        former??.close()
    }

    /// Ends what is being posted.
    func close() { current.withLock { $0.webhook }?.close() }
}

/// Delivers events until the daemon ends.
struct EventService: Service {
    let events: ThresholdEvents

    func run() async throws { await cancelWhenGracefulShutdown { await events.run() } }
}
