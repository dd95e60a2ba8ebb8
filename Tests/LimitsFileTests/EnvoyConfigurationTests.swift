import RateLimitCore
import TestSupport
import Testing

@testable import LimitsFile

/// The domain of a file of envoyproxy/ratelimit.
func envoyDomain(_ text: String) throws -> DescriptorDomain { try EnvoyReader.domain(Array(text.utf8)).0 }

@Suite("A configuration of envoyproxy/ratelimit")
struct EnvoyConfigurationTests {
    @Test("is read with every key it may have")
    func everyKey() throws {
        let domain = try envoyDomain(
            """
            domain: edge   # a comment
            descriptors:
              - key: tenant
                value: acme*
                share_threshold: true
                value_to_metric: yes
                detailed_metric: On
                metadata: {any: [thing, {at: all}]}
                rate_limit:
                  name: tenants
                  unit: HOUR
                  unit_multiplier: 6
                  requests_per_unit: 1_000
                  replaces: [{name: all}, {name: 7}]
                descriptors:
                - {key: path, value: 404, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 0}}
                - {key: path, quota_mode: true, rate_limit: {unlimited: true, requests_per_unit: 5}}
                - {key: path, value: free, descriptors: []}
            """)
        var path = DescriptorRule("path", "404", limit: DescriptorRule.Limit(quota: DescriptorQuota(0, per: .second)))
        path.isShadow = true
        var any = DescriptorRule("path", limit: DescriptorRule.Limit(quota: nil))
        any.isQuotaMode = true
        var tenant = DescriptorRule(
            "tenant", "acme*",
            limit: DescriptorRule.Limit(
                name: "tenants", quota: DescriptorQuota(1_000, per: .hour, times: 6), replaces: ["all", "7"]),
            rules: [path, any, DescriptorRule("path", "free")])
        tenant.sharesThreshold = true
        tenant.hasValueInMetric = true
        tenant.hasDetailedMetric = true
        let inner = DescriptorMetadata([DescriptorMetadata.Entry("at", .text("all"))])
        tenant.metadata = DescriptorMetadata([DescriptorMetadata.Entry("any", .list([.text("thing"), .map(inner)]))])
        #expect(domain == DescriptorDomain("edge", [tenant]))
    }

    @Test("may be JSON, begin with a byte order mark, and have null for what is left out")
    func forms() throws {
        let rule = DescriptorRule("k", limit: DescriptorRule.Limit(quota: DescriptorQuota(20, per: .minute)))
        let json =
            #"{"domain":"d","descriptors":[{"key":"k","value":null,"rate_limit":{"unit":"Minute","requests_per_unit":20}}]}"#
        #expect(try envoyDomain(json) == DescriptorDomain("d", [rule]))
        #expect(try envoyDomain("\u{feff}" + json) == DescriptorDomain("d", [rule]))
        #expect(try envoyDomain("---\n# a comment\ndomain: d\n...\n") == DescriptorDomain("d", []))
        #expect(try envoyDomain("domain: d") == DescriptorDomain("d", []))
        #expect(try envoyDomain("domain: d\ndescriptors: ~") == DescriptorDomain("d", []))
    }

    /// What descriptors of a request meet: requests in units, whether it is a shadow, or nothing.
    private func met(_ yaml: String, _ descriptors: [(String, String)]...) throws -> [String] {
        let domain = try envoyDomain(yaml)
        let asked = descriptors.map { Descriptor($0.map { DescriptorEntry($0.0, $0.1) }) }
        return DescriptorRules([domain]).matches(asked, in: domain.name).map { match in
            guard let limit = match.limit?.definition else { return "nothing" }
            guard let quota = limit.quota else { return "unlimited" }
            return "\(quota.requestsPerUnit) per \(quota.unit)\(limit.isShadow ? ", shadow" : "")"
        }
    }

