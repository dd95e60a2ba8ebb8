public import RateLimitCore

/// envoyproxy/ratelimit's configuration as a limits file, as far as it has a counterpart there.
public struct EnvoyImport: Hashable, Sendable {
    /// A limits file, YAML, which says in comments what it could not take over.
    public let text: String
    /// What has no counterpart in a limits file, each with where it stands and why.
    public let withoutCounterpart: [String]

    /// Writes the limits file of some domains.
    ///
    /// Whatever would deny a call that envoyproxy/ratelimit admits is left out: a limits file knows no exceptions from a limit,
    /// and all limits that apply count.
    public init(_ rules: DescriptorRules) {
        var builder = EnvoyImportBuilder(hasManyDomains: rules.domains.count > 1)
        for domain in rules.domains { builder.add(domain) }
        withoutCounterpart = builder.withoutCounterpart
        text = builder.text
    }
}

/// Collects the limits of an ``EnvoyImport``.
private struct EnvoyImportBuilder {
    /// One descriptor on the way to a limit, and those beside it that are looked at before.
    struct Step {
        var rule: DescriptorRule
        var moreSpecific: [DescriptorRule]
    }

    let hasManyDomains: Bool
    var limits: [ImportedLimit] = []
    var withoutCounterpart: [String] = []
    private var names = ImportedNames()
    private var replaced: [String] = []

    init(hasManyDomains: Bool) { self.hasManyDomains = hasManyDomains }

    mutating func add(_ domain: DescriptorDomain) {
        replaced = domain.rules.flatMap(\.allReplaced)
        add(domain.rules, under: [], in: domain)
    }

    private mutating func add(_ rules: [DescriptorRule], under above: [Step], in domain: DescriptorDomain) {
        for (index, rule) in rules.enumerated() {
            let moreSpecific = rules.enumerated().filter { rule.yields(to: $0.element, isEarlier: $0.offset < index) }
            let steps = above + [Step(rule: rule, moreSpecific: moreSpecific.map(\.element))]
            if let limit = rule.limit { add(limit, at: steps, in: domain) }
            add(rule.rules, under: steps, in: domain)
        }
    }

    private mutating func add(_ limit: DescriptorRule.Limit, at steps: [Step], in domain: DescriptorDomain) {
        let path = steps.map { shown($0.rule.key) + ($0.rule.value.isEmpty ? "" : "=\(shown($0.rule.value))") }
        let place = "\(shown(domain.name)): \(path.joined(separator: ", "))"
        do throws(MissingCounterpart) {
            var imported = ImportedLimit(limit, place: place, isShadow: steps.last?.rule.isShadow ?? false)
            if hasManyDomains { try imported.add(domain: domain.name) }
            for step in steps { try imported.add(step.rule) }
            try check(limit, at: steps)
            guard limits.count < LimitSet.maximumCount else {
                throw MissingCounterpart("a limits file has up to \(LimitSet.maximumCount) limits")
            }
            let parts = (hasManyDomains ? [domain.name] : []) + steps.map { $0.rule.pathPart }
            imported.name = names.name(limit.name, else: parts.joined(separator: "."))
            limits.append(imported)
        } catch {
            withoutCounterpart.append("\(place): \(error.reason)")
            return
        }
        if steps.contains(where: \.rule.hasValueInMetric) || steps.last?.rule.hasDetailedMetric == true {
            withoutCounterpart.append("\(place): values of calls in metrics; the limit is taken over without them")
        }
        if steps.last?.rule.metadata != nil {
            withoutCounterpart.append("\(place): metadata for the proxy; the limit is taken over without it")
        }
    }

    /// Refuses what other limits, or the mode, make of a limit.
    private func check(_ limit: DescriptorRule.Limit, at steps: [Step]) throws(MissingCounterpart) {
        if !limit.replaces.isEmpty { throw MissingCounterpart("no limit replaces another one here") }
        if let name = limit.name, replaced.contains(name) {
            throw MissingCounterpart("another limit replaces it, and here both would count")
        }
        guard let leaf = steps.last?.rule, !leaf.isQuotaMode else {
            throw MissingCounterpart("quota_mode, which denies what all such limits deny")
        }
        for (index, step) in steps.enumerated() {
            let isLeaf = index == steps.count - 1
            for other in step.moreSpecific where !isLeaf || !other.isAtLeastAsStrict(as: leaf) {
                throw MissingCounterpart(
                    "\(shown(other.key))=\(shown(other.value)) would have to be exempt from it, and here all limits count"
                )
            }
        }
    }

    var text: String {
        var lines = [
            "# The limits of envoyproxy/ratelimit's files, as llm-rate-limit config --import",
            "# envoy writes them: LLM_RATE_LIMIT_LIMITS_FILE names this file. Windows slide",
            "# here. A limit counts for each call that says what it names, where Envoy's",
            "# routes choose which descriptors they send.",
        ]
        let labels = Set(limits.flatMap(\.labels)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        if !labels.isEmpty {
            let names = labels.map(quoted).joined(separator: ", ")
            lines += comment("The gateway has to send these labels: \(names)", after: "# ")
        }
        if !withoutCounterpart.isEmpty {
            lines.append("# Without a counterpart:")
            lines += withoutCounterpart.flatMap { comment($0, after: "# - ") }
        }
        lines.append(limits.isEmpty ? "limits: []" : "limits:")
        lines += limits.flatMap(\.lines)
        return lines.joined(separator: "\n") + "\n"
    }

    /// A text as comments of at most 80 columns, broken between words; a word that is longer has a line of its own.
    private func comment(_ text: String, after start: String) -> [String] {
        let further = "#" + String(repeating: " ", count: start.count - 1)
        var lines: [String] = []
        for word in text.split(separator: " ", omittingEmptySubsequences: false) {
            if let line = lines.last, line.count + 1 + word.count <= 80 {
                lines[lines.count - 1] = "\(line) \(word)"
            } else {
                lines.append((lines.isEmpty ? start : further) + word)
            }
        }
        return lines
    }
}

extension DescriptorRule {
    /// The names of limits that this one and those under it replace.
    fileprivate var allReplaced: [String] { (limit?.replaces ?? []) + rules.flatMap(\.allReplaced) }

    /// Whether some value that this rule stands for is looked up at another one of its key before.
    fileprivate func yields(to other: DescriptorRule, isEarlier: Bool) -> Bool {
        guard key == other.key, !other.value.isEmpty else { return false }
        guard !value.isEmpty else { return true }
        guard let pattern = WildcardPattern(value) else { return false }
        // Two patterns may have values in common, whatever they are.
        return WildcardPattern(other.value) == nil ? pattern.matches(other.value) : isEarlier
    }

    /// Whether what meets this limit alone is denied no later than by another one that counts the same calls.
    fileprivate func isAtLeastAsStrict(as other: DescriptorRule) -> Bool {
        guard let limit, let quota = limit.quota, !isQuotaMode, limit.replaces.isEmpty, isShadow == other.isShadow,
            let otherLimit = other.limit
        else { return false }
        guard let otherQuota = otherLimit.quota else { return true }
        return quota.windowMilliseconds == otherQuota.windowMilliseconds
            && quota.requestsPerUnit <= otherQuota.requestsPerUnit
    }
}

/// Why a limit has no counterpart.
struct MissingCounterpart: Error {
    let reason: String

    init(_ reason: String) { self.reason = reason }
}
