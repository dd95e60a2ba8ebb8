/// What envoyproxy/ratelimit's documentation says of a file and requests, as plainly as it can be written: a list of lines
/// with their parents, looked through from its beginning each time, and one number for each window.
struct EnvoyReferenceModel {
    /// One descriptor of the file.
    private struct Line {
        var parent: Int?
        var fields: [String: String] = [:]
        var limit: [String: String]?
        var replaces: [String] = []

        func says(_ flag: String) -> Bool { fields[flag] == "true" }
    }

    private(set) var domain = ""
    private var lines: [Line] = []
    private var used: [String: Int] = [:]

    /// Reads a file that is written as the generator writes it: four spaces for each level, `key` first.
    init(yaml: String) {
        var lastOfLevel: [Int: Int] = [:]
        for text in yaml.split(separator: "\n") {
            let indentation = text.prefix { $0 == " " }.count
            let isNew = text.dropFirst(indentation).hasPrefix("- key: ")
            let content = text.dropFirst(indentation + (text.dropFirst(indentation).hasPrefix("- ") ? 2 : 0))
            let sides = content.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(sides[0])
            let value = sides[1].filter { $0 != " " && $0 != "\"" }
            let level = (indentation - 2) / 4
            if name == "domain" {
                domain = value
            } else if isNew {
                lines.append(Line(parent: level == 0 ? nil : lastOfLevel[level - 1], fields: ["key": value]))
                lastOfLevel[level] = lines.count - 1
            } else if name == "rate_limit" {
                lines[lines.count - 1].limit = [:]
            } else if name == "name", content.count != text.count - indentation {
                lines[lines.count - 1].replaces.append(value)
            } else if ["unit", "unit_multiplier", "requests_per_unit", "unlimited", "name"].contains(name) {
                lines[lines.count - 1].limit?[name] = value
            } else if !["descriptors", "replaces"].contains(name) {
                lines[lines.count - 1].fields[name] = value
            }
        }
    }

    /// What a request meets, in the order of its descriptors, in this domain.
    func met(_ request: EnvoyReferenceCase.Request) -> [EnvoyReferenceCase.Met?] {
        let found = request.descriptors.map(met)
        let replaced = found.flatMap { $0?.replaces ?? [] }
        return found.map { found in
            guard let found, let name = found.met.name, found.met.quota != nil, replaced.contains(name) else {
                return found?.met
            }
            return nil
        }
    }

    private func met(
        _ descriptor: EnvoyReferenceCase.Descriptor
    ) -> (met: EnvoyReferenceCase.Met, replaces: [String])? {
        let said = descriptor.entries.map { $0.value == "" ? $0.key : $0.key + "_" + $0.value }
        if let own = descriptor.ownQuota {
            let window = ["own", own.unit, "\(own.multiplier)"] + descriptor.entries.flatMap { [$0.key, $0.value] }
            return (
                EnvoyReferenceCase.Met(
                    path: said.joined(separator: "."), quota: own, window: window.joined(separator: "\u{1}")), []
            )
        }
        var way: [Line] = []
        var place: Int?
        for entry in descriptor.entries {
            let candidates = lines.indices.filter { lines[$0].parent == place && lines[$0].fields["key"] == entry.key }
            let value = { (place: Int) in lines[place].fields["value"] ?? "" }
            let next =
                candidates.first { value($0) == entry.value && entry.value != "" }
                ?? candidates.first { value($0).contains("*") && Self.isLike(Array(value($0)), Array(entry.value)) }
                ?? candidates.first { value($0) == "" }
            guard let next else { return nil }
            way.append(lines[next])
            place = next
        }
        guard let last = way.last, let limit = last.limit else { return nil }
        let isUnlimited = limit["unlimited"] == "true"
        let quota = EnvoyReferenceCase.Quota(
            requestsPerUnit: Int(limit["requests_per_unit"] ?? "") ?? 0, unit: (limit["unit"] ?? "").lowercased(),
            multiplier: Int(limit["unit_multiplier"] ?? "1") ?? 0)
        let met = EnvoyReferenceCase.Met(
            path: Self.path(way, descriptor.entries), name: limit["name"], quota: isUnlimited ? nil : quota,
            isShadow: last.says("shadow_mode"), isQuotaMode: last.says("quota_mode"),
            window: isUnlimited ? nil : Self.window(way, descriptor.entries))
        return (met, last.replaces)
    }

    /// Whether a pattern with * is like a text.
    private static func isLike(_ pattern: [Character], _ text: [Character]) -> Bool {
        guard let first = pattern.first else { return text.isEmpty }
        let rest = Array(pattern.dropFirst())
        if first == "*" { return (0...text.count).contains { isLike(rest, Array(text.dropFirst($0))) } }
        return text.first == first && isLike(rest, Array(text.dropFirst()))
    }

    private static func window(_ way: [Line], _ entries: [EnvoyReferenceCase.Entry]) -> String {
        let parts = zip(way, entries).flatMap { line, entry in
            line.says("share_threshold")
                ? [entry.key, "all of", line.fields["value"] ?? ""] : [entry.key, entry.value]
        }
        return parts.joined(separator: "\u{1}")
    }

    private static func path(_ way: [Line], _ entries: [EnvoyReferenceCase.Entry]) -> String {
        let isDetailed = way.last?.says("detailed_metric") ?? false
        let isAnyShared = way.contains { $0.says("share_threshold") }
        let parts = zip(way, entries).map { line, entry -> String in
            let written = line.fields["value"] ?? ""
            var value = written
            if line.says("value_to_metric"), written == "" || written.contains("*") { value = entry.value }
            if isDetailed { value = entry.value }
            if line.says("share_threshold") { value = written }
            let hasUnderscore = value != "" || isDetailed && !isAnyShared
            return hasUnderscore ? "\(entry.key)_\(value)" : entry.key
        }
        return parts.joined(separator: ".")
    }

    /// What a request comes to, which is counted.
    mutating func take(_ request: EnvoyReferenceCase.Request) -> EnvoyReferenceCase.Step {
        let met = met(request)
        var statuses = met.map { EnvoyReferenceCase.Status(met: $0) }
        var hits: [Int] = []
        for (place, descriptor) in request.descriptors.enumerated() {
            hits.append(descriptor.hits ?? max(1, request.hits))
            guard let met = met[place], let quota = met.quota, let window = met.window else { continue }
            // A peek is over where not one hit is left.
            statuses[place].isOver = used[window, default: 0] + max(1, hits[place]) > quota.requestsPerUnit
        }
        let asked = statuses.indices.filter { (request.descriptors[$0].hits ?? 0) == 0 }
        let together = asked.filter { met[$0]?.isQuotaMode == true && met[$0]?.quota != nil }
        let alone = asked.filter { met[$0]?.isQuotaMode == false && met[$0]?.isShadow == false }
        var isDenied = alone.contains { statuses[$0].isOver }
        if !isDenied {
            for (place, met) in met.enumerated() {
                guard let met, let window = met.window else { continue }
                // What a shadow does not admit is not counted in its window; a report always is.
                guard !statuses[place].isOver || !asked.contains(place) else { continue }
                used[window, default: 0] += hits[place]
            }
            isDenied = !together.isEmpty && together.allSatisfy { statuses[$0].isOver }
        }
        for (place, met) in met.enumerated() {
            guard let met, let quota = met.quota, let window = met.window else { continue }
            statuses[place].remaining = max(0, quota.requestsPerUnit - used[window, default: 0])
        }
        return EnvoyReferenceCase.Step(request: request, isDenied: isDenied, statuses: statuses)
    }
}
