import RateLimitCore
import Testing

@Suite("Rules of descriptors")
struct DescriptorRulesTests {
    /// A limit whose quota tells it from others.
    private func limit(_ requests: Int, name: String? = nil, replaces: [String] = []) -> DescriptorRule.Limit {
        DescriptorRule.Limit(name: name, quota: DescriptorQuota(requests, per: .minute), replaces: replaces)
    }

    private func rules(_ rules: DescriptorRule...) -> DescriptorRules {
        DescriptorRules([DescriptorDomain("d", rules)])
    }

    private func descriptor(_ entries: [(String, String)]) -> Descriptor {
        Descriptor(entries.map { DescriptorEntry($0.0, $0.1) })
    }

    private func match(_ rules: DescriptorRules, _ entries: (String, String)...) throws -> DescriptorMatch {
        try #require(rules.matches([descriptor(entries)], in: "d").first)
    }

    private func quota(_ rules: DescriptorRules, _ entries: (String, String)...) -> Int? {
        rules.matches([descriptor(entries)], in: "d").first?.limit?.definition.quota?.requestsPerUnit
    }

    @Test("an exact value is met before one with *, that before the key alone, and what is met first is taken for good")
    func precedence() {
        let rules = rules(
            DescriptorRule("k", limit: limit(1)), DescriptorRule("k", "a*", limit: limit(2)),
            DescriptorRule("k", "ab", limit: limit(3)), DescriptorRule("k", "*c", limit: limit(4)),
            DescriptorRule("k", "free"), DescriptorRule("k", "deep", rules: [DescriptorRule("l", limit: limit(5))]))
        #expect(quota(rules, ("k", "x")) == 1)
        #expect(quota(rules, ("k", "")) == 1)
        #expect(quota(rules, ("k", "axc")) == 2, "the first in the file, of two that match")
        #expect(quota(rules, ("k", "xc")) == 4)
        #expect(quota(rules, ("k", "ab")) == 3)
        #expect(quota(rules, ("k", "free")) == nil, "without a limit it is free of the key's")
        #expect(quota(rules, ("k", "deep")) == nil)
        #expect(quota(rules, ("k", "deep"), ("l", "")) == 5)
        #expect(quota(rules, ("k", "x"), ("l", "")) == nil, "no way back from the value to the key")
        #expect(quota(rules, ("K", "x")) == nil)
    }

    @Test("a limit counts only for descriptors as deep as it stands")
    func depth() {
        let rules = rules(DescriptorRule("a", limit: limit(1), rules: [DescriptorRule("b", "x", limit: limit(2))]))
        #expect(quota(rules, ("a", "1")) == 1)
        #expect(quota(rules, ("a", "1"), ("b", "x")) == 2)
        #expect(quota(rules, ("a", "1"), ("b", "y")) == nil)
        #expect(quota(rules, ("a", "1"), ("b", "x"), ("c", "")) == nil)
        #expect(quota(rules, ("b", "x")) == nil)
        #expect(quota(rules) == nil, "a descriptor without entries")
    }

    @Test("a key and its value are no text of both: underscores do not move the border between them")
    func borders() {
        let rules = rules(DescriptorRule("a", "b_c", limit: limit(1)), DescriptorRule("x_y", limit: limit(2)))
        #expect(quota(rules, ("a", "b_c")) == 1)
        #expect(quota(rules, ("a_b", "c")) == nil)
        #expect(quota(rules, ("x", "y")) == nil)
    }

    @Test("texts are compared byte for byte, in Unicode's equal forms too")
    func bytes() {
        let rules = DescriptorRules([
            DescriptorDomain("d", [DescriptorRule("é", "e\u{301}", limit: limit(1))]),
            DescriptorDomain("é", [DescriptorRule("k", "", limit: limit(1))]),
        ])
        #expect(quota(rules, ("é", "e\u{301}")) == 1)
        #expect(quota(rules, ("é", "é")) == nil)
        #expect(quota(rules, ("e\u{301}", "e\u{301}")) == nil)
        let asked = [Descriptor([DescriptorEntry("k", "v")])]
        #expect(rules.matches(asked, in: "é")[0].limit != nil && rules.matches(asked, in: "e\u{301}")[0].limit == nil)
        #expect(DescriptorEntry("k", "é") != DescriptorEntry("k", "e\u{301}"))
    }

