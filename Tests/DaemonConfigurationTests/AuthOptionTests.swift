import Glibc
import RateLimitCore
import Testing

@testable import DaemonConfiguration

@Suite("The options of forward auth")
struct AuthOptionTests {
    private let folder = TemporaryFolder()

    private func load(_ flags: [OptionName: String]) throws -> ResolvedConfiguration {
        try ConfigurationLoader(flags: flags, environment: [:]).load()
    }

    private func reason(_ flags: [OptionName: String]) throws -> String? {
        let error = try #require(throws: ConfigurationError.self) { try load(flags) }
        #expect(error.problems.count == 1)
        return error.problems[0].reason
    }

    @Test("make the rules by which callers are named")
    func rules() throws {
        let none = try load([.authUserHeader: "", .authHeaders: "", .trustedProxies: ""]).settings.callers
        #expect(none == CallerRules(userHeader: nil))
        #expect(try load([:]).settings.callers == CallerRules())
        let secret = folder.write("secret", "0123456789abcdef\n")
        let all = try load([
            .authUserHeader: "X-Name", .authHeaders: "model = X-Model, group=X-Team", .authSecretFile: secret,
            .trustedProxies: "unix, 10.0.0.0/8", .authIDHeader: "X-Request-Id",
        ])
        let expected = CallerRules(
            userHeader: HeaderName("X-Name"), tokenKey: TokenKey(secret: "0123456789abcdef"),
            trustedProxies: try TrustedProxies("10.0.0.0/8,unix"), headers: try HeaderMap("model=X-Model,group=X-Team"),
            idHeader: HeaderName("X-Request-Id"))
        #expect(all.settings.callers == expected)
        #expect(all[.authHeaders].value == "model=X-Model,group=X-Team")
        #expect(all[.trustedProxies].value == "10.0.0.0/8,unix" && all[.authSecretFile].value == secret)
        #expect(!all.json().contains("0123456789abcdef") && !all.table().contains("0123456789abcdef"))
    }

    @Test("say what is wrong with them")
    func problems() throws {
        #expect(try reason([.authUserHeader: "Authorization"]) == nil)
        #expect(try reason([.authHeaders: "user=X"]) == "user is nothing that a header can say")
        #expect(try reason([.authHeaders: "model"]) == "model is no pair of what a header says and its name")
        #expect(
            try reason([.trustedProxies: "10.0.0.1/8"])
                == "10.0.0.1/8 has bits behind its prefix; the range is 10.0.0.0/8")
        #expect(try reason([.trustedProxies: "proxy"]) == "proxy is no address and no range of addresses")
        let short = folder.write("short", "0123456789abcde\n")
        #expect(try reason([.authSecretFile: short]) == "its line is shorter than 16 bytes")
        #expect(try reason([.authSecretFile: folder.write("empty", "")]) == "it is empty")
    }

    @Test("warn of a group that is not used, and of a secret that every user can read")
    func warnings() throws {
        #expect(try load([.authHeaders: "model=X-Model", .groups: "stored"]).warnings.isEmpty)
        let unused = try load([.authHeaders: "group=X-Team"]).warnings
        #expect(unused.count == 1 && unused[0].hasPrefix("the group of LLM_RATE_LIMIT_AUTH_HEADERS is not used"))
        #expect(try !load([.authHeaders: "group=X-Team", .groups: "given"]).warnings.contains(unused[0]))
        let secret = folder.write("open", "0123456789abcdef\n")
        #expect(chmod(secret, 0o644) == 0)
        #expect(try load([.authSecretFile: secret]).warnings.count == 1)
        #expect(chmod(secret, 0o600) == 0)
        #expect(try load([.authSecretFile: secret]).warnings.isEmpty)
    }

    @Test("take another secret in the same file over at a reload, and tell that without the secret")
    func secret() throws {
        let secret = folder.write("secret", "0123456789abcdef\n")
        let loader = ConfigurationLoader(flags: [.authSecretFile: secret], environment: [:])
        let before = try loader.load()
        #expect(loader.reload(replacing: before).changes.isEmpty)
        _ = folder.write("secret", "another secret of a token\n")
        let reloaded = loader.reload(replacing: before)
        #expect(reloaded.configuration.settings.callers.tokenKey == TokenKey(secret: "another secret of a token"))
        #expect(reloaded.changes == ["LLM_RATE_LIMIT_AUTH_SECRET_FILE: the secret changed"])
        _ = folder.write("secret", "short\n")
        let kept = loader.reload(replacing: reloaded.configuration)
        #expect(kept.configuration.settings.callers == reloaded.configuration.settings.callers)
        #expect(kept.failures[.options] != nil)
    }
}
