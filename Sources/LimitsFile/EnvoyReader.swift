import RateLimitCore

/// Reads a file of envoyproxy/ratelimit: a domain with its descriptors.
enum EnvoyReader {
    /// How many levels descriptors may have: as many entries has the longest descriptor that meets a limit.
    static let maximumLevels = 32
    /// How many values may stand in one another: a list and a map for each level, the file around them, and `replaces` of
    /// `rate_limit` in the last one, with two more for `metadata`.
    static let maximumDepth = 1 + 2 * maximumLevels + 6

    private static let keys = [
        "key", "value", "rate_limit", "descriptors", "shadow_mode", "quota_mode", "share_threshold", "value_to_metric",
        "detailed_metric", "metadata",
    ]

    /// Reads a file of at most 1 MiB; the lines are those of the descriptors of the first level.
    static func domain(_ bytes: [UInt8]) throws(LimitsFileError) -> (DescriptorDomain, lines: [DescriptorEntry: Int]) {
        let root = try FileNode(reading: bytes, maximumDepth: maximumDepth)
        let map = try MapReader(root, what: "the file", keys: ["domain", "descriptors"])
        let accepted =
            "texts of at least one byte, but not \(DescriptorDomain.ofLimits), by which calls name the limits file's"
        let node = try map.required("domain", accepted: accepted)
        let name = try map.read(node, "domain", accepted: accepted) {
            $0.isEmpty || $0 == DescriptorDomain.ofLimits ? nil : $0
        }
        let (rules, lines) = try rules(map, level: 1)
        return (DescriptorDomain(name, rules), lines)
    }

    private static func rules(
        _ map: MapReader, level: Int
    ) throws(LimitsFileError) -> ([DescriptorRule], lines: [DescriptorEntry: Int]) {
        guard let node = try map.value("descriptors") else { return ([], [:]) }
        guard level <= maximumLevels else {
            throw LimitsFileError(line: node.line, "descriptors stand in more than \(maximumLevels) levels")
        }
        guard case .list(let nodes) = node.content else {
            throw LimitsFileError(
                line: node.line, "descriptors of \(map.what) is \(node.kind)", accepted: "lists of descriptors")
        }
        var rules: [DescriptorRule] = []
        var lines: [DescriptorEntry: Int] = [:]
        for node in nodes {
            let rule = try rule(node, level: level)
            if let earlier = lines.updateValue(node.line, forKey: rule.entry) {
                throw LimitsFileError(line: node.line, "\(rule.shownName) stands already in line \(earlier)")
            }
            rules.append(rule)
        }
        return (rules, lines)
    }

    private static func rule(_ node: FileNode, level: Int) throws(LimitsFileError) -> DescriptorRule {
        let map = try MapReader(node, what: "a descriptor", keys: keys)
        var rule = DescriptorRule(try key(map), try map.text("value") ?? "")
        let named = try MapReader(node, what: rule.shownName, keys: keys)
        rule.isShadow = try named.flag("shadow_mode")
        rule.isQuotaMode = try named.flag("quota_mode")
        rule.hasValueInMetric = try named.flag("value_to_metric")
        rule.hasDetailedMetric = try named.flag("detailed_metric")
        rule.sharesThreshold = try named.flag("share_threshold")
        if rule.sharesThreshold, !rule.value.utf8.contains(UInt8(ascii: "*")) {
            throw LimitsFileError(
                line: try named.value("share_threshold")?.line,
                "\(named.what) has share_threshold, which is for values with a *; remove it, or put a * into the value")
        }
        if let node = try named.value("metadata") {
            rule.metadata = try EnvoyMetadataReader(what: "metadata of \(named.what)").metadata(node)
        }
        if let node = try named.value("rate_limit") { rule.limit = try EnvoyLimitReader(node, of: named.what).limit() }
        rule.rules = try rules(named, level: level + 1).0
        return rule
    }

    private static func key(_ map: MapReader) throws(LimitsFileError) -> String {
        let accepted = "texts of at least one byte, without *: only values match by it"
        let node = try map.required("key", accepted: accepted)
        return try map.read(node, "key", accepted: accepted) { key in
            key.isEmpty || key.utf8.contains(UInt8(ascii: "*")) ? nil : key
        }
    }
}

extension DescriptorRule {
    /// What no two of one level have alike.
    var entry: DescriptorEntry { DescriptorEntry(key, value) }

