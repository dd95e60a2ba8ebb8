import Foundation
import TestSupport
import Testing

/// One page of the documentation, taken apart.
struct Page: Sendable, CustomTestStringConvertible {
    /// The file's name, such as `Limits.md`.
    let name: String
    let text: String
    /// Everything but the fenced blocks.
    let prose: String
    let blocks: [Block]
    let tables: [Table]

    var testDescription: String { name }

    /// A fenced block.
    struct Block: Sendable {
        /// What stands behind the opening fence, such as `console`; empty for none.
        var language: String
        var lines: [String]

        var text: String { lines.joined(separator: "\n") }
    }

    /// A table: its cells without the space around them.
    struct Table: Sendable {
        /// The heading under which it stands.
        var section: String
        var header: [String]
        var rows: [[String]]

        /// The cells of one column; empty where there is no such column.
        func column(_ name: String) -> [String] {
            header.firstIndex(of: name).map { index in rows.map { $0[index] } } ?? []
        }
    }

    init(name: String, text: String) {
        self.name = name
        self.text = text
        var prose: [String] = []
        var blocks: [Block] = []
        var open: Block?
        for line in text.components(separatedBy: "\n") {
            if line.hasPrefix("```") {
                if let block = open { blocks.append(block) }
                open = open == nil ? Block(language: String(line.dropFirst(3)), lines: []) : nil
            } else if open != nil {
                open?.lines.append(line)
            } else {
                prose.append(line)
            }
        }
        self.prose = prose.joined(separator: "\n")
        self.blocks = blocks
        tables = Self.tables(in: text.components(separatedBy: "\n"))
    }

    private static func tables(in lines: [String]) -> [Table] {
        var tables: [Table] = []
        var section = ""
        var isInTable = false
        for line in lines {
            if line.hasPrefix("#") { section = String(line.drop { $0 == "#" || $0 == " " }) }
            guard line.hasPrefix("|") else {
                isInTable = false
                continue
            }
            let cells = Self.cells(of: line)
            if !isInTable {
                tables.append(Table(section: section, header: cells, rows: []))
                isInTable = true
            } else if !cells.allSatisfy({ $0.allSatisfy { "-:".contains($0) } && !$0.isEmpty }) {
                tables[tables.count - 1].rows.append(cells)
            }
        }
        return tables
    }

    /// The cells of a table's line; a bar behind a backslash is a cell's own.
    private static func cells(of line: String) -> [String] {
        let parts = line.replacingOccurrences(of: "\\|", with: "\u{0}").components(separatedBy: "|")
        return parts.dropFirst().dropLast().map {
            $0.replacingOccurrences(of: "\u{0}", with: "|").trimmingCharacters(in: .whitespaces)
        }
    }

    /// What stands between backticks outside of the blocks, line breaks as spaces.
    var words: [String] { matches(of: "`([^`]+)`", in: prose).map { $0.replacing(/\s+/, with: " ") } }

    /// The cells of the first table that has this column in its header.
    func table(with column: String) -> Table? { tables.first { $0.header.contains(column) } }

    /// All but the lines between these marks.
    func unmarked(_ name: String) -> Page? {
        guard let start = text.range(of: "<!-- \(name):start -->"), let end = text.range(of: "<!-- \(name):end -->")
        else { return nil }
        return Page(name: self.name, text: String(text[..<start.lowerBound] + text[end.upperBound...]))
    }

    /// The lines between the marks `<!-- name:start -->` and `<!-- name:end -->`.
    func marked(_ name: String) -> Page? {
        guard let start = text.range(of: "<!-- \(name):start -->"), let end = text.range(of: "<!-- \(name):end -->")
        else { return nil }
        return Page(name: self.name, text: String(text[start.upperBound..<end.lowerBound]))
    }
}

extension Page {
    static let readme = Page(name: "README.md", text: readFile(Repository.path("README.md")))
    static let catalogue: [Page] = Repository.files
        .filter { $0.hasPrefix(Repository.catalogue) && $0.hasSuffix(".md") }
        .map { Page(name: ($0 as NSString).lastPathComponent, text: readFile(Repository.path($0))) }
    static let all = [readme] + catalogue

    /// The page of the catalogue with this title in its file name.
    static func named(_ name: String) throws -> Page {
        guard let page = catalogue.first(where: { $0.name == "\(name).md" }) else {
            throw TestFailure("no page \(name)")
        }
        return page
    }
}

/// What the first group of a pattern, or the whole pattern where it has none, matches, one after the other.
func matches(of pattern: String, in text: String) -> [String] {
    guard let expression = try? NSRegularExpression(pattern: pattern, options: [.anchorsMatchLines]) else { return [] }
    let whole = NSRange(text.startIndex..., in: text)
    return expression.matches(in: text, range: whole).compactMap { match in
        Range(match.range(at: match.numberOfRanges > 1 ? 1 : 0), in: text).map { String(text[$0]) }
    }
}