    @Test("nothing is met in an unknown domain, not even a quota that the proxy gives")
    func unknownDomain() throws {
        let rules = rules(DescriptorRule("k", limit: limit(1)))
        var own = descriptor([("k", "x")])
        own.quota = DescriptorQuota(9, per: .hour)
        let none = DescriptorMatch(nil, in: nil)
        #expect(rules.matches([own, own], in: "e") == [none, none])
        #expect(rules.matches([], in: "d").isEmpty)
        #expect(DescriptorRules.none.matches([own], in: "d") == [none])
    }

    @Test("a quota that the proxy gives is met in place of the file's, without its name, mode and replacements")
    func ownQuota() throws {
        var rule = DescriptorRule("k", limit: limit(1, name: "n", replaces: ["m"]))
        rule.isShadow = true
        let rules = rules(rule, DescriptorRule("m", limit: limit(2, name: "m")))
        var own = descriptor([("k", "x"), ("l", "")])
        own.quota = DescriptorQuota(9, per: .hour, times: 6)
        let matches = rules.matches([own, descriptor([("m", "")])], in: "d")
        #expect(
            matches[0].limit?.definition
                == DescriptorLimit.Definition(
                    domain: "d", path: "k_x.l", quota: DescriptorQuota(9, per: .hour, times: 6)))
        #expect(matches[0].key?.text == "descriptor:d:k=x,l=:6-hour")
        #expect(matches[1].limit?.definition.name == "m")
    }

    @Test("what another limit of the call replaces does not count, also where that one is replaced itself")
    func replacement() {
        let rules = rules(
            DescriptorRule("a", limit: limit(1, name: "a", replaces: ["b"])),
            DescriptorRule("b", limit: limit(2, name: "b", replaces: ["c", "u"])),
            DescriptorRule("c", limit: limit(3, name: "c")), DescriptorRule("n", limit: limit(4)),
            DescriptorRule("u", limit: DescriptorRule.Limit(name: "u", quota: nil, replaces: ["a"])))
        func met(_ keys: String...) -> [String?] {
            rules.matches(keys.map { descriptor([($0, "v")]) }, in: "d").map { $0.limit?.definition.path }
        }
        #expect(met("c", "b") == [nil, "b"], "whichever comes first")
        #expect(met("b", "c") == ["b", nil])
        #expect(met("a", "b", "c", "n") == ["a", nil, nil, "n"])
        #expect(met("c", "n") == ["c", "n"])
        #expect(met("b", "b") == ["b", "b"])
        #expect(met("u", "a", "b") == ["u", nil, nil], "an unlimited one replaces, and is not replaced")
    }

    @Test("unlimited is a limit without a window")
    func unlimited() throws {
        let rules = rules(DescriptorRule("k", limit: DescriptorRule.Limit(quota: nil)))
        let match = try match(rules, ("k", "v"))
        #expect(match.limit?.definition == DescriptorLimit.Definition(domain: "d", path: "k", quota: nil))
        #expect(match.key == nil)
    }

    @Test("each value has a window of its own, those that share a threshold have one")
    func windows() throws {
        var shared = DescriptorRule("file", "top/*", rules: [DescriptorRule("file", "*.txt", limit: limit(1))])
        shared.sharesThreshold = true
        let rules = rules(
            shared, DescriptorRule("file", "own/*", limit: limit(2)), DescriptorRule("any", limit: limit(3)))
        #expect(try match(rules, ("file", "own/a")).key?.text == "descriptor:d:file=own/a")
        #expect(try match(rules, ("any", "x y")).key?.text == "descriptor:d:any=x%20y")
        let one = try match(rules, ("file", "top/a"), ("file", "a.txt"))
        #expect(one.key?.text == "descriptor:d:file=top/*,file=a.txt")
        #expect(try match(rules, ("file", "top/b"), ("file", "a.txt")) == one)
        #expect(try match(rules, ("file", "top/b"), ("file", "b.txt")) != one)
        #expect(try match(rules, ("file", "top/*"), ("file", "a.txt")) == one, "said literally")
        var inner = DescriptorRule("model", "gpt*", limit: limit(4))
        inner.sharesThreshold = true
        let below = DescriptorRules([DescriptorDomain("d", [DescriptorRule("team", rules: [inner])])])
        #expect(try match(below, ("team", "x"), ("model", "gpt-4")).key?.text == "descriptor:d:team=x,model=gpt*")
        #expect(try match(rules, ("file", "own/*")).key?.text == "descriptor:d:file=own/%2A")
    }

    @Test("metadata is that of the limit, whatever its metric's path, and none of what is unlimited or the proxy's own")
    func metadata() {
        let metadata = DescriptorMetadata([DescriptorMetadata.Entry("plan", .text("gold"))])
        func rule(_ key: String, isUnlimited: Bool = false) -> DescriptorRule {
            var rule = DescriptorRule(
                key, limit: DescriptorRule.Limit(quota: isUnlimited ? nil : DescriptorQuota(1, per: .day)))
            rule.metadata = metadata
            return rule
        }
        var detailed = rule("detailed")
        detailed.hasDetailedMetric = true
        var valued = rule("valued")
        valued.hasValueInMetric = true
        let rules = DescriptorRules([
            DescriptorDomain("d", [rule("plain"), detailed, valued, rule("free", isUnlimited: true)])
        ])
        func met(_ key: String, _ quota: DescriptorQuota? = nil) -> DescriptorMetadata? {
            rules.matches([Descriptor([DescriptorEntry(key, "v")], quota: quota)], in: "d")[0].limit?.definition
                .metadata
        }
        #expect(met("plain") == metadata && met("detailed") == metadata && met("valued") == metadata)
        #expect(met("free") == nil && met("plain", DescriptorQuota(2, per: .hour)) == nil)
    }

    @Test("rules are equal where they were made of the same domains")
    func equality() {
        #expect(rules(DescriptorRule("k", limit: limit(1))) == rules(DescriptorRule("k", limit: limit(1))))
        #expect(rules(DescriptorRule("k", limit: limit(1))) != rules(DescriptorRule("k", limit: limit(2))))
        #expect(DescriptorRules.none.hashValue == DescriptorRules([]).hashValue)
    }
}