    /// What messages call it: `descriptor tenant=gold`.
    var shownName: String { "descriptor " + shown(key) + (value.isEmpty ? "" : "=\(shown(value))") }
}

/// Reads what stands under `rate_limit:`.
private struct EnvoyLimitReader {
    private let map: MapReader

    private static let keys = ["unit", "unit_multiplier", "requests_per_unit", "unlimited", "name", "replaces"]
    private static let units = listed(["second", "minute", "hour", "day", "week", "month", "year"])
    private static let requests = "whole numbers from 0, which denies all, to 4,294,967,295, in decimal digits"

    init(_ node: FileNode, of descriptor: String) throws(LimitsFileError) {
        map = try MapReader(node, what: "rate_limit of \(descriptor)", keys: Self.keys)
    }

    func limit() throws(LimitsFileError) -> DescriptorRule.Limit {
        let name = try map.text("name").flatMap { $0.isEmpty ? nil : $0 }
        let quota = try map.flag("unlimited") ? try unlimited() : try quota()
        return DescriptorRule.Limit(name: name, quota: quota, replaces: try replaces(name))
    }

    private func unlimited() throws(LimitsFileError) -> DescriptorQuota? {
        for key in ["unit", "unit_multiplier"] {
            guard let node = try map.value(key) else { continue }
            throw LimitsFileError(line: node.line, "\(map.what) has unlimited and \(key); remove one of them")
        }
        return nil
    }

    private func quota() throws(LimitsFileError) -> DescriptorQuota {
        let node = try map.required("unit", accepted: Self.units)
        let unit = try map.read(node, "unit", accepted: Self.units) { DescriptorUnit($0) }
        let count = try map.required("requests_per_unit", accepted: Self.requests)
        let requests = try map.read(count, "requests_per_unit", accepted: Self.requests) {
            number($0, in: 0...Int(UInt32.max))
        }
        guard let factor = try map.value("unit_multiplier") else {
            guard let quota = DescriptorQuota(requests, per: unit) else { preconditionFailure("each unit is a window") }
            return quota
        }
        let most = LimitWindow.lengths.upperBound / unit.milliseconds
        let accepted = "whole numbers from 1 to \(grouped(most)) of a \(unit.text), which is 365 days"
        return try map.read(factor, "unit_multiplier", accepted: accepted) { text in
            number(text, in: 1...most).flatMap { DescriptorQuota(requests, per: unit, times: $0) }
        }
    }

    /// A number in digits, which `_` may part; nil for a leading zero, which is octal in YAML 1.1.
    private func number(_ text: String, in range: ClosedRange<Int>) -> Int? {
        let digits = text.utf8.filter { $0 != UInt8(ascii: "_") }
        guard (1...10).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }),
            digits.count == 1 || digits.first != UInt8(ascii: "0"), text.utf8.first != UInt8(ascii: "_")
        else { return nil }
        let number = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
        return range.contains(number) ? number : nil
    }

    private func replaces(_ name: String?) throws(LimitsFileError) -> [String] {
        guard let node = try map.value("replaces") else { return [] }
        guard case .list(let nodes) = node.content else {
            throw LimitsFileError(
                line: node.line, "replaces of \(map.what) is \(node.kind)", accepted: "lists of maps with a name")
        }
        var names: [String] = []
        for node in nodes {
            let replaced = try MapReader(node, what: "replaces of \(map.what)", keys: ["name"])
            let accepted = "names of other limits, of at least one byte"
            let text = try replaced.required("name", accepted: accepted)
            names.append(
                try replaced.read(text, "name", accepted: accepted) { $0.isEmpty || $0 == name ? nil : $0 })
        }
        return names
    }
}

extension MapReader {
    /// The text of a key; nil where the map does not have it.
    fileprivate func text(_ key: String) throws(LimitsFileError) -> String? {
        guard let node = try value(key) else { return nil }
        return try read(node, key, accepted: "texts and numbers") { $0 }
    }

    /// A word of YAML 1.1 for yes or no; no where the map does not have the key.
    fileprivate func flag(_ key: String) throws(LimitsFileError) -> Bool {
        guard let node = try value(key) else { return false }
        return try read(node, key, accepted: "true and false") { text in
            switch text.lowercased() {
            case "true", "yes", "on", "y": true
            case "false", "no", "off", "n": false
            default: nil
            }
        }
    }
}
