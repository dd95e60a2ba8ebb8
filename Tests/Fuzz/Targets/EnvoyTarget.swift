import RateLimitCore

@testable import LimitsFile

/// A file of envoyproxy/ratelimit is refused with a line of it, or read: then each of its limits is met by a descriptor that
/// says its way, under a key that no other one has, and the limits file that is written of it is read.
func fuzzEnvoyFile(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let file = Array(bytes)
    let domain: DescriptorDomain
    do throws(LimitsFileError) {
        domain = try EnvoyReader.domain(file).0
    } catch {
        // YAML breaks lines at U+0085, U+2028 and U+2029 too.
        let breaks = String(decoding: file, as: UTF8.self).unicodeScalars.count {
            [0x0a, 0x0d, 0x85, 0x2028, 0x2029].contains($0.value)
        }
        let lines = 1 + breaks
        try hold((1...lines + 1).contains(error.line ?? 1), "line \(error.line ?? 0) of \(lines)")
        return try hold(!error.reason.isEmpty, "no reason")
    }
    try hold((try? EnvoyReader.domain(file).0) == domain, "two readings differ")
    let rules = DescriptorRules([domain])
    var keys: Set<String> = []
    try holdMet(domain.rules, under: [], of: rules, in: domain.name, &keys)
    let written = EnvoyImport(rules)
    let read = Result { () throws(LimitsFileError) in
        try LimitsFileContent(reading: Array(written.text.utf8), timeZones: TimeZoneFolder(path: "/nonexistent"))
    }
    guard case .success(let content) = read else {
        throw FuzzFinding(description: "the limits file is refused with \(read):\n\(written.text)")
    }
    try hold(content.limits.limits.count <= LimitSet.maximumCount, "\(content.limits.limits.count) limits")
    try hold(!written.withoutCounterpart.contains { $0.utf8.contains(0x0a) }, "\(written.withoutCounterpart)")
}

private func holdMet(
    _ rules: [DescriptorRule], under above: [DescriptorEntry], of known: DescriptorRules, in domain: String,
    _ keys: inout Set<String>
) throws(FuzzFinding) {
    for rule in rules {
        // A value with a * is met by itself, unless an earlier pattern is; an empty one unless some pattern is.
        let entries = above + [DescriptorEntry(rule.key, rule.value)]
        if rule.limit != nil, !entries.contains(where: \.value.isEmpty) {
            let match = known.matches([Descriptor(entries)], in: domain)[0]
            try hold(match.limit?.definition.quota == rule.limit?.quota, "\(entries) meet \(match)")
            if let key = match.key?.text {
                try hold(keys.insert(key).inserted, "two windows have the key \(key)")
                try hold(key.utf8.count <= DescriptorKey.longest, "a key of \(key.utf8.count) bytes")
                try hold(key.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x7b && $0 != 0x7d }, "the key \(key)")
            }
        }
        try holdMet(rule.rules, under: entries, of: known, in: domain, &keys)
    }
}
