import RateLimitCore
import Testing

@testable import LimitsFile

/// What an operator reads of a file of envoyproxy/ratelimit that is refused.
func envoyRefusal(_ text: String) -> String {
    do {
        _ = try EnvoyReader.domain(Array(text.utf8))
        return "read"
    } catch {
        return error.description
    }
}

private let units = "accepted are second, minute, hour, day, week, month and year"
private let requests = "accepted are whole numbers from 0, which denies all, to 4,294,967,295, in decimal digits"
private let domains =
    "accepted are texts of at least one byte, but not llm-rate-limit, by which calls name the limits file's"
private let flags = "accepted are true and false"

@Suite("A file of envoyproxy/ratelimit that is refused")
struct EnvoyRefusalTests {
    /// A file in which one descriptor `k`, or `k=v` where it has a value, has other lines.
    private func file(_ lines: String...) -> String {
        "domain: d\ndescriptors:\n  - key: k\n" + lines.map { "    \($0)\n" }.joined()
    }

    @Test(
        "says in which line, what is wrong with a descriptor, and what is accepted",
        arguments: [
            ("rate_limits: {}", "a descriptor has no key rate_limits, did you mean rate_limit?"),
            ("domain: d", "a descriptor has no key domain, did you mean"),
            ("value: [v]", "value of a descriptor is a list: accepted are texts and numbers"),
            ("value:", "value of a descriptor has no value; where none is meant, write null"),
            ("shadow_mode: maybe", "shadow_mode of descriptor k is maybe: \(flags)"),
            ("quota_mode: 1", "quota_mode of descriptor k is 1: \(flags)"),
            ("value_to_metric: {}", "value_to_metric of descriptor k is a map: \(flags)"),
            ("detailed_metric: ''", "detailed_metric of descriptor k is empty: \(flags)"),
            (
                "share_threshold: true",
                "descriptor k has share_threshold, which is for values with a *; remove it, or put a * into the value"
            ),
            ("metadata: [a]", "metadata of descriptor k is a list: accepted are maps of key: value"),
            ("descriptors: {key: l}", "descriptors of descriptor k is a map: accepted are lists of descriptors"),
            ("descriptors: [l]", "a descriptor is l: accepted are maps of key: value"),
            ("rate_limit: 20", "rate_limit of descriptor k is 20: accepted are maps of key: value"),
            ("rate_limit: {}", "rate_limit of descriptor k has no unit: \(units)"),
            ("rate_limit: {unit: minute}", "rate_limit of descriptor k has no requests_per_unit: \(requests)"),
            ("rate_limit: {requests_per_unit: 5}", "rate_limit of descriptor k has no unit: \(units)"),
            ("rate_limit: {unit: fortnight}", "unit of rate_limit of descriptor k is fortnight: \(units)"),
            ("rate_limit: {unit: unknown}", "unit of rate_limit of descriptor k is unknown: \(units)"),
            ("rate_limit: {limit: 3}", "rate_limit of descriptor k has no key limit, did you mean unit?"),
            (
                "rate_limit: {unlimited: true, unit: day}",
                "rate_limit of descriptor k has unlimited and unit; remove one of them"
            ),
            (
                "rate_limit: {unlimited: true, unit_multiplier: 2}",
                "rate_limit of descriptor k has unlimited and unit_multiplier; remove one of them"
            ),
            ("rate_limit: {unlimited: perhaps}", "unlimited of rate_limit of descriptor k is perhaps: \(flags)"),
            (
                "rate_limit: {unit: day, requests_per_unit: 1, replaces: x}",
                "replaces of rate_limit of descriptor k is x: accepted are lists of maps with a name"
            ),
            (
                "rate_limit: {unit: day, requests_per_unit: 1, replaces: [{}]}",
                "replaces of rate_limit of descriptor k has no name: accepted are names of other limits, of at least one byte"
            ),
            (
                "rate_limit: {unit: day, requests_per_unit: 1, replaces: [{name: ''}]}",
                "name of replaces of rate_limit of descriptor k is empty: accepted are names of other limits, of at least "
                    + "one byte"
            ),
            (
                "rate_limit: {unit: day, requests_per_unit: 1, name: n, replaces: [{name: n}]}",
                "name of replaces of rate_limit of descriptor k is n: accepted are names of other limits, of at least one byte"
            ),
        ])
    func descriptors(_ line: String, _ reason: String) {
        let refusal = envoyRefusal(file(line))
        #expect(
            refusal == "line 4: \(reason)" || refusal.hasPrefix("line 4: \(reason)") && reason.contains("did you mean"))
    }

    @Test(
        "where a number is none, or none that a window can have",
        arguments: [
            ("requests_per_unit", "-1"), ("requests_per_unit", "4294967296"), ("requests_per_unit", "1.5"),
            ("requests_per_unit", "010"), ("requests_per_unit", "0x10"), ("requests_per_unit", "ten"),
            ("requests_per_unit", "''"), ("requests_per_unit", "_1"), ("requests_per_unit", "99999999999999999999"),
            ("unit_multiplier", "0"), ("unit_multiplier", "366"), ("unit_multiplier", "-1"), ("unit_multiplier", "1.0"),
        ])
    func numbers(_ key: String, _ text: String) {
        let limit = key == "unit_multiplier" ? "requests_per_unit: 1, unit_multiplier: \(text)" : "\(key): \(text)"
        let accepted =
            key == "unit_multiplier"
            ? "accepted are whole numbers from 1 to 365 of a day, which is 365 days" : requests
        let shown = text == "''" ? "empty" : text
        #expect(
            envoyRefusal(file("rate_limit: {unit: day, \(limit)}"))
                == "line 4: \(key) of rate_limit of descriptor k is \(shown): \(accepted)")
    }

    @Test(
        "as a whole",
        arguments: [
            ("", "the file is empty"),
            ("descriptors: []", "line 1: the file has no domain: \(domains)"),
            ("domain: ''", "line 1: domain of the file is empty: \(domains)"),
            ("domain: {}", "line 1: domain of the file is a map: \(domains)"),
            ("domain: llm-rate-limit", "line 1: domain of the file is llm-rate-limit: \(domains)"),
            ("- domain: d", "line 1: the file is a list: accepted are maps of key: value"),
            (
                "domain: d\ndomains: e",
                "line 2: the file has no key domains, did you mean domain?: accepted are domain, descriptors"
            ),
            ("domain: d\ndomain: e", "line 2: the key domain stands twice in one map"),
            ("domain: d\n---\ndomain: e", "line 2: a second document begins here"),
            (
                "domain: d\ndescriptors:\n",
                "line 2: descriptors of the file has no value; where none is meant, write null"
            ),
            (
                "domain: d\ndescriptors:\n- rate_limit: {}",
                "line 3: a descriptor has no key: accepted are texts of at least one byte, without *: only values match by it"
            ),
            (
                "domain: d\ndescriptors:\n- key: ''",
                "line 3: key of a descriptor is empty: accepted are texts of at least one byte, without *: only values match "
                    + "by it"
            ),
            (
                "domain: d\ndescriptors:\n- key: a*",
                "line 3: key of a descriptor is a*: accepted are texts of at least one byte, without *: only values match by it"
            ),
            (
                "domain: d\ndescriptors:\n- {key: k, value: v}\n- {key: k}\n- {key: k, value: v}",
                "line 5: descriptor k=v stands already in line 3"
            ),
            (
                "domain: d\ndescriptors:\n- {key: k, value: ''}\n- key: k",
                "line 4: descriptor k stands already in line 3"
            ),
            (
                "domain: d\ndescriptors: &a\n- key: k",
                "line 2: anchors (&name) and aliases (*name) are not read; write the value out, or put a text that begins with "
                    + "& or * in quotes"
            ),
            (
                "domain: d\ndescriptors:\n- key: k\n  value: *",
                "line 4: this is neither YAML nor JSON: did not find expected alphabetic or numeric character"
            ),
        ])
    func whole(_ text: String, _ refusal: String) {
        #expect(envoyRefusal(text) == refusal)
    }
}
