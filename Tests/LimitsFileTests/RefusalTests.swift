import RateLimitCore
import Testing

@testable import LimitsFile

private let overlong = String(repeating: "n", count: 65)

@Suite("A limits file that is refused")
struct LimitsFileRefusalTests {
    /// A limit in which one line stands in place of the key it is for, or beside the others.
    private func limit(_ line: String) -> String {
        let standard = ["name: a", "per: user", "unit: requests", "quota: 5", "window: 1h"]
        let key = line.prefix { $0 != ":" }
        let lines = standard.filter { !$0.hasPrefix("\(key):") } + [line]
        return "limits:\n  - " + lines.joined(separator: "\n    ") + "\n"
    }

    @Test(
        "says in which line, what is wrong, and what is accepted",
        arguments: [
            (
                "name: Abc",
                "line 6: name of limit 1 of the file is Abc: accepted are 1 to 64 of a-z, 0-9, -, _ and ., "
                    + "beginning with a letter or digit"
            ),
            (
                "name: requests",
                "line 6: the name requests is that of the limit LLM_RATE_LIMIT_REQUESTS sets; give this "
                    + "one another"
            ),
            ("per: users", "line 6: per of limit a is users: \(acceptedWindows)"),
            ("per: {user: 1}", "line 6: per of limit a is a map: \(acceptedWindows)"),
            ("per: []", "line 6: per of limit a is a list of 0: \(acceptedWindows)"),
            ("per: [user, [model]]", "line 6: per of limit a is a list: \(acceptedWindows)"),
            ("per: session", "line 6: per of limit a is session: \(acceptedWindows)"),
            ("per: [user, 'label:']", "line 6: per of limit a is label:: \(acceptedWindows)"),
            ("per: label:\(overlong)", "line 6: per of limit a is label:\(overlong.prefix(58))…: \(acceptedWindows)"),
            ("per: [user, model, user]", "line 6: per of limit a names user twice"),
            ("per: [label:b, label:b]", "line 6: per of limit a names label:b twice"),
            (
                "per: [user, global]",
                "line 6: per of limit a is global with others: accepted are global alone, and lists without it: what is "
                    + "per label:tenant alone, all share"
            ),
            (
                "per: [global, model]",
                "line 6: per of limit a is global with others: accepted are global alone, and lists without it: what is "
                    + "per label:tenant alone, all share"
            ),
            (
                "per: [user, group, model, provider, label:a, label:b]",
                "line 6: per of limit a names 5 values: accepted are up to 4 beside user, or beside group where user is "
                    + "not among them"
            ),
            ("missing: allow", "line 7: missing of limit a is allow: accepted are ignore and deny"),
            (
                "missing: deny",
                "line 7: limit a has missing, and its per names no model, provider or label that a call may leave out; "
                    + "remove it"
            ),
            (
                "max_values: 5",
                "line 7: limit a has max_values, and its per names no user or group beside a value; remove it"
            ),
            ("max_values: 0", "line 7: max_values of limit a is 0: accepted are whole numbers from 1 to 100,000"),
            (
                "max_values: 100001",
                "line 7: max_values of limit a is 100001: accepted are whole numbers from 1 to 100,000"
            ),
            (
                "unit: token",
                "line 6: unit of limit a is token: accepted are requests, tokens, tokens.input, "
                    + "tokens.output, tokens.cache_read, tokens.cache_write, spend and concurrency"
            ),
            (
                "quota: 5.5",
                "line 6: quota of limit a is 5.5: accepted are whole numbers from 0 (blocks) to "
                    + "1,000,000,000,000, or no quota at all"
            ),
            (
                "quota: -1",
                "line 6: quota of limit a is -1: accepted are whole numbers from 0 (blocks) to "
                    + "1,000,000,000,000, or no quota at all"
            ),
            ("quota:", "line 6: quota of limit a has no value; where none is meant, write null"),
            (
                "quota: [5]",
                "line 6: quota of limit a is a list: accepted are whole numbers from 0 (blocks) to "
                    + "1,000,000,000,000, or no quota at all"
            ),
            (
                "quota: $5",
                "line 6: quota of limit a is $5: accepted are whole numbers from 0 (blocks) to "
                    + "1,000,000,000,000, or no quota at all"
            ),
            (
                "window: 60",
                "line 6: window of limit a is 60: accepted are lengths from 1s to 365d, such as 30s, 15m, 1h "
                    + "and 1d, {calendar: day, time_zone: Europe/Berlin}, or {lifetime: true, idle: 7d}"
            ),
            (
                "window: 366d",
                "line 6: window of limit a is 366d: accepted are lengths from 1s to 365d, such as 30s, "
                    + "15m, 1h and 1d, {calendar: day, time_zone: Europe/Berlin}, or {lifetime: true, idle: 7d}"
            ),
            (
                "window: {calendar: decade}",
                "line 6: calendar of the window of limit a is decade: accepted are hour, day, week, month, quarter and "
                    + "year"
            ),
            (
                "window: {time_zone: UTC}",
                "line 6: the window of limit a has no calendar: accepted are hour, day, week, month, quarter and year"
            ),
            (
                "window: {calendar: month, starts: 32}",
                "line 6: starts of the window of limit a is 32: accepted are days from 1 to 31, such as 15"
            ),
            (
                "window: {calendar: month, starts: 04-06}",
                "line 6: starts of the window of limit a is 04-06: accepted are days from 1 to 31, such as 15"
            ),
            (
                "window: {calendar: quarter, starts: 02-30}",
                "line 6: starts of the window of limit a is 02-30: accepted are days from 1 to 31, such as 15, and days "
                    + "of the year, such as 04-06, the sixth of April"
            ),
            (
                "window: {calendar: year, starts: [1]}",
                "line 6: starts of the window of limit a is a list: accepted are days from 1 to 31, such as 15, and days "
                    + "of the year, such as 04-06, the sixth of April"
            ),
            (
                "window: {calendar: day, starts: 1}",
                "line 6: the window of limit a has starts, but its day begins at midnight; only a month, a quarter or a "
                    + "year may begin on another day"
            ),
            (
                "window: {calendar: week, starts: 7}",
                "line 6: the window of limit a has starts, but its week begins on Monday; only a month, a quarter or a "
                    + "year may begin on another day"
            ),
            (
                "window: {starts: 1, calendar: hour}",
                "line 6: the window of limit a has starts, but its hour begins at the full hour; only a month, a quarter "
                    + "or a year may begin on another day"
            ),
            (
                "window: {lifetime: true}",
                "line 6: the window of limit a has no idle: accepted are lengths from 1s to 365d, such as 30s, 15m, 1h "
                    + "and 1d"
            ),
            (
                "window: {lifetime: true, idle: 0s}",
                "line 6: idle of the window of limit a is 0s: accepted are lengths from 1s to 365d, such as 30s, 15m, 1h "
                    + "and 1d"
            ),
            (
                "window: {lifetime: true, idle: 366d}",
                "line 6: idle of the window of limit a is 366d: accepted are lengths from 1s to 365d, such as 30s, 15m, "
                    + "1h and 1d"
            ),
            (
                "window: {lifetime: 7d}",
                "line 6: lifetime of the window of limit a is 7d: accepted are true, and windows without it"
            ),
            (
                "window: {lifetime: false, idle: 7d}",
                "line 6: lifetime of the window of limit a is false: accepted are true, and windows without it"
            ),
            (
                "window: {lifetime: true, idle: 7d, starts: 15}",
                "line 6: the window of limit a is a lifetime, which knows no calendar; remove starts, or lifetime"
            ),
            (
                "window: {lifetime: true, idle: 7d, calendar: month}",
                "line 6: the window of limit a is a lifetime, which knows no calendar; remove calendar, or lifetime"
            ),
            (
                "window: {lifetime: true, idle: 7d, time_zone: UTC}",
                "line 6: the window of limit a is a lifetime, which knows no calendar; remove time_zone, or lifetime"
            ),
            (
                "window: {idle: 7d}",
                "line 6: idle of the window of limit a goes with lifetime alone; add lifetime: true, or remove it"
            ),
            (
                "window: {calendar: month, idle: 7d}",
                "line 6: idle of the window of limit a goes with lifetime alone; add lifetime: true, or remove it"
            ),
            (
                "window: {calender: day}",
                "line 6: the window of limit a has no key calender, did you mean calendar?: "
                    + "accepted are calendar, starts, time_zone, lifetime, idle"
            ),
            (
                "window: {calendar: day, time_zone: ../../etc/passwd}",
                "line 6: time_zone of the window of limit a is "
                    + "../../etc/passwd, but that is no zone's name: accepted are names such as UTC, Europe/Berlin and "
                    + "America/New_York"
            ),
            (
                "window: {calendar: day, time_zone: Europe/Bern}",
                "line 6: time_zone of the window of limit a is "
                    + "Europe/Bern, but /usr/share/zoneinfo has no such zone (is the package tzdata installed?): accepted "
                    + "are names such as UTC, Europe/Berlin and America/New_York"
            ),
            (
                "unit: concurrency",
                "line 5: limit a counts concurrency, which has no window; remove it, or count "
                    + "requests"
            ),
            ("mode: off", "line 7: mode of limit a is off: accepted are enforce, shadow and soft"),
            (
                "on_redis_failure: deny",
                "line 7: on_redis_failure of limit a is deny: accepted are open, closed and "
                    + "local"
            ),
            (
                "warn_at: [0.8, 80]",
                "line 7: warn_at of limit a is 80: accepted are shares from 0.001 to 1, such as 0.8, "
                    + "and lists of up to 8"
            ),
            (
                "qouta: 5",
                "line 7: limit 1 of the file has no key qouta, did you mean quota?: accepted are name, per, "
                    + "missing, max_values, unit, weights, quota, soft_quota, quota_from_call, window, match, mode, "
                    + "on_redis_failure, warn_at"
            ),
            ("match: gpt-4", "line 7: match of limit a is gpt-4: accepted are maps of key: value"),
            (
                "match: {model: []}",
                "line 7: model of match of limit a is a list of 0: accepted are texts of at most 256 "
                    + "bytes, a * only at their end for what begins so, and lists of 1 to 64 of them"
            ),
            (
                "match: {model: g*t}",
                "line 7: model of match of limit a is g*t: accepted are texts of at most 256 bytes, "
                    + "a * only at their end for what begins so, and lists of 1 to 64 of them"
            ),
        ])
    func limits(_ line: String, _ message: String) {
        #expect(refusal(limit(line)) == message)
    }