@Suite("The path of a descriptor's limit")
struct DescriptorPathTests {
    private func path(_ rule: DescriptorRule, _ entries: (String, String)...) -> String? {
        let rules = DescriptorRules([DescriptorDomain("d", [rule])])
        return rules.matches([Descriptor(entries.map { DescriptorEntry($0.0, $0.1) })], in: "d")[0].limit?.definition
            .path
    }

    private let limit = DescriptorRule.Limit(quota: DescriptorQuota(1, per: .second))

    @Test("is what the configuration says, with _ before a value and . between levels")
    func written() {
        let leaf = DescriptorRule("leaf", limit: limit)
        #expect(path(DescriptorRule("k", "v", rules: [leaf]), ("k", "v"), ("leaf", "x")) == "k_v.leaf")
        #expect(path(DescriptorRule("k", "v*", rules: [leaf]), ("k", "vw"), ("leaf", "x")) == "k_v*.leaf")
        #expect(path(DescriptorRule("k", rules: [leaf]), ("k", "v"), ("leaf", "")) == "k.leaf")
    }

    @Test("with value_to_metric has the call's value of that key, but of those that share a threshold the pattern")
    func valueToMetric() {
        let leaf = DescriptorRule("leaf", limit: limit)
        var any = DescriptorRule("k", rules: [leaf])
        any.hasValueInMetric = true
        #expect(path(any, ("k", "v"), ("leaf", "x")) == "k_v.leaf")
        #expect(path(any, ("k", ""), ("leaf", "x")) == "k.leaf")
        var wild = DescriptorRule("k", "v*", rules: [leaf])
        wild.hasValueInMetric = true
        #expect(path(wild, ("k", "vw"), ("leaf", "x")) == "k_vw.leaf")
        wild.sharesThreshold = true
        #expect(path(wild, ("k", "vw"), ("leaf", "x")) == "k_v*.leaf")
    }

