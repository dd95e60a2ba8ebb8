import Foundation

/// A text with gaps in it: what a page quotes with `…` in it, or what a string literal builds with `\(…)`.
struct TextPattern: Hashable, Sendable {
    /// The characters that are known; nil is a gap of any length.
    let parts: [Character?]

    /// A text of a page: `…` and what stands in angle brackets is a gap.
    init(quoting text: String) {
        parts = Self.parts(of: text.replacing(/<[a-zA-Z ]+>/, with: "…"), gap: "…")
    }

    private static func parts(of text: String, gap: Character) -> [Character?] {
        text.reduce(into: []) { parts, character in
            guard character == gap else { return parts.append(character) }
            if parts.last != .some(nil) { parts.append(nil) }
        }
    }

    /// The longest stretch without a gap.
    var core: String { String(parts.split(separator: nil).max { $0.count < $1.count }?.compactMap(\.self) ?? []) }

    /// Whether some text fits both.
    func fits(_ other: TextPattern) -> Bool {
        // The row says for each number of the other's parts whether they can stand for the parts so far.
        var row = [Bool](repeating: false, count: other.parts.count + 1)
        row[0] = true
        for index in other.parts.indices { row[index + 1] = row[index] && other.parts[index] == nil }
        for part in parts {
            var next = row
            next[0] = row[0] && part == nil
            for (index, its) in other.parts.enumerated() {
                let isGap = part == nil || its == nil
                next[index + 1] = isGap ? row[index + 1] || next[index] : row[index] && part == its
            }
            row = next
        }
        return row[other.parts.count]
    }
}

extension TextPattern {
    /// Every string literal of the sources, with those that a plus joins to it.
    static let literals: [TextPattern] = {
        let sources = Repository.texts.filter { $0.key.hasPrefix("Sources/") && $0.key.hasSuffix(".swift") }
        return Array(Set(sources.values.flatMap { literals(in: Array($0)) }))
    }()

    private init(_ parts: [Character?]) { self.parts = parts }

    /// Reads literals of one line and of several; raw ones are taken as they stand.
    static func literals(in text: [Character]) -> [TextPattern] { all(in: text).filter { $0.core.count > 3 } }

    /// The literal with which a text begins, and those that are joined to it; nil where it begins with something else.
    static func leading(_ text: some StringProtocol) -> TextPattern? {
        let text = text.drop(while: \.isWhitespace)
        return text.first == "\"" ? all(in: Array(text)).first : nil
    }

    private static func all(in text: [Character]) -> [TextPattern] {
        var found: [TextPattern] = []
        var index = 0
        var isJoined = false
        while index < text.count {
            guard text[index] == "\"" else {
                // Only a plus and space keep two literals together.
                if !text[index].isWhitespace, text[index] != "+" { isJoined = false }
                index += 1
                continue
            }
            let parts = literal(in: text, from: &index)
            if isJoined, let last = found.popLast() {
                found.append(TextPattern(last.parts + parts))
            } else {
                found.append(TextPattern(parts))
            }
            isJoined = true
        }
        return found
    }

    /// The literal that begins at `index`, which ends up behind it.
    private static func literal(in text: [Character], from index: inout Int) -> [Character?] {
        let isLong = text[index...].starts(with: "\"\"\"")
        index += isLong ? 3 : 1
        var parts: [Character?] = []
        while index < text.count {
            if isLong ? text[index...].starts(with: "\"\"\"") : text[index] == "\"" { break }
            if text[index] == "\\", index + 1 < text.count {
                index += 1
                if text[index] == "(" {
                    skipParentheses(in: text, from: &index)
                    if parts.last != .some(nil) { parts.append(nil) }
                    continue
                }
                if text[index] == "\n" {
                    while index < text.count, text[index].isWhitespace { index += 1 }
                    continue
                }
                parts.append(["n": "\n", "r": "\r", "t": "\t"][text[index]] ?? text[index])
            } else {
                parts.append(text[index])
            }
            index += 1
        }
        index += isLong ? 3 : 1
        // Of a literal of several lines, what indents them is no part of the text.
        return isLong ? unindented(parts) : parts
    }

    private static func unindented(_ parts: [Character?]) -> [Character?] {
        let lines = parts.split(separator: "\n", omittingEmptySubsequences: false).dropFirst()
        let indent = lines.last?.count ?? 0
        return Array(lines.dropLast().map { Array($0.dropFirst(indent)) }.joined(separator: ["\n"]))
    }

    private static func skipParentheses(in text: [Character], from index: inout Int) {
        var depth = 0
        repeat {
            if text[index] == "(" { depth += 1 }
            if text[index] == ")" { depth -= 1 }
            if text[index] == "\"" { _ = literal(in: text, from: &index) } else { index += 1 }
        } while depth > 0 && index < text.count
    }

    /// Whether a literal of the sources can be this text.
    static func isLiteral(_ text: String) -> Bool {
        let quote = TextPattern(quoting: text)
        return literals.contains { literal in
            let isCandidate =
                text.contains(literal.core) || String(literal.parts.map { $0 ?? "…" }).contains(quote.core)
            return isCandidate && quote.fits(literal)
        }
    }
}