    @Test(
        "in JSON is refused with its line where it is none",
        arguments: [
            ("{\"limits\":\n[}", "line 2: this is no JSON: here should be a value"),
            ("{\"limits\":[],\n\r\n\"lease\" 5}", "line 3: this is no JSON: here should be a colon"),
            ("{\"limits\":[]\n\n\"lease\":5}", "line 3: this is no JSON: here should be a comma or a closing brace"),
            (
                "{\"group_policy\":\n\"\\ud83d\"}",
                "line 2: this is no JSON: here should be the second half of a surrogate pair"
            ),
            (
                "{\"group_policy\":\n\"\\ud83d\\u0041\"}",
                "line 2: this is no JSON: here should be the second half of a surrogate pair"
            ),
            (
                "{\"group_policy\":\n\"\\ude80\"}",
                "line 2: this is no JSON: here should be the second half of a surrogate pair"
            ),
            ("{\"limits\":[],\n\"limits\":[]}", "line 2: the key limits stands twice in one map"),
            ("{\"limits\":[]}\n{}", "line 2: this is no JSON: here should be nothing more"),
            (
                "{\"lease\":\n{\"ttl\":\n5}}",
                "line 3: ttl of lease is 5: accepted are lengths from 1s to 1d, such as 60s and 5m"
            ),
        ])
    func badJSON(_ text: String, _ message: String) {
        #expect(refusal(text) == message)
    }

