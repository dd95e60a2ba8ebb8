import RateLimitCore

/// A limit of envoyproxy/ratelimit as a limit of a limits file.
struct ImportedLimit {
    var name = ""
    private let place: String
    private let quota: DescriptorQuota?
    private let isShadow: Bool
    private var isPerUser = false
    private var values: [CallValue] = []
    private var matches: [(of: CallValue, pattern: String)] = []

    /// Keys that Envoy itself fills with the peer's address.
    private static let addresses = ["remote_address", "masked_remote_address"]

    init(_ limit: DescriptorRule.Limit, place: String, isShadow: Bool) {
        self.place = place
        self.isShadow = isShadow
        quota = limit.quota
    }

    /// The names of the labels that calls have to say.
    var labels: [String] {
        (values + matches.map(\.of)).compactMap { if case .label(let name) = $0 { name } else { nil } }
    }

    /// Takes the domain for a label, by which those of several domains are told apart.
    mutating func add(domain: String) throws(MissingCounterpart) {
        guard !domain.utf8.contains(UInt8(ascii: "*")) else { throw MissingCounterpart("a domain with a *") }
        try match(.label("domain"), domain)
    }

    /// Takes one descriptor on the way to the limit for what a call has to say.
    mutating func add(_ rule: DescriptorRule) throws(MissingCounterpart) {
        guard rule.key != "user" else { return try addUser(rule) }
        guard !Self.addresses.contains(rule.key) else {
            throw MissingCounterpart("calls say no address; /v1/auth limits whoever has no name by it")
        }
        guard CallAttributes.nameLengths.contains(rule.key.utf8.count) else {
            throw MissingCounterpart("a label's name has up to \(CallAttributes.nameLengths.upperBound) bytes")
        }
        let value: CallValue =
            switch rule.key {
            case "model": .model
            case "provider": .provider
            default: .label(rule.key)
            }
        guard !values.contains(value), !matches.contains(where: { $0.of == value }) else {
            throw MissingCounterpart("a call says one \(shown(rule.key))")
        }
        if !rule.value.isEmpty { try match(value, rule.value) }
        let isPattern = rule.value.utf8.contains(UInt8(ascii: "*"))
        guard rule.value.isEmpty || isPattern && !rule.sharesThreshold else { return }
        guard values.count < CallValue.maximumCount else {
            throw MissingCounterpart("a window is of up to \(CallValue.maximumCount) values")
        }
        values.append(value)
    }

    private mutating func addUser(_ rule: DescriptorRule) throws(MissingCounterpart) {
        guard rule.value.isEmpty else {
            throw MissingCounterpart("a user's own quota is a budget: PUT /v1/users/<user>/budget")
        }
        guard !isPerUser else { throw MissingCounterpart("a call says one user") }
        isPerUser = true
    }

    private mutating func match(_ value: CallValue, _ pattern: String) throws(MissingCounterpart) {
        guard namePattern(pattern) != nil else {
            throw MissingCounterpart(
                "texts of match have up to \(CallAttributes.maximumValueLength) bytes, and a * only at their end")
        }
        guard matches.count < LimitDefinition.maximumMatches else {
            throw MissingCounterpart("a limit has up to \(LimitDefinition.maximumMatches) conditions")
        }
        matches.append((value, pattern))
    }

    /// The limit as an element of the file's list.
    var lines: [String] {
        var lines = ["  # \(place)", "  - name: \(quoted(name))", "    per: \(per)", "    unit: requests"]
        lines.append(quota.map { "    quota: \($0.requestsPerUnit)" } ?? "    quota: null   # unlimited")
        lines.append("    window: \(quota.map { Self.length($0.windowMilliseconds) } ?? "1m")")
        if !matches.isEmpty {
            let conditions = matches.map { "\(quoted(Self.condition($0.of))): \(quoted($0.pattern))" }
            lines.append("    match: {\(conditions.joined(separator: ", "))}")
        }
        if isShadow { lines.append("    mode: shadow") }
        return lines
    }

    private var per: String {
        let words = (isPerUser ? ["user"] : []) + values.map { quoted($0.text) }
        guard let first = words.first else { return "global" }
        return words.count == 1 ? first : "[\(words.joined(separator: ", "))]"
    }

    private static func condition(_ value: CallValue) -> String {
        if case .label(let name) = value { name } else { value.text }
    }

    private static func length(_ milliseconds: Int) -> String {
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)]
        for (name, unit) in units where milliseconds.isMultiple(of: unit) { return "\(milliseconds / unit)\(name)" }
        return "\(milliseconds / 1_000)s"
    }
}

/// Gives each limit a name that no other one has.
struct ImportedNames {
    private var ids: Set<UInt32> = []
    /// What the limits of the environment are called.
    private static let taken = ["requests", "per-second", "max-concurrency"]

    /// The name that a limit has, where it can be one here, else one that is made of where it stands.
    mutating func name(_ name: String?, else path: String) -> String {
        let start = name.flatMap(LimitName.init)?.text ?? Self.made(of: name ?? path)
        for number in 1... {
            let end = number == 1 ? "" : "-\(number)"
            let text = start.prefix(LimitName.lengths.upperBound - end.utf8.count) + end
            guard !Self.taken.contains(String(text)), let name = LimitName(String(text)),
                ids.insert(LimitDefinition.id(of: name, in: .requests)).inserted
            else { continue }
            return name.text
        }
        preconditionFailure("each number makes another name")
    }

    private static func made(of text: String) -> String {
        let bytes = text.lowercased().utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"),
                UInt8(ascii: "."):
                byte
            default: UInt8(ascii: "-")
            }
        }
        let name = String(decoding: bytes, as: UTF8.self)
        return LimitName(String(name.prefix(1))) == nil ? "limit-\(name)" : name
    }
}

/// A text in quotes, as JSON and YAML have it, on one line: YAML breaks lines at U+2028 and U+2029 too.
func quoted(_ text: String) -> String {
    let characters = text.unicodeScalars.map { scalar -> String in
        switch scalar.value {
        case 0x22, 0x5c: "\\" + String(scalar)
        case 0x20...0x7e, 0xa0...0x2027, 0x202a...0xd7ff, 0xe000...0xfefe, 0xff00...0xfffd, 0x10000...0x10ffff:
            String(scalar)
        default:
            "\\u" + String(repeating: "0", count: 4 - String(scalar.value, radix: 16).count)
                + String(scalar.value, radix: 16)
        }
    }
    return "\"" + characters.joined() + "\""
}
