import RateLimitCore

/// Reads what stands under `limits:`.
struct LimitsSection {
    let timeZones: TimeZoneFolder

    private static let keys = [
        "name", "per", "missing", "max_values", "unit", "weights", "quota", "soft_quota", "quota_from_call", "window",
        "match", "mode", "on_redis_failure", "warn_at",
    ]
    private static let names = "1 to 64 of a-z, 0-9, -, _ and ., beginning with a letter or digit"

    func limits(_ node: FileNode) throws(LimitsFileError) -> LimitSet {
        guard case .list(let nodes) = node.content else {
            throw LimitsFileError(line: node.line, "limits is \(node.kind)", accepted: "lists of limits")
        }
        guard nodes.count <= LimitSet.maximumCount else {
            throw LimitsFileError(
                line: nodes[LimitSet.maximumCount].line, "there are more than \(LimitSet.maximumCount) limits")
        }
        var limits: [LimitDefinition] = []
        for (index, node) in nodes.enumerated() { limits.append(try limit(node, number: index + 1)) }
        do {
            return try LimitSet(limits)
        } catch {
            throw refusal(of: limits, nodes, error)
        }
    }

    private func refusal(
        of limits: [LimitDefinition], _ nodes: [FileNode], _ error: LimitSetError
    ) -> LimitsFileError {
        switch error {
        case .sameName(let earlier, let later):
            LimitsFileError(
                line: nodes[later].line,
                "a limit named \(limits[later].name) stands already in line \(nodes[earlier].line)")
        case .sameID(let earlier, let later):
            LimitsFileError(
                line: nodes[later].line,
                "the names \(limits[later].name) and \(limits[earlier].name) (line \(nodes[earlier].line)) share one "
                    + "hash; change one of them")
        case .otherMaximum(let earlier, let later):
            LimitsFileError(
                line: nodes[later].line,
                "limit \(limits[later].name) has max_values \(maximumValues(of: limits[later])), and limit "
                    + "\(limits[earlier].name) (line \(nodes[earlier].line)), with which it shares keys, has "
                    + "\(maximumValues(of: limits[earlier])); give both the same")
        case .tooMany:
            LimitsFileError(line: nil, "there are more than \(LimitSet.maximumCount) limits")
        }
    }

    private func maximumValues(of limit: LimitDefinition) -> String {
        grouped(limit.maximumValues ?? LimitDefinition.usualMaximumValues)
    }

    private func limit(_ node: FileNode, number: Int) throws(LimitsFileError) -> LimitDefinition {
        let name = try name(node, number: number)
        let map = try MapReader(node, what: "limit \(name)", keys: Self.keys)
        let windows = try PerReader(map).windows()
        let units = listed(LimitUnit.all.map(\.text))
        let unit = try map.read(try map.required("unit", accepted: units), "unit", accepted: units) { LimitUnit($0) }
        let quota = try quota(map, unit: unit)
        let lines = SoftLineReader(map: map, unit: unit, quota: quota)
        let mode = try lines.mode()
        return LimitDefinition(
            name: name, scope: windows.scope, values: windows.values, missing: windows.missing,
            maximumValues: windows.maximumValues, unit: unit, weights: try WeightsReader(map, unit: unit).weights(),
            quota: quota, maximumCallQuota: try maximumCallQuota(map, unit: unit),
            window: try WindowReader(timeZones: timeZones).window(map, unit: unit),
            matches: try matches(map), mode: mode, softQuota: try lines.softQuota(beside: mode),
            failureMode: try map.word("on_redis_failure", standard: .open), warnAtPerMille: try warnings(map))
    }

    private func name(_ node: FileNode, number: Int) throws(LimitsFileError) -> LimitName {
        let map = try MapReader(node, what: "limit \(number) of the file", keys: Self.keys)
        let text = try map.required("name", accepted: Self.names)
        let name = try map.read(text, "name", accepted: Self.names) { LimitName($0) }
        guard name != .requests else {
            throw LimitsFileError(
                line: text.line,
                "the name requests is that of the limit LLM_RATE_LIMIT_REQUESTS sets; give this one another")
        }
        return name
    }

