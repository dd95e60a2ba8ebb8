import Testing

@testable import DaemonConfiguration

@Suite("The changes of a limits file")
struct LimitsChangesTests {
    let folder = TemporaryFolder()

    private func changes(from old: String, to new: String) throws -> [String] {
        var settings = (Settings(), Settings())
        settings.0.limitsFile = try LimitsFileSetting(reading: folder.write("old", old))
        settings.1.limitsFile = try LimitsFileSetting(reading: folder.write("new", new))
        return limitsChanges(from: settings.0, to: settings.1)
    }

    @Test("say of each limit whether it came, went, or changed how")
    func limits() throws {
        let old = """
            limits:
              - {name: team, per: group, unit: tokens, quota: 1000, window: {calendar: month}}
              - {name: same, per: user, unit: requests, quota: 1, window: 1h}
              - {name: gone, per: global, unit: concurrency, quota: 4}
            """
        let new = """
            limits:
              - {name: team, per: group, unit: tokens, quota: 500, window: {calendar: day}}
              - {name: same, per: user, unit: requests, quota: 1, window: 60m}
              - name: new
                per: user
                unit: spend
                quota: $2.5
                window: 90m
                match: {model: ["gpt-4*", o3], team: "a\\eb"}
                mode: shadow
                warn_at: [0.8, 0.95]
            """
        #expect(
            try changes(from: old, to: new) == [
                "limit gone: removed", "limit team: quota 1000 -> 500, window calendar month -> calendar day",
                "limit new: added, per user, unit spend, quota $2.50, window 90m, match model=gpt-4*|o3 team=a\\u{1B}b, "
                    + "mode shadow, warn_at 0.8 0.95",
            ])
    }

    @Test("name every trait of a limit that changed")
    func traits() throws {
        let old = "limits: [{name: a, per: user, unit: requests, window: 1h, match: {model: x}, warn_at: 1}]\n"
        let new = """
            limits:
              - {name: a, per: group, unit: spend, quota: 0, window: {calendar: week, time_zone: Europe/Berlin},
                 mode: shadow, on_redis_failure: closed}
            """
        #expect(
            try changes(from: old, to: new) == [
                "limit a: per user -> group, unit requests -> spend, quota unlimited -> $0.00, "
                    + "window 1h -> calendar week Europe/Berlin, match model=x -> none, mode enforce -> shadow, "
                    + "on_redis_failure open -> closed, warn_at 1.0 -> none"
            ])
    }

    @Test("name the mode and the soft quota of a limit, and of a new one only what is not usual")
    func softLines() throws {
        func file(_ more: String) -> String {
            "limits: [{name: a, per: user, unit: spend, window: 1h, quota: $50\(more)}]\n"
        }
        #expect(
            try changes(from: file(", soft_quota: $40"), to: file(", mode: soft"))
                == ["limit a: mode enforce -> soft, soft_quota $40.00 -> none"])
        #expect(
            try changes(from: "{}", to: file(", soft_quota: $40"))
                == ["limit a: added, per user, unit spend, quota $50.00, window 1h, soft_quota $40.00"])
    }

    @Test("name whose windows a limit has, what it does without a value, and how many there may be")
    func windows() throws {
        func file(_ more: String) -> String { "limits: [{name: a, unit: requests, window: 1h, \(more)}]\n" }
        let old = file("per: user")
        #expect(
            try changes(from: old, to: file("per: [user, label:session], missing: deny, max_values: 50")) == [
                "limit a: per user -> [user, label:session], missing ignore -> deny, max_values 1000 -> 50"
            ])
        #expect(try changes(from: old, to: file("per: [group, model]")) == ["limit a: per user -> [group, model]"])
        #expect(
            try changes(from: "{}", to: file("per: label:tenant"))
                == ["limit a: added, per label:tenant, unit requests, quota unlimited, window 1h"])
        #expect(
            try changes(from: "{}", to: file("per: [user, model], missing: deny, max_values: 2"))
                == [
                    "limit a: added, per [user, model], missing deny, max_values 2, unit requests, quota unlimited, window 1h"
                ])
    }

    @Test(
        "name a window as the file does, and one that begins on the first of the month like one that does not say so")
    func windowKinds() throws {
        func file(_ window: String) -> String {
            "limits: [{name: a, per: user, unit: requests, window: \(window)}]\n"
        }
        let texts = [
            ("1h", "1h"), ("{calendar: hour}", "calendar hour"),
            ("{calendar: month, starts: 15}", "calendar month from 15"),
            (
                "{calendar: year, starts: 04-06, time_zone: Europe/London}", "calendar year from 04-06 Europe/London"
            ), ("{lifetime: true, idle: 168h}", "lifetime, idle 7d"),
            ("{calendar: quarter, starts: 1}", "calendar quarter"),
        ]
        for ((old, oldText), (new, newText)) in zip(texts, texts.dropFirst()) {
            #expect(
                try changes(from: file(old), to: file(new)) == ["limit a: window \(oldText) -> \(newText)"])
        }
        #expect(try changes(from: file("{calendar: month}"), to: file("{calendar: month, starts: 1}")) == [])
    }

    @Test("tell what holds for all limits, and prices, of which eight are named")
    func prices() throws {
        let old = """
            prices: {models: {gone: {input: 1, output: 2}, "m*": {input: 3, output: 4, cache_read: 1}}}
            """
        let new = """
            prices: {unknown_model: free, models: {"m*": {input: 3, output: 5, cache_read: 1}, m: {input: 1, output: 1}}}
            group_policy: max
            lease: {ttl: 90s}
            """
        #expect(
            try changes(from: old, to: new) == [
                "limits file: group_policy min -> max, unknown_model deny -> free, lease ttl 1m -> 90s",
                "price of gone: removed", "price of m*: output 4 -> 5", "price of m: added, input 1, output 1",
            ])
        let many = "prices:\n  models:\n" + (0..<4_000).map { "    m\($0): {input: 1, output: 1}\n" }.joined()
        let texts = try changes(from: "{}", to: many)
        #expect(texts.count == 9 && texts.last == "3992 more prices")
    }

    @Test("tell what tokens weigh, and what parts, calls and long inputs cost")
    func rates() throws {
        func file(_ weights: String, _ price: String) -> String {
            "limits: [{name: a, per: user, unit: tokens, window: 1h\(weights)}]\n"
                + "prices: {models: {m: {input: 1, output: 2\(price)}}}\n"
        }
        let new = file(
            ", weights: {cache_read: 0.1, reasoning: 2}",
            ", reasoning: 5, per_request: 7, tiers: [{above: 9, input: 3, output: 4, reasoning: 6}]")
        #expect(
            try changes(from: file("", ""), to: new) == [
                "limit a: weights none -> cache_read=0.1 reasoning=2",
                "price of m: reasoning output -> 5, per_request 0 -> 7, tiers none -> above 9: input 3 output 4 reasoning 6",
            ])
        #expect(try changes(from: new, to: file("", "")).count == 2)
    }

    @Test("fit a line of the log, however many limits change")
    func bound() throws {
        let limits = { (quota: Int) in
            "limits:\n"
                + (10..<70).map {
                    "  - {name: limit-with-a-long-name-\($0), per: user, unit: tokens.cache_write, quota: \(quota), window: 1h}\n"
                }.joined()
        }
        let texts = try changes(from: limits(1), to: limits(1_000_000_000_000))
        #expect(texts.count == 17 && texts.last == "44 more limits")
        #expect(texts.joined(separator: "; ").utf8.count < 4_000)
    }

    @Test("are none where the file says the same otherwise, and name the order where that alone differs")
    func sameContent() throws {
        let limits = [
            "{name: a, per: user, unit: requests, quota: 1, window: 1h}", "{name: b, per: user, unit: concurrency}",
        ]
        let (one, other) = ("limits: [\(limits[0]), \(limits[1])]", "limits: [\(limits[1]), \(limits[0])]")
        #expect(try changes(from: one, to: "# a comment\n" + one.replacing("1h", with: "60m")).isEmpty)
        #expect(try changes(from: one, to: other) == ["the order in the limits file"])
    }
}
