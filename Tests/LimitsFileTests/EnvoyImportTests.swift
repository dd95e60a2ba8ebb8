import RateLimitCore
import Testing

@testable import LimitsFile

@Suite("The limits file of a configuration of envoyproxy/ratelimit")
struct EnvoyImportTests {
    /// The limits that the written file has, read as a limits file is.
    private func limits(_ written: EnvoyImport) throws -> [LimitDefinition] { try read(written.text).limits.limits }

    private func imported(_ rules: DescriptorRule...) -> EnvoyImport {
        EnvoyImport(DescriptorRules([DescriptorDomain("d", rules)]))
    }

    private func quota(
        _ requests: Int, per unit: DescriptorUnit = .minute, times: Int = 1, name: String? = nil,
        replaces: [String] = []
    ) -> DescriptorRule.Limit {
        DescriptorRule.Limit(name: name, quota: DescriptorQuota(requests, per: unit, times: times), replaces: replaces)
    }

    private func definition(
        _ name: String, per scope: LimitScope = .global, _ values: [CallValue] = [], quota: Int?,
        window milliseconds: Int = 60_000, _ matches: [LabelMatch] = [], isShadow: Bool = false
    ) throws -> LimitDefinition {
        LimitDefinition(
            name: try #require(LimitName(name)), scope: scope, values: values, unit: .requests, quota: quota,
            window: .sliding(milliseconds: milliseconds), matches: matches, mode: isShadow ? .shadow : .enforce)
    }

