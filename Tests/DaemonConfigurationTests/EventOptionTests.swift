import EventWebhook
import Glibc
import HTTPPosts
import Testing

@testable import DaemonConfiguration

@Suite("The options of events")
struct EventOptionTests {
    private let folder = TemporaryFolder()
    private static let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    private func load(_ flags: [OptionName: String]) throws -> ResolvedConfiguration {
        try ConfigurationLoader(flags: flags, environment: [:]).load()
    }

    private func problem(_ flags: [OptionName: String]) throws -> String {
        let error = try #require(throws: ConfigurationError.self) { try load(flags) }
        #expect(error.problems.count == 1)
        return "\(error.problems[0])"
    }

    @Test("name a URL, of which the path is shown nowhere, and a secret, which is not either")
    func shown() throws {
        let file = folder.write("secret", "\(Self.secret)\n")
        chmod(file, 0o600)
        let url = "https://hooks.example/T0/B1/x7Qz?token=y8"
        let configuration = try load([.eventsWebhook: url, .eventsWebhookSecretFile: file])
        #expect(configuration.warnings.isEmpty)
        #expect(configuration.settings.eventsWebhook == (try PostURL(url)))
        #expect(configuration.settings.eventsWebhookSecret?.secret == WebhookSecret(Self.secret))
        #expect(configuration[.eventsWebhook].value == "https://hooks.example:443/***")
        #expect(configuration[.eventsWebhookSecretFile].value == file)
        var dumped = ""
        dump(configuration, to: &dumped)
        for text in [configuration.json(), configuration.table(), dumped] {
            for secret in ["x7Qz", "y8", "MfKQ9r8"] { #expect(!text.contains(secret), "\(secret)") }
        }
        #expect(try load([.eventsWebhook: "http://[::1]:9"])[.eventsWebhook].value == "http://[::1]:9")
        #expect(try load([.eventsWebhook: ""]).settings.eventsWebhook == nil)
    }

    @Test("say what is wrong with a URL and what is accepted, and nothing of the URL")
    func urls() throws {
        let cases = [
            ("hooks.example/x7Qz", "it begins neither with http:// nor with https://"),
            ("ftp://hooks.example/x7Qz", "it begins neither with http:// nor with https://"),
            ("https://ada:x7Qz@hooks.example/", "it holds credentials; those belong into a header"),
            ("https:///x7Qz", "it names no host"), ("https://h:99999/x7Qz", "its port is no number from 1 to 65535"),
            ("https://h/x7Qz\n", "it ends in a line feed"), ("x7Qz", "it begins neither"),
        ]
        for (url, reason) in cases {
            let problem = try problem([.eventsWebhook: url])
            #expect(problem.contains(": \(reason)"), "\(problem)")
            #expect(problem.contains("accepted are URLs of at most 2,048 bytes such as https://alerts.example/hook"))
            #expect(!problem.contains("x7Qz") && problem.contains("LLM_RATE_LIMIT_EVENTS_WEBHOOK=***"), "\(problem)")
        }
    }

    @Test("say what is wrong with a secret, and what is accepted")
    func secrets() throws {
        for text in ["secret", "whsec_short", "whsec_\(String(repeating: "A", count: 88))"] {
            let problem = try problem([
                .eventsWebhook: "https://h/", .eventsWebhookSecretFile: folder.write("bad", text),
            ])
            #expect(problem.contains(": its line is no secret of a webhook; accepted are paths of readable files"))
            #expect(problem.contains("with whsec_ and the base64 of 24 to 64 bytes"))
        }
    }

    @Test("warn of a secret that is not used or that every user can read")
    func warnings() throws {
        let file = folder.write("open", Self.secret)
        chmod(file, 0o644)
        let warnings = try load([.eventsWebhookSecretFile: file]).warnings
        #expect(
            warnings == [
                "LLM_RATE_LIMIT_EVENTS_WEBHOOK_SECRET_FILE is not used: LLM_RATE_LIMIT_EVENTS_WEBHOOK names no URL",
                "\(file) holds the secret of the webhook and every user can read it: chmod it to 0600",
            ])
    }

    @Test("take effect on reload, and say of a secret that changed in its file that it did")
    func reload() throws {
        let file = folder.write("rotated", Self.secret)
        chmod(file, 0o600)
        let variables = folder.write("env", "LLM_RATE_LIMIT_EVENTS_WEBHOOK=https://a/x\n")
        let loader = ConfigurationLoader(
            flags: [.envFile: variables, .eventsWebhookSecretFile: file], environment: [:])
        let first = try loader.load()
        _ = folder.write("env", "LLM_RATE_LIMIT_EVENTS_WEBHOOK=https://a/y\n")
        _ = folder.write("rotated", "whsec_\(String(repeating: "A", count: 32))")
        let reloaded = loader.reload(replacing: first)
        #expect(
            reloaded.changes == [
                "LLM_RATE_LIMIT_EVENTS_WEBHOOK: a secret changed",
                "LLM_RATE_LIMIT_EVENTS_WEBHOOK_SECRET_FILE: the secret changed",
            ])
        #expect(reloaded.configuration.settings.eventsWebhook == (try PostURL("https://a/y")))
        #expect(loader.reload(replacing: reloaded.configuration).changes.isEmpty)
    }
}
