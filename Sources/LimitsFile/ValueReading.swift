import RateLimitCore

/// A map of the file whose keys are all known.
struct MapReader {
    /// What the map is, for messages: `limit member-spend`.
    let what: String
    let line: Int
    private let entries: [FileNode.Entry]

    /// Refuses a value that is no map, and keys outside `keys`.
    init(_ node: FileNode, what: String, keys: [String]) throws(LimitsFileError) {
        let entries = try Self.entries(of: node, what: what)
        for entry in entries where !keys.contains(entry.key) {
            let nearest = nearestName(to: entry.key, among: keys) ?? ""
            throw LimitsFileError(
                line: entry.line, "\(what) has no key \(shown(entry.key)), did you mean \(nearest)?",
                accepted: keys.joined(separator: ", "))
        }
        self.what = what
        line = node.line
        self.entries = entries
    }

    /// The entries of a map whose keys may be any.
    static func entries(of node: FileNode, what: String) throws(LimitsFileError) -> [FileNode.Entry] {
        guard case .map(let entries) = node.content else {
            throw LimitsFileError(line: node.line, "\(what) is \(node.kind)", accepted: "maps of key: value")
        }
        return entries
    }

    /// The value of a key; nil where the map does not have it, or null. A key without a value is refused.
    func value(_ key: String) throws(LimitsFileError) -> FileNode? {
        guard let entry = entries.first(where: { $0.key == key }), entry.value.content != .null else { return nil }
        if entry.value.content == .nothing {
            throw LimitsFileError(line: entry.line, "\(key) of \(what) has no value; where none is meant, write null")
        }
        return entry.value
    }

    func required(_ key: String, accepted: String) throws(LimitsFileError) -> FileNode {
        guard let value = try value(key) else {
            throw LimitsFileError(line: line, "\(what) has no \(key)", accepted: accepted)
        }
        return value
    }

    /// Reads the text of a value, and says of one that cannot be used what is accepted.
    func read<Value>(
        _ node: FileNode, _ key: String, accepted: String, _ parse: (String) -> Value?
    ) throws(LimitsFileError) -> Value {
        guard case .text(let text) = node.content else {
            throw LimitsFileError(line: node.line, "\(key) of \(what) is \(node.kind)", accepted: accepted)
        }
        guard let value = parse(text) else {
            throw LimitsFileError(line: node.line, "\(key) of \(what) is \(shown(text))", accepted: accepted)
        }
        return value
    }

    /// Reads one of an enum's words; `standard` where the map does not have the key.
    func word<Word: CaseIterable & RawRepresentable>(
        _ key: String, standard: Word?
    ) throws(LimitsFileError) -> Word where Word.RawValue == String {
        let accepted = listed(Word.allCases.map(\.rawValue))
        guard let node = try value(key) else {
            guard let standard else { throw LimitsFileError(line: line, "\(what) has no \(key)", accepted: accepted) }
            return standard
        }
        return try read(node, key, accepted: accepted) { Word(rawValue: $0) }
    }
}

extension FileNode {
    var kind: String {
        switch content {
        case .text(let text): shown(text)
        case .list: "a list"
        case .map: "a map"
        case .null: "null"
        case .nothing: "empty"
        }
    }
}

/// `a, b and c`.
func listed(_ words: [String]) -> String {
    guard let last = words.last, words.count > 1 else { return words.first ?? "" }
    return words.dropLast().joined(separator: ", ") + " and " + last
}

/// How numbers, money, lengths of time and shares are written in the file.
enum ValueText {
    static let duration = "lengths from 1s to 365d, such as 30s, 15m, 1h and 1d"
    static let money =
        "whole micro-dollars from 0 to 1,000,000,000,000 (1,000,000 are a dollar), or dollars such as $5 "
        + "and $0.25"

    /// A whole number, as digits or as JSON has it (``WholeNumber``).
    static func wholeNumber(_ text: String, in range: ClosedRange<Int>) -> Int? {
        plainNumber(text, in: range) ?? WholeNumber.read(text.utf8).flatMap { range.contains($0) ? $0 : nil }
    }

    private static func plainNumber(_ text: some StringProtocol, in range: ClosedRange<Int>) -> Int? {
        // Twelve digits and one are enough for each number of the file.
        guard (1...13).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int(text), range.contains(number)
        else { return nil }
        return number
    }

    /// Micro-dollars, from a whole number of them or from dollars with at most six places.
    static func micros(_ text: String, in range: ClosedRange<Int>) -> Int? {
        guard text.first == "$" else { return wholeNumber(text, in: range) }
        guard let micros = decimal(text.dropFirst(), places: 6), range.contains(micros) else { return nil }
        return micros
    }

    /// Milliseconds.
    static func milliseconds(_ text: String, in range: ClosedRange<Int>) -> Int? {
        let millisecondsOfUnit: [Character: Int] = ["s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000]
        guard let unit = text.last.flatMap({ millisecondsOfUnit[$0] }),
            let count = plainNumber(text.dropLast(), in: 0...range.upperBound / unit), range.contains(count * unit)
        else { return nil }
        return count * unit
    }

    /// Thousandths, from a share such as `0.8`.
    static func perMille(_ text: String, in range: ClosedRange<Int>) -> Int? {
        guard let share = decimal(text[...], places: 3), range.contains(share) else { return nil }
        return share
    }

    /// A number with at most `places` places, times ten to their power.
    private static func decimal(_ text: Substring, places: Int) -> Int? {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = plainNumber(parts[0], in: 0...1_000_000) else { return nil }
        var scaled = whole
        let digits = parts.count == 2 ? parts[1] : ""
        guard parts.count == 1 || (1...places).contains(digits.utf8.count) else { return nil }
        let fraction = digits.isEmpty ? 0 : plainNumber(digits, in: 0...999_999)
        guard let fraction else { return nil }
        for _ in 0..<places { scaled *= 10 }
        var scaledFraction = fraction
        for _ in digits.utf8.count..<places { scaledFraction *= 10 }
        return scaled + scaledFraction
    }
}
