import Foundation
import TestSupport
import Testing

@Suite("What the pages quote")
struct QuoteTests {
    /// A log line of the sources: its level, and its text with gaps.
    private struct LogLine: Hashable {
        var level: String
        var text: TextPattern
    }

    /// Every call of a logger whose text stands in it.
    private static let logLines: [LogLine] = {
        let sources = Repository.texts.filter { $0.key.hasPrefix("Sources/") }.values
        return sources.flatMap { source in
            ["debug", "info", "notice", "warning", "error"].flatMap { level in
                source.components(separatedBy: "logger.\(level)(").dropFirst().flatMap { call in
                    let text = call.prefix(600).components(separatedBy: "metadata:")[0]
                    if let literal = TextPattern.leading(text) { return [LogLine(level: level, text: literal)] }
                    // A choice of texts, up to the end of the call.
                    let choice = text.components(separatedBy: "\n\n")[0].components(separatedBy: ")\n")[0]
                    return TextPattern.literals(in: Array(choice)).filter { $0.core.count > 15 }
                        .map { LogLine(level: level, text: $0) }
                }
            }
        }
    }()

    /// The log tables' rows: level and message.
    private static func told() throws -> [(level: String, text: String)] {
        try ["Operating", "Cluster"].flatMap { name in
            try Page.named(name).tables.filter { $0.header.contains("level") }.flatMap { table in
                table.rows.flatMap { row in matches(of: "`([^`]+)`", in: row[1]).map { (level: row[0], text: $0) } }
            }
        }
    }

    @Test("Every log line of the tables is one that the daemon writes")
    func logMessages() throws {
        for (level, text) in try Self.told() where level != "" {
            #expect(TextPattern.isLiteral(text), "\(level): \(text)")
            let quote = TextPattern(quoting: text)
            let same = Self.logLines.filter { $0.text.core.count > 8 && quote.fits($0.text) }
            if !same.isEmpty { #expect(same.contains { $0.level == level }, "\(text) is no \(level)") }
        }
    }

    @Test("Every line that the daemon writes stands in a table")
    func allLogLines() throws {
        let told = try Self.told().map { (level: $0.level, text: TextPattern(quoting: $0.text)) }
        #expect(Self.logLines.count > 20)
        for line in Self.logLines where line.text.core.count > 3 {
            let isTold = told.contains { $0.level == line.level && $0.text.fits(line.text) }
            #expect(isTold, "\(line.level): \(String(line.text.parts.map { $0 ?? "…" }))")
        }
    }

    @Test("Every problem and message that a page shows is one that the daemon answers", arguments: Page.all)
    func answers(page: Page) {
        let shown = matches(of: "\"(?:detail|message)\":\"((?:[^\"\\\\]|\\\\.)+)\"", in: page.text)
        for text in shown {
            let plain = text.replacing("\\\"", with: "\"").replacing("\\\\", with: "\\")
            // A log line's message is no answer's; both are literals of the sources. A wait's words are put behind one.
            let wait = "Try again in "
            #expect(TextPattern.isLiteral(plain.hasPrefix(wait) ? wait : plain), "\(plain)")
        }
    }

    @Test("Every text of Troubleshooting and of the table of TLS is one that the program says")
    func troubleshooting() throws {
        let tables = [
            (try Page.named("Operating").table(with: "the text"), "the text"),
            (try Page.named("TLSAndAccess").table(with: "`detail`"), "`detail`"),
            (try Page.named("TLSAndAccess").table(with: "log line"), "log line"),
        ]
        for (table, column) in tables {
            let cells = try #require(table).column(column)
            #expect(!cells.isEmpty)
            for text in cells.flatMap({ matches(of: "`([^`]+)`", in: $0) })
            where text.contains(": ") || text.contains(" …") {
                guard !KnownWords.isKnown(text) else { continue }
                #expect(Self.isSaid(text), "\(text)")
            }
        }
    }

    /// Whether the program can say a text, in one piece or put together at a colon, as a problem and what is accepted are.
    static func isSaid(_ text: String) -> Bool {
        if TextPattern.isLiteral(text) { return true }
        for mark in [": ", "; "] {
            let parts = text.components(separatedBy: mark)
            for end in parts.indices.dropFirst() {
                let start = parts[..<end].joined(separator: mark)
                let rest = parts[end...].joined(separator: mark)
                if [start, start + mark, "\(start)\(mark)…"].contains(where: TextPattern.isLiteral),
                    isSaid(rest) || rest == "…"
                {
                    return true
                }
            }
        }
        return false
    }
}
