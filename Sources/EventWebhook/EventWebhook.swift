import Glibc
package import HTTPPosts
package import NIOCore
package import RateLimitService

/// Posts events to the URL of somebody who wants to be told, one at a time: each as JSON, with the headers of Standard
/// Webhooks.
package final class EventWebhook: Sendable {
    /// How long a receiver may take for one event.
    package static let deadline = TimeAmount.seconds(5)

    private let poster: HTTPPoster
    private let secret: WebhookSecret?
    private let json: @Sendable (ThresholdEvent) -> [UInt8]
    private let deadline: TimeAmount

    /// Makes one that connects when the first event is posted.
    ///
    /// - Parameters:
    ///   - secret: by which events are signed; nil for events without a signature.
    ///   - json: an event's body.
    package init(
        url: PostURL, secret: WebhookSecret?, userAgent: String, deadline: TimeAmount = EventWebhook.deadline,
        eventLoop: any EventLoop, json: @escaping @Sendable (ThresholdEvent) -> [UInt8]
    ) {
        poster = HTTPPoster(url: url, options: PostOptions(userAgent: userAgent), eventLoop: eventLoop)
        self.secret = secret
        self.json = json
        self.deadline = deadline
    }

    /// Posts an event, and says what became of it. The one before must have ended.
    package func post(_ event: ThresholdEvent) async -> DeliveryResult {
        let body = json(event)
        do throws(PostFailure) {
            let headers = headers(of: body, id: event.id, at: time(nil))
            let answer = try await poster.post(
                ByteBuffer(bytes: body), contentType: "application/json", headers: headers, within: deadline)
            return DeliveryResult(answer)
        } catch {
            return .failed(reason: "\(error)", retryAfterSeconds: nil)
        }
    }

    /// Ends what is being posted, closes the connection, and posts nothing more.
    package func close() { poster.close() }

    /// - Parameter unixSeconds: when it is posted, which is another time at each try.
    private func headers(of body: [UInt8], id: String, at unixSeconds: Int) -> [PostHeader] {
        var headers = [("webhook-id", id), ("webhook-timestamp", "\(unixSeconds)")]
        if let secret { headers.append(("webhook-signature", secret.signature(of: body, id: id, at: unixSeconds))) }
        return headers.map { name, value in
            do throws(PostHeaderError) {
                return try PostHeader(name: name, value: value)
            } catch {
                preconditionFailure("names and values here are of digits, letters and base64")
            }
        }
    }
}

extension DeliveryResult {
    /// What an answer says of an event. Whatever says that the same would be answered the same is a refusal.
    package init(_ answer: PostAnswer) {
        switch answer.status {
        case 200...299: self = .accepted
        // Request Timeout, Too Early and Too Many Requests.
        case 408, 425, 429:
            self = .failed(reason: "status \(answer.status)", retryAfterSeconds: answer.retryAfterSeconds)
        case 300...499: self = .refused(reason: "status \(answer.status)")
        default: self = .failed(reason: "status \(answer.status)", retryAfterSeconds: answer.retryAfterSeconds)
        }
    }
}