    @Test("has a limit for each that has a counterpart")
    func counterparts() throws {
        var shadow = DescriptorRule("tenant", "acme", rules: [DescriptorRule("user", limit: quota(5, per: .hour))])
        shadow.rules[0].isShadow = true
        var shared = DescriptorRule("path", "/v1/*", limit: quota(7, per: .day, times: 7))
        shared.sharesThreshold = true
        let written = imported(
            DescriptorRule("user", limit: quota(20, per: .second, name: "users")), shadow, shared,
            DescriptorRule("model", "gpt-4*", limit: quota(0, per: .month)),
            DescriptorRule("provider", limit: DescriptorRule.Limit(quota: nil)))
        #expect(written.withoutCounterpart.isEmpty)
        let one = try limits(written)
        #expect(
            one == [
                try definition("users", per: .user, quota: 20, window: 1_000),
                try definition(
                    "tenant_acme.user", per: .user, quota: 5, window: 3_600_000,
                    [LabelMatch(.label("tenant"), anyOf: [.exact("acme")])], isShadow: true),
                try definition(
                    "path_-v1--", quota: 7, window: 604_800_000, [LabelMatch(.label("path"), anyOf: [.prefix("/v1/")])]),
                try definition(
                    "model_gpt-4-", [.model], quota: 0, window: 2_592_000_000,
                    [LabelMatch(.model, anyOf: [.prefix("gpt-4")])]),
                try definition("provider", [.provider], quota: nil),
            ])
    }

    @Test("is what one sees of a small configuration")
    func text() {
        let written = imported(
            DescriptorRule("tenant", "a\"b", limit: quota(90)), DescriptorRule("remote_address", limit: quota(1)))
        #expect(
            written.text == """
                # The limits of envoyproxy/ratelimit's files, as llm-rate-limit config --import
                # envoy writes them: LLM_RATE_LIMIT_LIMITS_FILE names this file. Windows slide
                # here. A limit counts for each call that says what it names, where Envoy's
                # routes choose which descriptors they send.
                # The gateway has to send these labels: "tenant"
                # Without a counterpart:
                # - d: remote_address: calls say no address; /v1/auth limits whoever has no name
                #   by it
                limits:
                  # d: tenant=a"b
                  - name: "tenant_a-b"
                    per: global
                    unit: requests
                    quota: 90
                    window: 1m
                    match: {"tenant": "a\\"b"}

                """)
    }

    @Test("leaves out what has no counterpart, and says why")
    func withoutCounterpart() throws {
        var quotaMode = DescriptorRule("q", limit: quota(1))
        quotaMode.isQuotaMode = true
        let long = String(repeating: "k", count: 65)
        let five = ["a", "b", "c", "d", "e"].reversed().reduce([]) { below, key -> [DescriptorRule] in
            [DescriptorRule(key, limit: below.isEmpty ? quota(1) : nil, rules: below)]
        }
        let written = imported(
            DescriptorRule("user", "alice", limit: quota(1)), DescriptorRule("masked_remote_address", limit: quota(1)),
            DescriptorRule("path", "*/x", limit: quota(1)), quotaMode, five[0], DescriptorRule(long, limit: quota(1)),
            DescriptorRule("r", limit: quota(1, name: "r", replaces: ["s"])),
            DescriptorRule("s", limit: quota(1, name: "s")),
            DescriptorRule("f", "top/*", rules: [DescriptorRule("f", "low/*", limit: quota(1))]),
            DescriptorRule("user", rules: [DescriptorRule("user", limit: quota(1))]),
            DescriptorRule("kept", limit: quota(1)))
        #expect(
            written.withoutCounterpart == [
                "d: user=alice: a user's own quota is a budget: PUT /v1/users/<user>/budget",
                "d: masked_remote_address: calls say no address; /v1/auth limits whoever has no name by it",
                "d: path=*/x: texts of match have up to 256 bytes, and a * only at their end",
                "d: q: quota_mode, which denies what all such limits deny",
                "d: a, b, c, d, e: a window is of up to 4 values",
                "d: \(long.dropLast())…: a label's name has up to 64 bytes", "d: r: no limit replaces another one here",
                "d: s: another limit replaces it, and here both would count", "d: f=top/*, f=low/*: a call says one f",
                "d: user, user: a call says one user",
            ])
        #expect(try limits(written).map(\.name.text) == ["kept"])
        let text = written.text.replacing("\n#   ", with: " ")
        for line in written.withoutCounterpart { #expect(text.contains("# - \(line)\n")) }
        #expect(written.text.split(separator: "\n").filter { $0.hasPrefix("#") }.allSatisfy { $0.count <= 80 })
    }

    @Test("leaves out a limit from which a more specific one exempts, but not where that one is stricter")
    func exemptions() throws {
        let freed = imported(DescriptorRule("t", limit: quota(5)), DescriptorRule("t", "gold", limit: quota(9)))
        #expect(freed.withoutCounterpart == ["d: t: t=gold would have to be exempt from it, and here all limits count"])
        #expect(try limits(freed).map(\.name.text) == ["t_gold"])
        let others = [
            DescriptorRule("t", "gold"), DescriptorRule("t", "gold", limit: DescriptorRule.Limit(quota: nil)),
            DescriptorRule("t", "gold", limit: quota(5, per: .hour)), DescriptorRule("t", "g*", limit: quota(6)),
        ]
        for other in others {
            #expect(imported(DescriptorRule("t", limit: quota(5)), other).withoutCounterpart.count == 1)
        }
        let stricter = imported(
            DescriptorRule("t", limit: quota(5)), DescriptorRule("t", "trial", limit: quota(2)),
            DescriptorRule("t", "t*", limit: quota(4)), DescriptorRule("t", "x*", limit: quota(5)))
        #expect(stricter.withoutCounterpart.isEmpty)
        #expect(try limits(stricter).count == 4)
        let deep = imported(
            DescriptorRule("t", rules: [DescriptorRule("u", limit: quota(5))]),
            DescriptorRule("t", "gold", limit: quota(2)))
        #expect(
            deep.withoutCounterpart == ["d: t, u: t=gold would have to be exempt from it, and here all limits count"])
        let apart = imported(DescriptorRule("t", "a*", limit: quota(5)), DescriptorRule("t", "b", limit: quota(9)))
        #expect(apart.withoutCounterpart.isEmpty)
    }

    @Test("tells several domains apart by a label")
    func domains() throws {
        let written = EnvoyImport(
            DescriptorRules([
                DescriptorDomain("edge", [DescriptorRule("user", limit: quota(1))]),
                DescriptorDomain("Inner", [DescriptorRule("user", limit: quota(2))]),
                DescriptorDomain("a*", [DescriptorRule("user", limit: quota(3))]),
            ]))
        #expect(
            try limits(written) == [
                try definition(
                    "edge.user", per: .user, quota: 1, [LabelMatch(.label("domain"), anyOf: [.exact("edge")])]),
                try definition(
                    "inner.user", per: .user, quota: 2, [LabelMatch(.label("domain"), anyOf: [.exact("Inner")])]),
            ])
        #expect(written.withoutCounterpart == ["a*: user: a domain with a *"])
    }

    @Test("says that nothing is told to the proxy, and takes the limit over")
    func metadata() throws {
        var rule = DescriptorRule("t", limit: quota(1))
        rule.metadata = DescriptorMetadata([DescriptorMetadata.Entry("plan", .text("gold"))])
        let written = imported(rule)
        #expect(written.withoutCounterpart == ["d: t: metadata for the proxy; the limit is taken over without it"])
        #expect(try limits(written).count == 1)
    }

    @Test("says that metrics have no values of calls, and takes the limit over")
    func metrics() throws {
        var rule = DescriptorRule("t", limit: quota(1))
        rule.hasValueInMetric = true
        let written = imported(rule)
        #expect(
            written.withoutCounterpart == ["d: t: values of calls in metrics; the limit is taken over without them"])
        #expect(try limits(written).count == 1)
    }

    @Test("has names of its own for limits whose names it cannot have, and up to 64 limits")
    func names() throws {
        let wide = String(repeating: "Ä", count: 40)
        let written = imported(
            DescriptorRule("a", limit: quota(1, name: "requests")), DescriptorRule("b", limit: quota(1, name: "x")),
            DescriptorRule("c", limit: quota(1, name: "x")), DescriptorRule("x", limit: quota(1)),
            DescriptorRule("_", limit: quota(1)), DescriptorRule("y", limit: quota(1, name: wide)),
            DescriptorRule("z", limit: quota(1, name: wide)))
        #expect(
            try limits(written).map(\.name.text) == [
                "requests-2", "x", "x-2", "x-3", "limit-_", "limit-" + String(repeating: "-", count: 58),
                "limit-" + String(repeating: "-", count: 56) + "-2",
            ])
        let many = EnvoyImport(
            DescriptorRules([DescriptorDomain("d", (0..<66).map { DescriptorRule("k\($0)", limit: quota(1)) })]))
        #expect(try limits(many).count == 64)
        #expect(
            many.withoutCounterpart == [
                "d: k64: a limits file has up to 64 limits", "d: k65: a limits file has up to 64 limits",
            ])
    }

    @Test("is read whatever texts the configuration has")
    func anyText() throws {
        let texts = [
            "null", "~", "1.0", "a: b", "- x", "#", "\"", "\\", "\u{7}\n\t\u{85}\u{2028}", "\u{feff}\u{fffe}", "😀", "'",
            "&a",
            "%", "model: [x]", "*", "", "{", "é",
        ]
        for text in texts where !text.isEmpty {
            let written = EnvoyImport(
                DescriptorRules([
                    DescriptorDomain(
                        text.replacing("*", with: "x"),
                        [
                            DescriptorRule(text.replacing("*", with: "x"), text, limit: quota(1, name: text)),
                            DescriptorRule("k", limit: quota(1)),
                        ]), DescriptorDomain("other", []),
                ]))
            let limits = try limits(written)
            #expect(limits.count == 2 && written.withoutCounterpart.isEmpty, "\(written.text)")
            let pattern: LabelMatch.Pattern = text == "*" ? .prefix("") : .exact(text)
            #expect(limits[0].matches.contains(LabelMatch(.label(text.replacing("*", with: "x")), anyOf: [pattern])))
        }
        #expect(try limits(EnvoyImport(.none)).isEmpty)
    }
}
