/// The key of a window that is of some values, read as Limits.md says it is written: by nothing of what wrote it.
public struct ValueKey: Equatable {
    /// A text that a key holds, or the digest in place of one.
    public enum Text: Equatable {
        case bytes([UInt8])
        case digest(String)
    }

    /// The owner's key; nil of windows that all share.
    public var owner: String?
    /// `model`, `label` and so on, the label's name, and the value.
    public var pairs: [(kind: String, label: Text?, value: Text)]

    /// Reads a key; nil for any other one.
    public init?(_ key: String, prefix: String) {
        let start = "\(prefix):by:"
        var text: Substring
        if key.hasPrefix(start) {
            text = key.dropFirst(start.count)
        } else {
            guard key.first == "{", let end = key.firstIndex(of: "}") else { return nil }
            owner = String(key[key.index(after: key.startIndex)..<end])
            text = key[key.index(after: end)...]
            guard text.hasPrefix(":by:") else { return nil }
            text = text.dropFirst(4)
        }
        pairs = []
        for pair in text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = pair.split(separator: "=", omittingEmptySubsequences: false)
            guard sides.count == 2, let value = Self.text(sides[1]) else { return nil }
            let name = sides[0].split(separator: ":", omittingEmptySubsequences: false)
            guard ["group", "model", "provider", "label"].contains(name[0]) else { return nil }
            guard name.count == (name[0] == "label" ? 2 : 1) else { return nil }
            var label: Text?
            if name.count == 2 {
                guard let text = Self.text(name[1]) else { return nil }
                label = text
            }
            pairs.append((String(name[0]), label, value))
        }
    }

    private static func text(_ text: Substring) -> Text? {
        if text.first == "~" { return text.utf8.count == 65 ? .digest(String(text.dropFirst())) : nil }
        guard (1...64).contains(text.utf8.count) else { return nil }
        var bytes: [UInt8] = []
        var left = text.utf8
        while let byte = left.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard left.count >= 2, let value = UInt8(String(decoding: left.prefix(2), as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            left = left.dropFirst(2)
        }
        return .bytes(bytes)
    }

    /// Whether both are of the same owner and the same texts.
    public static func == (one: Self, other: Self) -> Bool {
        one.owner == other.owner
            && one.pairs.elementsEqual(other.pairs) {
                $0.kind == $1.kind && $0.label == $1.label && $0.value == $1.value
            }
    }
}
