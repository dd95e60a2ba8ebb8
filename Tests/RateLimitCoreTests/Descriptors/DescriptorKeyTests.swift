import RateLimitCore
import TestSupport
import Testing

@Suite("The key of a descriptor's window")
struct DescriptorKeyTests {
    /// The key of the window that entries have, or with a quota that the proxy gives.
    private func key(
        _ entries: [DescriptorEntry], in domain: String = "d", shared: String? = nil, quota: DescriptorQuota? = nil
    ) throws -> String {
        let limit = DescriptorRule.Limit(quota: DescriptorQuota(1, per: .second))
        let rules = entries.enumerated().reversed().reduce([]) { below, entry -> [DescriptorRule] in
            let isLast = entry.offset == entries.count - 1
            var rule = DescriptorRule(entry.element.key, shared ?? "", limit: isLast ? limit : nil, rules: below)
            rule.sharesThreshold = shared != nil
            return [rule]
        }
        let domains = DescriptorRules([DescriptorDomain(domain, rules)])
        let match = try #require(domains.matches([Descriptor(entries, quota: quota)], in: domain).first)
        return try #require(match.key).text
    }

    @Test(
        "is written as values are in other keys",
        arguments: [
            ("d", "k", "v", "descriptor:d:k=v"), ("a:b", "x,y", "1=2", "descriptor:a%3Ab:x%2Cy=1%3D2"),
            ("{d}", "{k}", "{v}", "descriptor:%7Bd%7D:%7Bk%7D=%7Bv%7D"), ("d", "k", "", "descriptor:d:k="),
            ("d", "remote_address", "10.0.0.1", "descriptor:d:remote_address=10.0.0.1"),
            ("d", "k", "é\n*~", "descriptor:d:k=%C3%A9%0A%2A%7E"),
        ])
    func written(_ domain: String, _ key: String, _ value: String, _ text: String) throws {
        #expect(try self.key([DescriptorEntry(key, value)], in: domain) == text)
    }

    @Test("has a digest in place of a text that is too long, and of too many pairs")
    func digests() throws {
        let long = String(repeating: "k", count: 129)
        let digest = "~9094034fb2d0ce2e407c9b260f2806ab2efb352e200722fd6296d9cf1cf7e6f5"
        #expect(try key([DescriptorEntry("k", long)]) == "descriptor:d:k=\(digest)")
        #expect(try key([DescriptorEntry("k", "v")], in: long) == "descriptor:\(digest):k=v")
        let pairs = (0..<8).map { DescriptorEntry("k\($0)", String(repeating: "v", count: 59)) }
        #expect(try key(pairs).utf8.count == "descriptor:d:".utf8.count + 8 * 62 + 7)
        let more = pairs + [DescriptorEntry("k8", "vvvvvv")]
        #expect(try key(pairs + [DescriptorEntry("k8", "vvvvv")]).utf8.count == DescriptorKey.longestPairs + 13)
        let hour = DescriptorQuota(1, per: .hour, times: 8_760)
        #expect(try key(more).hasPrefix("descriptor:d:~") && key(more).utf8.count == "descriptor:d:".utf8.count + 65)
        #expect(try key(more, quota: hour) == key(more) + ":8760-hour")
        #expect(try key(more) != key(pairs + [DescriptorEntry("k8", "w")]))
    }

    @Test("is another one for each unit and multiplier that the proxy gives")
    func quotas() throws {
        let entries = [DescriptorEntry("k", "v")]
        var keys = [try key(entries)]
        for unit in DescriptorUnit.allCases {
            keys.append(try key(entries, quota: DescriptorQuota(1, per: unit)))
            #expect(
                try key(entries, quota: DescriptorQuota(2, per: unit)) == keys.last, "another quota keeps its window")
        }
        keys.append(try key(entries, quota: DescriptorQuota(1, per: .second, times: 60)))
        #expect(Set(keys).count == keys.count)
        #expect(keys.last == "descriptor:d:k=v:60-second")
    }

    @Test("of a shared window is no value's, however the pattern is")
    func shared() throws {
        let pattern = String(repeating: "a", count: 70) + "*"
        let key = try key([DescriptorEntry("k", pattern + "x")], shared: pattern)
        #expect(key.hasPrefix("descriptor:d:k=~") && key.hasSuffix("*"))
        #expect(try self.key([DescriptorEntry("k", "b*")]) == "descriptor:d:k=b%2A")
    }

    @Test("is bounded, in ASCII without braces, and no two windows have one")
    func distinct() throws {
        var random = SeededGenerator(seed: 11)
        let pieces = [
            "", "a", "b", "=", ",", ":", "*", "~", "%", "%2C", "{", "}", "_", "é", "\u{0}", "d", "a=b", "1-hour",
            String(repeating: "x", count: 64), String(repeating: "y", count: 65),
        ]
        func text() -> String {
            (0..<Int.random(in: 0...2, using: &random)).map { _ in pieces.randomElement(using: &random)! }.joined()
        }
        var windows: [String: [String]] = [:]
        for _ in 0..<20_000 {
            let domain = "d" + text()
            let entries = (0...Int.random(in: 0...8, using: &random)).map { _ in DescriptorEntry("k" + text(), text()) }
            let unit = DescriptorUnit.allCases.randomElement(using: &random)!
            let quota = Bool.random(using: &random) ? DescriptorQuota(1, per: unit) : nil
            let window = [domain, quota?.unit.text ?? ""] + entries.flatMap { [$0.key, $0.value] }
            let key = try key(entries, in: domain, quota: quota)
            #expect(key.utf8.count <= DescriptorKey.longest && key.hasPrefix("descriptor:"))
            #expect(key.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x7b && $0 != 0x7d }, "\(key)")
            #expect((windows[key] ?? window).elementsEqual(window) { $0.utf8.elementsEqual($1.utf8) }, "\(key)")
            windows[key] = window
        }
    }
}
