/// The labels of one series, sorted by name and escaped, as they stand between the braces of the page.
struct LabelSet: Equatable, Sendable {
    /// The most labels one series can have.
    static let maximumLabels = 16
    /// The most bytes one label value can have.
    static let maximumValueBytes = 1_024

    /// `decision="allowed",source="redis"`, or nothing.
    let text: [UInt8]

    /// Fails where a name is no Prometheus label name, is reserved (`__…`, `le`) or occurs twice, or a bound is passed.
    init?(_ dimensions: [(String, String)]) {
        guard dimensions.count <= Self.maximumLabels else { return nil }
        let sorted = dimensions.sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) }
        guard zip(sorted, sorted.dropFirst()).allSatisfy({ $0.0 != $1.0 }) else { return nil }
        var text: [UInt8] = []
        for (name, value) in sorted {
            guard isLabelName(name), value.utf8.count <= Self.maximumValueBytes else { return nil }
            if !text.isEmpty { text.append(UInt8(ascii: ",")) }
            text.append(contentsOf: name.utf8)
            text.append(contentsOf: "=\"".utf8)
            appendEscaped(value, quotes: true, to: &text)
            text.append(UInt8(ascii: "\""))
        }
        self.text = text
    }

    static func < (left: LabelSet, right: LabelSet) -> Bool {
        left.text.lexicographicallyPrecedes(right.text)
    }
}

/// Escapes backslash and line feed, and quotes where asked: label values need that, help texts must not have it.
func appendEscaped(_ string: String, quotes: Bool, to bytes: inout [UInt8]) {
    for byte in string.utf8 {
        switch byte {
        case UInt8(ascii: "\\"): bytes.append(contentsOf: "\\\\".utf8)
        case UInt8(ascii: "\n"): bytes.append(contentsOf: "\\n".utf8)
        case UInt8(ascii: "\"") where quotes: bytes.append(contentsOf: "\\\"".utf8)
        default: bytes.append(byte)
        }
    }
}

private func isLabelName(_ name: String) -> Bool {
    guard let first = name.utf8.first, isLetterOrUnderscore(first) else { return false }
    guard !name.hasPrefix("__"), name != "le" else { return false }
    return name.utf8.allSatisfy { isLetterOrUnderscore($0) || isDigit($0) }
}
