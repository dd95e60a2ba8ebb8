import BoundedFiles

/// A file of `NAME=value` lines, read as systemd reads an `EnvironmentFile=`.
///
/// The states are those of systemd's `parse_env_file` (256): `#` and `;` begin comments at the start of a line, a
/// backslash at a line's end continues it, single quotes keep everything, double quotes keep everything but
/// backslashes before `"`, `\`, a backquote or `$`, text behind a closing quote still belongs to the value, and
/// nothing is expanded. A line without `=` or with another name is ignored, here with a remark. Other than for systemd,
/// a byte order mark before the first line is skipped, and a backslash continues a line that ends in CR LF.
struct EnvironmentFile: Equatable {
    struct Assignment: Equatable {
        var name: String
        var value: String
        /// The line, counted from 1, on which the name stands.
        var line: Int
    }

    /// In the order of the file; of two with one name the later counts.
    var assignments: [Assignment] = []

    /// Lines that were ignored, counted from 1.
    var ignoredLines: [Int] = []

    /// The line with a quote that the file does not close, so that all lines behind it belong to one value.
    var unclosedQuoteLine: Int?

    /// The longest file that is read, in bytes.
    static let maximumBytes = 1 << 20

    enum Problem: Error, Equatable, CustomStringConvertible {
        case notText(line: Int)

        var description: String {
            switch self {
            case .notText(let line): "line \(line) is not UTF-8 text"
            }
        }
    }

    init(parsing bytes: [UInt8]) throws(Problem) {
        var parser = EnvironmentFileParser()
        let bytes = withoutByteOrderMark(bytes)
        for (index, byte) in zip(bytes.indices, bytes) {
            guard byte != 0 else { throw .notText(line: parser.line) }
            // The CR of a line's end is no escaped byte: the LF behind it is.
            let isInLineEnd = byte == UInt8(ascii: "\r") && bytes[index...].dropFirst().first == UInt8(ascii: "\n")
            if isInLineEnd && parser.isBehindBackslash { continue }
            try parser.consume(byte)
        }
        try parser.finish()
        assignments = parser.assignments
        ignoredLines = parser.ignoredLines
        unclosedQuoteLine = parser.unclosedQuoteLine
    }
}

/// The state machine behind `EnvironmentFile`, one byte at a time.
private struct EnvironmentFileParser {
    private enum State {
        case beforeName, name
        case comment, commentEscape
        case beforeValue, value, valueEscape
        case singleQuoted, doubleQuoted, doubleQuotedEscape
    }

    var assignments: [EnvironmentFile.Assignment] = []
    var ignoredLines: [Int] = []
    var unclosedQuoteLine: Int?
    private(set) var line = 1
    private var state = State.beforeName
    private var name: [UInt8] = []
    private var nameLine = 1
    private var value: [UInt8] = []
    /// How much of `value` stays when the white space at its end is cut: none of what was quoted or escaped is.
    private var keptValueBytes = 0

    /// Whether the next byte is one that a backslash stands before, in a value.
    var isBehindBackslash: Bool { state == .valueEscape || state == .doubleQuotedEscape }

    mutating func consume(_ byte: UInt8) throws(EnvironmentFile.Problem) {
        switch state {
        case .beforeName, .name, .comment, .commentEscape: consumeOutsideValue(byte)
        case .beforeValue, .value, .valueEscape: try consumeUnquoted(byte)
        case .singleQuoted, .doubleQuoted, .doubleQuotedEscape: consumeQuoted(byte)
        }
        if byte == UInt8(ascii: "\n") { line += 1 }
    }

    mutating func finish() throws(EnvironmentFile.Problem) {
        switch state {
        case .beforeName, .comment, .commentEscape: break
        case .name: ignoredLines.append(nameLine)
        case .beforeValue, .value, .valueEscape: try assign()
        case .singleQuoted, .doubleQuoted, .doubleQuotedEscape:
            unclosedQuoteLine = nameLine
            try assign()
        }
    }

    private mutating func consumeOutsideValue(_ byte: UInt8) {
        switch state {
        case .comment:
            if byte == UInt8(ascii: "\\") { state = .commentEscape } else if isNewline(byte) { state = .beforeName }
        case .commentEscape:
            // Since systemd 254 a backslash does not continue a comment.
            state = isNewline(byte) ? .beforeName : .comment
        case .name where isNewline(byte):
            ignoredLines.append(nameLine)
            name = []
            state = .beforeName
        case .name where byte == UInt8(ascii: "="):
            state = .beforeValue
        case .name:
            name.append(byte)
        default:
            if "#;".utf8.contains(byte) {
                state = .comment
            } else if !isWhiteSpace(byte) {
                nameLine = line
                name = [byte]
                state = .name
            }
        }
    }

    private mutating func consumeUnquoted(_ byte: UInt8) throws(EnvironmentFile.Problem) {
        if state == .valueEscape {
            state = .value
            if !isNewline(byte) { keep(byte) }
        } else if isNewline(byte) {
            try assign()
            state = .beforeName
        } else if byte == UInt8(ascii: "\\") {
            keptValueBytes = value.count
            state = .valueEscape
        } else if state == .beforeValue && byte == UInt8(ascii: "'") {
            state = .singleQuoted
        } else if state == .beforeValue && byte == UInt8(ascii: "\"") {
            state = .doubleQuoted
        } else if !isWhiteSpace(byte) {
            state = .value
            keep(byte)
        } else if state == .value {
            value.append(byte)
        }
    }

    private mutating func consumeQuoted(_ byte: UInt8) {
        switch (state, byte) {
        case (.singleQuoted, UInt8(ascii: "'")), (.doubleQuoted, UInt8(ascii: "\"")):
            state = .beforeValue
        case (.doubleQuoted, UInt8(ascii: "\\")):
            state = .doubleQuotedEscape
        case (.doubleQuotedEscape, _):
            state = .doubleQuoted
            guard byte != UInt8(ascii: "\n") else { return }
            if !"\"\\`$".utf8.contains(byte) { keep(UInt8(ascii: "\\")) }
            keep(byte)
        default:
            keep(byte)
        }
    }

    private mutating func keep(_ byte: UInt8) {
        value.append(byte)
        keptValueBytes = value.count
    }

    private mutating func assign() throws(EnvironmentFile.Problem) {
        defer {
            name = []
            value = []
            keptValueBytes = 0
        }
        while let last = name.last, isWhiteSpace(last) { name.removeLast() }
        guard let nameText = String(validating: name, as: UTF8.self),
            let valueText = String(validating: value[..<keptValueBytes], as: UTF8.self)
        else { throw .notText(line: nameLine) }
        if isVariableName(nameText) {
            assignments.append(.init(name: nameText, value: valueText, line: nameLine))
        } else {
            ignoredLines.append(nameLine)
        }
    }

    private func isNewline(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r")
    }

    private func isWhiteSpace(_ byte: UInt8) -> Bool {
        isNewline(byte) || byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
    }

    private func isVariableName(_ text: String) -> Bool {
        guard let first = text.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else {
            return false
        }
        return text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
    }
}