    @Test("means what envoyproxy/ratelimit's documentation says of its examples")
    func documented() throws {
        let messages = """
            domain: messages
            descriptors:
              - key: kind
                value: advert
                descriptors: [{key: phone, rate_limit: {unit: day, requests_per_unit: 5}}]
              - {key: phone, rate_limit: {unit: day, requests_per_unit: 100}}
            """
        let advert = [("kind", "advert"), ("phone", "1")]
        #expect(try met(messages, advert, [("phone", "1")]) == ["5 per day", "100 per day"])
        #expect(try met(messages, [("kind", "advert")], [("kind", "bill"), ("phone", "1")]) == ["nothing", "nothing"])
        let addresses = """
            domain: addresses
            descriptors:
              - {key: remote_address, rate_limit: {unit: second, requests_per_unit: 10}}
              - {key: remote_address, value: 50.0.0.5, rate_limit: {unit: second, requests_per_unit: 0}}
              - {key: directory, rate_limit: {unlimited: true}}
            """
        #expect(
            try met(addresses, [("remote_address", "50.0.0.1")], [("remote_address", "50.0.0.5")], [("directory", "a")])
                == ["10 per second", "0 per second", "unlimited"])
        #expect(try met(addresses, [("remote_address", "50.0.0.1"), ("path", "/")]) == ["nothing"])
        let replacing = """
            domain: replacing
            descriptors:
              - key: area
                descriptors:
                  - {key: user, value: bob, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 5, name: special}}
              - key: page
                descriptors:
                  - {key: user, value: bob, rate_limit: {unit: hour, requests_per_unit: 10, replaces: [{name: special}]}}
            """
        let area = [("area", "read"), ("user", "bob")]
        let page = [("page", "start"), ("user", "bob")]
        #expect(try met(replacing, area) == ["5 per hour, shadow"])
        #expect(try met(replacing, area, page) == ["nothing", "10 per hour"])
    }

    /// Descriptors in as many levels.
    private func nested(_ levels: Int) -> String {
        var text = "domain: d\n"
        for level in 0..<levels {
            let indentation = String(repeating: "  ", count: level)
            text += "\(indentation)descriptors:\n\(indentation)- key: k\n"
        }
        let indentation = String(repeating: "  ", count: levels)
        return text + "\(indentation)rate_limit: {unit: day, requests_per_unit: 1, replaces: [{name: a}]}\n"
    }

    @Test("may have 32 levels, and no more")
    func levels() throws {
        let rules = DescriptorRules([try envoyDomain(nested(32))])
        let entries = Array(repeating: DescriptorEntry("k", "v"), count: 32)
        #expect(rules.matches([Descriptor(entries)], in: "d")[0].limit?.definition.quota?.requestsPerUnit == 1)
        #expect(throws: LimitsFileError.self) { try envoyDomain(nested(33)) }
        #expect(envoyRefusal(nested(33)) == "line 67: descriptors stand in more than 32 levels")
        #expect(envoyRefusal(nested(40)).hasSuffix("more than 71 values stand in one another"))
    }

    @Test("is every .yaml and .yml of a folder, in the order of their names, or the one file that is named")
    func folder() throws {
        let folder = try TemporaryFolder()
        let limit = "descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]"
        try folder.write("domain: b\n\(limit)", to: "b.yml")
        try folder.write("domain: a\n\(limit)", to: "a.yaml")
        try folder.write("domain: [", to: ".hidden.yaml")
        try folder.write("domain: [", to: "notes.txt")
        let configuration = try EnvoyConfiguration(readingAt: folder.path)
        #expect(configuration.files == [folder.file("a.yaml"), folder.file("b.yml")])
        #expect(configuration.rules.domains.map(\.name) == ["a", "b"])
        #expect(try EnvoyConfiguration(readingAt: folder.path + "/") == configuration)
        let one = try EnvoyConfiguration(readingAt: try folder.write("domain: c\n\(limit)", to: "c.conf"))
        #expect(one.rules.domains.map(\.name) == ["c"])
    }

    @Test("is of one domain in several files as if it stood in one, in the order of the files' names")
    func joined() throws {
        let folder = try TemporaryFolder()
        func limit(_ key: String, _ requests: Int, _ more: String = "") -> String {
            "- {key: \(key), rate_limit: {unit: day, requests_per_unit: \(requests)\(more)}}\n"
        }
        try folder.write(
            "domain: a\ndescriptors:\n" + limit("k, value: v*", 1) + limit("r", 2, ", name: r"), to: "1.yaml")
        try folder.write("domain: b\ndescriptors:\n" + limit("k", 3), to: "2.yaml")
        try folder.write(
            "domain: a\ndescriptors:\n" + limit("k, value: vw*", 4) + limit("k", 5)
                + limit("s", 6, ", replaces: [{name: r}]"), to: "3.yaml")
        let rules = try EnvoyConfiguration(readingAt: folder.path).rules
        #expect(rules.domains.map(\.name) == ["a", "b"] && rules.domains[0].rules.count == 5)
        func met(_ entries: (String, String)...) -> [Int?] {
            let asked = entries.map { Descriptor([DescriptorEntry($0.0, $0.1)]) }
            return rules.matches(asked, in: "a").map { $0.limit?.definition.quota?.requestsPerUnit }
        }
        #expect(met(("k", "vw"), ("k", "x"), ("r", "y")) == [1, 5, 2])
        // A limit of one file replaces that of another.
        #expect(met(("r", "y"), ("s", "y")) == [nil, 6])
    }

    @Test("tells no descriptor of a domain twice, in whichever files")
    func joinedTwice() throws {
        let folder = try TemporaryFolder()
        try folder.write("domain: a\ndescriptors:\n- {key: k, value: v}\n- {key: k}\n", to: "a.yaml")
        try folder.write("domain: a\n\ndescriptors:\n- {key: l}\n- {key: k, value: v}\n", to: "b.yaml")
        #expect(
            refusal(at: folder.path)
                == "cannot read \(folder.file("b.yaml")): line 5: descriptor k=v of domain a stands already in line 3 of "
                + folder.file("a.yaml"))
        try folder.write("domain: a\ndescriptors: [{key: l}]\n", to: "b.yaml")
        try folder.write("domain: a\ndescriptors: [{key: l}]\n", to: "c.yaml")
        #expect(
            refusal(at: folder.path)
                == "cannot read \(folder.file("c.yaml")): line 2: descriptor l of domain a stands already in line 2 of "
                + folder.file("b.yaml"))
        // In another domain it is another one.
        try folder.write("domain: c\ndescriptors: [{key: l}]\n", to: "c.yaml")
        #expect(refusal(at: folder.path) == "read")
    }

    /// What an operator reads of a configuration that is refused.
    private func refusal(at path: String) -> String {
        do {
            _ = try EnvoyConfiguration(readingAt: path)
            return "read"
        } catch {
            return "\(error)"
        }
    }

    @Test("that cannot be used is refused with its file and line")
    func refusals() throws {
        let folder = try TemporaryFolder()
        #expect(refusal(at: folder.file("x")) == "cannot read \(folder.file("x")): No such file or directory")
        #expect(
            refusal(at: folder.path) == "cannot read \(folder.path): the folder has no file that ends in .yaml or .yml")
        try folder.write("domain: a\n", to: "a.yaml")
        try folder.write("domain: b\ndescriptors:\n- kee: k\n", to: "b.yaml")
        #expect(
            refusal(at: folder.path).hasPrefix(
                "cannot read \(folder.file("b.yaml")): line 3: a descriptor has no key kee, did you mean key?: accepted are "
            ))
        try folder.write(String(repeating: "#", count: 1 << 20 + 1), to: "b.yaml")
        #expect(refusal(at: folder.path) == "cannot read \(folder.file("b.yaml")): it is longer than 1024 KiB")
    }

    @Test("is no folder of more than 256 files")
    func manyFiles() throws {
        let folder = try TemporaryFolder()
        for number in 0..<256 { try folder.write("domain: d\(number)", to: "\(number).yaml") }
        #expect(try EnvoyConfiguration(readingAt: folder.path).rules.domains.count == 256)
        try folder.write("domain: d", to: "d.yml")
        #expect(
            refusal(at: folder.path)
                == "cannot read \(folder.path): the folder has 257 files that end in .yaml or .yml: accepted are up to 256"
        )
    }
}
