/// The domains of envoyproxy/ratelimit's configuration: which limit a descriptor meets.
///
/// At each level a descriptor's entry is looked up by its key and value, then in the key's values with a `*` in the file's
/// order, then by the key alone; what is found there first is taken for good. A limit counts only for descriptors that end
/// where it stands. So envoyproxy/ratelimit does it, but for one thing: there a key and its value are one text, `key_value`,
/// and a key `a` with the value `b_c` is the key `a_b` with the value `c`. Here they are not.
public struct DescriptorRules: Sendable {
    /// No domains.
    public static let none = DescriptorRules([])

    /// What was configured.
    public let domains: [DescriptorDomain]
    private let lookup: [ExactText: Domain]

    fileprivate struct Domain: Sendable {
        var name: String
        var keyStart: [UInt8]
        var root: DescriptorNode
        /// Whether some limit replaces others.
        var hasReplacements: Bool
    }

    /// Makes rules. Two domains of one name, two rules of one level with one key and value, and empty keys are programming
    /// errors.
    public init(_ domains: [DescriptorDomain]) {
        self.domains = domains
        let known = domains.map { domain in
            let data = Domain(
                name: domain.name, keyStart: DescriptorKey.start(of: domain.name), root: DescriptorNode(domain: domain),
                hasReplacements: domain.rules.contains(where: \.replacesSome))
            return (ExactText(domain.name), data)
        }
        lookup = Dictionary(uniqueKeysWithValues: known)
    }

    /// What each descriptor of a call meets, in the call's order.
    ///
    /// Nothing is met in an unknown domain. A descriptor's own quota is met in place of the configuration's.
    public func matches(_ descriptors: [Descriptor], in domain: String) -> [DescriptorMatch] {
        guard let domain = lookup[ExactText(domain)] else {
            return Array(repeating: DescriptorMatch(nil, in: nil), count: descriptors.count)
        }
        var matches = descriptors.map { domain.match($0) }
        if domain.hasReplacements { Self.dropReplaced(&matches) }
        return matches
    }

    /// Drops limits that another one of the call replaces, also where that one is replaced itself. What is unlimited stays:
    /// it denies nothing that could be lifted.
    private static func dropReplaced(_ matches: inout [DescriptorMatch]) {
        let replaced = matches.flatMap { $0.limit?.definition.replaces ?? [] }
        guard !replaced.isEmpty else { return }
        for (index, match) in matches.enumerated() {
            guard let definition = match.limit?.definition, definition.quota != nil, let name = definition.name,
                replaced.contains(where: { ExactText($0) == ExactText(name) })
            else { continue }
            matches[index] = DescriptorMatch(nil, in: nil)
        }
    }
}

extension DescriptorRules.Domain {
    fileprivate func match(_ descriptor: Descriptor) -> DescriptorMatch {
        let entries = descriptor.entries
        if let quota = descriptor.quota {
            let path = DescriptorLimit.path(entries.map(\.pathPart))
            let limit = DescriptorLimit(DescriptorLimit.Definition(domain: name, path: path, quota: quota))
            return DescriptorMatch(limit, in: DescriptorKey(entries, in: keyStart, quota: quota))
        }
        var node = root
        for entry in entries {
            guard let next = node.next(entry) else { return DescriptorMatch(nil, in: nil) }
            node = next
        }
        guard let limit = node.limit(of: entries) else { return DescriptorMatch(nil, in: nil) }
        guard limit.definition.quota != nil else { return DescriptorMatch(limit, in: nil) }
        return DescriptorMatch(limit, in: DescriptorKey(entries, in: keyStart, shared: node.shared))
    }
}

extension DescriptorRules: Hashable {
    /// Whether both were made of the same domains.
    public static func == (left: Self, right: Self) -> Bool { left.domains == right.domains }

    /// Takes the domains.
    public func hash(into hasher: inout Hasher) { hasher.combine(domains) }
}

extension DescriptorRule {
    fileprivate var replacesSome: Bool {
        limit.map { !$0.replaces.isEmpty } ?? false || rules.contains(where: \.replacesSome)
    }
}