    @Test("names what a limit lacks")
    func missing() {
        #expect(
            refusal("limits:\n  - {name: a, per: user}\n")
                == "line 2: limit a has no unit: accepted are requests, tokens, tokens.input, tokens.output, "
                + "tokens.cache_read, tokens.cache_write, spend and concurrency")
        #expect(refusal("limits:\n  - {name: a}\n") == "line 2: limit a has no per: \(acceptedWindows)")
        #expect(
            refusal("limits: [{per: user}]").hasPrefix("line 1: limit 1 of the file has no name: accepted are 1 to"))
        #expect(refusal("limits: [{name: a, per: user, unit: spend}]").hasPrefix("line 1: limit a has no window"))
        #expect(
            refusal("limits: [{name: a, per: user, unit: spend, quota: 0.5, window: 1s}]")
                == "line 1: quota of limit a is 0.5: accepted are whole micro-dollars from 0 to 1,000,000,000,000 "
                + "(1,000,000 are a dollar), or dollars such as $5 and $0.25")
        #expect(refusal("limits:\n  a: 5\n") == "line 2: limits is a map: accepted are lists of limits")
        #expect(refusal("limits:\n") == "line 1: limits of the file has no value; where none is meant, write null")
    }

    @Test("has no values where they are none of the caller's own, or none of a user's or group's")
    func values() {
        func text(_ per: String, _ more: String) -> String {
            "limits:\n  - {name: a, per: \(per), unit: requests, window: 1h,\n     \(more)}\n"
        }
        // The groups of a caller are no word of the call: who has none is under no limit of groups.
        for per in ["group", "[user, group]", "global", "[group]"] {
            #expect(
                refusal(text(per, "missing: ignore"))
                    == "line 3: limit a has missing, and its per names no model, provider or label that a call may leave "
                    + "out; remove it", "\(per)")
        }
        for per in ["group", "global", "label:tenant", "[model, provider]"] {
            #expect(
                refusal(text(per, "max_values: 5"))
                    == "line 3: limit a has max_values, and its per names no user or group beside a value; remove it",
                "\(per)")
        }
    }

    @Test("bounds windows that share keys alike")
    func sharedKeys() {
        let text = """
            limits:
              - {name: a, per: [user, label:s], unit: requests, window: 1h}
              - {name: b, per: [label:s, user], unit: spend, window: 1d, max_values: 50}
            """
        #expect(
            refusal(text) == "line 3: limit b has max_values 50, and limit a (line 2), with which it shares keys, has "
                + "1,000; give both the same")
        #expect(refusal(text.replacing("50", with: "1000")) == "read")
        #expect(refusal(text.replacing("label:s, user", with: "label:t, user")) == "read")
    }

    @Test("names both lines of a name that stands twice")
    func twice() {
        let limit = "  - {name: a, per: user, unit: requests, window: 1s}\n"
        #expect(refusal("limits:\n\(limit)\(limit)") == "line 3: a limit named a stands already in line 2")
        #expect(refusal("lease: {ttl: 5s}\nlease: {ttl: 6s}\n").contains("the key lease stands twice in one map"))
        let many = (0..<65).map { "  - {name: a\($0), per: user, unit: requests, window: 1s}\n" }.joined()
        #expect(refusal("limits:\n\(many)") == "line 66: there are more than 64 limits")
    }

    @Test("says what is wrong with weights, which only tokens have")
    func weights() {
        func file(_ unit: String, _ weights: String) -> String {
            "limits:\n  - name: t\n    per: user\n    unit: \(unit)\n    quota: 1\n    window: 1h\n    weights: \(weights)\n"
        }
        let numbers = "accepted are numbers from 0 to 1000 with up to three places, such as 0.1, 1 and 2.5"
        let rows: [(String, String, String)] = [
            ("tokens", "{cache_read: 0.0001}", "line 7: cache_read of weights of limit t is 0.0001: \(numbers)"),
            ("tokens", "{input: 1000.001}", "line 7: input of weights of limit t is 1000.001: \(numbers)"),
            ("tokens", "{input: -1}", "line 7: input of weights of limit t is -1: \(numbers)"),
            ("tokens", "0.1", "line 7: weights of limit t is 0.1: accepted are maps of key: value"),
            (
                "tokens.input", "{output: 2}",
                "line 7: weights of limit t names output, and the limit counts tokens.input alone; remove it"
            ),
            (
                "tokens.input", "{reasoning: 2}",
                "line 7: weights of limit t names reasoning, and the limit counts tokens.input alone; remove it"
            ),
            ("spend", "{input: 2}", "line 7: limit t has weights, and counts spend, which are no tokens; remove them"),
            (
                "tokens.output", "{output: 0}",
                "line 7: weights of limit t let no token count, so that it would never deny; remove it"
            ),
        ]
        for (unit, weights, text) in rows { #expect(refusal(file(unit, weights)) == text) }
        #expect(
            refusal(file("tokens", "{cache: 1}")).hasPrefix("line 7: weights of limit t has no key cache, did you mean")
        )
    }

    @Test("says what is wrong with the quota that calls may say")
    func quotaFromCall() throws {
        func file(_ unit: String, _ text: String) -> String {
            "limits:\n  - name: t\n    per: user\n    unit: \(unit)\n    window: 1h\n    quota_from_call: \(text)\n"
        }
        let accepted = "accepted are whole numbers from 1 to 1,000,000,000,000"
        #expect(refusal(file("tokens", "{max: 0}")) == "line 6: max of quota_from_call of limit t is 0: \(accepted)")
        #expect(refusal(file("tokens", "{max: $5}")) == "line 6: max of quota_from_call of limit t is $5: \(accepted)")
        #expect(refusal(file("tokens", "{}")) == "line 6: quota_from_call of limit t has no max: \(accepted)")
        #expect(
            refusal(file("spend", "{}"))
                == "line 6: quota_from_call of limit t has no max: \(accepted), or dollars such as $5")
        #expect(
            refusal(file("tokens", "5")) == "line 6: quota_from_call of limit t is 5: accepted are maps of key: value")
        #expect(refusal(file("tokens", "{maximum: 5}")).contains("did you mean max?"))
        #expect(try read(file("spend", "{max: $5}")).limits.limits[0].maximumCallQuota == 5_000_000)
        #expect(try read(file("tokens", "{max: 1e3}")).limits.limits[0].maximumCallQuota == 1_000)
        #expect(try read(file("tokens", "null")).limits.limits[0].maximumCallQuota == nil)
    }

    @Test("says what is wrong with tiers, which price all that their model prices")
    func tiers() {
        func file(_ more: String) -> String {
            "prices:\n  models:\n    m:\n      input: 1\n      output: 2\n      cache_read: 1\n      \(more)\n"
        }
        #expect(
            refusal(file("tiers: [{above: 5, input: 1, output: 2}]"))
                == "line 7: tier 1 of the price of m has no cache_read, which the model prices by itself; give it here too"
        )
        #expect(
            refusal(file("tiers: [{above: 5, input: 1, output: 2, cache_read: 1}, {above: 5, input: 1, output: 2}]"))
                == "line 7: above of tier 2 of the price of m is not above that of the tier before it, 5")
        #expect(
            refusal(file("tiers: {above: 5}"))
                == "line 7: tiers of the price of m is no list of 1 to 8: accepted are lists such as [{above: 200000, "
                + "input: $6, output: $22.50}]")
        #expect(
            refusal(file("tiers: [{input: 1, output: 2}]"))
                == "line 7: tier 1 of the price of m has no above: accepted are whole numbers of input tokens from 1 to "
                + "1,000,000,000,000")
        #expect(
            refusal(file("per_request: 0.5")).hasPrefix("line 7: per_request of the price of m is 0.5: accepted are"))
        #expect(refusal(file("resoning: 5")).contains("did you mean reasoning?"))
    }

    @Test("says what is wrong with prices and the rest")
    func prices() {
        #expect(
            refusal("prices:\n  models:\n    a: {input: 1}\n")
                == "line 3: the price of a has no output: accepted are whole micro-dollars from 0 to 1,000,000,000,000 "
                + "(1,000,000 are a dollar), or dollars such as $5 and $0.25, for a million tokens")
        #expect(
            refusal("prices: {unknown_model: allow}")
                == "line 1: unknown_model of prices is allow: accepted are deny, free and {price-of: NAME}, NAME being "
                + "a model with a price")
        #expect(
            refusal("prices:\n  unknown_model: {price-of: b}\n")
                == "line 2: unknown_model refers to a model that has no price itself: accepted are deny, free and "
                + "{price-of: NAME}, NAME being a model with a price")
        #expect(
            refusal("prices: {models: {a*b: {input: 1, output: 1}}}")
                == "line 1: models of prices has the key a*b: accepted are names of models, a * only at their end for "
                + "what begins so")
        #expect(
            refusal("group_policy: sum") == "line 1: group_policy of the file is sum: accepted are min, max and "
                + "attributed")
        #expect(
            refusal("lease:\n  max_ttl: 1h\n  ttl: 2h\n") == "line 3: ttl of lease is above its max_ttl")
        #expect(
            refusal("lease: {max_ttl: 2d}")
                == "line 1: max_ttl of lease is 2d: accepted are lengths from 1s to 1d, such as "
                + "60s and 5m")
        #expect(
            refusal("lease: {ttl: 2d}") == "line 1: ttl of lease is 2d: accepted are lengths from 1s to 1d, such as "
                + "60s and 5m")
        #expect(
            refusal("\nlimit: []") == "line 2: the file has no key limit, did you mean limits?: accepted are limits, "
                + "prices, group_policy, lease")
    }

    @Test("says where it is no YAML")
    func syntax() {
        #expect(refusal("") == "the file is empty")
        #expect(refusal("# only a remark\n") == "the file is empty")
        #expect(refusal("- a").hasPrefix("line 1: the file is a list"))
        #expect(refusal("limits:\n  - name: a\n b: c\n").hasPrefix("line 3: this is neither YAML nor JSON: "))
        #expect(refusal("limits: [\n").hasPrefix("line 2: this is neither YAML nor JSON: "))
        #expect(refusal("limits:\n\t- a\n").hasPrefix("line 2: this is neither YAML nor JSON: "))
        #expect(refusal("a: 1\n---\nb: 2\n") == "line 2: a second document begins here")
        #expect(refusal("a: 1\nb: \u{1}\n").hasPrefix("line 2: this is neither YAML nor JSON: "))
        #expect(refusal(Array("a: 1\nb: ".utf8) + [0xff]) == "line 2: this is not UTF-8 text")
        #expect(refusal("{[a]: b}") == "line 1: a key is a list or a map: accepted are texts")
    }

    @Test("takes no anchors or aliases, and so no file that grows when it is read")
    func bombs() {
        let alias =
            "anchors (&name) and aliases (*name) are not read; write the value out, or put a text that begins "
            + "with & or * in quotes"
        #expect(refusal("limits: &a []\n") == "line 1: \(alias)")
        #expect(refusal("limits: []\nprices: *a\n") == "line 2: \(alias)")
        #expect(refusal("a: \"b\"\nlimits: [x, *a]\n") == "line 2: \(alias)")
        #expect(refusal("{a: it's, b: &b [x], c: '*d'}") == "line 1: \(alias)")
        #expect(refusal("a: x \"y\nb: *a\nc: z \"w\n") == "line 2: \(alias)")
        #expect(refusal("a: [x \"y, *a, z \"w]\n") == "line 1: \(alias)")
        let bomb = "a: &a [x,x,x,x,x,x,x,x]\n" + (0..<9).map { "b\($0): &b\($0) [*a,*a,*a,*a,*a,*a,*a]\n" }.joined()
        #expect(refusal(bomb) == "line 1: \(alias)")
    }

    @Test("has bounds on its length, its depth and the number of its values")
    func bounds() {
        #expect(refusal([UInt8](repeating: 0x20, count: 1 << 20 + 1)).contains("longer than 1024 KiB"))
        #expect(refusal(String(repeating: "[", count: 500_000)) == "line 1: more than 8 values stand in one another")
        #expect(refusal(String(repeating: "- ", count: 600)).contains("more than 8 values stand in one another"))
        #expect(refusal(String(repeating: "- ", count: 500_000)).contains("more than 8 values stand in one another"))
        #expect(refusal("[" + String(repeating: "a,", count: 300_000) + "]").contains("more than 100000 values"))
        #expect(refusal("a: [[[[[[[[1]]]]]]]]") == "line 1: more than 8 values stand in one another")
    }

    @Test("shows of a value what fits on a line")
    func shownValues() {
        let long = String(repeating: "x", count: 100)
        #expect(refusal("group_policy: \(long)").contains(String(repeating: "x", count: 64) + "…:"))
        #expect(refusal("group_policy: \"a\\nb\\u202e\"").contains("is a?b?: accepted"))
    }

    @Test("is never read in part, whatever bytes of a good one are changed")
    func changed() {
        let good = Array(LimitsFileTests.whole.utf8)
        for index in stride(from: 0, to: good.count, by: 3) {
            for byte in Array("\n:*&{\"' #\u{0}".utf8) {
                var bytes = good
                bytes[index] = byte
                // Reading must end; whether with limits or with a refusal depends on the byte.
                #expect(!refusal(bytes).isEmpty)
            }
        }
    }
}
