package import EventWebhook
import HTTPPosts
import RedisClient

/// The secret by which events are signed, as its file had it when it was read: at the start and at each reload.
public struct WebhookSecretSetting: Sendable, Equatable {
    /// Where the file is.
    public let path: String
    /// What is in it.
    package let secret: WebhookSecret
    /// Whether users outside the file's owner and group could read it.
    let isReadableByEveryone: Bool
}

extension ValueSyntax where Value == WebhookSecretSetting {
    static var webhookSecret: Self {
        let file = ValueSyntax<SecretFile>.secretFile
        let lengths = WebhookSecret.lengths
        return Self(
            placeholder: file.placeholder,
            accepted: "\(file.accepted), with \(WebhookSecret.prefix) and the base64 of "
                + "\(lengths.lowerBound) to \(lengths.upperBound) bytes",
            parse: { path throws(ValueRejection) in
                let file = try file.parse(path)
                guard let secret = WebhookSecret(file.secret.reveal()) else {
                    throw ValueRejection("its line is no secret of a webhook")
                }
                return WebhookSecretSetting(
                    path: path, secret: secret, isReadableByEveryone: file.isReadableByEveryone)
            },
            render: \.path)
    }
}

extension ValueSyntax where Value == PostURL {
    /// A URL whose path and query may be a secret, as they are of most webhooks.
    static var webhookURL: Self {
        Self(
            placeholder: "url",
            accepted:
                "URLs of at most \(grouped(PostURL.maximumBytes)) bytes such as https://alerts.example/hook, with no "
                + "user and no password",
            parse: { text throws(ValueRejection) in
                try checkBlanks(text)
                do throws(PostURLError) {
                    return try PostURL(text)
                } catch {
                    throw ValueRejection("\(error)")
                }
            },
            render: { maskedWebhook($0) })
    }
}

/// A URL as it may be shown: without its path.
private func maskedWebhook(_ url: PostURL) -> String { url.target == "/" ? "\(url)" : "\(url)/***" }

/// A text that was given for a webhook as it may be shown: of one that is no URL nothing.
func maskedWebhook(_ text: String) -> String {
    if text.isEmpty { return "" }
    do throws(PostURLError) {
        return maskedWebhook(try PostURL(text))
    } catch {
        return "***"
    }
}

extension Resolution {
    /// Says what of the webhook's options is not used, or can be read by others.
    mutating func checkEvents() {
        guard let secret = settings.eventsWebhookSecret else { return }
        if settings.eventsWebhook == nil, isUnproblematic(.eventsWebhook) {
            warn(
                "\(OptionName.eventsWebhookSecretFile.variable) is not used: \(OptionName.eventsWebhook.variable) names no URL"
            )
        }
        if secret.isReadableByEveryone {
            warn(
                "\(printable(secret.path)) holds the secret of the webhook and every user can read it: chmod it to 0600"
            )
        }
    }
}
