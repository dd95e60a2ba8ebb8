/// A descriptor of the configuration where requests are looked up: made once, read by every call.
final class DescriptorNode: Sendable {
    /// What the values of one key lead to.
    struct Values: Sendable {
        /// By the whole value: of values with a `*` too, which a call may say literally.
        var exact: [ExactText: DescriptorNode] = [:]
        /// Those with a `*`, in the file's order.
        var wildcards: [(pattern: WildcardPattern, node: DescriptorNode)] = []
        /// For any value.
        var any: DescriptorNode?
    }

    /// A part of a metric's path.
    fileprivate enum PathPart: Sendable {
        /// As the configuration has it.
        case written(String)
        /// The key with what the call says.
        case said
    }

    /// The limit of descriptors that end here, under the path that it has whatever the call says.
    let limit: DescriptorLimit?
    /// For each entry what stands for its value in keys, where it shares a window; empty where no entry has that.
    let shared: [[UInt8]?]
    private let keys: [ExactText: Values]
    /// The path's parts where it depends on the call; nil where it does not.
    private let saidPath: [PathPart]?
    private let isDetailed: Bool

    /// What a node has of those above it.
    fileprivate struct Above {
        var domain: String
        var path: [PathPart] = []
        var written: [String] = []
        var shared: [[UInt8]?] = []
    }

    /// Makes what the first entry of a domain's descriptors is looked up in.
    ///
    /// - Precondition: No two rules of one level have one key and value, and each has a key.
    convenience init(domain: DescriptorDomain) {
        self.init(nil, below: domain.rules, Above(domain: domain.name))
    }

    private init(_ rule: DescriptorRule?, below rules: [DescriptorRule], _ above: Above) {
        var above = above
        if let rule { above.append(rule) }
        let hasShared = above.shared.contains { $0 != nil }
        shared = hasShared ? above.shared : []
        isDetailed = rule?.hasDetailedMetric ?? false
        let isSaid = isDetailed || above.path.contains { if case .said = $0 { true } else { false } }
        saidPath = isSaid ? above.path : nil
        limit = rule?.limit.map { limit in
            var definition = DescriptorLimit.Definition(
                domain: above.domain, path: above.written.joined(separator: "."), name: limit.name, quota: limit.quota)
            definition.isShadow = rule?.isShadow ?? false
            definition.isQuotaMode = rule?.isQuotaMode ?? false
            definition.replaces = limit.replaces
            // Of what is unlimited envoyproxy/ratelimit tells nothing.
            definition.metadata = limit.quota == nil ? nil : rule?.metadata
            return DescriptorLimit(definition)
        }
        var keys: [ExactText: Values] = [:]
        for rule in rules {
            precondition(!rule.key.isEmpty)
            let node = DescriptorNode(rule, below: rule.rules, above)
            keys[ExactText(rule.key), default: Values()].add(node, at: rule.value)
        }
        self.keys = keys
    }

    /// Where an entry leads: to its value, else to the first value with a `*` that matches, else to any value's.
    func next(_ entry: DescriptorEntry) -> DescriptorNode? {
        guard let values = keys[ExactText(entry.key)] else { return nil }
        if !values.exact.isEmpty, let node = values.exact[ExactText(entry.value)] { return node }
        for wildcard in values.wildcards where wildcard.pattern.matches(entry.value) { return wildcard.node }
        return values.any
    }

    /// The limit of a call's descriptor that ends here: another object for each where its path depends on the call.
    func limit(of entries: [DescriptorEntry]) -> DescriptorLimit? {
        guard let limit, let saidPath else { return limit }
        var definition = limit.definition
        definition.path = DescriptorLimit.path(
            zip(entries, saidPath).enumerated().map { index, pair in
                let (entry, part) = pair
                if index < shared.count, shared[index] != nil, case .written(let text) = part { return text }
                // Without a shared window envoyproxy/ratelimit writes the underscore before an empty value too.
                if isDetailed { return shared.isEmpty ? "\(entry.key)_\(entry.value)" : entry.pathPart }
                return if case .written(let text) = part { text } else { entry.pathPart }
            })
        return DescriptorLimit(definition)
    }
}

extension DescriptorNode.Values {
    fileprivate mutating func add(_ node: DescriptorNode, at value: String) {
        guard !value.isEmpty else {
            precondition(any == nil)
            any = node
            return
        }
        precondition(exact.updateValue(node, forKey: ExactText(value)) == nil)
        if let pattern = WildcardPattern(value) { wildcards.append((pattern, node)) }
    }
}

extension DescriptorNode.Above {
    fileprivate mutating func append(_ rule: DescriptorRule) {
        let isWildcard = WildcardPattern(rule.value) != nil
        let isShared = rule.sharesThreshold && isWildcard
        let text = rule.pathPart
        written.append(text)
        let isSaid = rule.hasValueInMetric && !isShared && (isWildcard || rule.value.isEmpty)
        path.append(isSaid ? .said : .written(text))
        shared.append(isShared ? DescriptorKey.shared(rule.value) : nil)
    }
}

extension DescriptorEntry {
    /// It in a metric's path: `plan_gold`, and the key alone where the value is empty.
    var pathPart: String { value.isEmpty ? key : "\(key)_\(value)" }
}

extension DescriptorRule {
    /// It in a metric's path, as the configuration has it.
    package var pathPart: String { DescriptorEntry(key, value).pathPart }
}

extension DescriptorLimit {
    /// The most bytes of a path that a call's values stand in: what is longer is cut.
    public static let longestSaidPath = 256

    /// The path of parts that a call says.
    static func path(_ parts: [String]) -> String {
        let path = parts.joined(separator: ".")
        guard path.utf8.count > longestSaidPath else { return path }
        let end = path.utf8.index(path.startIndex, offsetBy: longestSaidPath)
        // Rounded down to the beginning of a character, so that no half of one is left.
        return String(path[..<path.index(before: path.index(after: end))])
    }
}