    private func quota(_ map: MapReader, unit: LimitUnit) throws(LimitsFileError) -> Int? {
        guard let node = try map.value("quota") else { return nil }
        let range = LimitDefinition.quotas
        if unit == .spend {
            return try map.read(node, "quota", accepted: ValueText.money) { ValueText.micros($0, in: range) }
        }
        return try map.read(
            node, "quota", accepted: "whole numbers from 0 (blocks) to \(grouped(range.upperBound)), or no quota at all"
        ) { ValueText.wholeNumber($0, in: range) }
    }

    private func maximumCallQuota(_ map: MapReader, unit: LimitUnit) throws(LimitsFileError) -> Int? {
        guard let node = try map.value("quota_from_call") else { return nil }
        let from = try MapReader(node, what: "quota_from_call of \(map.what)", keys: ["max"])
        let range = 1...LimitDefinition.quotas.upperBound
        let accepted =
            "whole numbers from 1 to \(grouped(range.upperBound))" + (unit == .spend ? ", or dollars such as $5" : "")
        return try from.read(try from.required("max", accepted: accepted), "max", accepted: accepted) {
            unit == .spend ? ValueText.micros($0, in: range) : ValueText.wholeNumber($0, in: range)
        }
    }

    private func matches(_ limit: MapReader) throws(LimitsFileError) -> [LabelMatch] {
        guard let node = try limit.value("match") else { return [] }
        let what = "match of \(limit.what)"
        let entries = try MapReader.entries(of: node, what: what)
        guard entries.count <= LimitDefinition.maximumMatches else {
            throw LimitsFileError(
                line: node.line, "\(what) has more than \(LimitDefinition.maximumMatches) conditions")
        }
        let map = try MapReader(node, what: what, keys: entries.map(\.key))
        var matches: [LabelMatch] = []
        for entry in entries where entry.value.content != .null { matches.append(try match(entry, in: map)) }
        return matches
    }

    private func match(_ entry: FileNode.Entry, in map: MapReader) throws(LimitsFileError) -> LabelMatch {
        let key: LabelMatch.Key
        switch entry.key {
        case "model": key = .model
        case "provider": key = .provider
        default:
            guard CallAttributes.nameLengths.contains(entry.key.utf8.count) else {
                throw LimitsFileError(
                    line: entry.line, "\(map.what) has the label \(shown(entry.key))",
                    accepted: "labels of 1 to \(CallAttributes.nameLengths.upperBound) bytes")
            }
            key = .label(entry.key)
        }
        let accepted =
            "texts of at most \(CallAttributes.maximumValueLength) bytes, a * only at their end for what "
            + "begins so, and lists of 1 to \(LabelMatch.alternativeCounts.upperBound) of them"
        var nodes = [entry.value]
        if case .list(let elements) = entry.value.content { nodes = elements }
        guard LabelMatch.alternativeCounts.contains(nodes.count) else {
            throw LimitsFileError(
                line: entry.line, "\(shown(entry.key)) of \(map.what) is a list of \(nodes.count)", accepted: accepted)
        }
        var patterns: [LabelMatch.Pattern] = []
        for node in nodes {
            patterns.append(try map.read(node, shown(entry.key), accepted: accepted, namePattern))
        }
        return LabelMatch(key, anyOf: patterns)
    }

    private func warnings(_ map: MapReader) throws(LimitsFileError) -> [Int] {
        guard let node = try map.value("warn_at") else { return [] }
        let accepted = "shares from 0.001 to 1, such as 0.8, and lists of up to \(LimitDefinition.maximumWarnings)"
        var nodes = [node]
        if case .list(let elements) = node.content { nodes = elements }
        guard nodes.count <= LimitDefinition.maximumWarnings else {
            throw LimitsFileError(
                line: node.line, "warn_at of \(map.what) is a list of \(nodes.count)", accepted: accepted)
        }
        var shares: [Int] = []
        for node in nodes {
            shares.append(
                try map.read(node, "warn_at", accepted: accepted) {
                    ValueText.perMille($0, in: LimitDefinition.warnings)
                })
        }
        return shares
    }
}

/// A name, or with a `*` at its end what names begin with; nil where a `*` stands elsewhere.
func namePattern(_ text: String) -> LabelMatch.Pattern? {
    let isPrefix = text.utf8.last == UInt8(ascii: "*")
    let name = isPrefix ? String(text.unicodeScalars.dropLast()) : text
    guard name.utf8.count <= CallAttributes.maximumValueLength, !name.utf8.contains(UInt8(ascii: "*")) else {
        return nil
    }
    return isPrefix ? .prefix(name) : .exact(name)
}