    @Test("with detailed_metric has all values of the call, but of those that share a threshold the pattern")
    func detailedMetric() {
        var leaf = DescriptorRule("leaf", limit: limit)
        leaf.hasDetailedMetric = true
        var wild = DescriptorRule("k", "v*", rules: [leaf])
        #expect(path(wild, ("k", "vw"), ("leaf", "x")) == "k_vw.leaf_x")
        #expect(path(wild, ("k", "vw"), ("leaf", "")) == "k_vw.leaf_")
        wild.sharesThreshold = true
        #expect(path(wild, ("k", "vw"), ("leaf", "x")) == "k_v*.leaf_x")
        #expect(path(wild, ("k", "vw"), ("leaf", "")) == "k_v*.leaf")
    }

    @Test("has at most 256 bytes where a call's values stand in it, and no half of a character")
    func bound() throws {
        var rule = DescriptorRule("k", limit: limit)
        rule.hasValueInMetric = true
        #expect(path(rule, ("k", String(repeating: "v", count: 254))) == "k_" + String(repeating: "v", count: 254))
        #expect(path(rule, ("k", String(repeating: "v", count: 300))) == "k_" + String(repeating: "v", count: 254))
        #expect(
            path(rule, ("k", "x" + String(repeating: "é", count: 300))) == "k_x" + String(repeating: "é", count: 126))
    }
}

@Suite("A value with *")
struct WildcardTests {
    @Test(
        "matches what it stands for at any place, and nothing else",
        arguments: [
            ("*", ["", "a", "é"], []), ("a*", ["a", "ab"], ["", "b", "ba"]), ("*a", ["a", "ba"], ["", "ab"]),
            ("a*b", ["ab", "axb", "abb"], ["a", "b", "abx"]), ("ab*ba", ["abba", "abxba"], ["aba", "ab"]),
            ("a*b*c", ["abc", "axbxc", "abcbc"], ["ac", "acb", "ab"]),
            ("*x*", ["x", "axb"], ["", "ab"]), ("a**b", ["ab", "axb"], ["a"]),
            ("*aab*", ["aaab", "xaaabx", "aab"], ["aba", "aaa"]),
            ("a*aa*a", ["aaaa", "axaaxa"], ["aaa", "axaa"]), ("*ab*bc*", ["abbc", "xabxbcx"], ["abc", "bcab"]),
            ("é*", ["éa"], ["e\u{301}a", "e"]),
        ])
    func matching(_ pattern: String, _ matched: [String], _ others: [String]) {
        let limit = DescriptorRule.Limit(quota: DescriptorQuota(1, per: .second))
        let rules = DescriptorRules([DescriptorDomain("d", [DescriptorRule("k", pattern, limit: limit)])])
        func isMet(_ value: String) -> Bool {
            rules.matches([Descriptor([DescriptorEntry("k", value)])], in: "d")[0].limit != nil
        }
        for value in matched { #expect(isMet(value), "\(pattern) \(value)") }
        for value in others { #expect(!isMet(value), "\(pattern) \(value)") }
    }
}

@Suite("A descriptor's quota")
struct DescriptorQuotaTests {
    @Test("has a window of a second to 365 days, whatever the multiplier")
    func bounds() {
        #expect(DescriptorQuota(0, per: .year) != nil && DescriptorQuota(Int(UInt32.max), per: .second) != nil)
        #expect(DescriptorQuota(-1, per: .second) == nil && DescriptorQuota(1 << 32, per: .second) == nil)
        #expect(DescriptorQuota(1, per: .second, times: 0) == nil)
        #expect(DescriptorQuota(1, per: .day, times: 365)?.windowMilliseconds == 31_536_000_000)
        #expect(DescriptorQuota(1, per: .day, times: 366) == nil)
        for unit in DescriptorUnit.allCases { #expect(DescriptorQuota(1, per: unit, times: Int(UInt32.max)) == nil) }
        #expect(DescriptorQuota(1, per: .year, times: .max) == nil)
    }

    @Test("has units by their names in any case")
    func units() {
        for unit in DescriptorUnit.allCases {
            #expect(DescriptorUnit(unit.text) == unit && DescriptorUnit(unit.text.uppercased()) == unit)
        }
        #expect(DescriptorUnit("Minute") == .minute)
        for text in ["", "minutes", "wee\u{212a}", "unknown"] { #expect(DescriptorUnit(text) == nil) }
    }
}
