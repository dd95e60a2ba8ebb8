import RateLimitCore
import Testing

@testable import LimitsFile

@Suite("A limits file")
struct LimitsFileTests {
    static let whole = """
        # A team's limits.
        limits:
          - name: member-spend
            per: user
            unit: spend
            quota: $5
            window: 1d
            match: {model: "gpt-4*", provider: [openai, azure], route: /v1/chat}
            mode: enforce
            on_redis_failure: closed
            warn_at: [0.8, 0.95]
          - name: team-month
            per: group
            unit: spend
            quota: 50000000
            window: {calendar: month, time_zone: Europe/Berlin}
            mode: shadow
          - {name: slots, per: global, unit: concurrency, quota: 8}
          - {name: out, per: user, unit: tokens.output, window: 15m}
          - {name: week, per: user, unit: tokens, quota: 0, window: {calendar: week}, on_redis_failure: local}
        prices:
          unknown_model: {price-of: claude-opus}
          models:
            gpt-4o: {input: 2500000, output: 10000000, cache_read: 1250000}
            "claude-*": {input: $3, output: $15.000001}
        group_policy: max
        lease: {ttl: 90s}
        """

    @Test("is read whole")
    func whole() throws {
        let content = try read(Self.whole)
        let limits = content.limits.limits
        #expect(limits.map(\.name.text) == ["member-spend", "team-month", "slots", "out", "week"])
        #expect(
            limits[0]
                == LimitDefinition(
                    name: try #require(LimitName("member-spend")), scope: .user, unit: .spend, quota: 5_000_000,
                    window: .sliding(milliseconds: 86_400_000),
                    matches: [
                        LabelMatch(.model, anyOf: [.prefix("gpt-4")]),
                        LabelMatch(.provider, anyOf: [.exact("openai"), .exact("azure")]),
                        LabelMatch(.label("route"), anyOf: [.exact("/v1/chat")]),
                    ],
                    failureMode: .closed, warnAtPerMille: [800, 950]))
        #expect(limits[1].quota == 50_000_000 && limits[1].isShadow && limits[1].scope == .group)
        #expect(limits[1].window == .calendar(.month, try zones.rules(named: "Europe/Berlin")))
        #expect(limits[2].window == nil && limits[2].unit == .concurrency && limits[2].scope == .global)
        #expect(limits[3].quota == nil && limits[3].window == .sliding(milliseconds: 900_000))
        #expect(limits[4].quota == 0 && limits[4].window == .calendar(.week, .utc))
        #expect(limits[4].failureMode == .local && !limits[4].isShadow && limits[4].warnAtPerMille == [])
        #expect(content.prices.unknownModel == .priceOf("claude-opus"))
        #expect(content.prices.price(ofModel: "gpt-4o")?.rates.cacheRead == 1_250_000)
        #expect(content.prices.price(ofModel: "gpt-4o")?.rates.cacheWrite == 2_500_000)
        #expect(content.prices.price(ofModel: "claude-x") == ModelPrice(input: 3_000_000, output: 15_000_001))
        #expect(content.groupPolicy == .max)
        #expect(content.leaseMilliseconds == 90_000)
    }

    @Test(
        "says of a window how long it slides, which period of the calendar it is and from when, or after what it ends")
    func windows() throws {
        let berlin = try zones.rules(named: "Europe/Berlin")
        let windows: [(String, LimitWindow)] = [
            ("30s", .sliding(milliseconds: 30_000)), ("{calendar: hour}", .calendar(.hour, .utc)),
            (
                "{calendar: month, starts: 15, time_zone: Europe/Berlin}",
                .calendar(.month, berlin, starts: .init(day: 15))
            ),
            ("{calendar: month, starts: 1}", .calendar(.month, .utc)),
            ("{calendar: quarter}", .calendar(.quarter, .utc)),
            ("{calendar: quarter, starts: 15}", .calendar(.quarter, .utc, starts: .init(day: 15))),
            ("{calendar: quarter, starts: 02-29}", .calendar(.quarter, .utc, starts: .init(month: 2, day: 29))),
            ("{calendar: year, starts: 31}", .calendar(.year, .utc, starts: .init(day: 31))),
            (
                "{starts: \"04-06\", time_zone: Europe/Berlin, calendar: year}",
                .calendar(.year, berlin, starts: .init(month: 4, day: 6))
            ),
            ("{calendar: month, starts: null, lifetime: null, idle: ~}", .calendar(.month, .utc)),
            ("{lifetime: true, idle: 7d}", .lifetime(idleMilliseconds: 7 * 86_400_000)),
            ("{idle: 1s, lifetime: true, calendar: null}", .lifetime(idleMilliseconds: 1_000)),
        ]
        for (text, window) in windows {
            let content = try read("limits:\n  - {name: a, per: user, unit: tokens, quota: 5, window: \(text)}")
            #expect(content.limits.limits[0].window == window, "\(text)")
        }
    }

    @Test("says what tokens weigh in thousandths, and what parts, long inputs and each call cost")
    func weightsAndTiers() throws {
        let content = try read(
            """
            limits:
              - {name: t, per: user, unit: tokens, weights: {cache_read: 0.1, reasoning: 1.5, output: 1}, window: 1h}
              - {name: u, per: user, unit: tokens, weights: {input: 1, cache_read: null}, window: 1h}
            prices:
              models:
                m: {input: $2, output: $8, audio_input: $40, per_request: $0.005, tiers: [
                  {above: 200000, input: $4, output: $16, audio_input: $80}, {above: 1e6, input: 9, output: 9, audio_input: 1}]}
            """)
        let limits = content.limits.limits
        #expect(limits[0].weights == TokenWeights([.cacheRead: 100], parts: [.reasoning: 1_500]))
        #expect(limits[1].weights == nil, "they are what they would be")
        let price = try #require(content.prices.price(ofModel: "m"))
        #expect(price.perRequest == 5_000 && price.tiers.map(\.above) == [200_000, 1_000_000])
        #expect(price.rates.parts[.audioInput] == 40_000_000 && price.rates.parts[.imageInput] == 2_000_000)
        #expect(price.rates.parts[.reasoning] == 8_000_000)
        #expect(
            price.tiers[0].rates == TokenRates(input: 4_000_000, output: 16_000_000, parts: [.audioInput: 80_000_000]))
    }

    @Test("may be JSON")
    func json() throws {
        let content = try read(
            """
            {"limits": [{"name": "a", "per": "user", "unit": "requests", "quota": 5, "window": "1h",
             "match": {"model": ["a*", "b"]}}],
             "prices": {"models": {"x": {"input": 1, "output": "$2"}}, "unknown_model": "free"}, "group_policy": "min"}
            """)
        #expect(content.limits.limits[0].quota == 5)
        #expect(content.prices.price(ofModel: "x")?.rates.output == 2_000_000)
        #expect(content.prices.unknownModel == .free)
    }

    @Test(
        "in JSON is read as JSON, also where YAML would not read it",
        arguments: [
            #"{"limits":[{"name":"a","per":"user","unit":"requests","quota":5,"window":"1h","match":{"team":"\ud83d\ude80 \u00e9\/\"\\"}}]}"#,
            """
            {
            \t"limits"
            \t: [\t{"name"
                :"a", "per" : "user", "unit":"requests","quota":5e0,"window":"1h",
            \t"match":{"team":"🚀 é/\\"\\\\"} } ]
            }
            """,
            "\u{feff} \r\n{\"limits\":[{\"name\":\"a\",\"per\":\"user\",\"unit\":\"requests\",\"quota\":5.0,\r\n"
                + "\"window\":\"1h\",\"match\":{\"team\":\"\\ud83d\\uDE80 é/\\\"\\\\\"}}],\"prices\":null}\r\n",
        ])
    func strictJSON(_ text: String) throws {
        let limits = try read(text).limits.limits
        #expect(limits.map(\.quota) == [5])
        #expect(limits[0].matches == [LabelMatch(.label("team"), anyOf: [.exact("🚀 é/\"\\")])])
    }

    @Test("in braces that is no JSON is read as YAML")
    func bracesOfYAML() throws {
        let texts = [
            "{limits: [{name: a, per: user, unit: requests, window: 1s}]}",
            "{\"limits\": [{name: a, per: user, unit: requests, window: 1s}]}",
            "{\"limits\": [{\"name\": \"a\", \"per\": \"user\", \"unit\": \"requests\", \"window\": \"1s\"},], } # end",
        ]
        for text in texts { #expect(try read(text).limits.limits.map(\.name.text) == ["a"], "\(text)") }
    }

    @Test("with a byte order mark before it is read")
    func byteOrderMark() throws {
        #expect(try read("\u{feff}" + Self.whole) == read(Self.whole))
        #expect(refusal("\u{feff}limits:\n  - {name: a, per: user}").hasPrefix("line 2: limit a has no unit"))
    }

    @Test("takes null for left out, whatever may be left out", arguments: ["null", "~", "Null", "NULL"])
    func null(_ null: String) throws {
        let limit = "name: a, per: user, unit: requests, window: 1h"
        let text = """
            limits:
              - {\(limit), quota: \(null), match: \(null), mode: \(null), on_redis_failure: \(null), warn_at: \(null)}
              - {name: b, per: user, unit: concurrency, window: \(null), match: {model: \(null), team: x}}
              - {name: c, per: user, unit: requests, window: {calendar: day, time_zone: \(null)}}
            prices:
              unknown_model: \(null)
              models: {x: {input: 1, output: 2, cache_read: \(null), cache_write: \(null)}, y: \(null)}
            group_policy: \(null)
            lease: {ttl: \(null), max_ttl: \(null), remember: \(null)}
            """
        let same = """
            limits:
              - {\(limit)}
              - {name: b, per: user, unit: concurrency, match: {team: x}}
              - {name: c, per: user, unit: requests, window: {calendar: day}}
            prices: {models: {x: {input: 1, output: 2}}}
            """
        #expect(try read(text) == read(same))
        let nothing = "{limits: \(null), prices: \(null), group_policy: \(null), lease: \(null)}"
        #expect(try read(nothing) == LimitsFileContent.none)
        let required = "limits:\n - {name: a, per: \(null), unit: requests, window: 1h}"
        #expect(refusal(required) == "line 2: limit a has no per: \(acceptedWindows)")
    }

    @Test(
        "says whose windows a limit has, in any order of words",
        arguments: [
            ("user", .user, [], "user"), ("[user]", .user, [], "user"), ("group", .group, [], "group"),
            ("global", .global, [], "global"), ("[global]", .global, [], "global"),
            ("label:tenant", .global, [.label("tenant")], "label:tenant"), ("model", .global, [.model], "model"),
            ("[provider, model]", .global, [.model, .provider], "[model, provider]"),
            ("[user, label:session]", .user, [.label("session")], "[user, label:session]"),
            ("[label:session, user]", .user, [.label("session")], "[user, label:session]"),
            ("[group, user]", .user, [.group], "[user, group]"), ("[model, group]", .group, [.model], "[group, model]"),
            (
                "[label:b, provider, 'label:a c', group, user]", .user,
                [.group, .provider, .label("a c"), .label("b")], "[user, group, provider, label:a%20c, label:b]"
            ),
            (
                "[group, model, provider, label:a, label:b]", .group, [.model, .provider, .label("a"), .label("b")],
                "[group, model, provider, label:a, label:b]"
            ), ("'label:user'", .global, [.label("user")], "label:user"),
            ("label:label:x", .global, [.label("label:x")], "label:label%3Ax"),
            ("'label:\u{301}x'", .global, [.label("\u{301}x")], "label:%CC%81x"),
        ] as [(String, LimitScope, [CallValue], String)])
    func windows(_ per: String, _ scope: LimitScope, _ values: [CallValue], _ text: String) throws {
        let limit = try read("limits: [{name: a, per: \(per), unit: requests, window: 1h}]").limits.limits[0]
        #expect(limit.scope == scope && limit.values == values && limit.perText == text)
        #expect(limit.missing == .ignore)
        #expect(limit.maximumValues == (values.isEmpty || scope == .global ? nil : 1_000))
    }

    @Test(
        "tells words from names by bytes, where a name begins with a combining mark or ends in one that joins what follows"
    )
    func borders() throws {
        let file = """
            limits: [{name: a, per: user, unit: requests, window: 1h, match: {model: ['\u{301}x', 'b\u{600}*']}}]
            prices: {unknown_model: 'price-of \u{301}x', models: {'\u{301}x': {input: 1, output: 2}}}
            """
        let content = try read(file)
        #expect(
            content.limits.limits[0].matches == [LabelMatch(.model, anyOf: [.exact("\u{301}x"), .prefix("b\u{600}")])])
        let price = try #require(content.prices.price(ofModel: "\u{301}x"))
        #expect(content.prices.price(ofModel: "another") == price)
    }

    @Test("says what becomes of a call without a value, and how many windows one user or group has")
    func valueOptions() throws {
        let limits = try read(
            """
            limits:
              - {name: a, per: [user, label:session], unit: requests, window: 1h, missing: deny, max_values: 1}
              - {name: b, per: [group, model], unit: requests, window: 1h, missing: ignore, max_values: 100000}
              - {name: c, per: label:tenant, unit: requests, window: 1h, missing: deny}
              - {name: d, per: [user, group], unit: requests, window: 1h, max_values: null, missing: null}
            """
        ).limits
        #expect(limits.limits.map(\.missing) == [.deny, .ignore, .deny, .ignore])
        #expect(limits.limits.map(\.maximumValues) == [1, 100_000, nil, 1_000])
        #expect(limits.labelNames == ["session", "tenant"])
    }

    @Test("takes whole numbers however JSON writes them, and no others")
    func wholeNumbers() throws {
        func quota(_ text: String) throws -> Int? {
            try read("limits: [{name: a, per: user, unit: spend, window: 1h, quota: \(text)}]").limits.limits[0].quota
        }
        for text in ["1200", "1200.0", "1.2e3", "12E+2", "$0.0012"] { #expect(try quota(text) == 1_200, "\(text)") }
        for text in ["1200.5", "1e13", "1e999999999", "-1.0", "$1e3", "$5.1e1", "1.2e3s"] {
            #expect(throws: LimitsFileError.self, "\(text)") { try quota(text) }
        }
    }

    @Test("may leave out everything that has a standard")
    func standards() throws {
        let content = try read("{}")
        #expect(content == LimitsFileContent.none)
        #expect(content.leaseMilliseconds == 60_000 && content.groupPolicy == .min)
        #expect(content.longestLeaseMilliseconds == 86_400_000)
        #expect(content.prices.price(ofModel: "any") == nil)
        #expect(
            try read("prices: {unknown_model: price-of a, models: {a: {input: 1, output: 2}}}").prices
                .price(ofModel: "b")?.rates.output == 2)
    }

    @Test("with a text in quotes or a comment that looks like an alias is read")
    func looksLikeAlias() throws {
        let content = try read(
            """
            limits: # see *below and &there
              - {name: a, per: user, unit: requests, window: 1s, match: {route: "*", x: 'it''s &b', y: a&b*}}
            """)
        #expect(
            content.limits.limits[0].matches.map(\.alternatives) == [
                [.prefix("")], [.exact("it's &b")], [.prefix("a&b")],
            ])
    }

    @Test("says how long leases live that do not say, and how long they may ask for")
    func leases() throws {
        let rows = [
            ("{ttl: 90s, max_ttl: 1h}", 90_000, 3_600_000), ("{max_ttl: 5m, ttl: 5m}", 300_000, 300_000),
            ("{max_ttl: 1h}", 60_000, 3_600_000), ("{max_ttl: 30s}", 30_000, 30_000),
            ("{ttl: 1d}", 86_400_000, 86_400_000),
        ]
        for (text, usual, longest) in rows {
            let content = try read("lease: \(text)")
            #expect(content.leaseMilliseconds == usual && content.longestLeaseMilliseconds == longest, "\(text)")
        }
    }

    @Test("says for how long leases that lapsed and the ids of usage are remembered, an hour where it does not")
    func remember() throws {
        for (text, milliseconds) in [
            ("{ttl: 5m}", 3_600_000), ("{remember: 10s}", 10_000), ("{remember: 1d}", 86_400_000),
        ] {
            #expect(try read("lease: \(text)").rememberMilliseconds == milliseconds, "\(text)")
        }
        #expect(try read("group_policy: max").rememberMilliseconds == 3_600_000)
    }

    @Test("with carriage returns before its line ends is read")
    func carriageReturns() throws {
        #expect(try read("group_policy: max\r\nlease:\r\n  ttl: 5m\r\n").leaseMilliseconds == 300_000)
    }
}
