import Logging

/// The bytes of one line, bounded: what does not fit is left out, and the line says so and stays well formed.
///
/// Text stops at the limit; the few bytes that close what is open (quotes, brackets, the mark, the line feed) come
/// from a reserve that text never uses.
struct LogLine {
    private(set) var bytes: [UInt8] = []
    /// Whether something was left out.
    private(set) var isTruncated = false
    /// Whether text was cut, so that nothing shorter may slip in behind the cut.
    private var isFull = false
    private let textLimit: Int

    /// The bytes kept for closing a truncated line: at most 8 open brackets, quotes around an empty key and value,
    /// and `,"truncated":true}` with its line feed.
    private static let reserve = 64
    /// Arrays and dictionaries within each other beyond this depth are left out.
    private static let maximumDepth = 8

    /// `limit` is the most bytes of the line, its line feed included.
    init(limit: Int) {
        textLimit = max(limit - Self.reserve, 0)
        bytes.reserveCapacity(min(limit, 512))
    }

    typealias Fields = [(key: String, value: Logger.MetadataValue)]

    mutating func appendJSON(time: UnixMilliseconds, level: Logger.Level, message: Logger.Message, fields: Fields) {
        append("{\"time\":\"")
        time.appendText(to: &bytes)
        append("\",\"level\":\"")
        append(level.rawValue)
        append("\",\"message\":")
        appendQuoted(message.description)
        for (key, value) in fields {
            guard hasRoom() else { break }
            append(",")
            appendQuoted(isReserved(key) ? key + "_" : key)
            append(":")
            appendJSON(value, depth: 1)
        }
        append(isTruncated ? ",\"truncated\":true}\n" : "}\n")
    }

    mutating func appendText(time: UnixMilliseconds, level: Logger.Level, message: Logger.Message, fields: Fields) {
        time.appendText(to: &bytes)
        append(" \(level.rawValue) ")
        appendEscaped(message.description, quoted: false)
        for (key, value) in fields {
            guard hasRoom() else { break }
            append(" ")
            appendBareOrQuoted(key)
            append("=")
            switch value {
            case .string(let string): appendBareOrQuoted(string)
            case .stringConvertible(let convertible): appendBareOrQuoted(convertible.description)
            case .array, .dictionary: appendJSON(value, depth: 1)
            }
        }
        append(isTruncated ? " truncated=true\n" : "\n")
    }

    private mutating func appendJSON(_ value: Logger.MetadataValue, depth: Int) {
        switch value {
        case .string(let string):
            appendQuoted(string)
        case .stringConvertible(let convertible):
            appendQuoted(convertible.description)
        case .array(let elements):
            append("[")
            var isFirst = true
            for element in elements {
                guard hasRoom(depth: depth) else { break }
                if !isFirst { append(",") }
                isFirst = false
                appendJSON(element, depth: depth + 1)
            }
            append("]")
        case .dictionary(let members):
            append("{")
            var isFirst = true
            for (key, element) in members.sorted(by: { $0.key < $1.key }) {
                guard hasRoom(depth: depth) else { break }
                if !isFirst { append(",") }
                isFirst = false
                appendQuoted(key)
                append(":")
                appendJSON(element, depth: depth + 1)
            }
            append("}")
        }
    }

    /// Whether another element may begin at that depth; where not, the line counts as truncated.
    private mutating func hasRoom(depth: Int = 0) -> Bool {
        if bytes.count >= textLimit { isFull = true }
        let fits = !isFull && depth < Self.maximumDepth
        if !fits { isTruncated = true }
        return fits
    }

    private mutating func appendQuoted(_ string: String) {
        append("\"")
        appendEscaped(string, quoted: true)
        append("\"")
    }

    private mutating func appendBareOrQuoted(_ string: String) {
        let isBare = !string.isEmpty && string.unicodeScalars.allSatisfy { isBareText($0) }
        if isBare { appendEscaped(string, quoted: false) } else { appendQuoted(string) }
    }

    /// Appends text up to the limit, cut between two characters. Controls never get through as they are: a line feed
    /// would forge a line, and an escape sequence would drive the reader's terminal.
    private mutating func appendEscaped(_ string: String, quoted: Bool) {
        for scalar in string.unicodeScalars {
            guard !isFull, bytes.count + 6 <= textLimit else {
                isFull = true
                isTruncated = true
                return
            }
            switch scalar {
            case "\"" where quoted: append("\\\"")
            case "\\" where quoted: append("\\\\")
            case "\n": append("\\n")
            case "\r": append("\\r")
            case "\t": append("\\t")
            case _ where isControl(scalar): appendUnicodeEscape(scalar)
            default: bytes.append(contentsOf: scalar.utf8)
            }
        }
    }

    private mutating func appendUnicodeEscape(_ scalar: Unicode.Scalar) {
        let digits = String(scalar.value, radix: 16)
        append("\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits)
    }

    private mutating func append(_ string: String) {
        bytes.append(contentsOf: string.utf8)
    }
}

/// The C0 and C1 controls and DEL.
private func isControl(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value < 0x20 || (scalar.value >= 0x7f && scalar.value < 0xa0)
}

/// Whether a key or value of the text format that holds the character can do without quotes.
private func isBareText(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case " ", "\"", "=", "\\": false
    default: !isControl(scalar)
    }
}

private func isReserved(_ key: String) -> Bool {
    ["time", "level", "message", "truncated"].contains(key)
}
