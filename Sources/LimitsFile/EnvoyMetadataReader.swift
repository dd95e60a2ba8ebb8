import RateLimitCore

/// Reads what stands under `metadata:` of a descriptor, with the types that YAML 1.1 gives plain words, as envoyproxy/ratelimit
/// does.
struct EnvoyMetadataReader {
    /// What the metadata is, for messages: `metadata of descriptor tenant`.
    let what: String

    private static let numbers = "finite numbers in decimal digits; put a text that looks like another one in quotes"

    /// Reads the whole of it.
    func metadata(_ node: FileNode) throws(LimitsFileError) -> DescriptorMetadata {
        let metadata = try map(try MapReader.entries(of: node, what: what))
        guard metadata.levels <= DescriptorMetadata.mostLevels else {
            throw LimitsFileError(
                line: node.line, "\(what) stands in more than \(DescriptorMetadata.mostLevels) levels")
        }
        guard metadata.bytes <= DescriptorMetadata.mostBytes else {
            throw LimitsFileError(
                line: node.line,
                "\(what) is longer than \(DescriptorMetadata.mostBytes / 1_024) KiB, \(DescriptorMetadata.bytesOfValue) bytes for each value included"
            )
        }
        return metadata
    }

    private func map(_ entries: [FileNode.Entry]) throws(LimitsFileError) -> DescriptorMetadata {
        var read: [DescriptorMetadata.Entry] = []
        for entry in entries { read.append(DescriptorMetadata.Entry(entry.key, try value(entry.value))) }
        return DescriptorMetadata(read)
    }

    private func value(_ node: FileNode) throws(LimitsFileError) -> DescriptorMetadata.Value {
        switch node.content {
        case .null, .nothing: return .null
        case .map(let entries): return .map(try map(entries))
        case .list(let nodes):
            var values: [DescriptorMetadata.Value] = []
            for node in nodes { values.append(try value(node)) }
            return .list(values)
        case .text(let text):
            if node.isQuoted { return .text(text) }
            guard let value = Self.plain(text) else {
                throw LimitsFileError(line: node.line, "\(what) has the value \(shown(text))", accepted: Self.numbers)
            }
            return value
        }
    }

    /// A word without quotes: a truth value, a number or a text; nil for a number that JSON has not, and for one whose base
    /// is not ten.
    private static func plain(_ text: String) -> DescriptorMetadata.Value? {
        if let flag = flags[text] { return .flag(flag) }
        let unsigned = text.drop { $0 == "+" || $0 == "-" }
        guard text.utf8.count - unsigned.utf8.count <= 1, let first = unsigned.utf8.first else { return .text(text) }
        guard first == UInt8(ascii: ".") || isDigit(first) else { return .text(text) }
        if [".inf", ".nan"].contains(unsigned.lowercased()) || isOfAnotherBase(unsigned) { return nil }
        guard isDecimal(unsigned) else { return .text(text) }
        let digits = String(text.filter { $0 != "_" })
        guard let number = Double(digits), number.isFinite else { return nil }
        return .number(number)
    }

    private static let flags: [String: Bool] = {
        var flags: [String: Bool] = [:]
        for (word, flag) in [
            ("true", true), ("yes", true), ("on", true), ("y", true), ("false", false), ("no", false), ("off", false),
            ("n", false),
        ] {
            for word in [word, word.prefix(1).uppercased() + word.dropFirst(), word.uppercased()] { flags[word] = flag }
        }
        return flags
    }()

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    /// `0x1f`, `0b1`, `0o17` and `017`.
    private static func isOfAnotherBase(_ text: Substring) -> Bool {
        guard text.utf8.first == UInt8(ascii: "0"), text.utf8.count > 1 else { return false }
        let rest = text.utf8.dropFirst()
        if rest.allSatisfy({ isDigit($0) || $0 == UInt8(ascii: "_") }) { return true }
        let digits = rest.dropFirst()
        guard let mark = rest.first, "xXbBoO".utf8.contains(mark), !digits.isEmpty else { return false }
        return digits.allSatisfy { isDigit($0) || $0 == UInt8(ascii: "_") || "abcdefABCDEF".utf8.contains($0) }
    }

    /// Digits, which `_` may part, with one point at most, and an exponent where there is one.
    private static func isDecimal(_ text: Substring) -> Bool {
        let parts = text.split(maxSplits: 1, omittingEmptySubsequences: false) { $0 == "e" || $0 == "E" }
        let places = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        guard places.count <= 2, places.contains(where: { !$0.isEmpty }), parts[0].utf8.last != UInt8(ascii: "_"),
            places.allSatisfy({ $0.utf8.first != UInt8(ascii: "_") }),
            places.allSatisfy({ $0.utf8.allSatisfy { isDigit($0) || $0 == UInt8(ascii: "_") } })
        else { return false }
        guard parts.count == 2 else { return true }
        let exponent = parts[1].first == "+" || parts[1].first == "-" ? parts[1].dropFirst() : parts[1]
        return !exponent.isEmpty && exponent.utf8.allSatisfy(isDigit)
    }
}
